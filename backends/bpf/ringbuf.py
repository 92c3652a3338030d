"""The reading side of a BPF ring buffer whose records all have one size: numpy views, no walk.

Layout (kernel/bpf/ringbuf.c): a page with the consumer's position that we write, a page with the producer's, then the
data, mapped twice in a row so that a record never wraps. Each record begins with a 32-bit length, whose top two bits say
busy (31) and discarded (30), and a page number.
"""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Records = npt.NDArray[Any]

__all__ = ["RingBuffer"]


class RingBuffer:
    """The ring behind a map's descriptor, of `size` bytes (a power of two of pages). Closes it with itself.

    `dtype` is the record with the ring's own 8-byte header in front; its size is a multiple of 8.
    """

    def __init__(self, fd: int, size: int, dtype: np.dtype[Any]) -> None:
        import numpy as np

        self.fd = fd
        page = mmap.PAGESIZE
        self.size = size
        self._dtype = dtype
        try:
            self._ours = mmap.mmap(self.fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
            self._theirs = mmap.mmap(self.fd, page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        except BaseException:
            os.close(self.fd)
            raise
        self._consumer: npt.NDArray[np.uint64] = np.frombuffer(self._ours, np.uint64, 1)
        self._producer: npt.NDArray[np.uint64] = np.frombuffer(self._theirs, np.uint64, 1)
        self._data: npt.NDArray[np.uint8] = np.frombuffer(self._theirs, np.uint8, 2 * size, page)
        self._at = 0

    @property
    def waiting(self) -> int:
        """Records that have been reserved and not taken."""
        return (int(self._producer[0]) - self._at) // self._dtype.itemsize

    def peek(self, most: int) -> Records:
        """The records that are complete, at most `most`, oldest first, where they lie: until `free` gives their room back."""
        import numpy as np

        each = self._dtype.itemsize
        count = min(self.waiting, most)
        start = self._at % self.size
        rows = self._data[start : start + count * each].view(self._dtype)
        if count:
            whole = rows["head"] == np.uint32(each - 8)
            if not whole.all():
                rows = rows[: int(np.argmin(whole))]
        return rows

    def free(self, count: int) -> None:
        """Give the room of the oldest `count` records back."""
        self._at += count * self._dtype.itemsize
        self._consumer[0] = self._at

    def close(self) -> None:
        """Unmap it and close its descriptor."""
        if self.fd >= 0:
            del self._consumer, self._producer, self._data
            self._ours.close()
            self._theirs.close()
            os.close(self.fd)
            self.fd = -1
