"""Who did it, beyond the exact totals of each site: its tasks and its call stacks, counted from the hits in the ring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from tui.app.hit_groups import Group, Tally
from tui.app.hit_index import places_of
from tui.app.ring_walk import RingWalk

if TYPE_CHECKING:
    import numpy.typing as npt

    from tui.app.hit_filter import Columns

__all__ = ["SiteFacts", "SiteHits"]

_MOST: Final = 65_536
"""Sites that are told apart."""


class SiteHits(NamedTuple):
    """What was counted of one site. `key` in `tasks` and `stacks` is a task or the number of a stack; most hits first."""

    tasks: tuple[Group, ...]
    stacks: tuple[Group, ...]


class SiteFacts(RingWalk):
    """Kept up as hits come, from the oldest that the ring had when it began.

    A site is (breakpoint, instruction). Its number is made of where both were first met, so that a pair of site and
    task, or site and stack, is one 64-bit key.
    """

    def __init__(self) -> None:
        super().__init__()
        self._places: npt.NDArray[np.uint64] = np.empty(0, np.uint64)
        self._pairs: npt.NDArray[np.uint64] = np.empty(0, np.uint64)
        self._numbers: npt.NDArray[np.uint64] = np.empty(0, np.uint64)
        self._place_numbers: npt.NDArray[np.uint64] = np.empty(0, np.uint64)
        self._tasks = Tally()
        self._stacks = Tally()

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

    def fields(self) -> tuple[str, ...]:
        return ("insn_ip", "ip", "breakpoint", "tid", "stack")

    def count(self, start: int, columns: Columns) -> None:
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
