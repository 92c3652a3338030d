"""How often hits are looked for: soon where few come, rarely where many do, and never so late that they have no room.

A look costs some 0.3 ms whatever it finds, most of it in caches that have gone cold meanwhile.
"""

from __future__ import annotations

from typing import Final

__all__ = ["IDLE", "Pace"]

IDLE: Final = 0.015
"""Seconds between two looks where little happens."""
_LONGEST: Final = 0.25
_MANY: Final = 1000
"""Hits a second beyond which nobody sees each one come."""
_FORGOTTEN: Final = 0.9
"""What a look leaves of the highest rate that was seen."""
_CEILING: Final = 100_000
"""Hits a second that one CPU makes, as long as no more were seen (a trap costs 10 us in a virtual machine)."""


class Pace:
    """Of one collector."""

    def __init__(self) -> None:
        self._last = 0.0
        self._fastest = float(_CEILING)

    def pause(self, taken: int, room: int, now: float, filled: float = 0.3) -> float:
        """Seconds until the next look, `taken` hits having come since the one before, with room for `room`; `now` is in
        seconds. `filled` is the part of the room that is filled on purpose: at 0.3 the rate may treble meanwhile."""
        passed, self._last = now - self._last, now
        if passed <= 0 or taken < _MANY * passed:
            return IDLE
        self._fastest = max(taken / passed, _FORGOTTEN * self._fastest, _CEILING)
        return max(min(filled * room / self._fastest, _LONGEST), IDLE / 3)
