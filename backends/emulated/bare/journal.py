"""The #DB exceptions of a bare machine, in order: what the front end shows beside the hits."""

from __future__ import annotations

from collections import deque
from typing import Final

from backends.model import DebugException

__all__ = ["A_CALL", "KEPT", "Journal"]

KEPT: Final = 65_536
A_CALL: Final = 1024


class Journal:
    """The last `KEPT` of them; `total` counts all."""

    def __init__(self) -> None:
        self._rows: deque[DebugException] = deque(maxlen=KEPT)
        self.total = 0

    def add(self, row: DebugException) -> None:
        """Append one; its number is `total` as it was."""
        self._rows.append(row)
        self.total += 1

    def last(self, count: int) -> tuple[DebugException, ...]:
        """The newest few, oldest first."""
        return tuple(self._rows[at] for at in range(max(0, len(self._rows) - count), len(self._rows)))

    def since(self, first: int) -> tuple[DebugException, ...]:
        """From number `first` on, or from the oldest kept, at most `A_CALL`."""
        start = max(0, first - (self.total - len(self._rows)))
        return tuple(self._rows[at] for at in range(start, min(start + A_CALL, len(self._rows))))
