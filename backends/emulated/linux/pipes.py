"""pipe(2): what one task writes another reads, and each waits for the other."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Hashable, Mapping

from backends.emulated.linux.descriptors import File, MustWait
from backends.emulated.linux.state import Handler, Task, fail

__all__ = ["HANDLERS"]

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
