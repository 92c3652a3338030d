"""eventfd(2), epoll(7) level-triggered, and socketpair(2) of Unix streams: what event loops inside one machine are made of."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

from backends.emulated.engine import Unsupported
from backends.emulated.linux import files
from backends.emulated.linux.descriptors import File, MustWait
from backends.emulated.linux.paths import signed
from backends.emulated.linux.pipes import Stream, stream_pair
from backends.emulated.linux.state import Handler, Task, fail

__all__ = ["HANDLERS"]

_MOST = (1 << 64) - 2
_EFD_SEMAPHORE = 1
_ADD, _DELETE, _MODIFY = 1, 2, 3
_EPOLLIN, _EPOLLOUT, _ALWAYS = 1, 4, 0x18
_EPOLLONESHOT, _EPOLLET = 1 << 30, 1 << 31
_EPOLL_EVENT = "<IQ"  # packed on x86-64 (include/uapi/linux/eventpoll.h)
_MSG_NOSIGNAL = 0x4000
_AF_UNIX, _SOCK_STREAM, _TYPE = 1, 1, 0xF


class _EventFd(File):
    """A counter: writing adds, reading takes it all, or one from a semaphore."""

    path = "anon_inode:[eventfd]"

    def __init__(self, number: int, value: int, flags: int, wake: Callable[[Hashable], int]) -> None:
        self.inode = number
        self.flags = os.O_RDWR | flags & os.O_NONBLOCK
        self._value = value
        self._semaphore = bool(flags & _EFD_SEMAPHORE)
        self._wake = wake

    def waits_on(self) -> tuple[Hashable, ...]:
        return (("eventfd", self.inode),)

    def _must_wait(self) -> Exception:
        return fail(errno.EAGAIN) if self.flags & os.O_NONBLOCK else MustWait(*self.waits_on())

    def ready(self) -> int:
        return (_EPOLLIN if self._value else 0) | (_EPOLLOUT if self._value < _MOST else 0)

    def read(self, size: int) -> bytes:
        if size < 8:
            raise fail(errno.EINVAL)
        if not self._value:
            raise self._must_wait()
        taken = 1 if self._semaphore else self._value
        self._value -= taken
        self._wake(self.waits_on()[0])
        return struct.pack("<Q", taken)

    def write(self, data: bytes) -> int:
        if len(data) < 8:
            raise fail(errno.EINVAL)
        added = int.from_bytes(data[:8], "little")
        if added > _MOST:
            raise fail(errno.EINVAL)
        if self._value + added > _MOST:
            raise self._must_wait()
        self._value += added
        self._wake(self.waits_on()[0])
        return 8


@dataclass
class _Interest:
    file: File
    events: int
    data: int


class _Epoll(File):
    """What is of interest, by descriptor; an open file that has been closed everywhere is of none."""

    path = "anon_inode:[eventpoll]"
    flags = os.O_RDWR

    def __init__(self, number: int) -> None:
        self.inode = number
        self.interests: dict[int, _Interest] = {}

    def living(self) -> dict[int, _Interest]:
        self.interests = {fd: each for fd, each in self.interests.items() if each.file.users}
        return self.interests

    def ready(self) -> int:
        return _EPOLLIN if self.found(1) else 0

    def waits_on(self) -> tuple[Hashable, ...]:
        keys = [key for each in self.living().values() for key in each.file.waits_on()]
        return tuple(dict.fromkeys([*keys, ("epoll", self.inode)]))

    def found(self, most: int) -> list[tuple[int, _Interest]]:
        """Up to `most` of what is ready, with how."""
        found: list[tuple[int, _Interest]] = []
        for each in self.living().values():
            if each.events & ~(_EPOLLONESHOT | _EPOLLET):
                now = each.file.ready() & (each.events | _ALWAYS)
                if now and len(found) < most:
                    found.append((now, each))
        return found


def _number(task: Task) -> int:
    task.system.pipes += 1
    return 99 + task.system.pipes


def eventfd2(task: Task, value: int, flags: int, *_: int) -> int:
    if flags & ~(os.O_NONBLOCK | os.O_CLOEXEC | _EFD_SEMAPHORE):
        raise fail(errno.EINVAL)
    file = _EventFd(_number(task), value & 0xFFFF_FFFF, flags, task.system.wake)
    return task.files.add(file, close_on_exec=bool(flags & os.O_CLOEXEC))


def eventfd(task: Task, value: int, *_: int) -> int:
    return eventfd2(task, value, 0)


def epoll_create1(task: Task, flags: int, *_: int) -> int:
    if flags & ~os.O_CLOEXEC:
        raise fail(errno.EINVAL)
    return task.files.add(_Epoll(_number(task)), close_on_exec=bool(flags))


def epoll_create(task: Task, size: int, *_: int) -> int:
    if signed(size) <= 0:
        raise fail(errno.EINVAL)
    return epoll_create1(task, 0)


def _epoll(task: Task, fd: int) -> _Epoll:
    file = task.files[fd]
    if not isinstance(file, _Epoll):
        raise fail(errno.EINVAL)
    return file


def epoll_ctl(task: Task, fd: int, operation: int, of: int, event: int, *_: int) -> int:
    epoll, file = _epoll(task, fd), task.files[of]
    if file is epoll:
        raise fail(errno.EINVAL)
    if not file.waits_on() and not isinstance(file, _EventFd | _Epoll):
        raise fail(
            errno.EPERM
        )  # a regular file, as Linux says; and our own standard streams, which never wait
    of &= 0xFFFF_FFFF
    known = epoll.living()
    if operation == _DELETE:
        if of not in known:
            raise fail(errno.ENOENT)
        del known[of]
        return 0
    events, data = task.unpack(_EPOLL_EVENT, event)
    if events & _EPOLLET:
        raise Unsupported("edge-triggered epoll is not emulated")
    if operation == _ADD and of in known:
        raise fail(errno.EEXIST)
    if operation == _MODIFY and of not in known:
        raise fail(errno.ENOENT)
    if operation not in (_ADD, _MODIFY):
        raise fail(errno.EINVAL)
    known[of] = _Interest(file, events, data)
    task.system.wake(("epoll", epoll.inode))
    return 0


def _wait(task: Task, fd: int, events: int, most: int, timeout: int) -> int:
    epoll, most, wait = _epoll(task, fd), signed(most), signed(timeout)
    if not 0 < most <= 1 << 20:
        raise fail(errno.EINVAL)
    limit = wait * 10**6 if wait >= 0 else None
    found = epoll.found(most)
    for number, (now, each) in enumerate(found):
        task.pack(_EPOLL_EVENT, events + 12 * number, now, each.data)
        if each.events & _EPOLLONESHOT:
            each.events = _EPOLLONESHOT
    if not found and not task.waited(limit):
        raise task.wait_for("epoll", *epoll.waits_on(), timeout=limit, restarts=False)
    return len(found)


def epoll_wait(task: Task, fd: int, events: int, most: int, timeout: int, *_: int) -> int:
    return _wait(task, fd, events, most, timeout)


def epoll_pwait(task: Task, fd: int, events: int, most: int, timeout: int, mask: int, *_: int) -> int:
    if mask:
        raise Unsupported("epoll_pwait with a signal mask is not emulated")
    return _wait(task, fd, events, most, timeout)


def socketpair(task: Task, family: int, kind: int, protocol: int, pair: int, *_: int) -> int:
    if family != _AF_UNIX or kind & _TYPE != _SOCK_STREAM:
        raise task.refuse("network", "socketpair of another kind than Unix streams", errno.EACCES)
    if protocol not in (0, _AF_UNIX):
        raise fail(errno.EPROTONOSUPPORT)
    task.space.copy_in(pair, bytes(8))
    ends = stream_pair(_number(task), _number(task), kind & os.O_NONBLOCK, task.system.wake)
    numbers = [task.files.add(end, close_on_exec=bool(kind & os.O_CLOEXEC)) for end in ends]
    task.pack("<ii", pair, *numbers)
    return 0


def _stream(task: Task, fd: int, flags: int, address: int) -> Stream:
    file = task.files[fd]
    if not isinstance(file, Stream):
        raise fail(errno.ENOTSOCK)
    if flags & ~_MSG_NOSIGNAL or address:
        raise Unsupported("flags and addresses of messages are not emulated")
    return file


def sendto(task: Task, fd: int, data: int, size: int, flags: int, address: int, *_: int) -> int:
    stream = _stream(task, fd, flags, address)
    if flags & _MSG_NOSIGNAL and stream.peer_closed:
        return -errno.EPIPE
    return files.write(task, fd, data, size)


def recvfrom(task: Task, fd: int, data: int, size: int, flags: int, address: int, *_: int) -> int:
    _stream(task, fd, flags & ~_MSG_NOSIGNAL, address)
    return files.read(task, fd, data, size)


HANDLERS: Mapping[str, Handler] = {
    "eventfd": eventfd,
    "eventfd2": eventfd2,
    "epoll_create": epoll_create,
    "epoll_create1": epoll_create1,
    "epoll_ctl": epoll_ctl,
    "epoll_wait": epoll_wait,
    "epoll_pwait": epoll_pwait,
    "socketpair": socketpair,
    "sendto": sendto,
    "recvfrom": recvfrom,
}
