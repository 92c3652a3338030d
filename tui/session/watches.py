"""The watches of a session: which breakpoints each one became, also after it was removed.

A hit in the history names a breakpoint; it must lead to its watch and window for as long as the history is shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from backends.condition import Condition
from backends.model import Breakpoint, OwnerKind, WatchType
from symbols.dataclass import dataclass
from tui.session.watch import Watch

__all__ = ["ArmedWatch", "Waits", "WatchBook"]

Waits = Literal["", "library", "slot"]


@dataclass(frozen=True, slots=True)
class ArmedWatch:
    """A watch that was armed. `windows` are (address, length) and `breakpoints` their ids, in the same order.

    `frame`: the stack pointer at which the function that the variable belongs to has returned, None for other ones.
    `per_thread`: a thread-local variable, of the threads that there were.
    `waits`: it has its number and is armed later: when a "library" is mapped that says what it means, or when as many slots are
    free as it has windows. "" for one that is armed.
    """

    index: int
    watch: Watch
    label: str
    type: WatchType
    address: int
    length: int
    windows: tuple[tuple[int, int], ...]
    breakpoints: tuple[int, ...]
    owner: OwnerKind
    stop: bool = False
    removed: bool = False
    frame: int | None = None
    condition: Condition | None = None
    waits: Waits = ""
    per_thread: bool = False

    @property
    def waiting(self) -> bool:
        """It is not armed yet."""
        return self.waits != ""

    @property
    def caution(self) -> str:
        """What is not watched though one may think so; empty where all is."""
        if not self.per_thread:
            return ""
        return f"{self.label} is thread-local: each thread that begins later has its own, and that is not watched"


class WatchBook:
    """All watches by their number: the index of the -w first, then the order of the commands."""

    def __init__(self) -> None:
        self._watches: list[ArmedWatch] = []
        self._uses: dict[int, list[tuple[int, int, int]]] = {}
        self._strangers: dict[int, Breakpoint] = {}

    @property
    def next_index(self) -> int:
        return len(self._watches)

    @property
    def all(self) -> tuple[ArmedWatch, ...]:
        """Removed ones too."""
        return tuple(self._watches)

    @property
    def armed(self) -> tuple[ArmedWatch, ...]:
        return tuple(watch for watch in self._watches if not watch.removed and not watch.waiting)

    @property
    def waiting(self) -> tuple[ArmedWatch, ...]:
        """Those that are to be armed later."""
        return tuple(watch for watch in self._watches if watch.waiting and not watch.removed)

    def waiting_for(self, what: Waits) -> tuple[ArmedWatch, ...]:
        """Those of them that wait for this."""
        return tuple(watch for watch in self.waiting if watch.waits == what)

    def reserve(self, watch: Watch, label: str, stop: bool = False) -> ArmedWatch:
        """A number for a watch that means nothing yet."""
        kind = watch.type or "w"
        row = ArmedWatch(self.next_index, watch, label, kind, 0, 0, (), (), "perf", stop, waits="library")
        self._watches.append(row)
        return row

    def queue(self, row: ArmedWatch) -> None:
        """A watch that waits for slots, in its own place or behind all others."""
        if row.index < len(self._watches):
            self._watches[row.index] = row
        else:
            self._watches.append(row)

    def get(self, index: int) -> ArmedWatch | None:
        return self._watches[index] if 0 <= index < len(self._watches) else None

    def add(self, watch: ArmedWatch, first_hit: int = 0) -> None:
        """Add a watch. A ptrace index keeps its breakpoint's id when it is used again: hits from number
        `first_hit` on belong to this one."""
        if watch.index < len(self._watches):
            self._watches[watch.index] = watch
        else:
            self._watches.append(watch)
        for window, bp_id in enumerate(watch.breakpoints):
            self._uses.setdefault(bp_id, []).append((first_hit, watch.index, window))

    def also(self, index: int, earlier: tuple[int, ...]) -> None:
        """Hits of these breakpoints, one for each window, belong to a watch too: it was armed anew."""
        for window, bp_id in enumerate(earlier):
            self._uses.setdefault(bp_id, []).append((0, index, window))

    def change(self, watch: ArmedWatch) -> None:
        """It is another now, with the same number and breakpoints."""
        self._watches[watch.index] = watch

    def remove(self, index: int) -> None:
        self._watches[index] = replace(self._watches[index], removed=True)

    def follow(self, breakpoints: Iterable[Breakpoint]) -> None:
        """Remember the breakpoints that this session did not make itself, and drop watches whose are all gone."""
        alive = set()
        for bp in breakpoints:
            alive.add(bp.id)
            if bp.id not in self._uses:
                self._strangers[bp.id] = bp
        for watch in self._watches:
            if not watch.removed and not watch.waiting and alive.isdisjoint(watch.breakpoints):
                self.remove(watch.index)

    def find(self, bp_id: int, hit: int | None = None) -> tuple[ArmedWatch, int] | None:
        """The watch and the window of a breakpoint, as of hit number `hit` (None: the last one)."""
        for first, index, window in reversed(self._uses.get(bp_id, ())):
            if hit is None or hit >= first:
                return self._watches[index], window
        return None

    def stranger(self, bp_id: int) -> Breakpoint | None:
        """A breakpoint that was seen in a machine and belongs to no watch."""
        return self._strangers.get(bp_id)
