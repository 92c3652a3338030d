"""pipe(2) for a program alone: what it wrote it can read, and a read that would wait for ever is said to be that."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

from backends.emulated.linux.descriptors import File
from backends.emulated.linux.state import Handler, State, Unsupported, fail

__all__ = ["HANDLERS"]

_CAPACITY = 1 << 16


class _Reader(File):
    def __init__(self, flags: int) -> None:
        self.flags = os.O_RDONLY | flags
        self.path = "pipe:[100]"
        self.inode = 100
        self.content = bytearray()
        self.closed = False
        self.writer_closed = False

    def read(self, size: int) -> bytes:
        if size and not self.content and not self.writer_closed:
            if self.flags & os.O_NONBLOCK:
                raise fail(errno.EAGAIN)
            raise Unsupported("a read from an empty pipe that nobody else can fill")
        data = bytes(self.content[:size])
        del self.content[:size]
        return data

    def close(self) -> None:
        self.closed = True


class _Writer(File):
    def __init__(self, reader: _Reader, flags: int) -> None:
        self.flags = os.O_WRONLY | flags
        self.path = reader.path
        self.inode = reader.inode
        self._reader = reader

    def write(self, data: bytes) -> int:
        if self._reader.closed:
            raise fail(errno.EPIPE)
        room = _CAPACITY - len(self._reader.content)
        if data and room <= 0:
            if self.flags & os.O_NONBLOCK:
                raise fail(errno.EAGAIN)
            raise Unsupported("a write into a full pipe that nobody else can empty")
        self._reader.content += data[:room]
        return min(len(data), room)

    def close(self) -> None:
        self._reader.writer_closed = True


def pipe2(state: State, pair: int, flags: int, *_: int) -> int:
    reader = _Reader(flags & os.O_NONBLOCK)
    writer = _Writer(reader, flags & os.O_NONBLOCK)
    state.space.copy_in(pair, bytes(8))
    first = state.files.add(reader, close_on_exec=bool(flags & os.O_CLOEXEC))
    try:
        second = state.files.add(writer, close_on_exec=bool(flags & os.O_CLOEXEC))
    except OSError:
        state.files.close(first)
        raise
    state.pack("<ii", pair, first, second)
    return 0


def pipe(state: State, pair: int, *_: int) -> int:
    return pipe2(state, pair, 0)


HANDLERS: Mapping[str, Handler] = {"pipe": pipe, "pipe2": pipe2}
