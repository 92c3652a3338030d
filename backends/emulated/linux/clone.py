"""New tasks: clone, clone3, fork and vfork (kernel/fork.c)."""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping

from backends.emulated.linux.state import (
    NO_STACK,
    Blocked,
    Handler,
    Process,
    Task,
    Unsupported,
    Wait,
    add_thread,
    fail,
)

__all__ = ["HANDLERS", "MOST_PROCESSES", "THREAD", "VFORK", "VM"]

VM, FS, FILES, SIGHAND = 0x100, 0x200, 0x400, 0x800
PIDFD, PTRACE, VFORK, PARENT, THREAD, NEWNS = 0x1000, 0x2000, 0x4000, 0x8000, 0x1_0000, 0x2_0000
SYSVSEM, SETTLS, PARENT_SETTID = 0x4_0000, 0x8_0000, 0x10_0000
CHILD_CLEARTID, DETACHED, CHILD_SETTID = 0x20_0000, 0x40_0000, 0x100_0000
CLEAR_SIGHAND = 1 << 32
_A_THREAD = VM | FS | FILES | SIGHAND
_KNOWN = (
    _A_THREAD | VFORK | THREAD | SYSVSEM | SETTLS | PARENT_SETTID | CHILD_CLEARTID | DETACHED | CHILD_SETTID
    | CLEAR_SIGHAND | 0xFF
)  # fmt: skip
_MOST_TASKS = 4096
MOST_PROCESSES = 128
"""Processes that may exist at once: each has an engine and a copy of the memory."""


def _clone(task: Task, flags: int, signal: int, stack: int, parent_tid: int, child_tid: int, tls: int) -> int:
    if (flags & THREAD and flags & (VM | SIGHAND) != VM | SIGHAND) or (flags & SIGHAND and not flags & VM):
        raise fail(errno.EINVAL)
    if flags & ~_KNOWN:
        raise Unsupported(f"clone with flags {flags & ~_KNOWN:#x}")
    if flags & THREAD and flags & _A_THREAD != _A_THREAD:
        raise Unsupported("a thread with files or a working directory of its own")
    if not flags & THREAD and flags & (FILES | FS | SIGHAND):
        raise Unsupported("a process that shares its files, its working directory or its signal handlers")
    if not flags & VM and task.space.shares_memory():
        raise Unsupported("fork with shared executable memory: each process has an engine of its own")
    system = task.system
    if len(system.tasks) >= _MOST_TASKS or (not flags & VM and len(system.processes) >= MOST_PROCESSES):
        raise fail(errno.EAGAIN)
    tid = system.new_tid()
    if flags & PARENT_SETTID:
        task.pack("<I", parent_tid, tid)
    system.on_new(tid, task, flags)
    process = task.process if flags & THREAD else _fork(task, tid, flags, signal)
    child = add_thread(system, process, tid, task.comm)
    child.blocked = task.blocked
    child.affinity, child.cpu = task.affinity, task.cpu
    child.altstack = NO_STACK if flags & VM and not flags & VFORK else task.altstack
    if flags & CHILD_CLEARTID:
        child.clear_child_tid = child_tid
    child.context = task.engine.after_syscall(result=0, stack=stack, tls=tls if flags & SETTLS else None)
    if flags & CHILD_SETTID:
        child.space.poke(child_tid, struct.pack("<I", tid))
    system.scheduler.add(child)
    if flags & VFORK:
        process.vforked = task
        raise Blocked(Wait("vfork", woken=tid))
    return tid


def _fork(task: Task, pid: int, flags: int, signal: int) -> Process:
    parent = task.process
    process = Process(
        pid,
        parent,
        parent.mm if flags & VM else parent.mm.copy(),
        parent.image,
        parent.files.copy(),
        parent.cwd,
        parent.umask,
        parent.pgid,
        parent.sid,
        dict(parent.limits),
        {
            number: action
            for number, action in parent.actions.items()
            if not flags & CLEAR_SIGHAND or action[0] == 1
        },
        exit_signal=signal,
    )
    parent.children.append(process)
    return process


def clone(task: Task, flags: int, stack: int, parent_tid: int, child_tid: int, tls: int, *_: int) -> int:
    return _clone(task, flags & 0xFFFF_FF00, flags & 0xFF, stack, parent_tid, child_tid, tls)


def clone3(task: Task, arguments: int, size: int, *_: int) -> int:
    if size < 64:
        raise fail(errno.EINVAL)
    if size > 4096:
        raise fail(errno.E2BIG)
    values = struct.unpack("<8Q", task.space.copy_out(arguments, 64))
    flags, _, child_tid, parent_tid, signal, stack, stack_size, tls = values
    if size > 64 and any(task.space.copy_out(arguments + 64, size - 64)):
        raise Unsupported("clone3 with set_tid or a control group")
    return _clone(task, flags, signal, stack + stack_size, parent_tid, child_tid, tls)


def fork(task: Task, *_: int) -> int:
    return _clone(task, 0, 17, 0, 0, 0, 0)


def vfork(task: Task, *_: int) -> int:
    return _clone(task, VM | VFORK, 17, 0, 0, 0, 0)


HANDLERS: Mapping[str, Handler] = {"clone": clone, "clone3": clone3, "fork": fork, "vfork": vfork}
