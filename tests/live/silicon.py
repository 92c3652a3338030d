"""This machine's own debug registers, through ptrace: the opinion that the emulated CPU is held against."""

from __future__ import annotations

import ctypes
import os
import signal
from dataclasses import dataclass

from backends import dr

__all__ = ["SiliconHit", "Unavailable", "trace"]

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.ptrace.restype = ctypes.c_long
_LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_TRACEME, _PEEKDATA, _PEEKUSER, _POKEUSER, _CONT, _KILL, _SETOPTIONS = 0, 2, 3, 6, 7, 8, 0x4200
_EXITKILL = 0x100000
_U_DEBUGREG = 848
_RIP = 16 * 8
_ADDR_NO_RANDOMIZE = 0x0040000


class Unavailable(Exception):
    """No hardware breakpoints here."""


@dataclass(frozen=True)
class SiliconHit:
    """One SIGTRAP: where the CPU stood, which slots said so, and the watched bytes then."""

    ip: int
    slots: int
    values: tuple[int | None, ...]


def _ptrace(request: int, pid: int, address: int = 0, data: int = 0) -> int:
    ctypes.set_errno(0)
    result: int = _LIBC.ptrace(request, pid, address, data)
    if result == -1 and ctypes.get_errno():
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _read(pid: int, address: int, size: int) -> int:
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        return int.from_bytes(memory.read(size), "little")


def trace(
    argv: list[str], slots: list[tuple[int, int, str]], limit: int = 100_000
) -> tuple[list[SiliconHit], int]:
    """Run a program with `slots` (address, length, "x" | "w" | "rw") armed from its first instruction.

    Returns its hits in order and its wait status. Raises Unavailable where the kernel refuses.
    """
    pid = os.fork()
    if pid == 0:
        try:
            _LIBC.personality(_ADDR_NO_RANDOMIZE)
            null = os.open(os.devnull, os.O_RDWR)
            for fd in (0, 1, 2):
                os.dup2(null, fd)
            _ptrace(_TRACEME, 0)
            os.execve(argv[0], argv, {})
        finally:
            os._exit(127)
    hits: list[SiliconHit] = []
    try:
        _, status = os.waitpid(pid, 0)
        if not os.WIFSTOPPED(status):
            raise Unavailable("the program did not start")
        _ptrace(_SETOPTIONS, pid, 0, _EXITKILL)
        control = 0
        try:
            for index, (address, length, kind) in enumerate(slots):
                _ptrace(_POKEUSER, pid, _U_DEBUGREG + 8 * index, address)
                control |= dr.dr7_encode(index, length, kind)  # type: ignore[arg-type]
            _ptrace(_POKEUSER, pid, _U_DEBUGREG + 56, control)
        except OSError as error:
            raise Unavailable(str(error)) from error
        pending = 0
        while len(hits) < limit:
            _ptrace(_CONT, pid, 0, pending)
            _, status = os.waitpid(pid, 0)
            if os.WIFEXITED(status) or os.WIFSIGNALED(status):
                return hits, status
            pending = os.WSTOPSIG(status)
            if pending == signal.SIGTRAP:
                dr6 = _ptrace(_PEEKUSER, pid, _U_DEBUGREG + 48)
                if dr6 & 0xF:
                    values = tuple(
                        None if kind == "x" else _read(pid, address, length)
                        for address, length, kind in slots
                    )
                    hits.append(SiliconHit(_ptrace(_PEEKUSER, pid, _RIP) & (1 << 64) - 1, dr6 & 0xF, values))
                    pending = 0
        raise AssertionError(f"more than {limit} hits")
    except Unavailable:
        raise
    finally:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
