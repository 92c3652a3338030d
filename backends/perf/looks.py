"""What is seen of a live target: its tasks, the registers of one that is stopped, its breakpoints."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import Final

from backends.base import HwbpError, Register
from backends.model import Breakpoint, Owner, TaskView
from backends.perf import ptrace
from backends.perf.capture import Carrier
from backends.perf.target import Target

__all__ = ["breakpoint_view", "register_views", "set_register", "task_views"]

_TASKS_SHOWN: Final = 64
_SHOWN: Final = (
    *("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp"),
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"),
    *("rip", "eflags", "fs_base", "gs_base"),
)
_WIDE_ONLY: Final = frozenset(f"r{number}" for number in range(8, 16))
"""What a program of 32 bits does not have; the others are its own, widened."""


def task_views(target: Target, current: int) -> tuple[TaskView, ...]:
    """The target's threads, the current one first; pc and sp of those that are stopped."""
    if target.ended:
        return ()
    tids = target.threads() or (target.pid,)
    shown = sorted(tids, key=lambda tid: tid != current)[:_TASKS_SHOWN]
    return tuple(
        TaskView(target.pid, tid, target.comm(tid), *_place(target, tid), None, None) for tid in shown
    )


def _place(target: Target, tid: int) -> tuple[int | None, int | None]:
    """(pc, sp) of a stopped thread."""
    if tid in target.tracer.stopped:
        with contextlib.suppress(OSError):
            registers = ptrace.registers(tid)
            return registers.ip, registers.sp
    return None, None


def register_views(target: Target, tid: int) -> tuple[Register, ...]:
    """The registers of a stopped thread (EBUSY, ESRCH)."""
    if not target.tracer.stands:
        raise HwbpError("a running task has no registers to show", errno="EBUSY", remedy="`stop` it first")
    if tid not in target.tracer.stopped:
        raise HwbpError(f"no task {tid}", errno="ESRCH")
    values = ptrace.registers(tid).values
    shown = _SHOWN if target.bits == 64 else tuple(name for name in _SHOWN if name not in _WIDE_ONLY)
    return tuple(Register(name, values[name]) for name in shown)


def set_register(target: Target, tid: int, name: str, value: int) -> None:
    """Write a register of a stopped thread (ESRCH, EINVAL, EPERM where the kernel takes no such value)."""
    if tid not in target.tracer.stopped:
        raise HwbpError(f"no task {tid}", errno="ESRCH")
    if name not in _SHOWN:
        raise HwbpError(f"there is no register {name}", errno="EINVAL")
    try:
        ptrace.write_register(tid, name, value)
    except OSError as error:
        raise HwbpError(
            f"${name} = {value:#x}: {error.strerror}", errno=errno.errorcode.get(error.errno or 0)
        ) from error


def breakpoint_view(
    carrier: Carrier, pid: int, hits: int, filtered: int, ignore: int, slot: int | None
) -> Breakpoint:
    """A breakpoint of ours on process `pid`; `slot` where it sat at its last hit."""
    request = carrier.request
    return Breakpoint(
        id=carrier.id,
        address=request.address,
        length=request.length,
        type=request.type,
        owner=Owner("perf", os.getpid(), "hwbp-tui", next(iter(carrier.each()), None)),
        enabled=carrier.enabled,
        tid=pid,
        cpu=None,
        slot=slot,
        index=None,
        watch=request.watch,
        window=request.window,
        text=request.text,
        stop=request.stop,
        hits=hits,
        filtered=filtered,
        condition=request.condition,
        limit=request.limit,
        ignore=ignore,
    )
