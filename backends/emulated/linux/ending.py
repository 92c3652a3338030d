"""How tasks and processes end, and how a parent learns of it (kernel/exit.c)."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Mapping

from backends.emulated.linux.paths import signed
from backends.emulated.linux.robust import release_robust
from backends.emulated.linux.sending import retarget, send, siginfo
from backends.emulated.linux.state import NO_ACTION, PID, UID, Handler, Process, System, Task, fail

__all__ = ["HANDLERS", "end_process", "end_thread", "leave_memory", "release_vfork"]

_SIGCHLD = 17
_NOCLDWAIT = 2
_WNOHANG, _WEXITED, _WNOWAIT = 1, 4, 0x0100_0000


def end_thread(task: Task, status: int) -> None:
    """exit(2): one thread ends; the last one ends its process."""
    process = task.process
    if len(process.threads) == 1:
        end_process(task.system, process, status)
        return
    _end(task)


def _end(task: Task) -> None:
    system, process = task.system, task.process
    release_robust(task)
    task.ended = True
    if task.clear_child_tid and process.exit_status is None:
        with contextlib.suppress(OSError):  # whoever unmapped it does not wait
            task.pack("<I", task.clear_child_tid, 0)
        system.wake(("futex", id(process.mm), task.clear_child_tid), 1)
    system.drop(task)
    process.threads.remove(task)
    if task.signalled and process.pending and process.exit_status is None:
        retarget(task)
    process.mm.leave(task)
    system.on_exit(task)


def release_vfork(process: Process) -> None:
    """The child of a vfork has its own memory now, or has ended: its parent goes on."""
    parent, process.vforked = process.vforked, None
    if parent is not None and parent.wait is not None:
        parent.system.end_wait(parent, process.pid)


def leave_memory(system: System, process: Process) -> None:
    """mmput: the process ends or has another program; the last one lets its memory go."""
    living = (other for other in system.processes.values() if other.exit_status is None)
    if not any(other.mm is process.mm and other is not process for other in living):
        process.mm.space.release()


def end_process(system: System, process: Process, status: int) -> None:
    """All threads end; `status` is 0-255, or -N for death by signal N."""
    if process.exit_status is not None:
        return
    process.exit_status = status & 0xFF if status >= 0 else status
    system.programs -= process.kind == "program"
    for task in tuple(process.threads):
        _end(task)
    process.files.close_range(0, 1 << 32)
    leave_memory(system, process)
    process.timer = None
    release_vfork(process)
    for child in process.children:
        child.parent = None
        if child.exit_status is not None:
            _forget(system, child)
    process.children.clear()
    parent = process.parent
    if parent is None:
        if process.pid != PID:
            _forget(system, process)
        return
    _tell_parent(system, parent, process)


def _tell_parent(system: System, parent: Process, child: Process) -> None:
    (flags,) = (int.from_bytes(parent.actions.get(_SIGCHLD, NO_ACTION)[8:16], "little"),)
    if child.exit_signal == _SIGCHLD and (parent.handler(_SIGCHLD) == 1 or flags & _NOCLDWAIT):
        _reap(system, child)
    elif child.exit_signal:
        send(system, parent, child.exit_signal, siginfo(child.exit_signal, *_cause(child)))
    system.wake(("child", parent.pid))


def _cause(child: Process) -> tuple[int, str, int, int, int]:
    """si_code, and the fields of SIGCHLD's siginfo: si_pid, si_uid, si_status."""
    status = child.exit_status
    assert status is not None
    return (1, "iIi", child.pid, UID, status) if status >= 0 else (2, "iIi", child.pid, UID, -status)


def _reap(system: System, child: Process) -> None:
    if child.parent is not None:
        child.parent.children.remove(child)
    child.parent = None
    _forget(system, child)


def _forget(system: System, process: Process) -> None:
    system.processes.pop(process.pid, None)
    system.on_reap(process)


def _encoded(status: int) -> int:
    """As wait(2) gives it: the status in bits 15:8, a signal in bits 6:0."""
    return status << 8 if status >= 0 else -status


def _find(task: Task, wanted: int) -> tuple[bool, Process | None]:
    """Whether there is such a child, and one of them that has ended."""
    children = [
        child
        for child in task.process.children
        if wanted == -1
        or child.pid == wanted
        or (wanted <= 0 and child.pgid == (-wanted or task.process.pgid))
    ]
    return bool(children), next((child for child in children if child.exit_status is not None), None)


def wait4(task: Task, pid: int, status: int, options: int, usage: int, *_: int) -> int:
    there, child = _find(task, signed(pid))
    if not there:
        raise fail(errno.ECHILD)
    if child is None:
        if options & _WNOHANG:
            return 0
        raise task.wait_for("a child", ("child", task.pid))
    assert child.exit_status is not None
    if status:
        task.pack("<i", status, _encoded(child.exit_status))
    if usage:
        task.space.copy_in(usage, bytes(144))
    _reap(task.system, child)
    return child.pid


def waitid(task: Task, kind: int, which: int, info: int, options: int, usage: int, *_: int) -> int:
    if kind not in (0, 1, 2) or not options & 0xE:
        raise fail(errno.EINVAL)
    wanted = {0: -1, 1: signed(which), 2: -signed(which)}[kind]  # P_ALL, P_PID, P_PGID
    there, child = _find(task, wanted)
    if not there:
        raise fail(errno.ECHILD)
    if child is None or not options & _WEXITED:
        if options & _WNOHANG:
            if info:
                task.space.copy_in(info, bytes(128))
            return 0
        raise task.wait_for("a child", ("child", task.pid))
    if info:
        task.space.copy_in(info, siginfo(_SIGCHLD, *_cause(child)))
    if not options & _WNOWAIT:
        _reap(task.system, child)
    return 0


def exit_(task: Task, status: int, *_: int) -> None:
    end_thread(task, status & 0xFF)


def exit_group(task: Task, status: int, *_: int) -> None:
    end_process(task.system, task.process, status & 0xFF)


HANDLERS: Mapping[str, Handler] = {
    "exit": exit_,
    "exit_group": exit_group,
    "wait4": wait4,
    "waitid": waitid,
}

assert os.WEXITSTATUS(_encoded(3)) == 3
