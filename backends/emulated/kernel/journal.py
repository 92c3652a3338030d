"""What happened to the debug registers: who sat in which one from when to when, what was written, and why."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from backends.model import OwnerKind

__all__ = ["CAUSES", "Cause", "Journal", "Mark", "MarkKind", "Occupancy", "Write"]

Cause = Literal["install", "uninstall", "switch", "nmi", "db", "kgdb", "guest", "restore", "hand", "reset"]
"""Why a debug register was written. `install` and `uninstall` are perf's add and del outside of a context switch,
`switch` those in one; `nmi` and `db` the kernel turning DR7 off and on around a handler; `guest` an entry to a virtual
CPU or what an exit copies; `restore` hw_breakpoint_restore; `hand` a person."""

CAUSES: Final[tuple[Cause, ...]] = (
    "install", "uninstall", "switch", "nmi", "db", "kgdb", "guest", "restore", "hand", "reset",
)  # fmt: skip

MarkKind = Literal[
    "switch", "nmi", "nmi end", "db", "db end", "kgdb stop", "kgdb resume", "guest entry", "guest exit", "fork",
    "exec", "exit", "refused",
]  # fmt: skip

_KEPT: Final = 1 << 16


@dataclass(slots=True)
class Occupancy:
    """An event sat in a register: `end_ns` is None while it still does."""

    cpu: int
    slot: int
    event: int
    owner: OwnerKind
    start_ns: int
    end_ns: int | None = None


class Write(NamedTuple):
    """One write to a debug register: `register` 0-3, 6 or 7."""

    time_ns: int
    cpu: int
    register: int
    value: int
    cause: Cause


class Mark(NamedTuple):
    """Something that happened on a CPU besides: a context switch (`tid` is the task that comes, 0 for none), an NMI,
    a stop in kgdb, a guest entry."""

    time_ns: int
    cpu: int
    kind: MarkKind
    tid: int = 0


class Journal:
    """The last rows of each kind, and exact totals of writes per CPU and cause however much was dropped.

    `clock` gives the machine's time in nanoseconds. `recording` off keeps the totals only.
    """

    def __init__(self, cpus: int, clock: Callable[[], int], kept: int = _KEPT) -> None:
        self.clock = clock
        self.recording = True
        self.occupancies: deque[Occupancy] = deque(maxlen=kept)
        self.writes: deque[Write] = deque(maxlen=kept)
        self.marks: deque[Mark] = deque(maxlen=kept)
        self.totals: tuple[Counter[Cause], ...] = tuple(Counter() for _ in range(cpus))
        self._open: dict[tuple[int, int], Occupancy] = {}

    def wrote(self, cpu: int, register: int, value: int, cause: Cause) -> None:
        """A register was written."""
        self.totals[cpu][cause] += 1
        if self.recording:
            self.writes.append(Write(self.clock(), cpu, register, value, cause))

    def sat_down(self, cpu: int, slot: int, event: int, owner: OwnerKind) -> None:
        """An event was installed."""
        row = Occupancy(cpu, slot, event, owner, self.clock())
        self._open[cpu, slot] = row
        if self.recording:
            self.occupancies.append(row)

    def stood_up(self, cpu: int, slot: int) -> None:
        """It was uninstalled."""
        row = self._open.pop((cpu, slot), None)
        if row is not None:
            row.end_ns = self.clock()

    def mark(self, cpu: int, kind: MarkKind, tid: int = 0) -> None:
        """Something else happened on a CPU."""
        if self.recording:
            self.marks.append(tuple.__new__(Mark, (self.clock(), cpu, kind, tid)))

    def written(self, cpu: int | None = None, cause: Cause | None = None) -> int:
        """How many writes there were, on one CPU or all, for one cause or all."""
        totals = self.totals if cpu is None else (self.totals[cpu],)
        return sum(total[cause] if cause is not None else total.total() for total in totals)

    def timeline(self, cpu: int, start_ns: int, end_ns: int) -> Iterator[Occupancy]:
        """Who sat where on a CPU within a span of time, oldest first."""
        for row in self.occupancies:
            if row.cpu == cpu and row.start_ns < end_ns and (row.end_ns is None or row.end_ns > start_ns):
                yield row
