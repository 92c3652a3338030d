"""ptrace(2), as far as the live backend uses it: always PTRACE_SEIZE, never a stop that would kill the task without us.

A seized task's event stops (exec, interrupt, group stop) end without a signal when the tracer dies
(kernel/signal.c, ptrace_stop), so being killed at any moment leaves the task running.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from enum import IntEnum
from typing import Final

from symbols.dataclass import dataclass

__all__ = [
    "EVENT_CLONE",
    "EVENT_EXEC",
    "EVENT_STOP",
    "SYSCALL_STOP",
    "Option",
    "UserRegisters",
    "WaitStatus",
    "cont",
    "debug_register",
    "detach",
    "die_with_parent",
    "interrupt",
    "listen",
    "registers",
    "run_to_syscall",
    "seize",
    "set_options",
    "signal_code",
    "wait",
    "write_debug_register",
]

EVENT_CLONE: Final = 3
EVENT_EXEC: Final = 4
EVENT_STOP: Final = 128
SYSCALL_STOP: Final = 0x80
_SIGTRAP: Final = 5

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.waitpid.restype = ctypes.c_int


class _Request(IntEnum):
    PEEKUSER = 3
    POKEUSER = 6
    CONT = 7
    GETREGS = 12
    DETACH = 17
    SYSCALL = 24
    SETOPTIONS = 0x4200
    GETSIGINFO = 0x4202
    SEIZE = 0x4206
    INTERRUPT = 0x4207
    LISTEN = 0x4208


class Option(IntEnum):
    """PTRACE_O_*."""

    SYSGOOD = 1
    CLONE = 1 << 3
    EXEC = 1 << 4


def _ptrace(request: _Request, tid: int, address: int = 0, data: int = 0) -> int:
    ctypes.set_errno(0)
    result: int = _libc.ptrace(request, tid, address, data)
    if result == -1 and (number := ctypes.get_errno()):
        number = errno.EPERM if number == errno.ENOSYS else number  # a filter may say either
        raise OSError(number, f"ptrace {request.name.lower()}: {os.strerror(number)}")
    return result


_PR_SET_PDEATHSIG: Final = 1


def die_with_parent() -> None:
    """Have this process killed when the one that began it ends (PR_SET_PDEATHSIG; kept over exec)."""
    _libc.prctl(_PR_SET_PDEATHSIG, 9, 0, 0, 0)


def seize(tid: int, options: int = 0) -> None:
    """Attach without stopping (EPERM: not ours, or somebody else's tracee; ESRCH)."""
    _ptrace(_Request.SEIZE, tid, 0, options)


def set_options(tid: int, options: int) -> None:
    """Change the options of a stopped task."""
    _ptrace(_Request.SETOPTIONS, tid, 0, options)


def interrupt(tid: int) -> None:
    """Ask a seized task to stop; `wait` says when it has."""
    _ptrace(_Request.INTERRUPT, tid)


def cont(tid: int, number: int = 0) -> None:
    """Let a stopped task run, delivering a signal."""
    _ptrace(_Request.CONT, tid, 0, number)


def run_to_syscall(tid: int, number: int = 0) -> None:
    """Let it run until it enters or leaves a system call."""
    _ptrace(_Request.SYSCALL, tid, 0, number)


def listen(tid: int) -> None:
    """Leave a task in its group stop (SIGSTOP), still traced."""
    _ptrace(_Request.LISTEN, tid)


def detach(tid: int, number: int = 0) -> None:
    """Let a stopped task go, delivering a signal."""
    _ptrace(_Request.DETACH, tid, 0, number)


@dataclass(frozen=True, slots=True)
class UserRegisters:
    """struct user_regs_struct (arch/x86/include/asm/user_64.h)."""

    values: dict[str, int]

    @property
    def ip(self) -> int:
        return self.values["rip"]

    @property
    def sp(self) -> int:
        return self.values["rsp"]


_NAMES: Final = (
    *("r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi"),
    *("orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs"),
)


def registers(tid: int) -> UserRegisters:
    """The general registers of a stopped task."""
    buffer = ctypes.create_string_buffer(8 * len(_NAMES))
    _ptrace(_Request.GETREGS, tid, 0, ctypes.addressof(buffer))
    return UserRegisters(dict(zip(_NAMES, struct.unpack(f"<{len(_NAMES)}Q", buffer.raw), strict=True)))


def write_register(tid: int, name: str, value: int) -> None:
    """Write one general register of a stopped task (EIO or EPERM for a value that it cannot have: a base or flags).

    A task that was stopped in a system call does not begin it anew at another rip.
    """
    _ptrace(_Request.POKEUSER, tid, 8 * _NAMES.index(name), value & 0xFFFF_FFFF_FFFF_FFFF)
    if name == "rip":
        _ptrace(_Request.POKEUSER, tid, 8 * _NAMES.index("orig_rax"), 0xFFFF_FFFF_FFFF_FFFF)


_DEBUG_REGISTERS: Final = 848
"""offsetof(struct user, u_debugreg) (arch/x86/include/asm/user_64.h)."""


def debug_register(tid: int, number: int) -> int:
    """u_debugreg[number] of a stopped task: what was written there through ptrace, by whoever traced it last."""
    return _ptrace(_Request.PEEKUSER, tid, _DEBUG_REGISTERS + 8 * number) & 0xFFFF_FFFF_FFFF_FFFF


def write_debug_register(tid: int, number: int, value: int) -> None:
    """Write u_debugreg[number] of a stopped task (EINVAL, ENOSPC; kernel: ptrace_set_debugreg)."""
    _ptrace(_Request.POKEUSER, tid, _DEBUG_REGISTERS + 8 * number, value)


def signal_code(tid: int) -> int:
    """si_code of the signal a task is stopped with: which of two senders of one number it was."""
    buffer = ctypes.create_string_buffer(128)
    _ptrace(_Request.GETSIGINFO, tid, 0, ctypes.addressof(buffer))
    return int(struct.unpack_from("<iii", buffer.raw)[2])


@dataclass(frozen=True, slots=True)
class WaitStatus:
    """What waitpid(2) said: `exit` is 0-255 or -N, `signal` the stop's signal, `event` its PTRACE_EVENT_* or 0."""

    tid: int
    exit: int | None = None
    signal: int = 0
    event: int = 0

    @property
    def at_syscall(self) -> bool:
        return self.signal == _SIGTRAP | SYSCALL_STOP


_WNOHANG: Final = 1
_WALL: Final = 0x40000000


def wait(tid: int, *, block: bool) -> WaitStatus | None:
    """The next news of a task (-1: of any), None where there is none yet. ChildProcessError: there will be none."""
    status = ctypes.c_int()
    while True:
        found: int = _libc.waitpid(tid, ctypes.byref(status), _WALL | (0 if block else _WNOHANG))
        if found > 0:
            break
        if found == 0:
            return None
        number = ctypes.get_errno()
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))
    value = status.value
    if os.WIFSTOPPED(value):
        return WaitStatus(found, signal=os.WSTOPSIG(value), event=value >> 16 & 0xFF)
    if os.WIFSIGNALED(value):
        return WaitStatus(found, exit=-os.WTERMSIG(value))
    return WaitStatus(found, exit=os.WEXITSTATUS(value))
