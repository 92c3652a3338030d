"""Signals: actions, masks, sending and what an arrived one does (kernel/signal.c). Frames are in `frames`."""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping

from backends.emulated.linux import ending
from backends.emulated.linux.frames import enter_handler
from backends.emulated.linux.paths import signed
from backends.emulated.linux.sending import (
    UNBLOCKABLE,
    bit,
    by_user,
    ignored,
    name_of,
    retarget,
    send,
    siginfo,
)
from backends.emulated.linux.state import (
    NO_ACTION,
    NO_STACK,
    Blocked,
    Handler,
    Process,
    System,
    Task,
    Wait,
    fail,
)

__all__ = ["HANDLERS", "deliver", "raise_fault"]

_DEFAULT, _IGNORE = 0, 1
_KILL, _STOP = 9, 19
_STOPPING = (19, 20, 21, 22)  # SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU
_SYNCHRONOUS = (4, 5, 7, 8, 11, 31)  # SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGSYS: delivered first
_NODEFER, _RESETHAND = 0x4000_0000, 0x8000_0000
_SI_USER, _SI_TKILL = 0, -6


def _next(task: Task) -> tuple[int, bytes] | None:
    """Take the next signal that the task may have now: its own before its process's, exceptions before others."""
    for queue in (task.pending, task.process.pending):
        ready = [row for row in queue if not task.blocked & ~UNBLOCKABLE & bit(row[0])]
        if ready:
            row = min(ready, key=lambda each: (each[0] not in _SYNCHRONOUS, each[0]))
            queue.remove(row)
            return row
    return None


def deliver(task: Task) -> None:
    """Act on what is pending, on the way back to user mode. The task's registers are in the engine."""
    system, process = task.system, task.process
    task.signalled = False
    while not task.ended and not task.stopped and (row := _next(task)) is not None:
        number, info = row
        if ignored(process, number):
            continue
        handler = process.handler(number)
        if handler == _DEFAULT:
            if number in _STOPPING:
                _stop(system, process)
                return
            ending.end_process(system, process, -number)
            return
        action = process.actions[number]
        (flags,) = struct.unpack_from("<Q", action, 8)
        (mask,) = struct.unpack_from("<Q", action, 24)
        if not enter_handler(task, number, info, action):
            ending.end_process(system, process, -11)  # no room for the frame: SIGSEGV, unblockable
            return
        task.blocked |= mask & ~UNBLOCKABLE
        if not flags & _NODEFER:
            task.blocked |= bit(number)
        if flags & _RESETHAND:
            process.actions.pop(number, None)
    if task.saved_mask is not None and not task.ended:
        task.blocked, task.saved_mask = task.saved_mask, None


def _stop(system: System, process: Process) -> None:
    for thread in process.threads:
        thread.stopped = True
        if thread.wait is None and system.scheduler.is_runnable(thread):
            system.scheduler.remove(thread)


def raise_fault(task: Task, number: int, address: int, code: int) -> None:
    """A fault's signal: it cannot be blocked or ignored (kernel/signal.c, force_sig_info_to_task)."""
    process = task.process
    if process.handler(number) <= _IGNORE or task.blocked & bit(number):
        ending.end_process(task.system, process, -number)
        return
    task.pending.insert(0, (number, siginfo(number, code, "Q", address)))
    task.signalled = True


def rt_sigaction(task: Task, number: int, new: int, old: int, size: int, *_: int) -> int:
    if size != 8 or not 1 <= number <= 64:
        raise fail(errno.EINVAL)
    action = task.space.copy_out(new, 32) if new else None
    if action is not None and number in (_KILL, _STOP):
        raise fail(errno.EINVAL)
    if old:
        task.space.copy_in(old, task.process.actions.get(number, NO_ACTION))
    if action is not None:
        task.process.actions[number] = action
        if ignored(task.process, number):
            task.process.pending[:] = [row for row in task.process.pending if row[0] != number]
            for thread in task.process.threads:
                thread.pending[:] = [row for row in thread.pending if row[0] != number]
    return 0


def rt_sigprocmask(task: Task, how: int, new: int, old: int, size: int, *_: int) -> int:
    if size != 8:
        raise fail(errno.EINVAL)
    before = task.blocked
    after = before
    if new:
        (mask,) = task.unpack("<Q", new)
        choices = {0: before | mask, 1: before & ~mask, 2: mask}  # SIG_BLOCK, SIG_UNBLOCK, SIG_SETMASK
        if how not in choices:
            raise fail(errno.EINVAL)
        after = choices[how] & ~UNBLOCKABLE
    if old:
        task.pack("<Q", old, before)
    task.blocked = after
    task.signalled = True
    if task.process.pending and after & ~before:
        retarget(task)
    return 0


def _pending_mask(task: Task) -> int:
    mask = 0
    for number, _ in (*task.pending, *task.process.pending):
        mask |= bit(number)
    return mask & task.blocked


def rt_sigpending(task: Task, buffer: int, *_: int) -> int:
    task.pack("<Q", buffer, _pending_mask(task))
    return 0


def rt_sigsuspend(task: Task, mask: int, size: int, *_: int) -> int:
    if size != 8:
        raise fail(errno.EINVAL)
    (wanted,) = task.unpack("<Q", mask)
    task.saved_mask = task.blocked
    task.blocked = wanted & ~UNBLOCKABLE
    task.signalled = True
    return pause(task)


def pause(task: Task, *_: int) -> int:
    pending = (*task.pending, *task.process.pending)
    if any(not task.blocked & bit(number) for number, _ in pending):
        raise fail(errno.EINTR)
    raise Blocked(Wait("a signal"))


def rt_sigtimedwait(task: Task, mask: int, info: int, timeout: int, size: int, *_: int) -> int:
    if size != 8:
        raise fail(errno.EINVAL)
    (wanted,) = task.unpack("<Q", mask)
    nanoseconds = None
    if timeout:
        seconds, rest = task.unpack("<qq", timeout)
        nanoseconds = seconds * 10**9 + rest
    for queue in (task.pending, task.process.pending):
        for row in queue:
            if wanted & bit(row[0]):
                queue.remove(row)
                if info:
                    task.space.copy_in(info, row[1])
                return row[0]
    if task.waited(nanoseconds):
        raise fail(errno.EAGAIN)
    raise task.wait_for("a signal", ("signal", task.tid), timeout=nanoseconds)


def sigaltstack(task: Task, new: int, old: int, *_: int) -> int:
    wanted = task.unpack("<QixxxxQ", new) if new else None
    if old:
        task.pack("<QixxxxQ", old, *task.altstack)
    if wanted is not None:
        if not wanted[1] & 2 and wanted[2] < 2048:
            raise fail(errno.ENOMEM)
        task.altstack = NO_STACK if wanted[1] & 2 else wanted
    return 0


def _check(number: int) -> None:
    if not 0 <= number <= 64:
        raise fail(errno.EINVAL)


def _stranger(task: Task, target: int, number: int, what: str) -> OSError:
    """A process that is not of this machine."""
    if not number:
        return fail(errno.ESRCH)
    return task.refuse("kill", f"{what} of {target} with {name_of(number)}", errno.EPERM)


def kill(task: Task, target: int, number: int, *_: int) -> int:
    target, number, system = signed(target), signed(number), task.system
    _check(number)
    if target > 0:
        process = system.processes.get(target)
        targets = [process] if process is not None else []
    else:
        group = task.process.pgid if target == 0 else -target
        targets = [p for p in system.processes.values() if target == -1 or p.pgid == group]
        if target == -1:
            targets = [p for p in targets if p is not task.process]
    if not targets:
        raise _stranger(task, target, number, "kill")
    for process in targets:
        if number:
            send(system, process, number, by_user(task, number, _SI_USER))
    return 0


def _to_thread(task: Task, group: int | None, target: int, number: int, what: str) -> int:
    _check(number)
    other = task.system.tasks.get(target)
    if other is None or (group is not None and other.pid != group):
        raise _stranger(task, target, number, what)
    if number:
        send(task.system, other.process, number, by_user(task, number, _SI_TKILL), other)
    return 0


def tkill(task: Task, target: int, number: int, *_: int) -> int:
    return _to_thread(task, None, signed(target), signed(number), "tkill")


def tgkill(task: Task, group: int, target: int, number: int, *_: int) -> int:
    return _to_thread(task, signed(group), signed(target), signed(number), "tgkill")


def rt_sigqueueinfo(task: Task, target: int, number: int, info: int, *_: int) -> int:
    _check(signed(number))
    process = task.system.processes.get(signed(target))
    data = task.space.copy_out(info, 128)
    if process is None:
        raise _stranger(task, signed(target), signed(number), "rt_sigqueueinfo")
    if number:
        send(task.system, process, number, struct.pack("<i", number) + data[4:])
    return 0


HANDLERS: Mapping[str, Handler] = {
    "rt_sigaction": rt_sigaction,
    "rt_sigprocmask": rt_sigprocmask,
    "rt_sigpending": rt_sigpending,
    "rt_sigsuspend": rt_sigsuspend,
    "rt_sigtimedwait": rt_sigtimedwait,
    "rt_sigqueueinfo": rt_sigqueueinfo,
    "pause": pause,
    "sigaltstack": sigaltstack,
    "kill": kill,
    "tkill": tkill,
    "tgkill": tgkill,
}
