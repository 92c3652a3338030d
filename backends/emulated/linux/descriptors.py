"""Open files. A descriptor is a number; several may share one open file and its position, as dup(2) makes them."""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backends.base import HwbpError
from backends.emulated.linux.output import Output

if TYPE_CHECKING:
    from backends.emulated.linux.state import Task

__all__ = [
    "Descriptors",
    "File",
    "HostFile",
    "MustWait",
    "Null",
    "RandomBytes",
    "TextFile",
    "open_standard_input",
    "pack_stat",
]

_MAX_FILES = 1024
_FIFO = stat.S_IFIFO | 0o600
_CHARACTER = stat.S_IFCHR | 0o666


class MustWait(Exception):
    """Raised by an open file that has nothing to give, or no room, until one of `keys` happens."""

    def __init__(self, *keys: Hashable) -> None:
        super().__init__(keys)
        self.keys = keys


def _refuse(code: int) -> OSError:
    return OSError(code, os.strerror(code))


class File:
    """An open file; what it cannot do fails as a pipe's end would."""

    path = ""
    flags = os.O_RDONLY
    mode = _FIFO
    inode = 1
    device = 0
    users = 0
    """Descriptors that refer to it, of all processes."""
    owner = 0
    """F_SETOWN: whom O_ASYNC signals, a process unless `owner_is_process` is False; 0 for nobody."""
    owner_is_process = True
    signal = 0
    """F_SETSIG: the signal; 0 is SIGIO without particulars."""
    O_ASYNC = 0o20000

    def ready(self) -> int:
        """What poll(2) would say: POLLIN 1, POLLOUT 4, POLLERR 8, POLLHUP 16."""
        return 5

    def waits_on(self) -> tuple[Hashable, ...]:
        """What is to be waited for where it is not ready."""
        return ()

    def read(self, size: int) -> bytes:
        """Up to `size` bytes from the position on; empty at the end."""
        raise _refuse(errno.EBADF)

    def write(self, data: bytes) -> int:
        """Write at the position; returns how much."""
        raise _refuse(errno.EBADF)

    def pread(self, size: int, offset: int) -> bytes:
        """Read elsewhere, the position stays."""
        raise _refuse(errno.ESPIPE)

    def pwrite(self, data: bytes, offset: int) -> int:
        """Write elsewhere, the position stays."""
        raise _refuse(errno.ESPIPE)

    def seek(self, offset: int, whence: int) -> int:
        """lseek(2)."""
        raise _refuse(errno.ESPIPE)

    def status(self) -> os.stat_result:
        """fstat(2)."""
        return os.stat_result((self.mode, self.inode, self.device, 1, 1000, 1000, 0, 0, 0, 0))

    def host(self) -> int:
        """The host's descriptor, for what only a real file can do (`otherwise` is the errno where there is none)."""
        raise _refuse(errno.EINVAL)

    def ioctl(self, task: Task, request: int, argument: int) -> int:
        """ioctl(2) of the file itself."""
        raise _refuse(errno.ENOTTY)

    def map(self, task: Task, address: int, size: int, prot: int, flags: int, offset: int) -> int:
        """mmap(2) of what is no regular file; returns the address."""
        raise _refuse(errno.ENODEV if self.path.startswith("/") else errno.EACCES)

    def set_async(self, fd: int) -> None:
        """O_ASYNC, `owner` or `signal` changed, by way of this descriptor."""

    def close(self) -> None:
        """The last descriptor of it was closed."""


class _Silence(File):
    """Standard input with nothing in it."""

    path = "pipe:[1]"

    def read(self, size: int) -> bytes:
        return b""


class _Stream(File):
    """Standard output or error: what is written there is ours to show."""

    flags = os.O_WRONLY

    def __init__(self, stream: int, output: Output) -> None:
        self.stream = stream
        self.path = f"pipe:[{stream + 1}]"
        self.inode = stream + 1
        self._output = output

    def write(self, data: bytes) -> int:
        self._output.write(self.stream, data)
        return len(data)


class Null(File):
    """/dev/null."""

    path = "/dev/null"
    flags = os.O_RDWR
    mode = _CHARACTER
    inode = 5

    def read(self, size: int) -> bytes:
        return b""

    def write(self, data: bytes) -> int:
        return len(data)

    def pread(self, size: int, offset: int) -> bytes:
        return b""

    def seek(self, offset: int, whence: int) -> int:
        return 0

    def status(self) -> os.stat_result:
        return os.stat("/dev/null")


class RandomBytes(File):
    """/dev/urandom and /dev/random, from the machine's own generator."""

    mode = _CHARACTER
    inode = 9

    def __init__(self, path: str, seed: int) -> None:
        import random

        self.path = path
        self._random = random.Random(seed)

    def read(self, size: int) -> bytes:
        return self._random.randbytes(size)


class TextFile(File):
    """A file of /proc or /sys, written when it is opened."""

    mode = stat.S_IFREG | 0o444

    def __init__(self, path: str, content: bytes) -> None:
        self.path = path
        self._content = content
        self._position = 0
        self.inode = 0x1000 + sum(path.encode()) % 0x1000

    def read(self, size: int) -> bytes:
        data = self._content[self._position : self._position + size]
        self._position += len(data)
        return data

    def pread(self, size: int, offset: int) -> bytes:
        return self._content[offset : offset + size]

    def seek(self, offset: int, whence: int) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position}.get(whence)
        if base is None or base + offset < 0:
            raise _refuse(errno.EINVAL)
        self._position = base + offset
        return self._position


class HostFile(File):
    """A file or directory of the host; it owns the host's descriptor."""

    def __init__(self, fd: int, path: str, flags: int) -> None:
        self._fd = fd
        self.path = path
        self.flags = flags
        self._entries: list[tuple[int, int, bytes]] | None = None
        self._entry = 0

    def read(self, size: int) -> bytes:
        return os.read(self._fd, size)

    def write(self, data: bytes) -> int:
        return os.write(self._fd, data)

    def pread(self, size: int, offset: int) -> bytes:
        return os.pread(self._fd, size, offset)

    def pwrite(self, data: bytes, offset: int) -> int:
        return os.pwrite(self._fd, data, offset)

    def seek(self, offset: int, whence: int) -> int:
        if stat.S_ISDIR(os.fstat(self._fd).st_mode):
            self._entries, self._entry = None, offset
            return offset
        return os.lseek(self._fd, offset, whence)

    def status(self) -> os.stat_result:
        return os.fstat(self._fd)

    def host(self) -> int:
        return self._fd

    def entries(self, size: int) -> bytes:
        """getdents64(2): as many `struct linux_dirent64` as fit, from the position on."""
        if self._entries is None:
            self._entries = _directory(self._fd)
        records = bytearray()
        for inode, kind, name in self._entries[self._entry :]:
            length = (19 + len(name) + 1 + 7) & -8
            if len(records) + length > size:
                if not records:
                    raise _refuse(errno.EINVAL)
                break
            self._entry += 1
            head = struct.pack("<QqHB", inode, self._entry, length, kind)
            records += (head + name).ljust(length, b"\0")
        return bytes(records)

    def close(self) -> None:
        os.close(self._fd)


def _directory(fd: int) -> list[tuple[int, int, bytes]]:
    here = os.fstat(fd).st_ino
    parent = os.stat("..", dir_fd=fd).st_ino
    found = [(here, 4, b"."), (parent, 4, b"..")]
    with os.scandir(fd) as entries:
        for entry in entries:
            kind = 10 if entry.is_symlink() else 4 if entry.is_dir() else 8 if entry.is_file() else 0
            found.append((entry.inode(), kind, os.fsencode(entry.name)))
    return found


@dataclass(slots=True)
class _Slot:
    file: File
    close_on_exec: bool


class Descriptors:
    """The table of descriptors; every method raises EBADF for a number that is not open."""

    def __init__(self, output: Output, standard_input: File | None) -> None:
        first = standard_input or _Silence()
        self._slots: dict[int, _Slot] = {}
        for number, file in enumerate((first, _Stream(1, output), _Stream(2, output))):
            self._open(number, file, False)

    def _open(self, fd: int, file: File, close_on_exec: bool) -> None:
        file.users += 1
        self._slots[fd] = _Slot(file, close_on_exec)

    def copy(self) -> Descriptors:
        """The same open files under the same numbers: what fork(2) gives the child."""
        other = object.__new__(Descriptors)
        other._slots = {}
        for fd, slot in self._slots.items():
            other._open(fd, slot.file, slot.close_on_exec)
        return other

    def close_those_on_exec(self) -> None:
        """Close what has FD_CLOEXEC."""
        for fd in [fd for fd, slot in self._slots.items() if slot.close_on_exec]:
            self.close(fd)

    def __getitem__(self, fd: int) -> File:
        return self._slot(fd).file

    def _slot(self, fd: int) -> _Slot:
        slot = self._slots.get(fd & 0xFFFF_FFFF)
        if slot is None:
            raise _refuse(errno.EBADF)
        return slot

    def add(self, file: File, *, lowest: int = 0, close_on_exec: bool = False) -> int:
        """Give the file the lowest free number (EMFILE, and the file is closed)."""
        fd = lowest
        while fd in self._slots:
            fd += 1
        if fd >= _MAX_FILES:
            if not file.users:
                file.close()
            raise _refuse(errno.EMFILE)
        self._open(fd, file, close_on_exec)
        return fd

    def put(self, fd: int, file: File, *, close_on_exec: bool = False) -> int:
        """Give the file this number; what had it is closed (EBADF past the limit)."""
        if not 0 <= fd < _MAX_FILES:
            raise _refuse(errno.EBADF)
        if fd in self._slots:
            self.close(fd)
        self._open(fd, file, close_on_exec)
        return fd

    def close(self, fd: int) -> None:
        """Close one number."""
        slot = self._slot(fd)
        del self._slots[fd & 0xFFFF_FFFF]
        slot.file.users -= 1
        if not slot.file.users:
            slot.file.close()

    def close_range(self, first: int, last: int) -> None:
        """Close all numbers from first to last."""
        for fd in [fd for fd in self._slots if first <= fd <= last]:
            self.close(fd)

    def close_on_exec(self, fd: int, value: bool | None = None) -> bool:
        """FD_CLOEXEC, and set it where a value is given."""
        slot = self._slot(fd)
        if value is not None:
            slot.close_on_exec = value
        return slot.close_on_exec

    def numbers(self) -> tuple[int, ...]:
        """The open numbers, ascending."""
        return tuple(sorted(self._slots))


def open_standard_input(path: str | None) -> File | None:
    """The file behind standard input; HwbpError where it cannot be read."""
    if path is None:
        return None
    try:
        mode = os.stat(path).st_mode  # before opening, which alone may wake a pipe's writer
        if not (stat.S_ISREG(mode) or os.path.realpath(path) == "/dev/null"):
            raise HwbpError(f"{path}: standard input must be a regular file", errno="EINVAL")
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        code = errno.errorcode.get(error.errno or 0, "EIO")
        raise HwbpError(f"{path}: {os.strerror(error.errno or 0)}", errno=code) from error
    return HostFile(fd, os.path.realpath(path), os.O_RDONLY)


def pack_stat(status: os.stat_result) -> bytes:
    """`struct stat` of x86-64 (arch/x86/include/uapi/asm/stat.h), 144 bytes."""
    times = [part for ns in _times(status) for part in divmod(ns, 10**9)]
    return struct.pack(
        "<QQQIIIIQqqq6Q24x",
        status.st_dev,
        status.st_ino,
        status.st_nlink,
        status.st_mode,
        status.st_uid,
        status.st_gid,
        0,
        getattr(status, "st_rdev", 0) or 0,
        status.st_size,
        getattr(status, "st_blksize", 0) or 4096,
        getattr(status, "st_blocks", 0) or 0,
        *(part & (1 << 64) - 1 for part in times),
    )


def _times(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_atime_ns or 0, status.st_mtime_ns or 0, status.st_ctime_ns or 0
