"""Sending signals: to a process or a thread, and what that does to a wait (kernel/signal.c)."""

from __future__ import annotations

import errno
import signal
import struct

from backends.emulated.linux.state import NO_ACTION, UID, Process, System, Task

__all__ = ["UNBLOCKABLE", "bit", "by_user", "ignored", "name_of", "retarget", "send", "siginfo"]

_DEFAULT, _IGNORE = 0, 1
_KILL, _STOP, _CONT = 9, 19, 18
UNBLOCKABLE = 1 << (_KILL - 1) | 1 << (_STOP - 1)
"""SIGKILL and SIGSTOP, as a mask."""
_QUIET = (17, 18, 23, 28)  # SIGCHLD, SIGCONT, SIGURG, SIGWINCH: nothing happens by default
_RESTART = 0x1000_0000


def name_of(number: int) -> str:
    """ "SIGUSR1" for 10."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def siginfo(number: int, code: int, layout: str = "", *fields: int) -> bytes:
    """`siginfo_t`, 128 bytes: what follows si_code starts at byte 16."""
    return (struct.pack("<iiixxxx", number, 0, code) + struct.pack("<" + layout, *fields)).ljust(128, b"\0")


def by_user(task: Task, number: int, code: int) -> bytes:
    """siginfo of a signal that a task sends: si_pid, si_uid."""
    return siginfo(number, code, "iI", task.pid, UID)


def bit(number: int) -> int:
    """A signal as a mask."""
    return 1 << (number - 1)


def ignored(process: Process, number: int) -> bool:
    """Whether the process does nothing about a signal."""
    handler = process.handler(number)
    return handler == _IGNORE or (handler == _DEFAULT and number in _QUIET)


def send(system: System, process: Process, number: int, info: bytes, task: Task | None = None) -> None:
    """A signal to a process, or to one of its threads; what waits interruptibly is woken to see it."""
    if process.exit_status is not None or not process.threads:
        return
    if number in (_CONT, _KILL):
        _go_on(system, process)
    wanted = [task] if task is not None else process.threads
    if ignored(process, number) and not all(thread.blocked & bit(number) for thread in wanted):
        return
    pending = task.pending if task is not None else process.pending
    if number < 32 and any(queued == number for queued, _ in pending):
        return
    pending.append((number, info))
    for thread in wanted:  # complete_signal: the first thread if it may have it
        if not thread.blocked & ~UNBLOCKABLE & bit(number):
            thread.signalled = True
            interrupt(system, thread, number)
            return


def retarget(task: Task) -> None:
    """retarget_shared_pending: this thread takes no more of its process's signals, so the others look at them."""
    for thread in task.process.threads:
        if thread is not task:
            for number, _ in task.process.pending:
                if not thread.blocked & bit(number):
                    thread.signalled = True
                    interrupt(task.system, thread, number)


def interrupt(system: System, task: Task, number: int) -> None:
    """End a task's wait because a signal has come for it."""
    if task.wait is None:
        return
    wait = task.wait
    if wait.what == "vfork":
        return  # killable only, and its child will end first
    flags = struct.unpack_from("<Q", task.process.actions.get(number, NO_ACTION), 8)[0]
    acts = task.process.handler(number) > _IGNORE
    if not acts or (wait.restarts and flags & _RESTART):
        system.end_wait(task, None)  # the call is made again, after the handler if there is one
        return
    if wait.rest and wait.deadline is not None:
        left = max(0, wait.deadline - system.now())
        try:
            task.pack("<qq", wait.rest, *divmod(left, 10**9))
        except OSError:
            system.end_wait(task, -errno.EFAULT)
            return
    system.end_wait(task, -errno.EINTR)


def _go_on(system: System, process: Process) -> None:
    """SIGCONT and SIGKILL let a stopped process run."""
    for task in process.threads:
        if task.stopped:
            task.stopped = False
            task.signalled = True
            if task.wait is None:
                system.scheduler.add(task)
