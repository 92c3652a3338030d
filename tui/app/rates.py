"""Rates are measured, four times a second, from counters that only grow; nothing here is estimated or smoothed."""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import Final

__all__ = ["HISTORY", "Meter", "bars"]

HISTORY: Final = 40
"""Samples kept: ten seconds at 4 Hz."""

_WINDOW: Final = 4


class Meter:
    """Hits per second of several counters over the last second, and the history of the increments."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, dict[int, int]]] = deque(maxlen=HISTORY + 1)

    def sample(self, now: float, counts: dict[int, int]) -> None:
        """Take the counters as they are `now` (seconds, monotonic). A counter that fell has started anew."""
        if self._samples:
            last = self._samples[-1][1]
            if any(counts.get(key, 0) < number for key, number in last.items() if key in counts):
                self._samples.clear()
        self._samples.append((now, counts))

    def rate(self, key: int) -> float | None:
        """Increments per second over the last second; None before two samples were taken."""
        if len(self._samples) < 2:
            return None
        then, before = self._samples[-min(len(self._samples), _WINDOW + 1)]
        now, counts = self._samples[-1]
        return (counts.get(key, 0) - before.get(key, 0)) / (now - then) if now > then else 0.0

    def increments(self, key: int) -> list[int]:
        """What each sample added, oldest first."""
        numbers = [counts.get(key, 0) for _, counts in self._samples]
        return [after - before for before, after in pairwise(numbers)]

    def moved(self, key: int) -> bool:
        """Whether the last sample added anything."""
        return bool((added := self.increments(key)) and added[-1] > 0)


def bars(numbers: list[int], width: int, levels: str) -> str:
    """A sparkline of the newest `width` numbers, right-aligned; the highest number is the highest bar."""
    shown = numbers[-width:]
    top = max(shown, default=0)
    steps = len(levels) - 1
    line = "".join(
        levels[0] if not n else levels[max(1, round(n / top * steps))] for n in shown
    )  # any hit is visible: the lowest bar is never empty
    return levels[0] * (width - len(line)) + line
