"""System calls that open files and move bytes: open, read, write, lseek and their kin."""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Hashable, Mapping

from backends.emulated.linux.descriptors import File, Null
from backends.emulated.linux.paths import AT_FDCWD, open_host, open_special, resolve, signed
from backends.emulated.linux.state import TRANSFER_LIMIT, Handler, Task, Unsupported, fail
from backends.emulated.regions import USER_END

__all__ = ["HANDLERS", "refuse_write"]

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_TRUNC
_TMPFILE = 0o20000000
_SETTABLE = os.O_NONBLOCK | File.O_ASYNC
_IOV_MAX = 1024
_HOST_FLAGS = (
    os.O_DIRECTORY | os.O_NOFOLLOW | os.O_APPEND | os.O_EXCL | os.O_TRUNC | os.O_CREAT | os.O_ACCMODE
)


def refuse_write(task: Task, what: str) -> None:
    """EACCES, recorded, unless writing is allowed."""
    if "write" not in task.allow:
        raise task.refuse("write", what)


def openat(task: Task, dirfd: int, path: int, flags: int, mode: int, *_: int) -> int:
    name = task.path(path)
    follow = not flags & os.O_NOFOLLOW
    where = resolve(task, dirfd, name, follow=follow)
    file = open_special(task, where)
    if file is None:
        create = flags & os.O_CREAT and not os.path.lexists(where)
        if flags & _WRITING or create or flags & _TMPFILE == _TMPFILE:
            refuse_write(task, f"open for writing {where}")
            if where.startswith(("/proc/", "/sys/")):
                raise fail(errno.EACCES)
        if "write" not in task.allow:
            flags &= ~os.O_CREAT
        if flags & _TMPFILE == _TMPFILE:
            raise fail(errno.EOPNOTSUPP)
        file = open_host(where, flags & _HOST_FLAGS, mode & ~task.process.umask & 0o777)
    elif not isinstance(file, Null) and flags & os.O_ACCMODE and not where.startswith("/proc/self/fd/"):
        raise fail(errno.EACCES)
    return task.files.add(file, close_on_exec=bool(flags & os.O_CLOEXEC))


def open_(task: Task, path: int, flags: int, mode: int, *_: int) -> int:
    return openat(task, AT_FDCWD, path, flags, mode)


def creat(task: Task, path: int, mode: int, *_: int) -> int:
    return openat(task, AT_FDCWD, path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, mode)


def close(task: Task, fd: int, *_: int) -> int:
    task.files.close(fd)
    return 0


def close_range(task: Task, first: int, last: int, flags: int, *_: int) -> int:
    if first > last:
        raise fail(errno.EINVAL)
    if not flags & 4:  # CLOSE_RANGE_CLOEXEC
        task.files.close_range(first, last)
    return 0


def _readable(task: Task, fd: int) -> None:
    if task.files[fd].flags & os.O_ACCMODE == os.O_WRONLY:
        raise fail(errno.EBADF)


def _check_user(buffer: int, size: int) -> None:
    """access_ok, which vfs_read and vfs_write ask before the file."""
    if buffer + size > USER_END:
        raise fail(errno.EFAULT)


def read(task: Task, fd: int, buffer: int, size: int, *_: int) -> int:
    _readable(task, fd)
    _check_user(buffer, size)
    file = task.files[fd]
    data = file.read(min(size, TRANSFER_LIMIT))
    try:
        task.space.copy_in(buffer, data)
    except OSError:
        if stat.S_ISREG(file.status().st_mode):
            file.seek(-len(data), os.SEEK_CUR)
        raise
    return len(data)


def pread64(task: Task, fd: int, buffer: int, size: int, offset: int, *_: int) -> int:
    _readable(task, fd)
    if signed(offset, 64) < 0:
        raise fail(errno.EINVAL)
    _check_user(buffer, size)
    data = task.files[fd].pread(min(size, TRANSFER_LIMIT), offset)
    task.space.copy_in(buffer, data)
    return len(data)


def _writable(task: Task, fd: int) -> None:
    if task.files[fd].flags & os.O_ACCMODE == os.O_RDONLY:
        raise fail(errno.EBADF)


def write(task: Task, fd: int, buffer: int, size: int, *_: int) -> int:
    _writable(task, fd)
    _check_user(buffer, size)
    return task.files[fd].write(task.space.copy_out(buffer, min(size, TRANSFER_LIMIT)))


def pwrite64(task: Task, fd: int, buffer: int, size: int, offset: int, *_: int) -> int:
    _writable(task, fd)
    if signed(offset, 64) < 0:
        raise fail(errno.EINVAL)
    _check_user(buffer, size)
    return task.files[fd].pwrite(task.space.copy_out(buffer, min(size, TRANSFER_LIMIT)), offset)


def _vector(task: Task, address: int, count: int) -> list[tuple[int, int]]:
    """The `struct iovec` array, cut so that it moves no more than one transfer."""
    if signed(count) < 0 or count > _IOV_MAX:
        raise fail(errno.EINVAL)
    raw = task.space.copy_out(address, 16 * count)
    parts: list[tuple[int, int]] = []
    room = TRANSFER_LIMIT
    for base, size in struct.iter_unpack("<QQ", raw):
        if size >> 63:
            raise fail(errno.EINVAL)
        parts.append((base, min(size, room)))
        room -= parts[-1][1]
    return parts


def readv(task: Task, fd: int, vector: int, count: int, *_: int) -> int:
    _readable(task, fd)
    total = 0
    for base, size in _vector(task, vector, count):
        moved = read(task, fd, base, size) if size else 0
        total += moved
        if moved < size:
            break
    return total


def preadv(task: Task, fd: int, vector: int, count: int, offset: int, *_: int) -> int:
    total = 0
    for base, size in _vector(task, vector, count):
        moved = pread64(task, fd, base, size, offset + total) if size else 0
        total += moved
        if moved < size:
            break
    return total


def writev(task: Task, fd: int, vector: int, count: int, *_: int) -> int:
    _writable(task, fd)
    parts = _vector(task, vector, count)
    return task.files[fd].write(b"".join(task.space.copy_out(base, size) for base, size in parts))


def pwritev(task: Task, fd: int, vector: int, count: int, offset: int, *_: int) -> int:
    _writable(task, fd)
    parts = _vector(task, vector, count)
    return task.files[fd].pwrite(b"".join(task.space.copy_out(base, size) for base, size in parts), offset)


def lseek(task: Task, fd: int, offset: int, whence: int, *_: int) -> int:
    file = task.files[fd]
    if whence > 4:
        raise fail(errno.EINVAL)
    return file.seek(signed(offset, 64), whence)


def dup(task: Task, fd: int, *_: int) -> int:
    return task.files.add(task.files[fd])


def dup2(task: Task, old: int, new: int, *_: int) -> int:
    file = task.files[old]
    return new if old == new else task.files.put(signed(new), file)


def dup3(task: Task, old: int, new: int, flags: int, *_: int) -> int:
    file = task.files[old]
    if old == new:
        raise fail(errno.EINVAL)
    return task.files.put(signed(new), file, close_on_exec=bool(flags & os.O_CLOEXEC))


def fcntl(task: Task, fd: int, command: int, argument: int, *_: int) -> int:
    file = task.files[fd]
    match command:
        case 0 | 1030:  # F_DUPFD, F_DUPFD_CLOEXEC
            if argument >= 1024:
                raise fail(errno.EINVAL)
            return task.files.add(file, lowest=argument, close_on_exec=command == 1030)
        case 1:  # F_GETFD
            return int(task.files.close_on_exec(fd))
        case 2:  # F_SETFD
            task.files.close_on_exec(fd, bool(argument & 1))
            return 0
        case 3:  # F_GETFL
            return file.flags | 0o100000 * (file.path[:1] == "/")  # O_LARGEFILE
        case 4:  # F_SETFL
            anonymous = file.path.startswith("anon_inode:")
            if argument & os.O_DIRECT and anonymous:
                raise fail(errno.EINVAL)
            settable = _SETTABLE | os.O_APPEND * anonymous  # where it means nothing it is kept
            file.flags = file.flags & ~settable | argument & settable
            file.set_async(fd)
            return 0
        case 6 | 7 | 37 | 38:  # F_SETLK, F_SETLKW, F_OFD_SETLK, F_OFD_SETLKW
            return 0
        case 8:  # F_SETOWN
            return _set_owner(task, fd, signed(argument), process=True)
        case 9:  # F_GETOWN
            return file.owner
        case 10:  # F_SETSIG
            if not 0 <= argument <= 64:
                raise fail(errno.EINVAL)
            file.signal = argument
            file.set_async(fd)
            return 0
        case 11:  # F_GETSIG
            return file.signal
        case 15:  # F_SETOWN_EX
            kind, who = task.unpack("<ii", argument)
            if kind not in (0, 1, 2):  # F_OWNER_TID, F_OWNER_PID, F_OWNER_PGRP
                raise fail(errno.EINVAL)
            return _set_owner(task, fd, -who if kind == 2 else who, process=kind == 1)
        case 16:  # F_GETOWN_EX
            task.pack("<ii", argument, int(file.owner_is_process), file.owner)
            return 0
        case _:
            raise fail(errno.EINVAL)


def _set_owner(task: Task, fd: int, who: int, *, process: bool) -> int:
    if who == -1 << 31:
        raise fail(errno.EINVAL)
    if who < 0:
        if all(process.pgid != -who for process in task.system.processes.values()):
            raise fail(errno.ESRCH)
        raise Unsupported("signals to a process group by O_ASYNC")
    there = task.system.processes if process else task.system.tasks
    if who and who not in there:
        raise fail(errno.ESRCH)
    file = task.files[fd]
    file.owner, file.owner_is_process = who, process
    file.set_async(fd)
    return 0


def ioctl(task: Task, fd: int, request: int, argument: int, *_: int) -> int:
    file = task.files[fd]
    if request == 0x541B:  # FIONREAD
        status = file.status()
        if not stat.S_ISREG(status.st_mode):
            raise fail(errno.ENOTTY)
        task.pack("<i", argument, status.st_size - file.seek(0, os.SEEK_CUR))
        return 0
    if request in (0x5421, 0x5451, 0x5450):  # FIONBIO, FIOCLEX, FIONCLEX
        return 0
    return file.ioctl(task, request, argument)


def sendfile(task: Task, out: int, source: int, offset: int, count: int, *_: int) -> int:
    _writable(task, out)
    _readable(task, source)
    size = min(count, TRANSFER_LIMIT)
    if not offset:
        return task.files[out].write(task.files[source].read(size))
    (position,) = task.unpack("<q", offset)
    data = task.files[source].pread(size, position)
    task.pack("<q", offset, position + len(data))
    return task.files[out].write(data)


def _poll(task: Task, entries: int, count: int, timeout: int | None) -> int:
    """Answer poll, or wait; `timeout` in nanoseconds, None for ever."""
    if count > 1024:
        raise fail(errno.EINVAL)
    ready = 0
    keys: list[Hashable] = []
    for index in range(count):
        fd, events, _ = task.unpack("<ihh", entries + 8 * index)
        answer = 0
        if fd >= 0:
            if fd in task.files.numbers():
                now = task.files[fd].ready()
                now |= (now & 1) << 6 | (now & 4) << 6  # POLLRDNORM, POLLWRNORM
                answer = now & (events | 0x18)  # POLLERR and POLLHUP are always told
                keys += task.files[fd].waits_on()
            else:
                answer = 0x20  # POLLNVAL
        ready += bool(answer)
        task.pack("<h", entries + 8 * index + 6, answer)
    if not ready and not task.waited(timeout):
        raise task.wait_for("poll", *dict.fromkeys(keys), timeout=timeout, restarts=False)
    return ready


def poll(task: Task, entries: int, count: int, timeout: int, *_: int) -> int:
    wait = signed(timeout)
    return _poll(task, entries, count, wait * 10**6 if wait >= 0 else None)


def ppoll(task: Task, entries: int, count: int, timeout: int, *_: int) -> int:
    if not timeout:
        return _poll(task, entries, count, None)
    seconds, nanoseconds = task.unpack("<qq", timeout)
    return _poll(task, entries, count, seconds * 10**9 + nanoseconds)


def _fsync(task: Task, fd: int, *_: int) -> int:
    mode = task.files[fd].status().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise fail(errno.EINVAL)
    return 0


def _sync(task: Task, fd: int, *_: int) -> int:
    task.files[fd]
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
    "fsync": _fsync,
    "fdatasync": _fsync,
    "flock": _sync,
    "fadvise64": _sync,
    "readahead": _sync,
}
