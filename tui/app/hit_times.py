"""Hits by time: which hits lie in a span, and how many in each of its columns, without looking at every hit.

The ring is in the order of time, so the hit at a moment is found by halving: exact, whatever the ring holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from backends.ring_reader import RingReader

__all__ = ["MOST", "Window", "counts", "first_time", "numbers_at", "read_window"]

MOST: Final = 131_072
"""Hits of a span that are looked at one by one; of more, every second, fourth, eighth ... is."""


class Window(NamedTuple):
    """Hits of a span: their fields, the number of the first one, and how many there are for each that was looked at."""

    columns: dict[str, npt.NDArray[np.unsignedinteger]]
    first: int
    total: int
    every: int


def first_time(ring: RingReader) -> int:
    """The time of the oldest hit that the ring has; 0 without hits."""
    if not ring.head:
        return 0
    found = ring.read(ring.first, 1)
    return int(found["time"][0]) if len(found) else 0


def numbers_at(ring: RingReader, times: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """For each moment the number of the first hit that is not before it (the head, where there is none)."""
    head = ring.head
    low = np.full(len(times), ring.first, np.int64)
    high = np.full(len(times), head, np.int64)
    while True:
        open_ = low < high
        if not open_.any():
            break
        middle = (low + high) >> 1
        before = open_ & (ring.gather_field(np.minimum(middle, head - 1), "time") < times)
        low = np.where(before, middle + 1, low)
        high = np.where(open_ & ~before, middle, high)
    return np.maximum(low, ring.first)


def counts(ring: RingReader, start: int, scale: int, columns: int) -> npt.NDArray[np.int64]:
    """Hits in each column of a span; -1 where some of them may have been overwritten."""
    edges = np.arange(columns + 1, dtype=np.uint64) * np.uint64(scale) + np.uint64(max(0, start))
    if not ring.head:
        return np.zeros(columns, np.int64)
    numbers = numbers_at(ring, edges)
    found: npt.NDArray[np.int64] = np.diff(numbers)
    if ring.first > 0:
        found[edges[:-1] < np.uint64(first_time(ring))] = -1
    return found


def read_window(ring: RingReader, start: int, end: int, names: tuple[str, ...], most: int = MOST) -> Window:
    """The hits from `start` up to, not including, `end`; of too many only every so many."""
    if not ring.head or end <= start:
        return Window(ring.columns(0, 0, names)[1], 0, 0, 1)
    first, last = (int(n) for n in numbers_at(ring, np.array([max(0, start), max(0, end)], np.uint64)))
    total, every = max(0, last - first), 1
    while total // every > most:
        every *= 2
    if every == 1:
        begin, found = ring.columns(first, total, names)
        return Window(found, begin, len(next(iter(found.values()))), 1)
    numbers = np.arange(first, last, every, dtype=np.int64)
    gathered = {name: ring.gather_field(numbers, name) for name in names}
    there = numbers >= ring.first
    return Window({name: column[there] for name, column in gathered.items()}, first, total, every)
