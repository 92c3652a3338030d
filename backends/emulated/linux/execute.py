"""execve(2): another program in the same process (fs/exec.c)."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

from backends.base import HwbpError
from backends.emulated.linux.ending import end_thread, leave_memory, release_vfork
from backends.emulated.linux.paths import AT_FDCWD, resolve
from backends.emulated.linux.robust import release_robust
from backends.emulated.linux.state import NO_STACK, Handler, Task, fail
from backends.emulated.loader import ARGUMENT_LIMIT, enter, load_program
from backends.emulated.mm import Mm

__all__ = ["HANDLERS"]

_MOST_SCRIPTS = 5


def _strings(task: Task, address: int) -> list[str]:
    found: list[str] = []
    size = 0
    while address:
        (pointer,) = task.unpack("<Q", address + 8 * len(found))
        if not pointer:
            break
        found.append(os.fsdecode(task.space.text(pointer, ARGUMENT_LIMIT)))
        size += len(found[-1]) + 9
        if size > ARGUMENT_LIMIT:
            raise fail(errno.E2BIG)
    return found


def _interpreter(path: str) -> list[str]:
    """The words of a script's first line, none where the file is none."""
    with open(path, "rb") as file:
        start = file.read(256)
    if not start.startswith(b"#!"):
        return []
    return os.fsdecode(start[2:].split(b"\n")[0].strip()).split(maxsplit=1)


def _execute(task: Task, path: str, argv: list[str], environment: list[str]) -> None:
    if "exec" not in task.allow:
        raise task.refuse("exec", f"execve {path}")
    name = path
    for _ in range(_MOST_SCRIPTS):
        if not os.path.isfile(path):
            raise fail(errno.EACCES if os.path.exists(path) else errno.ENOENT)
        if not os.access(path, os.X_OK):
            raise fail(errno.EACCES)
        words = _interpreter(path)
        if not words:
            break
        argv = [*words, name, *argv[1:]]
        name = path = os.path.realpath(words[0])
    else:
        raise fail(errno.ELOOP)
    process = task.process
    mm = Mm.fresh(process.mm.stacks)
    mm.on_change = process.mm.on_change
    try:
        image = load_program(path, name, tuple(argv), tuple(environment), mm.space)
    except HwbpError as error:
        code = getattr(errno, error.errno or "", errno.ENOEXEC)
        raise fail(code) from error
    for other in tuple(process.threads):
        if other is not task:
            end_thread(other, 0)
    if task.tid != process.pid:
        task.system.rename(task, process.pid)
    release_robust(task)
    process.mm.leave(task)
    leave_memory(task.system, process)
    process.mm, process.image = mm, image
    process.files.close_those_on_exec()
    process.actions = {number: action for number, action in process.actions.items() if action[0] == 1}
    task.comm = os.path.basename(name)[:15]
    task.altstack, task.clear_child_tid = NO_STACK, 0
    task.rf_pc = task.rep_pc = -1
    task.guest_tf = False
    enter(mm.engine, image)
    task.context = None
    mm.resident = task
    release_vfork(process)
    task.system.on_exec(task)


def execve(task: Task, path: int, argv: int, environment: int, *_: int) -> None:
    where = resolve(task, AT_FDCWD, task.path(path))
    _execute(task, where, _strings(task, argv), _strings(task, environment))


def execveat(task: Task, dirfd: int, path: int, argv: int, environment: int, flags: int, *_: int) -> None:
    name = task.path(path)
    where = task.files[dirfd].path if not name and flags & 0x1000 else resolve(task, dirfd, name)
    _execute(task, where, _strings(task, argv), _strings(task, environment))


HANDLERS: Mapping[str, Handler] = {"execve": execve, "execveat": execveat}
