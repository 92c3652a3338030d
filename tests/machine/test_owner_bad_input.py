"""Nonsense to the owners' words: one clear refusal each, and nothing half done."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from backends.base import HwbpError, Launch
from backends.emulated.backend import EmulatedBackend
from backends.emulated.owner_words import _OWNERS
from backends.emulated.programs import PROGRAMS
from backends.ring import create_memfd
from tests.machine.kernel_invariants import Exceptions, check
from tests.unit.test_text_program import run

REFUSED = """
ESRCH perf event 0x1 -t 77
EINVAL perf event 0xffffffffffffffff
ENXIO perf event counter -C 99
EINVAL perf event counter/3
EINVAL perf event counter:q
EINVAL perf event counter:r
EINVAL perf event
EINVAL perf event counter -t
EINVAL perf event counter inherit_thread
EINVAL perf event counter sigtrap
EINVAL perf event 0xffffffff82205000
EBADF perf read 99
EINVAL perf refresh x 1
EIO ptrace pokeuser 9 1
ENOENT ptrace pokeuser 0 zz
ESRCH ptrace pokeuser 0 0x1 1234
ESRCH ptrace attach 77
ESRCH ptrace detach
ENODEV kgdb packet Z2
ENXIO kgdb enter 99
ENODEV kgdb continue
ENOENT kgdb watch nowhere
ENOENT kvm run x
EINVAL kvm mov v dr9
EINVAL ftrace dynamic_events w10
ENOENT ftrace enable nothing
ENOENT ftrace fire nothing
ENOENT ftrace ksym_trace_filter a:rw-
ESRCH task run 1 0
ENXIO task run 1000 99
ENXIO task idle 99
EINVAL task access 0
EINVAL task access 0 0x1000:q
EINVAL task access 0 0x1000 sideways
EPERM task fork 1000
EPERM task exit 1000
ESRCH task exit 77
EINVAL task new
ENXIO task new a 99
EINVAL nmi end 0
ENXIO nmi begin 99
EINVAL kernel version x
EINVAL kernel version 99.1.1
EINVAL kernel version 2.6.32
EINVAL kernel version 2.7.1
EINVAL kernel version 4.21
EINVAL kernel version 6.19
EINVAL kernel version 6.18 60
ENXIO info timeline 99
EINVAL dr7 0x2000
EINVAL nonsense
"""


@pytest.mark.parametrize("cpus", ["2", "64"])
def test_each_is_refused_with_its_errno_and_leaves_nothing_behind(cpus: str) -> None:
    lines = [f"! {line}" for line in REFUSED.strip().splitlines()]
    done = run(
        "script",
        "-",
        "--cpus",
        cpus,
        stdin="\n".join([*lines, "info accounting", "expect nobody holds a slot"]),
    )
    assert done.returncode == 0, done.stderr


def test_a_version_that_is_not_modelled_names_the_nearest() -> None:
    script = "kernel version 6.1.180\nkernel version 6.18\nkernel version 99.1.1\n"
    done = run("script", "-", stdin=script)
    assert done.returncode == 1
    assert "the nearest is 6.18" in done.stderr
    assert done.stdout.count("all else is as in 6.18") == 1


def test_a_dead_task_is_refused_by_every_owner() -> None:
    script = [
        "task new short", "ptrace pokeuser 0 0x1000 1001", "task exit 1001", "! ESRCH ptrace pokeuser 1 0x1000 1001",
        "! EPERM ptrace attach 1001", "! ESRCH perf event 0x1000 -t 1001", "! EINVAL task run 1001 0", "info accounting",
        "expect nobody holds a slot",
    ]  # fmt: skip
    done = run("script", "-", stdin="\n".join(script))
    assert done.returncode == 0, done.stderr


def test_an_errors_place_is_told_with_file_line_and_word(tmp_path: Path) -> None:
    (tmp_path / "bad.hwbp").write_text(
        "info accounting\n\n# a comment\nperf event counter -C banana\nperf event total\n"
    )
    done = run("script", str(tmp_path / "bad.hwbp"))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"{tmp_path}/bad.hwbp:4: " in done.stderr
    assert "banana" in done.stderr
    assert "perf event total" not in done.stdout, "what comes after it is not done"


_WORDS = (
    "", "0", "1", "-1", "1000", "99999999999999999999", "0x", "0x1000", "0xffffffffffffffff", "jiffies", "jiffies/4:w", "pid_max+8",
    "counter", "x:y:z", "-t", "-C", "-c", "kernel", "pinned", "w:a w@jiffies", "w:a", "w@jiffies", "w:x rw@-1:8", "set_wprobe:x:address",
    "fprobes/arm", "address=jiffies", "enable", "use_hw_bp", "singlestep", "dr7", "nmi", "done", "disabled", "Z2,ffffffff82205000,4", "z2",
    "c", "D", "?", "k", "v0", "fb90", "6.18", "2.6.34", "é", "\x1b[31m", "a" * 5000, "%s", "🙂",
)  # fmt: skip


@pytest.mark.parametrize(("seed", "cpus"), [(0, 2), (1, 2), (2, 2), (3, 64)])
def test_random_words_are_refused_or_done_and_the_books_hold(seed: int, cpus: int) -> None:
    rng = random.Random(seed)
    fd = create_memfd(1 << 10)
    backend = EmulatedBackend(fd)
    os.close(fd)
    backend.launch(Launch(str(PROGRAMS["counter"].path), stacks=False, cpus=cpus))
    verbs = [
        (owner, name[3:]) for owner, kind in _OWNERS.items() for name in dir(kind) if name.startswith("do_")
    ]
    done, exceptions = 0, Exceptions()
    exceptions.late |= set(range(cpus))  # kgdb rounds all of them up
    for _ in range(1500):
        owner, verb = rng.choice(verbs)
        refusal: HwbpError | None = None
        try:
            backend.owner(owner, verb, tuple(rng.choice(_WORDS) for _ in range(rng.randrange(5))))
        except HwbpError as error:
            refusal = error
        if refusal is None:
            done += 1
        else:
            assert refusal.errno
            assert len(refusal.message.splitlines()) == 1
        exceptions.late |= set(range(cpus))  # kgdb rounds all of them up
        check(backend._kernel, exceptions)
    assert done > 50
    backend.view()
