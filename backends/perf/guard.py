"""The rate guard: a watch that hits without pause is disarmed for part of the time, so that its program gets on.

A longer sampling period would not help: every hit costs its trap, whether it is recorded or not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

__all__ = ["Guard"]

MOST_HITS: Final = 10_000
"""Hits a second, on average, that are let through: a tenth of a CPU where a trap costs 10 us."""
_WINDOW_NS: Final = 20_000_000
_LONGEST_NS: Final = 1_000_000_000
_SECOND: Final = 1_000_000_000


class Guard:
    """`look` is called now and then with the hits so far and the time; `switch` disarms and arms.

    `blind_ns` is how long nothing was watched: totals are lower bounds then.
    """

    def __init__(self, switch: Callable[[bool], None], now_ns: int) -> None:
        self._switch = switch
        self._since = now_ns
        self._hits = 0
        self._until = 0
        self._blind = 0

    @property
    def watching(self) -> bool:
        """Whether the watches are armed now."""
        return not self._until

    def blind_ns(self, now_ns: int) -> int:
        """Nanoseconds without a watch, up to now."""
        return self._blind + (now_ns - self._since if self._until else 0)

    def look(self, hits: int, now_ns: int) -> None:
        """Disarm if too much has come in the last window; arm again when its time is over."""
        spent = now_ns - self._since
        if self._until:
            if now_ns >= self._until:
                self._blind += spent
                self._until = 0
                self._since, self._hits = now_ns, hits
                self._switch(True)
        elif spent >= _WINDOW_NS:
            worth = (hits - self._hits) * _SECOND // MOST_HITS
            self._since, self._hits = now_ns, hits
            if worth > spent:
                self._until = now_ns + min(worth - spent, _LONGEST_NS)
                self._switch(False)
