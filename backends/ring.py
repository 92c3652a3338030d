"""The hit ring: fixed-size records in shared memory, one writer, any number of readers that can tell they were lapped.

The memory is a sealed memfd that the front end makes and hands over, so it has no name and nothing is left behind
when either side is killed. Layout: a header page of 64-bit words, then `capacity` (a power of two) records.

The writer fills a record and publishes the head afterwards, in groups: up to `PUBLISH_EVERY` records past the
published head may be half written. A reader therefore trusts a row only if it lies less than
`capacity - 2 * PUBLISH_EVERY` behind the head as read *after* the copy (see `backends.ring_reader`). A writer that fills
more than a group at a time says so before: rows up to `claimed` may be half written.

With the flow flag set the writer waits for the reader's tail instead of overwriting.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
from typing import Final

__all__ = [
    "ACCESS_CODES",
    "FLAG_KERNEL",
    "FLAG_SAME_DB",
    "FLAG_SEEN",
    "FLAG_UNSEEN",
    "FROM_CODES",
    "HEADER",
    "HEADER_SIZE",
    "NO_SLOT",
    "PUBLISH_EVERY",
    "RECORD",
    "RECORD_FIELDS",
    "RUN_STATES",
    "RingMemory",
    "create_memfd",
    "ring_size",
]

HEADER_SIZE: Final = 4096
PUBLISH_EVERY: Final = 16
_MADV_POPULATE_WRITE: Final = 23
MAGIC: Final = 0x68776270_00000001

HEADER: Final = {
    "magic": 0,
    "capacity": 1,
    "head": 2,  # hits written, published
    "tail": 3,  # hits read (the reader's; looked at only with the flow flag)
    "flow": 4,  # 1: wait for the reader rather than overwrite
    "generation": 5,  # MachineView.generation
    "state": 6,  # index into RUN_STATES
    "instructions": 7,
    "stacks": 8,  # interned stacks so far
    "output": 9,  # bytes the program has printed
    "lost": 10,  # hits that never reached the ring
    "sites": 11,  # distinct (breakpoint, instruction) pairs so far
    "claimed": 13,  # a bulk writer writes rows up to here before it moves the head; 0: it writes in groups
    "limit": 12,  # the machine stops once this many hits have been written (the reader's, and done with then); 0: never
}
"""Word numbers in the header page."""

RUN_STATES: Final = ("loaded", "running", "stopped", "exited", "failed", "detached")

RECORD_FIELDS: Final = (
    ("seq", "u8"),  # from 0
    ("time", "u8"),  # the machine's clock
    ("ip", "u8"),  # what the hardware reports
    ("insn_ip", "u8"),  # the instruction that did it; 0 where it cannot be known
    ("address", "u8"),  # of the armed window
    ("value", "u8"),  # of the window after
    ("old", "u8"),  # and before
    ("breakpoint", "u4"),
    ("pid", "u4"),
    ("tid", "u4"),
    ("stack", "u4"),  # number of the interned stack, 0: none
    ("comm", "u4"),  # index into MachineView.comms
    ("cpu", "u2"),
    ("length", "u1"),
    ("slot", "u1"),  # NO_SLOT where it cannot be known
    ("access", "u1"),  # index into ACCESS_CODES
    ("value_from", "u1"),  # index into FROM_CODES
    ("old_from", "u1"),
    ("flags", "u1"),
)
RECORD: Final = struct.Struct(
    "<" + "".join({"u8": "Q", "u4": "I", "u2": "H", "u1": "B"}[t] for _, t in RECORD_FIELDS)
)

ACCESS_CODES: Final = ("x", "r", "w", "rw")
FROM_CODES: Final = (None, "exact", "trap", "decoded", "previous")
NO_SLOT: Final = 0xFF
FLAG_KERNEL: Final = 1
"""The access was made in kernel mode."""
FLAG_SAME_DB: Final = 2
"""It belongs to the same #DB as the record before it: one instruction, or one element of a `rep`."""
FLAG_UNSEEN: Final = 4
"""What the window held before is known, and is not what the hit before left: somebody wrote there who made no hit."""
FLAG_SEEN: Final = 8
"""It is known, and is what the hit before left. Without either flag it cannot be told."""

assert RECORD.size == 84


def ring_size(capacity: int) -> int:
    """Bytes of a ring with `capacity` records (a power of two)."""
    if capacity < 4 * PUBLISH_EVERY or capacity & (capacity - 1):
        raise ValueError(f"ring capacity {capacity} is not a power of two of at least {4 * PUBLISH_EVERY}")
    return HEADER_SIZE + capacity * RECORD.size


def create_memfd(capacity: int) -> int:
    """Make the ring's memory: a memfd sealed against any change of size."""
    fd = os.memfd_create("hwbp-ring", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, ring_size(capacity))
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    words = mmap.mmap(fd, HEADER_SIZE)
    struct.pack_into("<QQ", words, 0, MAGIC, capacity)
    words.close()
    return fd


class RingMemory:
    """The mapped ring: `words` is the header as 64-bit words, `records` the bytes behind it.

    Raises ValueError when the memory is not a ring of this layout.
    """

    def __init__(self, fd: int) -> None:
        size = os.fstat(fd).st_size
        if size < HEADER_SIZE:
            raise ValueError("not a hit ring: too small")
        self._map = mmap.mmap(fd, size)
        view = memoryview(self._map)
        self.words = view[:HEADER_SIZE].cast("Q")
        self.capacity: int = self.words[HEADER["capacity"]]
        if self.words[0] != MAGIC or size != ring_size(self.capacity):
            raise ValueError("not a hit ring of this version")
        self.records = view[HEADER_SIZE:]
        self._view = view

    def touch(self) -> None:
        """Make every page present and writable, where the kernel can (MADV_POPULATE_WRITE, Linux 5.14)."""
        with contextlib.suppress(OSError, ValueError):
            self._map.madvise(_MADV_POPULATE_WRITE)

    def close(self) -> None:
        """Unmap it."""
        self.words.release()
        self.records.release()
        self._view.release()
        self._map.close()
