"""Programs that open perf events on themselves print on the emulated machine what they printed on Linux 6.18."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backends.base import HwbpError, Launch
from backends.emulated.backend import EmulatedBackend
from backends.ring import create_memfd
from backends.ring_reader import RingReader
from tests.machine import perf_programs
from tests.machine.tasks_programs import built

_ERRORS = """plain 0, flags 22, nobody 3, no CPU 22, all of all 22, bad group 9, group that is none 9, too small 7,
without bp_len 22, nothing and then no memory 14, something and then no memory 7, read 22, three 22, odd 22, execute 0, execute 1 22, sigtrap alone 22, kernel 22, output to none 22,
pause without room 22, output 0, output of a pinned one 22, output without the group 0, map inherited 22,
refresh inherited 22, unknown ioctl 25, pause without ring 22, period 0 22, period nowhere 14, own output 22, half of none 9, none 0, seek 29, write 22,
attr nowhere 14, closed 9, fifth 28, bad fifth 28, worse fifth 22, after a close 0"""

_HIT_IN_PARENT = " 9 (2, 24, in parent parent, id 1);"
_FORKS_OF_PARENT = "".join(
    f" fork {who} of parent, thread {n} of parent, time 1 (0, 48, in parent parent, id 1);"
    for n, who in enumerate(("child", "parent"))
)
_LIFE_OF_CHILD = (
    " comm child child p (2000, 40, in child child, id 1); 9 (2, 24, in child child, id 1);"
    " comm child child a name of eight (0, 48, in child child, id 1);"
    " exit child of parent, thread 0 of parent, time 1 (0, 48, in child child, id 1);"
)

ON_LINUX = {
    "SIGNAL": ["1 3 2, handlers 3 3, codes 2 2, descriptors 3, 2"],
    "OVERFLOW": ["10000 hits, 100 signals, 10000"],
    "ACCOUNT": ["1 0", *["4 then errno 28"] * 3, "0 then errno 28", "modified 0"],
    "WP": ["read only: -1 22", "write only: 0 1", "read or write: 1 2", "modified: 1 0 1 2 2", "-1 22 2"],
    "SIGTRAP": [
        *[f"{what}: {n} signals, {n} taken by threads, {n + bool(n)} with the store of the parent, 0 wrong, count {n + bool(n)}"
          for what, n in (("disabled", 0), ("enabled", 5), ("modify 0 modified", 5), ("stress", 15005))]
    ],
    "BACKWARD": [
        "shares 0, not with the other way -1 22", "poll 0 1", "three: written 48, newest 9 of 16 at 1 9 of 16 at 1 9 of 16 at 0, 3 in all, 0 lost",
        "many: written 11248, newest 9 of 16 at 1 9 of 16 at 0 9 of 16 at 1, 256 in all, 0 lost",
        "one more: written 11264, newest 9 of 16 at 0 9 of 16 at 1 9 of 16 at 0, 256 in all, 0 lost",
        "shares 0, not with the other way -1 22", "poll 0 1", "three: written 48, newest 9 of 16 at 1 9 of 16 at 1 9 of 16 at 0, 3 in all, 0 lost",
        "many: written 8176, newest 9 of 16 at 1 9 of 16 at 0 9 of 16 at 1, 511 in all, 0 lost",
        "one more: written 8216, newest 9 of 16 at 0 9 of 16 at 1 9 of 16 at 0, 511 in all, 192 lost",
    ],
    "BLOCKED": [
        "free 1, flags 0, code 6", "blocked 1, pending 1", "then 2, flags 1", "waited for 5 code 6 address 1", "ignored, count 5",
        "killed by 5",
    ],
    "STRESS": ["failed 0, enough 1, wrong 0"],
    "ENDED": [
        "ended: poll 1 10 mmap 0 poll 1 10 count 0", "inherited on CPU 0: poll 1 10 mmap 0 poll 0 0 count 1",
        "own: poll 1 10 mmap 0 poll 0 0 count 0",
    ],
    "OWNED": ["forked 1 off 1 executed 2 prctl 3 ioctl 3 other 0"],
    "LAST_STORES": ["forked 3 3", "executed 5 5", "thread 6 6"],
    "EXEC": ["forked 41, executed 7 7, parent 1"],
    "RECORDS": [
        "signalled 1, band 1", "woken 0 1",
        "own: comm parent parent first (0, 40, in parent parent, id 1); comm parent parent  (0, 40, in parent parent, id 1);"
        f"{_HIT_IN_PARENT}{_FORKS_OF_PARENT}",
        f"task:{_HIT_IN_PARENT}{_FORKS_OF_PARENT}", f"neither:{_HIT_IN_PARENT}", "off:",
        "child's: fork other of child, thread 0 of child, time 1 (0, 48, in child child, id 1);" + _LIFE_OF_CHILD,
        "later:" + _LIFE_OF_CHILD,
    ],
    "RING": [
        "before mmap 1 0", "22 22 offset 4096 size 8192", "nothing yet 0 10", "two 0 three 0 1, again 1",
        "3 samples, 3 3 3, periods 3, 3 before 0 lost, 0 after", "170 samples, 170 170 170, periods 170, 170 before 0 lost, 0 after",
        "2 samples, 2 2 2, periods 2, 0 before 830 lost, 2 after", "small -1 22 whole 24 1005 hits, the id 1, lost 830",
        "pause 0 0 1 samples, 1 1 1, periods 1, 0 before 1 lost, 1 after", "1 samples, 1 1 1, periods 1, 1 before 0 lost, 0 after",
        "free again: 4",
    ],
    "GROUPS": [
        "56: 2 events, 0 0, times 1 1", "on 1 2, times 1", "off 1 2", "by group 2 4", "reset 0 0", "pinned sibling -1 0",
        "alone 40: 1 event, 2", "by prctl 4",
    ],
    "MIGRATE": [
        "thread 0: 210, on CPU 0 100, on CPU 1 110, signals 21", "thread 1: 230, on CPU 0 110, on CPU 1 120, signals 23",
        "thread 2: 250, on CPU 0 120, on CPU 1 130, signals 25", "CPU 1 saw 60 of 120",
    ],
    "KERNEL_MODE": [
        "user store: 1 1 0 0", "write: 0 0 0 1", "read: 1 0 1 1", "write elsewhere: 0 0 0 0", "read elsewhere: 0 0 0 0",
        "path: 0 0 0 1", "signals 1",
    ],
}  # fmt: skip
"""What each printed as root on Linux 6.18.44; `tests.live.test_perf_programs_here` asks the kernel that is here."""


class Ran:
    """A program that ran to its end, and the machine that it left."""

    def __init__(self, program: str, *allow: str, quantum: int = 10_000) -> None:
        fd = create_memfd(1 << 14)
        self.backend = EmulatedBackend(fd)
        self.ring = RingReader(fd)
        os.close(fd)
        self.backend.launch(Launch(program, stacks=False, allow=allow, quantum=quantum))
        self.go_on()

    def go_on(self) -> None:
        """Until it ends or stops."""
        self.backend.resume()
        for _ in range(50_000):
            if not self.backend.running:
                break
            self.backend.run_slice()
        self.view = self.backend.view()
        self.output = b"".join(data for _, data in self.backend.output(0)).decode()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.slow)
        if n in ("SIGTRAP", "STRESS", "EXEC", "MIGRATE", "BLOCKED")
        else n
        for n in ON_LINUX
    ],
)
def test_programs_print_what_they_print_on_linux(tmp_path: Path, name: str) -> None:
    done = Ran(built(tmp_path, getattr(perf_programs, name), "-O1", "-no-pie"), "exec", "perfmon")
    assert done.view.stop.text == "the program has ended: exit status 0"
    assert done.output.splitlines() == ON_LINUX[name]
    assert [cpu.free for cpu in done.view.cpus] == [4, 4]


def test_refusals_have_their_errno_and_can_be_seen(tmp_path: Path) -> None:
    done = Ran(built(tmp_path, perf_programs.ERRORS, "-O1", "-no-pie"))
    rows = dict(line.rsplit(": ", 1) for line in done.output.splitlines() if ": " in line)
    for wanted in _ERRORS.replace("\n", " ").split(", "):
        what, errno = wanted.rsplit(" ", 1)
        assert rows[what] == f"{'-1' if errno != '0' else '0'} {errno}", what
    assert rows["the copy lives"] == "1"
    full = [row for row in done.view.refusals if row.errno == "ENOSPC"]
    assert full
    assert all(len(row.holders) == 4 for row in full)
    assert "task 1000 asks for" in full[0].what


def test_without_the_capability_a_cpu_and_the_kernel_are_refused_by_name(tmp_path: Path) -> None:
    done = Ran(built(tmp_path, perf_programs.ACCOUNT, "-O1", "-no-pie"))
    assert done.output == "0 13\n"
    assert done.backend._machine.linux.refusals[0].endswith("EACCES (refused without --allow perfmon)")


def test_a_programs_own_event_can_be_looked_at_but_not_taken_away(tmp_path: Path) -> None:
    """It is the program's: listed with its process and descriptor, its hits among the others."""
    source = perf_programs.SIGNAL.replace(
        "  stub(&the_var);", "  kill(getpid(), SIGSTOP);\n  stub(&the_var);"
    )
    done = Ran(built(tmp_path, source, "-O1", "-no-pie"))
    own = done.backend.view().breakpoints
    assert [(bp.owner.kind, bp.owner.pid, bp.type) for bp in own] == [("perf", 1000, kind) for kind in "xxw"]
    for bp in own:
        with pytest.raises(HwbpError, match="the program's own: descriptor"):
            done.backend.disarm((bp.id,))


@pytest.mark.slow
def test_the_schedule_does_not_change_what_threads_are_signalled(tmp_path: Path) -> None:
    source = perf_programs.SIGTRAP.replace("3000", "20")
    program = built(tmp_path, source, "-O1", "-no-pie")
    outputs = {Ran(program, quantum=quantum).output for quantum in (200, 10_000)}
    assert len(outputs) == 1
    assert "stress: 105 signals, 105 taken by threads, 106" in outputs.pop()
