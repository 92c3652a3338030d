"""Going through the ring's hits once, as they come."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from backends.ring_reader import RingReader
    from tui.app.hit_filter import Columns

__all__ = ["RingWalk"]

_SLICE: Final = 16_384


class RingWalk(ABC):
    """Counts from the oldest hit that the ring had when it began; what is overwritten later stays counted.

    `since` is the number of the first hit that was looked at, -1 before; `missed` are those that were overwritten first.
    """

    def __init__(self) -> None:
        self.rewind()

    def rewind(self) -> None:
        """Begin anew with what the ring has then."""
        self.since = self._to = -1
        self.missed = 0

    def work(self, ring: RingReader, seconds: float) -> bool:
        """Count further, for about so long. Whether nothing is left."""
        end = time.perf_counter() + seconds
        if self._to < 0:
            self.since = self._to = ring.first
        while self._to < (head := ring.head):
            first = max(self._to, ring.first)
            self.missed += first - self._to
            self._to = min(first + _SLICE, head)
            start, columns = ring.columns(first, self._to - first, self.fields())
            self.missed += start - first
            self.count(start, columns)
            if time.perf_counter() >= end:
                return self._to >= head
        return True

    @abstractmethod
    def fields(self) -> Iterable[str]:
        """What `count` wants to know of each hit."""

    @abstractmethod
    def count(self, start: int, columns: Columns) -> None:
        """Some hits, the first of which has the number `start`."""
