"""The last bytes of writable memory: a store that begins there and fails on the next page must write nothing.

The engine writes such a store byte by byte and comes back at the first that it may not write. So the 15 bytes in front of
each place where writable memory ends are denied to it, as those of a write slot are: it comes back before anything is
written, and the operand is looked at as a whole (`backends.emulated.hits`). What no program touches there costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from backends.emulated.debug_unit import DebugUnit
from backends.emulated.engine import WRITE, Engine
from backends.emulated.memory import AddressSpace

__all__ = ["Edges"]

_LONGEST = 16
"""Bytes of the engine's largest store."""


class Edges:
    """Where writable memory ends in one address space; `unit` returns the debug unit whose slots may lie there."""

    def __init__(self, engine: Engine, space: AddressSpace, unit: Callable[[], DebugUnit | None]) -> None:
        self._engine = engine
        self._space = space
        self._unit = unit
        self._ends: set[int] = set()

    def memory_changed(self, start: int, end: int) -> None:
        """Mappings or permissions changed in this range, which may end writable memory in front of it, too."""
        places = {at for at in (start, end) if self._is_edge(at)}
        places |= {at for at in self._space.ends(start, end) if self._is_edge(at)}
        gone = {at for at in self._ends if start <= at <= end} - places
        for at in gone:
            self._ends.discard(at)
            if self._space.mapped(at - 1):
                self._protect(at, self._space.engine_prot(at - 1))
        self._ends |= places
        self._deny(places)
        if gone and (unit := self._unit()) is not None:
            unit.deny_all()

    def copy_from(self, other: Edges) -> None:
        """This address space is a copy of the other's."""
        self._ends = {at for at in other._ends if self._is_edge(at)}  # a perf event's ring is not copied

    def deny(self) -> None:
        """Again, after the engine has moved or slots that lay there are gone."""
        self._deny(self._ends)

    def lift(self, start: int, end: int) -> bool:
        """Give the bytes around [start, end) back for one instruction; whether there are any."""
        near = [at for at in self._ends if at - _LONGEST < end and start < at]
        for at in near:
            self._protect(at, self._space.engine_prot(at - 1))
        return bool(near)

    def overlap(self, start: int, end: int) -> bool:
        """Whether denied bytes lie in [start, end)."""
        return any(at - _LONGEST < end and start < at for at in self._ends)

    def _is_edge(self, at: int) -> bool:
        space = self._space
        return bool(space.prot_at(at - 1) & WRITE) and not space.prot_at(at) & WRITE

    def _deny(self, places: set[int]) -> None:
        for at in places:
            self._protect(at, self._space.engine_prot(at - 1) & ~WRITE)

    def _protect(self, at: int, prot: int) -> None:
        self._engine.protect(at - _LONGEST + 1, _LONGEST - 1, prot)
