"""pipe(2): what one task writes another reads, and each waits for the other."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Hashable, Mapping

from backends.emulated.linux.descriptors import File, MustWait
from backends.emulated.linux.state import Handler, Task, fail

__all__ = ["HANDLERS", "Stream", "stream_pair"]

_CAPACITY = 1 << 16
_POLLIN, _POLLOUT, _POLLERR, _POLLHUP = 1, 4, 8, 16


class _Pipe:
    """The bytes between the two ends. `changed` wakes who waits for either."""

    def __init__(self, number: int, wake: Callable[[Hashable], int]) -> None:
        self.number = number
        self.content = bytearray()
        self.reader_closed = self.writer_closed = False
        self._wake = wake

    @property
    def key(self) -> Hashable:
        return ("pipe", self.number)

    def changed(self) -> None:
        self._wake(self.key)


class _End(File):
    def __init__(self, pipe: _Pipe, flags: int) -> None:
        self.pipe = pipe
        self.flags = flags
        self.path = f"pipe:[{pipe.number}]"
        self.inode = pipe.number

    def waits_on(self) -> tuple[Hashable, ...]:
        return (self.pipe.key,)

    def must_wait(self) -> Exception:
        return fail(errno.EAGAIN) if self.flags & os.O_NONBLOCK else MustWait(self.pipe.key)


class _Reader(_End):
    def read(self, size: int) -> bytes:
        pipe = self.pipe
        if size and not pipe.content and not pipe.writer_closed:
            raise self.must_wait()
        data = bytes(pipe.content[:size])
        del pipe.content[:size]
        if data:
            pipe.changed()
        return data

    def ready(self) -> int:
        return (_POLLIN if self.pipe.content else 0) | (_POLLHUP if self.pipe.writer_closed else 0)

    def close(self) -> None:
        self.pipe.reader_closed = True
        self.pipe.changed()


class _Writer(_End):
    def write(self, data: bytes) -> int:
        pipe = self.pipe
        if pipe.reader_closed:
            raise fail(errno.EPIPE)
        room = _CAPACITY - len(pipe.content)
        if data and room <= 0:
            raise self.must_wait()
        pipe.content += data[:room]
        if data:
            pipe.changed()
        return min(len(data), room)

    def ready(self) -> int:
        if self.pipe.reader_closed:
            return _POLLOUT | _POLLERR
        return _POLLOUT if len(self.pipe.content) < _CAPACITY else 0

    def close(self) -> None:
        self.pipe.writer_closed = True
        self.pipe.changed()


class Stream(File):
    """One end of a pair of connected streams: it reads from one pipe and writes to the other."""

    mode = stat.S_IFSOCK | 0o777

    def __init__(self, number: int, incoming: _Pipe, outgoing: _Pipe, flags: int) -> None:
        self.inode = number
        self.path = f"socket:[{number}]"
        self.flags = os.O_RDWR | flags
        self._reader = _Reader(incoming, flags)
        self._writer = _Writer(outgoing, flags)

    def waits_on(self) -> tuple[Hashable, ...]:
        return (*self._reader.waits_on(), *self._writer.waits_on())

    def read(self, size: int) -> bytes:
        self._reader.flags = self.flags
        return self._reader.read(size)

    def write(self, data: bytes) -> int:
        self._writer.flags = self.flags
        return self._writer.write(data)

    def ready(self) -> int:
        ended = self._reader.pipe.writer_closed
        return (
            (_POLLIN if self._reader.pipe.content or ended else 0)
            | (_POLLHUP if ended else 0)
            | self._writer.ready() & _POLLOUT
        )

    @property
    def peer_closed(self) -> bool:
        """Whether nobody is left to read what is written."""
        return self._writer.pipe.reader_closed

    def close(self) -> None:
        self._reader.close()
        self._writer.close()


def stream_pair(first: int, second: int, flags: int, wake: Callable[[Hashable], int]) -> tuple[File, File]:
    """Two ends that are connected to each other, with these inode numbers."""
    there, back = _Pipe(first, wake), _Pipe(second, wake)
    return Stream(first, back, there, flags), Stream(second, there, back, flags)


def pipe2(task: Task, pair: int, flags: int, *_: int) -> int:
    system = task.system
    system.pipes += 1
    pipe = _Pipe(99 + system.pipes, system.wake)
    reader = _Reader(pipe, os.O_RDONLY | flags & os.O_NONBLOCK)
    writer = _Writer(pipe, os.O_WRONLY | flags & os.O_NONBLOCK)
    task.space.copy_in(pair, bytes(8))
    first = task.files.add(reader, close_on_exec=bool(flags & os.O_CLOEXEC))
    try:
        second = task.files.add(writer, close_on_exec=bool(flags & os.O_CLOEXEC))
    except OSError:
        task.files.close(first)
        raise
    task.pack("<ii", pair, first, second)
    return 0


def pipe(task: Task, pair: int, *_: int) -> int:
    return pipe2(task, pair, 0)


HANDLERS: Mapping[str, Handler] = {"pipe": pipe, "pipe2": pipe2}
