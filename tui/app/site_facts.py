"""Who did it, beyond the exact totals of each site: its tasks and its call stacks, counted from the hits in the ring."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from tui.app.hit_groups import Group, Tally
from tui.app.hit_index import places_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from backends.ring_reader import RingReader

__all__ = ["SiteFacts", "SiteHits"]

_SLICE: Final = 16_384
_MOST: Final = 65_536
"""Sites that are told apart."""


class SiteHits(NamedTuple):
    """What was counted of one site. `key` in `tasks` and `stacks` is a task or the number of a stack; most hits first."""

    tasks: tuple[Group, ...]
    stacks: tuple[Group, ...]


class SiteFacts:
    """Kept up as hits come, from the oldest that the ring had when it began.

    A site is (breakpoint, instruction). Its number is made of where both were first met, so that a pair of site and
    task, or site and stack, is one 64-bit key.
    """

    def __init__(self) -> None:
        self._places: npt.NDArray[np.uint64] = np.empty(0, np.uint64)
        self._pairs: npt.NDArray[np.uint64] = np.empty(0, np.uint64)
        self._numbers: npt.NDArray[np.uint64] = np.empty(0, np.uint64)
        self._place_numbers: npt.NDArray[np.uint64] = np.empty(0, np.uint64)
        self._tasks = Tally()
        self._stacks = Tally()
        self.since = self._to = -1
        self.missed = 0

    @property
    def counted(self) -> int:
        """Hits that were looked at."""
        return self._tasks.counted

    def of(self, breakpoint_id: int, place: int) -> SiteHits:
        """What is known about a site."""
        number = self._number(breakpoint_id, place)
        if number is None:
            return SiteHits((), ())
        low, high = number << 32, number + 1 << 32

        def own(tally: Tally) -> tuple[Group, ...]:
            return tuple(group._replace(key=group.key & 0xFFFF_FFFF) for group in tally.between(low, high))

        return SiteHits(own(self._tasks), own(self._stacks))

    def work(self, ring: RingReader, seconds: float) -> bool:
        """Count further, for about so long. Whether nothing is left."""
        end = time.perf_counter() + seconds
        if self._to < 0:
            self.since = self._to = ring.first
        while self._to < (head := ring.head):
            first = max(self._to, ring.first)
            self.missed += first - self._to
            self._to = min(first + _SLICE, head)
            self._count(ring, first, self._to - first)
            if time.perf_counter() >= end:
                return self._to >= head
        return True

    def _count(self, ring: RingReader, first: int, count: int) -> None:
        start, columns = ring.columns(first, count, ("insn_ip", "ip", "breakpoint", "tid", "stack"))
        self.missed += start - first
        sites = self._sites(places_of(columns), columns["breakpoint"].astype(np.uint64))
        told = sites < _MOST
        rows = np.flatnonzero(told) + start
        sites = sites[told] << np.uint64(32)
        self._tasks.add(sites | columns["tid"][told], rows)
        self._stacks.add(sites | columns["stack"][told], rows)

    def _sites(
        self, places: npt.NDArray[np.uint64], breakpoints: npt.NDArray[np.uint64]
    ) -> npt.NDArray[np.uint64]:
        """The number of each row's site; `_MOST` for one too many."""
        self._places, self._place_numbers = _with(self._places, self._place_numbers, places)
        known = _numbers(self._places, self._place_numbers, places)
        pairs = known << np.uint64(32) | breakpoints
        self._pairs, self._numbers = _with(self._pairs, self._numbers, pairs)
        return _numbers(self._pairs, self._numbers, pairs)

    def _number(self, breakpoint_id: int, place: int) -> int | None:
        at = int(np.searchsorted(self._places, np.uint64(place)))
        if at >= len(self._places) or int(self._places[at]) != place:
            return None
        pair = int(self._place_numbers[at]) << 32 | breakpoint_id
        at = int(np.searchsorted(self._pairs, np.uint64(pair)))
        if at >= len(self._pairs) or int(self._pairs[at]) != pair:
            return None
        return int(self._numbers[at])


def _with(
    keys: npt.NDArray[np.uint64], numbers: npt.NDArray[np.uint64], met: npt.NDArray[np.uint64]
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Sorted keys with their numbers, and those that were met for the first time, as far as there is room."""
    at = np.searchsorted(keys, met)
    strange = np.ones(len(met), np.bool_)
    if len(keys):
        strange = keys[np.minimum(at, len(keys) - 1)] != met
    if not strange.any():
        return keys, numbers
    new = np.unique(met[strange])[: max(0, _MOST - len(keys))]
    where = np.searchsorted(keys, new)
    given = np.arange(len(keys), len(keys) + len(new), dtype=np.uint64)
    return np.insert(keys, where, new), np.insert(numbers, where, given)


def _numbers(
    keys: npt.NDArray[np.uint64], numbers: npt.NDArray[np.uint64], wanted: npt.NDArray[np.uint64]
) -> npt.NDArray[np.uint64]:
    at = np.searchsorted(keys, wanted)
    at = np.minimum(at, max(0, len(keys) - 1))
    if not len(keys):
        return np.full(len(wanted), _MOST, np.uint64)
    found: npt.NDArray[np.uint64] = np.where(keys[at] == wanted, numbers[at], np.uint64(_MOST))
    return found
