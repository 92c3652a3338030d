"""The writing side of the hit ring for whole arrays of records (`backends.ring_reader.record_dtype`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backends.ring import HEADER, PUBLISH_EVERY, RUN_STATES, RingMemory
from backends.ring_reader import record_dtype

if TYPE_CHECKING:
    import numpy.typing as npt

    Records = npt.NDArray[Any]

__all__ = ["RingWriter"]


class RingWriter:
    """The one writer of a ring. Rows get their `seq` here."""

    def __init__(self, memory: RingMemory) -> None:
        import numpy as np

        self._memory = memory
        self._words = memory.words
        self._rows: Records = np.frombuffer(memory.records, dtype=record_dtype())
        self._capacity = memory.capacity
        self.head = 0

    def touch(self) -> None:
        """Have the kernel bring in its pages now rather than at the first hits."""
        self._memory.touch()

    def word(self, name: str) -> int:
        """A word of the header."""
        return int(self._words[HEADER[name]])

    def allowance(self, most: int) -> int:
        """How many rows may be written now: fewer than `most` up to the reader's limit, and for a reader with flow."""
        if limit := self.word("limit"):
            most = min(most, limit - self.head)
        if self.word("flow"):
            most = min(most, self.word("tail") + self._capacity - 4 * PUBLISH_EVERY - self.head)
        return max(0, min(most, self._capacity // 2))

    @property
    def at_limit(self) -> bool:
        """Whether the reader wants no more hits."""
        return 0 < self.word("limit") <= self.head

    def append(self, rows: Records) -> None:
        """Write rows (at most half the ring's capacity) and publish them."""
        import numpy as np

        count = len(rows)
        if not count:
            return
        if count > self._capacity // 2:
            raise ValueError(f"{count} rows at once in a ring of {self._capacity}")
        rows["seq"] = np.arange(self.head, self.head + count, dtype=np.uint64)
        self._words[HEADER["claimed"]] = self.head + count
        start = self.head & (self._capacity - 1)
        first = min(count, self._capacity - start)
        self._rows[start : start + first] = rows[:first]
        self._rows[: count - first] = rows[first:]
        self.head += count
        self._words[HEADER["head"]] = self.head

    def claim(self, most: int) -> Records:
        """Room for at most so many rows (from 1), in the ring itself: those that lie in one piece. `publish` numbers
        and shows them."""
        start = self.head & (self._capacity - 1)
        rows = self._rows[start : start + min(most, self._capacity - start, self._capacity // 2)]
        self._words[HEADER["claimed"]] = self.head + len(rows)
        return rows

    def publish(self, count: int) -> None:
        """Show the rows that were claimed and are filled in; their numbers are written here."""
        import numpy as np

        start = self.head & (self._capacity - 1)
        numbers = np.arange(self.head, self.head + count, dtype=np.uint64)
        self._rows["seq"][start : start + count] = numbers
        self.head += count
        self._words[HEADER["head"]] = self.head

    def header(self, **words: int) -> None:
        """Set header words by name."""
        for name, value in words.items():
            self._words[HEADER[name]] = value

    def set_state(self, state: str) -> None:
        """Publish the run state."""
        self._words[HEADER["state"]] = RUN_STATES.index(state)

    def close(self) -> None:
        """Let go of the mapping."""
        del self._rows
