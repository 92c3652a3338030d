"""The reading side of the hit ring: numpy views, and rows that were overwritten while being copied are dropped."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from backends.ring import HEADER, HEADER_SIZE, PUBLISH_EVERY, RECORD, RECORD_FIELDS, RUN_STATES, RingMemory

__all__ = ["RECORD_DTYPE", "RingReader"]

RECORD_DTYPE = np.dtype([(name, "<" + kind) for name, kind in RECORD_FIELDS])
assert RECORD_DTYPE.itemsize == RECORD.size

Records = npt.NDArray[Any]


class RingReader:
    """Copies rows out of the ring. Rows are arrays of `RECORD_DTYPE`, oldest first."""

    def __init__(self, fd: int) -> None:
        self._memory = RingMemory(fd)
        self._rows: Records = np.frombuffer(self._memory.records, dtype=RECORD_DTYPE)
        self.capacity = self._memory.capacity
        self._safe = self.capacity - 2 * PUBLISH_EVERY

    def word(self, name: str) -> int:
        """A word of the header (`backends.ring.HEADER`)."""
        return int(self._memory.words[HEADER[name]])

    @property
    def head(self) -> int:
        """How many hits have been written since the start."""
        return self.word("head")

    @property
    def state(self) -> str:
        """The machine's run state, without asking it."""
        return RUN_STATES[self.word("state")]

    @property
    def first(self) -> int:
        """The oldest sequence number that can still be read."""
        return max(0, self.head - self._safe)

    def read(self, first: int, count: int) -> Records:
        """Copy up to `count` rows from sequence number `first` on.

        Rows that are no longer there, or were overwritten during the copy, are left out: look at the first row's
        `seq` to see where the answer starts.
        """
        start = max(first, self.first, 0)
        end = min(first + count, self.head)
        if start >= end:
            return np.empty(0, RECORD_DTYPE)
        mask = self.capacity - 1
        low, high = start & mask, ((end - 1) & mask) + 1
        if low < high:
            rows = self._rows[low:high].copy()
        else:
            rows = np.concatenate([self._rows[low:], self._rows[:high]])
        valid_from = self.first
        return rows[valid_from - start :] if valid_from > start else rows

    def consume(self, limit: int = 65536) -> Records:
        """The next rows for a reader that must miss none: advances the tail that a writer with flow waits for."""
        tail = self.word("tail")
        rows = self.read(tail, limit)
        if len(rows):
            self._memory.words[HEADER["tail"]] = int(rows["seq"][-1]) + 1
        return rows

    def set_flow(self, on: bool) -> None:
        """Ask the writer to wait for `consume` instead of overwriting."""
        self._memory.words[HEADER["tail"]] = self.head
        self._memory.words[HEADER["flow"]] = int(on)

    def close(self) -> None:
        """Unmap the ring."""
        del self._rows
        self._memory.close()


assert HEADER_SIZE % 8 == 0
