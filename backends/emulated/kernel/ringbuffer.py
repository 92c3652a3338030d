"""A perf event's ring buffer (kernel/events/ring_buffer.c): records behind a control page, in memory that a program maps.

The program moves data_tail, the kernel data_head; in overwrite mode (mapped read-only) nobody waits for the tail. With
attr.write_backward data_head counts down from 0, so that the newest record is the first behind it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

__all__ = ["PAGE", "RingBuffer"]

PAGE: Final = 4096
_HEAD, _TAIL, _OFFSET = 1024, 1032, 1040
_LOST: Final = 2
_MASK64: Final = (1 << 64) - 1


class RingBuffer:
    """`pages` of data, a power of 2, or 0 for the control page alone.

    `read(offset, size)` and `write(offset, data)` reach the mapped memory, control page first. `watermark` in bytes and
    `wakeup_events` say when whoever polls is woken (0: half the buffer, and none). `poll` is what poll(2) answers next.
    """

    def __init__(
        self,
        pages: int,
        read: Callable[[int, int], bytes],
        write: Callable[[int, bytes], None],
        *,
        overwrite: bool,
        backward: bool = False,
        watermark: int = 0,
        wakeup_events: int = 0,
    ) -> None:
        self.size = pages * PAGE
        self.overwrite = overwrite
        self.backward = backward
        self.paused = False
        self.poll = 0
        self.head = 0
        self._read, self._write = read, write
        self._watermark = min(watermark, self.size) or self.size // 2
        self._wakeup_events = wakeup_events
        self._woken_at = 0
        self._events = 0
        self._lost = 0
        write(_OFFSET, struct.pack("<QQ", PAGE, self.size))

    def output(
        self, record: bytes, event_id: int, trailer: bytes = b"", *, sample: bool = True
    ) -> tuple[bool, bool]:
        """perf_output_begin to _end: whether the record found room, and whether a reader is to be woken.

        Only a sample counts as one of `wakeup_events`.

        Records that found none are told by a LOST record before the next that fits; `event_id` and `trailer` are its.
        """
        if not self.size:
            return True, False
        if self.paused:
            self._lost += 1
            return False, False
        data = record
        if self._lost:
            size = 24 + len(trailer)
            data = struct.pack("<IHHQQ", _LOST, 0, size, event_id, self._lost) + trailer + record
        if not self.overwrite:
            tail = int.from_bytes(self._read(_TAIL, 8), "little")
            ahead = self.head - tail if self.backward else tail - self.head
            if (ahead - 1) & (self.size - 1) < len(data):
                self._lost += 1
                return False, False
        elif len(data) > self.size:
            return False, False
        self._lost = 0
        start = self.head - len(data) if self.backward else self.head
        at = start & (self.size - 1)
        first = min(len(data), self.size - at)
        self._write(PAGE + at, data[:first])
        if first < len(data):
            self._write(PAGE, data[first:])
        self.head = (start if self.backward else start + len(data)) & _MASK64
        self._write(_HEAD, self.head.to_bytes(8, "little"))
        return True, self._wakes(sample)

    def _wakes(self, sample: bool) -> bool:
        wakes = False
        written = -self.head & _MASK64 if self.backward else self.head
        if written - self._woken_at > self._watermark:
            self._woken_at += self._watermark
            wakes = True
        if sample and self._wakeup_events:
            self._events += 1
            if self._events >= self._wakeup_events:
                self._events = 0
                wakes = True
        if wakes:
            self.poll = 0x41  # EPOLLIN | EPOLLRDNORM
        return wakes
