"""ptrace(2) and the debug registers behind it, as a debugger uses them on a child of its own."""

from __future__ import annotations

import ctypes
import os
from typing import Final

from backends import dr

__all__ = [
    "CONT",
    "DEBUG_REGISTERS",
    "DETACH",
    "DR6",
    "GETFPREGS",
    "GETREGS",
    "GETSIGINFO",
    "INTERRUPT",
    "O_CLONE",
    "O_EXIT",
    "O_FORK",
    "O_SYSGOOD",
    "PEEKUSER",
    "POKEUSER",
    "RIP",
    "SEIZE",
    "SINGLESTEP",
    "SYSCALL",
    "WALL",
    "Slots",
    "Unavailable",
    "arm",
    "ptrace",
    "start",
]

PEEKUSER: Final = 3
POKEUSER: Final = 6
CONT: Final = 7
SINGLESTEP: Final = 9
GETREGS: Final = 12
GETFPREGS: Final = 14
DETACH: Final = 17
SYSCALL: Final = 24
GETSIGINFO: Final = 0x4202
SEIZE: Final = 0x4206
INTERRUPT: Final = 0x4207
_TRACEME, _SETOPTIONS = 0, 0x4200

O_SYSGOOD: Final = 1
O_FORK: Final = 0x2
O_CLONE: Final = 0x8
O_EXIT: Final = 0x40
_O_EXITKILL = 0x100000

RIP: Final = 16 * 8
DEBUG_REGISTERS: Final = 848
"""Offset of u_debugreg in struct user (arch/x86/include/asm/user_64.h)."""
DR6: Final = DEBUG_REGISTERS + 8 * 6
WALL: Final = 0x4000_0000
"""waitpid's __WALL: threads too."""
_ADDR_NO_RANDOMIZE = 0x0040000

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.ptrace.restype = ctypes.c_long
_LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]

Slots = list[tuple[int, int, str]]
"""(address, length, "x" | "w" | "rw"), DR0 first."""


class Unavailable(Exception):
    """This machine cannot do it."""


def ptrace(request: int, tid: int, address: int = 0, data: int = 0) -> int:
    """One request; the word that a PEEK found. Raises OSError."""
    ctypes.set_errno(0)
    result: int = _LIBC.ptrace(request, tid, address, data)
    if result == -1 and (code := ctypes.get_errno()):
        raise OSError(code, os.strerror(code))
    return result & (1 << 64) - 1


def start(argv: list[str], environment: dict[str, str], options: int = 0, stdin: str = os.devnull) -> int:
    """A program that stands before its first instruction, not randomized, silent, and ends with us: its pid.

    Raises Unavailable where it does not start.
    """
    pid = os.fork()
    if pid == 0:
        try:
            _LIBC.personality(_ADDR_NO_RANDOMIZE)
            os.dup2(os.open(stdin, os.O_RDONLY), 0)
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, 1)
            os.dup2(null, 2)
            ptrace(_TRACEME, 0)
            os.execve(argv[0], argv, environment)
        finally:
            os._exit(127)
    _, status = os.waitpid(pid, 0)
    if not os.WIFSTOPPED(status):
        raise Unavailable(f"{argv[0]} did not start")
    ptrace(_SETOPTIONS, pid, 0, _O_EXITKILL | options)
    return pid


def arm(tid: int, slots: Slots) -> None:
    """Set DR0 and up, then DR7. Raises Unavailable where the kernel refuses."""
    control = 0
    try:
        for index, (address, length, kind) in enumerate(slots):
            ptrace(POKEUSER, tid, DEBUG_REGISTERS + 8 * index, address)
            control |= dr.dr7_encode(index, length, kind)  # type: ignore[arg-type]
        ptrace(POKEUSER, tid, DEBUG_REGISTERS + 8 * 7, control)
    except OSError as error:
        raise Unavailable(f"no hardware breakpoints through ptrace here: {error}") from error
