"""A program with threads or children under ptrace, with the same debug registers in every task: hits by task."""

from __future__ import annotations

import ctypes
import os
import signal

from backends import dr
from tests.live.silicon import Unavailable

__all__ = ["trace_tasks"]

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.ptrace.restype = ctypes.c_long
_LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_TRACEME, _PEEKUSER, _POKEUSER, _CONT, _SETOPTIONS = 0, 3, 6, 7, 0x4200
_O_FORK, _O_CLONE, _O_EXITKILL = 0x2, 0x8, 0x100000
_U_DEBUGREG, _RIP = 848, 16 * 8
_WALL = 0x4000_0000
_NO_RANDOMIZE = 0x0040000


def _ptrace(request: int, pid: int, address: int = 0, data: int = 0) -> int:
    ctypes.set_errno(0)
    result: int = _LIBC.ptrace(request, pid, address, data)
    if result == -1 and ctypes.get_errno():
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _arm(tid: int, slots: list[tuple[int, int, str]]) -> None:
    control = 0
    for index, (address, length, kind) in enumerate(slots):
        _ptrace(_POKEUSER, tid, _U_DEBUGREG + 8 * index, address)
        control |= dr.dr7_encode(index, length, kind)  # type: ignore[arg-type]
    _ptrace(_POKEUSER, tid, _U_DEBUGREG + 56, control)


def trace_tasks(argv: list[str], slots: list[tuple[int, int, str]]) -> list[list[tuple[int, int]]]:
    """(ip, slots as bits) of each hit, by task in the order of their creation. Unavailable where the kernel refuses."""
    pid = os.fork()
    if pid == 0:
        try:
            _LIBC.personality(_NO_RANDOMIZE)
            null = os.open(os.devnull, os.O_RDWR)
            for fd in (0, 1, 2):
                os.dup2(null, fd)
            _ptrace(_TRACEME, 0)
            os.execve(argv[0], argv, {})
        finally:
            os._exit(127)
    hits: dict[int, list[tuple[int, int]]] = {pid: []}
    try:
        _, status = os.waitpid(pid, 0)
        if not os.WIFSTOPPED(status):
            raise Unavailable("the program did not start")
        _ptrace(_SETOPTIONS, pid, 0, _O_EXITKILL | _O_CLONE | _O_FORK)
        try:
            _arm(pid, slots)
        except OSError as error:
            raise Unavailable(str(error)) from error
        armed, alive = {pid}, {pid}
        _ptrace(_CONT, pid)
        while alive:
            tid, status = os.waitpid(-1, _WALL)
            if os.WIFEXITED(status) or os.WIFSIGNALED(status):
                alive.discard(tid)
                continue
            alive.add(tid)
            pending = os.WSTOPSIG(status)
            if tid not in armed:  # the first stop of a new task, a SIGSTOP that is not for it
                armed.add(tid)
                hits.setdefault(tid, [])
                _arm(tid, slots)
                pending = 0
            elif status >> 16:  # PTRACE_EVENT_CLONE or _FORK
                pending = 0
            elif pending == signal.SIGTRAP and (bits := _ptrace(_PEEKUSER, tid, _U_DEBUGREG + 48) & 0xF):
                hits[tid].append((_ptrace(_PEEKUSER, tid, _RIP) & (1 << 64) - 1, bits))
                pending = 0
            _ptrace(_CONT, tid, 0, pending)
    finally:
        for tid in hits:
            try:
                os.kill(tid, signal.SIGKILL)
            except ProcessLookupError:
                continue
    return [hits[tid] for tid in sorted(hits)]
