"""What the program printed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

__all__ = ["KEPT", "Output"]

KEPT = 16 << 20
"""Bytes of output that are kept; older ones are dropped and only counted."""
_CHUNK = 1 << 16


class Output:
    """Standard output (1) and error (2) in the order of writing.

    `total` counts every byte, `dropped` those no longer held. `on_output(stream, data)` is called at each write.
    """

    def __init__(self) -> None:
        self._chunks: deque[tuple[int, bytes]] = deque()
        self.total = 0
        self.dropped = 0
        self.on_output: Callable[[int, bytes], None] | None = None

    def write(self, stream: int, data: bytes) -> None:
        """Append what was written to a stream."""
        if not data:
            return
        self.total += len(data)
        last = self._chunks[-1] if self._chunks else (0, b"")
        if last[0] == stream and len(last[1]) + len(data) <= _CHUNK:
            self._chunks[-1] = (stream, last[1] + data)
        else:
            self._chunks.append((stream, data))
        while self.total - self.dropped > KEPT:
            self.dropped += len(self._chunks.popleft()[1])
        if self.on_output is not None:
            self.on_output(stream, data)

    def chunks(self, first: int = 0, limit: int = 1 << 62) -> tuple[tuple[int, bytes], ...]:
        """What is held from byte `first` of all output on, at most `limit` bytes."""
        found: list[tuple[int, bytes]] = []
        position = self.dropped
        for stream, data in self._chunks:
            part = data[max(0, first - position) :][:limit]
            position += len(data)
            if part:
                found.append((stream, part))
                limit -= len(part)
            if limit <= 0:
                break
        return tuple(found)

    def bytes_of(self, stream: int) -> bytes:
        """All that is held of one stream."""
        return b"".join(data for number, data in self._chunks if number == stream)
