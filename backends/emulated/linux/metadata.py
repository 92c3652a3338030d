"""System calls that look at files and directories, and those that would change them."""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Callable, Mapping

from backends.emulated.linux.descriptors import HostFile, pack_stat
from backends.emulated.linux.files import refuse_write
from backends.emulated.linux.paths import AT_FDCWD, OWN, open_special, own_link, resolve
from backends.emulated.linux.state import EPOCH_NS, Handler, Task, fail

__all__ = ["HANDLERS"]

_AT_SYMLINK_NOFOLLOW = 0x100
_AT_EMPTY_PATH = 0x1000
_DIRENTS_LIMIT = 1 << 16


def _status(task: Task, dirfd: int, path: int, flags: int) -> os.stat_result:
    name = task.path(path)
    if not name and flags & _AT_EMPTY_PATH:
        return task.files[dirfd].status()
    where = resolve(task, dirfd, name, follow=not flags & _AT_SYMLINK_NOFOLLOW)
    if own_link(task, where) is not None and flags & _AT_SYMLINK_NOFOLLOW:
        return os.stat_result((stat.S_IFLNK | 0o777, 1, 0, 1, 1000, 1000, 0, 0, 0, 0))
    if where == OWN:
        return os.stat_result((stat.S_IFDIR | 0o555, 1, 0, 2, 1000, 1000, 0, 0, 0, 0))
    if not where.startswith("/dev/") and (file := open_special(task, where)) is not None:
        return file.status()
    return os.lstat(where)


def newfstatat(task: Task, dirfd: int, path: int, buffer: int, flags: int, *_: int) -> int:
    task.space.copy_in(buffer, pack_stat(_status(task, dirfd, path, flags)))
    return 0


def stat_(task: Task, path: int, buffer: int, *_: int) -> int:
    return newfstatat(task, AT_FDCWD, path, buffer, 0)


def lstat(task: Task, path: int, buffer: int, *_: int) -> int:
    return newfstatat(task, AT_FDCWD, path, buffer, _AT_SYMLINK_NOFOLLOW)


def fstat(task: Task, fd: int, buffer: int, *_: int) -> int:
    task.space.copy_in(buffer, pack_stat(task.files[fd].status()))
    return 0


def statx(task: Task, dirfd: int, path: int, flags: int, mask: int, buffer: int, *_: int) -> int:
    """`struct statx` (include/uapi/linux/stat.h), the basic fields."""
    s = _status(task, dirfd, path, flags)
    rdev = getattr(s, "st_rdev", 0) or 0
    head = struct.pack(
        "<IIQIIIHHQQQQ",
        0x7FF,
        getattr(s, "st_blksize", 0) or 4096,
        0,
        s.st_nlink,
        s.st_uid,
        s.st_gid,
        s.st_mode,
        0,
        s.st_ino,
        s.st_size,
        getattr(s, "st_blocks", 0) or 0,
        0,
    )
    times = (s.st_atime_ns or 0, 0, s.st_ctime_ns or 0, s.st_mtime_ns or 0)
    body = b"".join(struct.pack("<qIi", *divmod(ns, 10**9), 0) for ns in times)
    devices = (os.major(rdev), os.minor(rdev), os.major(s.st_dev), os.minor(s.st_dev))
    task.space.copy_in(buffer, (head + body + struct.pack("<4I", *devices)).ljust(256, b"\0"))
    return 0


def faccessat(task: Task, dirfd: int, path: int, mode: int, *_: int) -> int:
    where = resolve(task, dirfd, task.path(path))
    if where == OWN:
        return 0
    if where.startswith("/proc/self") or open_special(task, where) is not None:
        if mode & os.X_OK or (mode & os.W_OK and not where.startswith("/dev/")):
            raise fail(errno.EACCES)
        return 0
    os.stat(where)
    if not os.access(where, mode & 7) or (mode & os.W_OK and "write" not in task.allow):
        raise fail(errno.EACCES)
    return 0


def access(task: Task, path: int, mode: int, *_: int) -> int:
    return faccessat(task, AT_FDCWD, path, mode)


def readlinkat(task: Task, dirfd: int, path: int, buffer: int, size: int, *_: int) -> int:
    if size == 0 or size >> 31:
        raise fail(errno.EINVAL)
    where = resolve(task, dirfd, task.path(path), follow=False)
    target = own_link(task, where)
    if target is None:
        if where.startswith(("/proc/self/", OWN)):
            raise fail(errno.ENOENT)
        target = os.readlink(where)
    data = os.fsencode(target)[:size]
    task.space.copy_in(buffer, data)
    return len(data)


def readlink(task: Task, path: int, buffer: int, size: int, *_: int) -> int:
    return readlinkat(task, AT_FDCWD, path, buffer, size)


def getdents64(task: Task, fd: int, buffer: int, size: int, *_: int) -> int:
    file = task.files[fd]
    if not isinstance(file, HostFile) or not stat.S_ISDIR(file.status().st_mode):
        raise fail(errno.ENOTDIR)
    data = file.entries(min(size & 0xFFFF_FFFF, _DIRENTS_LIMIT))
    task.space.copy_in(buffer, data)
    return len(data)


def getcwd(task: Task, buffer: int, size: int, *_: int) -> int:
    data = os.fsencode(task.process.cwd) + b"\0"
    if len(data) > size:
        raise fail(errno.ERANGE)
    task.space.copy_in(buffer, data)
    return len(data)


def chdir(task: Task, path: int, *_: int) -> int:
    where = resolve(task, AT_FDCWD, task.path(path))
    if not stat.S_ISDIR(os.stat(where).st_mode):
        raise fail(errno.ENOTDIR)
    task.process.cwd = where.rstrip("/") or "/"
    return 0


def fchdir(task: Task, fd: int, *_: int) -> int:
    file = task.files[fd]
    if not stat.S_ISDIR(file.status().st_mode):
        raise fail(errno.ENOTDIR)
    task.process.cwd = file.path
    return 0


def _pack_statfs(task: Task, buffer: int, found: os.statvfs_result) -> int:
    fields = (
        0xEF53,
        found.f_bsize,
        found.f_blocks,
        found.f_bfree,
        found.f_bavail,
        found.f_files,
        found.f_ffree,
    )
    tail = (found.f_namemax, found.f_frsize, found.f_flag)
    task.space.copy_in(buffer, struct.pack("<7Q8x3Q32x", *fields, *tail))
    return 0


def statfs(task: Task, path: int, buffer: int, *_: int) -> int:
    where = resolve(task, AT_FDCWD, task.path(path))
    return _pack_statfs(task, buffer, os.statvfs(where))


def fstatfs(task: Task, fd: int, buffer: int, *_: int) -> int:
    return _pack_statfs(task, buffer, os.statvfs(task.files[fd].path))


def _no_attributes(task: Task, *_: int) -> int:
    raise fail(errno.EOPNOTSUPP)


def umask(task: Task, mask: int, *_: int) -> int:
    old, task.process.umask = task.process.umask, mask & 0o777
    return old


def _changed(task: Task, what: str, dirfd: int, path: int, *, follow: bool = False) -> str:
    """The path that a system call would change, once that is allowed."""
    where = resolve(task, dirfd, task.path(path), follow=follow)
    if what in ("unlink", "rename", "chmod", "utimensat"):
        os.lstat(where)
    refuse_write(task, f"{what} {where}")
    if where.startswith(("/proc/", "/dev/", "/sys/")):
        raise fail(errno.EACCES)
    return where


def mkdirat(task: Task, dirfd: int, path: int, mode: int, *_: int) -> int:
    os.mkdir(_changed(task, "mkdir", dirfd, path), mode & 0o777 & ~task.process.umask)
    return 0


def mkdir(task: Task, path: int, mode: int, *_: int) -> int:
    return mkdirat(task, AT_FDCWD, path, mode)


def unlinkat(task: Task, dirfd: int, path: int, flags: int, *_: int) -> int:
    where = _changed(task, "unlink", dirfd, path)
    if flags & 0x200:  # AT_REMOVEDIR
        os.rmdir(where)
    else:
        os.unlink(where)
    return 0


def unlink(task: Task, path: int, *_: int) -> int:
    return unlinkat(task, AT_FDCWD, path, 0)


def rmdir(task: Task, path: int, *_: int) -> int:
    return unlinkat(task, AT_FDCWD, path, 0x200)


def renameat2(task: Task, old_fd: int, old: int, new_fd: int, new: int, flags: int, *_: int) -> int:
    source, target = _changed(task, "rename", old_fd, old), _changed(task, "rename to", new_fd, new)
    if flags & 1 and os.path.lexists(target):  # RENAME_NOREPLACE
        raise fail(errno.EEXIST)
    if flags & ~1:
        raise fail(errno.EINVAL)
    os.rename(source, target)
    return 0


def renameat(task: Task, old_fd: int, old: int, new_fd: int, new: int, *_: int) -> int:
    return renameat2(task, old_fd, old, new_fd, new, 0)


def rename(task: Task, old: int, new: int, *_: int) -> int:
    return renameat2(task, AT_FDCWD, old, AT_FDCWD, new, 0)


def ftruncate(task: Task, fd: int, size: int, *_: int) -> int:
    refuse_write(task, f"truncate {task.files[fd].path}")
    os.ftruncate(task.files[fd].host(), size)
    return 0


def fchmod(task: Task, fd: int, mode: int, *_: int) -> int:
    refuse_write(task, f"chmod {task.files[fd].path}")
    os.fchmod(task.files[fd].host(), mode & 0o777)
    return 0


def fchmodat(task: Task, dirfd: int, path: int, mode: int, *_: int) -> int:
    os.chmod(_changed(task, "chmod", dirfd, path, follow=True), mode & 0o777)
    return 0


def chmod(task: Task, path: int, mode: int, *_: int) -> int:
    return fchmodat(task, AT_FDCWD, path, mode)


def utimensat(task: Task, dirfd: int, path: int, times: int, flags: int, *_: int) -> int:
    """Only "now" and plain times; UTIME_OMIT keeps what the file has."""
    follow = not flags & _AT_SYMLINK_NOFOLLOW
    if path:
        where = _changed(task, "utimensat", dirfd, path, follow=follow)
    else:
        where = task.files[dirfd].path
        refuse_write(task, f"utimensat {where}")
        task.files[dirfd].host()
    if not times:
        os.utime(where, follow_symlinks=follow)
        return 0
    now, omit = (1 << 30) - 1, (1 << 30) - 2
    seconds_a, rest_a, seconds_m, rest_m = task.unpack("<4q", times)
    old = os.lstat(where)
    clock = task.now() + EPOCH_NS
    accessed = {now: clock, omit: old.st_atime_ns}.get(rest_a, seconds_a * 10**9 + rest_a)
    modified = {now: clock, omit: old.st_mtime_ns}.get(rest_m, seconds_m * 10**9 + rest_m)
    os.utime(where, ns=(accessed, modified), follow_symlinks=follow)
    return 0


def _always_refused(what: str, dirfd_first: bool) -> Callable[..., int]:
    """A change that the machine never makes: refused like the others, and ENOSYS where writing is allowed."""

    def handler(task: Task, first: int, second: int, *_: int) -> int:
        dirfd, path = (first, second) if dirfd_first else (AT_FDCWD, first)
        where = resolve(task, dirfd, task.path(path), follow=False) if path else ""
        raise task.refuse("write", f"{what} {where}")

    return handler


HANDLERS: Mapping[str, Handler] = {
    "stat": stat_,
    "lstat": lstat,
    "fstat": fstat,
    "newfstatat": newfstatat,
    "statx": statx,
    "access": access,
    "faccessat": faccessat,
    "faccessat2": faccessat,
    "readlink": readlink,
    "readlinkat": readlinkat,
    "getdents64": getdents64,
    "getcwd": getcwd,
    "chdir": chdir,
    "fchdir": fchdir,
    "statfs": statfs,
    "fstatfs": fstatfs,
    "umask": umask,
    "mkdir": mkdir,
    "mkdirat": mkdirat,
    "unlink": unlink,
    "unlinkat": unlinkat,
    "rmdir": rmdir,
    "rename": rename,
    "renameat": renameat,
    "renameat2": renameat2,
    "ftruncate": ftruncate,
    "fchmod": fchmod,
    "fchmodat": fchmodat,
    "chmod": chmod,
    "utimensat": utimensat,
    **{
        f"{kind}{word}xattr": _no_attributes
        for kind in ("", "l", "f")
        for word in ("get", "set", "list", "remove")
    },
    **{name: _always_refused(name, False) for name in ("chown", "lchown", "truncate", "mknod", "utime")},
    **{name: _always_refused(name, False) for name in ("link", "symlink", "utimes")},
    **{name: _always_refused(name, True) for name in ("fchownat", "mknodat", "linkat")},
    **{name: _always_refused(name, True) for name in ("futimesat", "fchmodat2")},
}
