"""System calls that open files and move bytes: open, read, write, lseek and their kin."""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Mapping

from backends.emulated.linux.descriptors import Null
from backends.emulated.linux.paths import AT_FDCWD, open_host, open_special, resolve, signed
from backends.emulated.linux.state import TRANSFER_LIMIT, Handler, State, fail

__all__ = ["HANDLERS", "refuse_write"]

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_TRUNC
_TMPFILE = 0o20000000
_IOV_MAX = 1024
_HOST_FLAGS = (
    os.O_DIRECTORY | os.O_NOFOLLOW | os.O_APPEND | os.O_EXCL | os.O_TRUNC | os.O_CREAT | os.O_ACCMODE
)


def refuse_write(state: State, what: str) -> None:
    """EACCES, recorded, unless writing is allowed."""
    if "write" not in state.allow:
        raise state.refuse("write", what)


def openat(state: State, dirfd: int, path: int, flags: int, mode: int, *_: int) -> int:
    name = state.path(path)
    follow = not flags & os.O_NOFOLLOW
    where = resolve(state, dirfd, name, follow=follow)
    file = open_special(state, where)
    if file is None:
        create = flags & os.O_CREAT and not os.path.lexists(where)
        if flags & _WRITING or create or flags & _TMPFILE == _TMPFILE:
            refuse_write(state, f"open for writing {where}")
            if where.startswith(("/proc/", "/sys/")):
                raise fail(errno.EACCES)
        if "write" not in state.allow:
            flags &= ~os.O_CREAT
        if flags & _TMPFILE == _TMPFILE:
            raise fail(errno.EOPNOTSUPP)
        file = open_host(where, flags & _HOST_FLAGS, mode & ~state.umask & 0o777)
    elif not isinstance(file, Null) and flags & os.O_ACCMODE and not where.startswith("/proc/self/fd/"):
        raise fail(errno.EACCES)
    return state.files.add(file, close_on_exec=bool(flags & os.O_CLOEXEC))


def open_(state: State, path: int, flags: int, mode: int, *_: int) -> int:
    return openat(state, AT_FDCWD, path, flags, mode)


def creat(state: State, path: int, mode: int, *_: int) -> int:
    return openat(state, AT_FDCWD, path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, mode)


def close(state: State, fd: int, *_: int) -> int:
    state.files.close(fd)
    return 0


def close_range(state: State, first: int, last: int, flags: int, *_: int) -> int:
    if first > last:
        raise fail(errno.EINVAL)
    if not flags & 4:  # CLOSE_RANGE_CLOEXEC
        state.files.close_range(first, last)
    return 0


def _readable(state: State, fd: int) -> None:
    if state.files[fd].flags & os.O_ACCMODE == os.O_WRONLY:
        raise fail(errno.EBADF)


def read(state: State, fd: int, buffer: int, size: int, *_: int) -> int:
    _readable(state, fd)
    file = state.files[fd]
    data = file.read(min(size, TRANSFER_LIMIT))
    try:
        state.space.copy_in(buffer, data)
    except OSError:
        if stat.S_ISREG(file.status().st_mode):
            file.seek(-len(data), os.SEEK_CUR)
        raise
    return len(data)


def pread64(state: State, fd: int, buffer: int, size: int, offset: int, *_: int) -> int:
    _readable(state, fd)
    if signed(offset, 64) < 0:
        raise fail(errno.EINVAL)
    data = state.files[fd].pread(min(size, TRANSFER_LIMIT), offset)
    state.space.copy_in(buffer, data)
    return len(data)


def _writable(state: State, fd: int) -> None:
    if state.files[fd].flags & os.O_ACCMODE == os.O_RDONLY:
        raise fail(errno.EBADF)


def write(state: State, fd: int, buffer: int, size: int, *_: int) -> int:
    _writable(state, fd)
    return state.files[fd].write(state.space.copy_out(buffer, min(size, TRANSFER_LIMIT)))


def pwrite64(state: State, fd: int, buffer: int, size: int, offset: int, *_: int) -> int:
    _writable(state, fd)
    if signed(offset, 64) < 0:
        raise fail(errno.EINVAL)
    return state.files[fd].pwrite(state.space.copy_out(buffer, min(size, TRANSFER_LIMIT)), offset)


def _vector(state: State, address: int, count: int) -> list[tuple[int, int]]:
    """The `struct iovec` array, cut so that it moves no more than one transfer."""
    if signed(count) < 0 or count > _IOV_MAX:
        raise fail(errno.EINVAL)
    raw = state.space.copy_out(address, 16 * count)
    parts: list[tuple[int, int]] = []
    room = TRANSFER_LIMIT
    for base, size in struct.iter_unpack("<QQ", raw):
        if size >> 63:
            raise fail(errno.EINVAL)
        parts.append((base, min(size, room)))
        room -= parts[-1][1]
    return parts


def readv(state: State, fd: int, vector: int, count: int, *_: int) -> int:
    _readable(state, fd)
    total = 0
    for base, size in _vector(state, vector, count):
        moved = read(state, fd, base, size) if size else 0
        total += moved
        if moved < size:
            break
    return total


def preadv(state: State, fd: int, vector: int, count: int, offset: int, *_: int) -> int:
    total = 0
    for base, size in _vector(state, vector, count):
        moved = pread64(state, fd, base, size, offset + total) if size else 0
        total += moved
        if moved < size:
            break
    return total


def writev(state: State, fd: int, vector: int, count: int, *_: int) -> int:
    _writable(state, fd)
    parts = _vector(state, vector, count)
    return state.files[fd].write(b"".join(state.space.copy_out(base, size) for base, size in parts))


def pwritev(state: State, fd: int, vector: int, count: int, offset: int, *_: int) -> int:
    _writable(state, fd)
    parts = _vector(state, vector, count)
    return state.files[fd].pwrite(b"".join(state.space.copy_out(base, size) for base, size in parts), offset)


def lseek(state: State, fd: int, offset: int, whence: int, *_: int) -> int:
    file = state.files[fd]
    if whence > 4:
        raise fail(errno.EINVAL)
    return file.seek(signed(offset, 64), whence)


def dup(state: State, fd: int, *_: int) -> int:
    return state.files.add(state.files[fd])


def dup2(state: State, old: int, new: int, *_: int) -> int:
    file = state.files[old]
    return new if old == new else state.files.put(signed(new), file)


def dup3(state: State, old: int, new: int, flags: int, *_: int) -> int:
    file = state.files[old]
    if old == new:
        raise fail(errno.EINVAL)
    return state.files.put(signed(new), file, close_on_exec=bool(flags & os.O_CLOEXEC))


def fcntl(state: State, fd: int, command: int, argument: int, *_: int) -> int:
    file = state.files[fd]
    match command:
        case 0 | 1030:  # F_DUPFD, F_DUPFD_CLOEXEC
            if argument >= 1024:
                raise fail(errno.EINVAL)
            return state.files.add(file, lowest=argument, close_on_exec=command == 1030)
        case 1:  # F_GETFD
            return int(state.files.close_on_exec(fd))
        case 2:  # F_SETFD
            state.files.close_on_exec(fd, bool(argument & 1))
            return 0
        case 3:  # F_GETFL
            return file.flags | 0o100000 * (file.path[:1] == "/")  # O_LARGEFILE
        case 4 | 6 | 7 | 37 | 38:  # F_SETFL, F_SETLK, F_SETLKW, F_OFD_SETLK, F_OFD_SETLKW
            return 0
        case _:
            raise fail(errno.EINVAL)


def ioctl(state: State, fd: int, request: int, argument: int, *_: int) -> int:
    file = state.files[fd]
    if request == 0x541B:  # FIONREAD
        status = file.status()
        if not stat.S_ISREG(status.st_mode):
            raise fail(errno.ENOTTY)
        state.pack("<i", argument, status.st_size - file.seek(0, os.SEEK_CUR))
        return 0
    if request in (0x5421, 0x5451, 0x5450):  # FIONBIO, FIOCLEX, FIONCLEX
        return 0
    raise fail(errno.ENOTTY)


def sendfile(state: State, out: int, source: int, offset: int, count: int, *_: int) -> int:
    _writable(state, out)
    _readable(state, source)
    size = min(count, TRANSFER_LIMIT)
    if not offset:
        return state.files[out].write(state.files[source].read(size))
    (position,) = state.unpack("<q", offset)
    data = state.files[source].pread(size, position)
    state.pack("<q", offset, position + len(data))
    return state.files[out].write(data)


def _ready(state: State, entries: int, count: int) -> int:
    """Answer poll: nothing here ever makes the program wait."""
    if count > 1024:
        raise fail(errno.EINVAL)
    ready = 0
    for index in range(count):
        fd, events, _ = state.unpack("<ihh", entries + 8 * index)
        answer = 0
        if fd >= 0:
            answer = (
                events & 0x145 if fd in state.files.numbers() else 0x20
            )  # POLLIN, OUT, RDNORM, WRNORM; POLLNVAL
        ready += bool(answer)
        state.pack("<h", entries + 8 * index + 6, answer)
    return ready


def poll(state: State, entries: int, count: int, timeout: int, *_: int) -> int:
    ready = _ready(state, entries, count)
    if not ready and signed(timeout) > 0:
        state.sleep_until(state.now() + signed(timeout) * 10**6)
    return ready


def ppoll(state: State, entries: int, count: int, timeout: int, *_: int) -> int:
    ready = _ready(state, entries, count)
    if not ready and timeout:
        seconds, nanoseconds = state.unpack("<qq", timeout)
        state.sleep_until(state.now() + seconds * 10**9 + nanoseconds)
    return ready


def _sync(state: State, fd: int, *_: int) -> int:
    state.files[fd]
    return 0


HANDLERS: Mapping[str, Handler] = {
    "open": open_,
    "openat": openat,
    "creat": creat,
    "close": close,
    "close_range": close_range,
    "read": read,
    "pread64": pread64,
    "readv": readv,
    "preadv": preadv,
    "write": write,
    "pwrite64": pwrite64,
    "writev": writev,
    "pwritev": pwritev,
    "lseek": lseek,
    "dup": dup,
    "dup2": dup2,
    "dup3": dup3,
    "fcntl": fcntl,
    "ioctl": ioctl,
    "sendfile": sendfile,
    "poll": poll,
    "ppoll": ppoll,
    "fsync": _sync,
    "fdatasync": _sync,
    "flock": _sync,
    "fadvise64": _sync,
    "readahead": _sync,
}
