"""What /proc alone tells of the debug registers, to somebody who may not read the kernel's memory: hints, no slots.

/proc shows which descriptors are perf events, but not of which kind, and which process traces which, but not whether it
set a breakpoint. So nothing of it is counted as a slot.
"""

from __future__ import annotations

import os
import time
from typing import Final

from backends.kernelview.books import Books
from symbols.dataclass import dataclass

__all__ = ["PerfDescriptors", "Traced", "books_from_proc", "hints", "perf_descriptors", "traced"]

_PERF: Final = "anon_inode:[perf_event]"


@dataclass(frozen=True, slots=True)
class PerfDescriptors:
    """A process's descriptors that are perf events of some kind."""

    pid: int
    comm: str
    fds: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Traced:
    """A process and the process that traces it."""

    pid: int
    comm: str
    tracer: int
    tracer_comm: str


def _processes() -> list[int]:
    return sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(1 << 16).decode("utf-8", "surrogateescape")
    except OSError:
        return ""


def _comm(pid: int) -> str:
    return _read(f"/proc/{pid}/comm").removesuffix("\n")


def perf_descriptors(pid: int | None = None) -> tuple[list[PerfDescriptors], int]:
    """Who has perf events open, as far as this user may look; and of how many processes it may not see the descriptors."""
    found: list[PerfDescriptors] = []
    hidden = 0
    for each in _processes() if pid is None else [pid]:
        try:
            names = os.listdir(f"/proc/{each}/fd")
        except PermissionError:
            hidden += 1
            continue
        except OSError:
            continue  # it has ended
        fds = sorted(int(name) for name in names if name.isdecimal() and _is_perf(each, name))
        if fds:
            found.append(PerfDescriptors(each, _comm(each), tuple(fds)))
    return found, hidden


def _is_perf(pid: int, fd: str) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/fd/{fd}") == _PERF
    except OSError:
        return False


def traced(pid: int | None = None) -> list[Traced]:
    """Which processes are traced by ptrace now, or only that one or what it traces."""
    found: list[Traced] = []
    for each in _processes():
        for line in _read(f"/proc/{each}/status").split("\n"):
            if line.startswith("TracerPid:"):
                words = line.split()
                tracer = int(words[1]) if len(words) == 2 and words[1].isdecimal() else 0
                if tracer and pid in (None, each, tracer):
                    found.append(Traced(each, _comm(each), tracer, _comm(tracer)))
                break
    return found


def hints(pid: int | None = None) -> tuple[str, ...]:
    """One short line for each other process that may hold slots. With a PID: the tracer of that process and whoever has
    perf events, which may watch it. What this process itself holds it knows."""
    me = os.getpid()
    found = [
        f"perhaps perf {holder.pid} ({holder.comm}): {_count(len(holder.fds), 'perf event')} open"
        for holder in perf_descriptors()[0]
        if holder.pid != me
    ]
    found += [
        f"perhaps ptrace {pair.tracer} ({pair.tracer_comm}): it traces {pair.pid} ({pair.comm})"
        for pair in traced(pid)
        if pair.tracer != me
    ]
    return tuple(found)


def books_from_proc(why: str, pid: int | None = None) -> Books:
    """No slots, and in `unknown` what /proc says, what it does not, and how to get more. `why` is the reason that the
    kernel's own books are closed to us."""
    began = time.perf_counter()
    lines = [why]
    holders, hidden = perf_descriptors(pid)
    for holder in holders:
        fds = ", ".join(map(str, holder.fds[:8])) + (", ..." if len(holder.fds) > 8 else "")
        lines.append(
            f"process {holder.pid} ({holder.comm}) has {_count(len(holder.fds), 'perf event')} open"
            f" (descriptor{'s' * (len(holder.fds) > 1)} {fds}): whether they are breakpoints, /proc does not say"
        )
    for pair in traced(pid):
        lines.append(
            f"process {pair.pid} ({pair.comm}) is traced by {pair.tracer} ({pair.tracer_comm}):"
            " it may hold up to four slots in each thread"
        )
    if not (holders or len(lines) > 1):
        lines.append("no perf event and no traced process is to be seen in /proc")
    if hidden:
        lines.append(f"of {_count(hidden, 'process', 'processes')} the descriptors may not be looked at")
    lines.append(
        "watches that a debugger left behind, and what the kernel itself holds, do not show in /proc"
    )
    lines.append("to see the kernel's own books: sudo hwbp-tui slots")
    elapsed = (time.perf_counter() - began) * 1e3
    return Books("proc", time.monotonic_ns(), elapsed, (), (), tuple(lines))


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
