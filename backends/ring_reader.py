"""The reading side of the hit ring: numpy views, and rows that were overwritten while being copied are dropped."""

from __future__ import annotations

from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from backends.ring import HEADER, HEADER_SIZE, PUBLISH_EVERY, RECORD, RECORD_FIELDS, RUN_STATES, RingMemory

__all__ = ["RingReader", "record_dtype"]

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    import numpy.typing as npt

    Records = npt.NDArray[Any]


@cache
def record_dtype() -> np.dtype[Any]:
    """The record as a structured dtype. numpy is imported here: the first picture does without it."""
    import numpy as np

    dtype = np.dtype([(name, "<" + kind) for name, kind in RECORD_FIELDS])
    assert dtype.itemsize == RECORD.size
    return dtype


class RingReader:
    """Copies rows out of the ring. Rows are arrays of `record_dtype`, oldest first."""

    def __init__(self, fd: int) -> None:
        self._memory = RingMemory(fd)
        self.capacity = self._memory.capacity
        self._safe = self.capacity - 2 * PUBLISH_EVERY
        self._tail = self.word("tail")

    @cached_property
    def _rows(self) -> Records:
        import numpy as np

        rows: Records = np.frombuffer(self._memory.records, dtype=record_dtype())
        return rows

    def word(self, name: str) -> int:
        """A word of the header (`backends.ring.HEADER`)."""
        return int(self._memory.words[HEADER[name]])

    @property
    def head(self) -> int:
        """How many hits have been written since the start."""
        return self.word("head")

    @property
    def state(self) -> str:
        """The machine's run state, without asking it. "failed" for one that this version does not know."""
        number = self.word("state")
        return RUN_STATES[number] if number < len(RUN_STATES) else "failed"

    @property
    def first(self) -> int:
        """The oldest sequence number that can still be read."""
        return max(0, self.head - self._safe, self.word("claimed") - self.capacity)

    def read(self, first: int, count: int) -> Records:
        """Copy up to `count` rows from sequence number `first` on.

        Rows that are no longer there, or were overwritten during the copy, are left out: look at the first row's
        `seq` to see where the answer starts.
        """
        return self._copy(first, count)[1]

    def _copy(self, first: int, count: int) -> tuple[int, Records]:
        """Where the rows that could be copied begin, and the rows. Their own `seq` is the writer's word only."""
        head = self.head
        start = max(first, self.first)
        end = min(first + count, head)
        if start >= end:
            return start, self._rows[:0]
        mask = self.capacity - 1
        low, high = start & mask, ((end - 1) & mask) + 1
        if low < high:
            rows = self._rows[low:high].copy()
        else:
            import numpy as np

            rows = np.concatenate([self._rows[low:], self._rows[:high]])
        valid_from = max(self.first, start)
        return valid_from, rows[valid_from - start :]

    def columns(self, first: int, count: int, names: Iterable[str]) -> tuple[int, dict[str, Records]]:
        """Copies of single fields of up to `count` rows from number `first` on: (number of the first row, by name).

        What `read` says of rows that are no longer there holds here too. A field costs an eighth of the whole rows.
        """
        import numpy as np

        start, end = max(first, self.first), min(first + count, self.head)
        if start >= end:
            return start, {name: self._rows[name][:0].copy() for name in names}
        mask = self.capacity - 1
        low, high = start & mask, ((end - 1) & mask) + 1
        found = {
            name: self._rows[name][low:high].copy()
            if low < high
            else np.concatenate([self._rows[name][low:], self._rows[name][:high]])
            for name in names
        }
        valid_from = max(self.first, start)
        return valid_from, {name: column[valid_from - start :] for name, column in found.items()}

    def gather(self, numbers: npt.NDArray[np.int64]) -> Records:
        """The rows of these numbers, in their order; those that are no longer there are left out."""
        if not len(numbers) or not self.head:
            return self._rows[:0].copy()
        rows: Records = self._rows[numbers & (self.capacity - 1)]
        there = (numbers >= self.first) & (numbers < self.head)
        return rows if there.all() else rows[there]

    def gather_field(self, numbers: npt.NDArray[np.int64], name: str) -> Records:
        """One field of the rows of these numbers; of those that are no longer there, whatever lies in their place."""
        found: Records = self._rows[name][numbers & (self.capacity - 1)]
        return found

    def consume(self, limit: int = 65536) -> Records:
        """The next rows for a reader that must miss none: advances the tail that a writer with flow waits for."""
        first, rows = self._copy(max(self._tail, self.first), limit)
        if len(rows):
            self._tail = first + len(rows)
            self._memory.words[HEADER["tail"]] = self._tail
        return rows

    def set_flow(self, on: bool) -> None:
        """Ask the writer to wait for `consume` instead of overwriting."""
        self._tail = self.head
        self._memory.words[HEADER["tail"]] = self._tail
        self._memory.words[HEADER["flow"]] = int(on)

    @property
    def consumed(self) -> int:
        """Where `consume` goes on."""
        return self._tail

    def set_limit(self, hits: int) -> None:
        """Ask the machine to stop once this many hits have been written since its start; 0 for no limit."""
        self._memory.words[HEADER["limit"]] = hits

    def close(self) -> None:
        """Unmap the ring."""
        self.__dict__.pop("_rows", None)
        self._memory.close()


assert HEADER_SIZE % 8 == 0
