"""The same sequence on the real kernel and on the model, step by step."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.emulated.kernel.attr import Attr
from backends.emulated.kernel.config import KernelConfig
from tests.compiled import compiled
from tests.live.model_side import Model
from tests.live.real_side import CPU, Real, slots_are_free
from tests.live.steps import CODE, Step

__all__ = ["Outcome", "build_subject", "compare", "die_with_parent", "run_as"]

_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_DUMPABLE = 4
NOBODY = 65534
_CAPABILITY_BITS = {"kill": 5, "sys_ptrace": 19, "sys_admin": 21, "perfmon": 38}


@dataclass(frozen=True)
class Outcome:
    """How far a sequence agreed. `discarded`: somebody else held a slot. `difference` says where it did not agree."""

    steps: int
    discarded: bool = False
    difference: str = ""


def build_subject(folder: Path) -> str:
    """Compile the task that does as it is told."""
    place = f"-Wl,--section-start=.stubs={CODE:#x}"
    source = Path(__file__).with_name("subject.c")
    path = compiled(folder / "subject", source, "-O1", "-static", "-no-pie", "-pthread", place)
    path.chmod(0o755)
    return str(path)


def host_config() -> KernelConfig:
    """This host, as far as it can be asked."""
    paranoid = int(Path("/proc/sys/kernel/perf_event_paranoid").read_text())
    rate = int(Path("/proc/sys/kernel/perf_event_max_sample_rate").read_text())
    release = os.uname().release.split("-")[0].split(".")
    version = (int(release[0]), int(release[1]), int(release[2]) if len(release) > 2 else 0)
    flags = Path("/proc/cpuinfo").read_text()
    kallsyms = Path("/proc/kallsyms")
    kprobes = kallsyms.exists() and "kprobe_blacklist" in kallsyms.read_text(errors="replace")
    return KernelConfig(version, paranoid, None, " bpext" in flags, kprobes, True, rate)


def capabilities() -> frozenset[str]:
    """This process's effective ones, of those that matter."""
    line = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith("CapEff"))
    bits = int(line.split()[1], 16)
    return frozenset(name for name, bit in _CAPABILITY_BITS.items() if bits >> bit & 1)


def _merge(attr: bytes, changes: dict[str, int]) -> bytes:
    values = {name: value for name, value in changes.items() if name != "disabled"}
    old = Attr.unpack(attr)
    flags = old.flags & ~1 | changes["disabled"]
    fields = {name: getattr(old, name) for name in old.__dataclass_fields__}
    return Attr(**{**fields, **values, "flags": flags}).pack()


def compare(steps: list[Step], subject: str, foreign: int, *, wide: bool = False) -> Outcome:
    """Run a sequence on both sides. Nothing is compared while somebody else holds a slot that it would meet."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    real = Real(subject, foreign)
    model = Model(host_config(), os.cpu_count() or 1, CPU, os.getuid(), capabilities())
    attrs: list[bytes] = []
    done = 0
    try:
        if not slots_are_free(real.pid, wide):
            return Outcome(0, discarded=True)
        for number, (name, *arguments) in enumerate(steps):
            if name == "modify":
                if not attrs:
                    continue
                arguments = [arguments[0], _merge(attrs[arguments[0] % len(attrs)], arguments[1])]
            theirs = _both(getattr(real, name), real, arguments)
            ours = _both(getattr(model, name), model, arguments)
            if theirs != ours:
                if not slots_are_free(os.getpid(), wide):
                    return Outcome(0, discarded=True)
                difference = f"step {number}: {steps[number]!r}\n  kernel {theirs!r}\n  model  {ours!r}"
                return Outcome(done, difference=difference)
            if name == "open" and ours[0] == ("ok",):
                attrs.append(Attr(**arguments[5]).pack())
            elif name == "close" and ours[0] == ("ok",):
                attrs.pop(arguments[0] % len(attrs))
            elif name == "modify" and ours[0] == ("ok",):
                attrs[arguments[0] % len(attrs)] = arguments[1]
            done += 1
    finally:
        real.end()
    return Outcome(done)


def _both(call: Callable[..., Any], side: Real | Model, arguments: list[Any]) -> tuple[Any, Any]:
    return call(*arguments), side.state()


def die_with_parent() -> None:
    """Whatever kills the process that started us, kills us."""
    ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)


def run_as(uid: int | None, work: Callable[[], str]) -> str:
    """Run `work` in a child of its own, as that user without capabilities (None: as we are). Its text, or its traceback."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            text = ""
            die_with_parent()
            try:
                if uid is not None:
                    os.setgroups([])
                    os.setresgid(uid, uid, uid)
                    os.setresuid(uid, uid, uid)
                    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
                    die_with_parent()  # changing who we are has cleared it
                text = work()
            except BaseException:
                import traceback

                text = f"FAILED {traceback.format_exc()}"
            with os.fdopen(write, "w") as file:
                file.write(text)
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as file:
        text = file.read()
    os.waitpid(pid, 0)
    return text
