"""System calls about memory: mmap, mprotect, brk and their kin."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping

from backends.emulated.engine import EXEC, WRITE
from backends.emulated.linux.state import Handler, Task, Unsupported, fail
from backends.emulated.regions import LIMIT, PAGE, page_up
from backends.emulated.shared import SharedMemory

__all__ = ["HANDLERS"]

_MAP_SHARED, _MAP_FIXED, _MAP_ANONYMOUS, _MAP_FIXED_NOREPLACE = 0x1, 0x10, 0x20, 0x100000


def mmap(task: Task, address: int, size: int, prot: int, flags: int, fd: int, offset: int) -> int:
    if not size or offset % PAGE or not flags & 3:
        raise fail(errno.EINVAL)
    if size > 2 * LIMIT:
        raise fail(errno.ENOMEM)
    fixed = bool(flags & (_MAP_FIXED | _MAP_FIXED_NOREPLACE))
    if flags & _MAP_FIXED_NOREPLACE and task.space.occupied(address, size):
        raise fail(errno.EEXIST)
    where = address if fixed or address else None
    if flags & _MAP_ANONYMOUS:
        shared = flags & 3 == _MAP_SHARED
        backing = SharedMemory(page_up(size)) if shared and not prot & EXEC else None
        return task.space.map(where, size, prot & 7, fixed=fixed, shared=shared, backing=backing)
    file = task.files[fd]
    if not stat.S_ISREG(file.status().st_mode):
        return file.map(task, address, size, prot, flags, offset)
    if flags & 3 == _MAP_SHARED and prot & WRITE:
        if file.flags & os.O_ACCMODE == os.O_RDWR:
            raise task.refuse("write", f"shared writable mapping of {file.path}", errno.ENODEV)
        raise fail(errno.EACCES)
    if size > LIMIT:
        raise fail(errno.ENOMEM)
    data = file.pread(size, offset)
    return task.space.map(where, size, prot & 7, fixed=fixed, data=data, offset=offset, path=file.path)


def munmap(task: Task, address: int, size: int, *_: int) -> int:
    task.space.unmap(address, size)
    return 0


def mprotect(task: Task, address: int, size: int, prot: int, *_: int) -> int:
    if prot & ~7:
        raise fail(errno.EINVAL)
    task.space.protect(address, size, prot)
    return 0


def pkey_mprotect(task: Task, address: int, size: int, prot: int, key: int, *_: int) -> int:
    if key != (1 << 64) - 1:
        raise fail(errno.EINVAL)
    return mprotect(task, address, size, prot)


def brk(task: Task, address: int, *_: int) -> int:
    return task.space.brk(address)


def mremap(task: Task, old: int, old_size: int, new_size: int, flags: int, new: int, *_: int) -> int:
    if old % PAGE or not new_size or flags & ~7:
        raise fail(errno.EINVAL)
    old_size, new_size = page_up(old_size), page_up(new_size)
    if not old_size or flags & 6:  # MREMAP_FIXED and MREMAP_DONTUNMAP: nobody but runtimes of languages asks
        raise fail(errno.EINVAL)
    space = task.space
    prot = space.prot_at(old)
    if not space.mapped(old) or old_size > LIMIT or new_size > LIMIT:
        raise fail(errno.ENOMEM if space.mapped(old) else errno.EFAULT)
    space.check(old, old_size, prot)
    if space.shared_at(old) is not None:
        raise Unsupported("mremap of shared memory")
    if new_size <= old_size:
        if new_size < old_size:
            space.unmap(old + new_size, old_size - new_size)
        return old
    if not flags & 1:  # MREMAP_MAYMOVE
        raise fail(errno.ENOMEM)
    where = space.map(None, new_size, prot, path=space.region_path(old))
    space.poke(where, task.engine.read(old, old_size))
    space.unmap(old, old_size)
    return where


def madvise(task: Task, address: int, size: int, advice: int, *_: int) -> int:
    if address % PAGE:
        raise fail(errno.EINVAL)
    if advice == 4:  # MADV_DONTNEED: private anonymous memory reads as zeros again
        task.space.empty(address, page_up(size))
    return 0


def _nothing(task: Task, *_: int) -> int:
    return 0


HANDLERS: Mapping[str, Handler] = {
    "mmap": mmap,
    "munmap": munmap,
    "mprotect": mprotect,
    "pkey_mprotect": pkey_mprotect,
    "brk": brk,
    "mremap": mremap,
    "madvise": madvise,
    "msync": _nothing,
    "mlock": _nothing,
    "mlock2": _nothing,
    "munlock": _nothing,
    "mlockall": _nothing,
    "munlockall": _nothing,
}
