"""This machine's own debug registers, through ptrace: the opinion that the emulated CPU is held against."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass

from backends import dr

__all__ = ["SiliconHit", "Unavailable", "trace", "trace_tasks"]

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.ptrace.restype = ctypes.c_long
_LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_TRACEME, _PEEKUSER, _POKEUSER, _CONT, _SETOPTIONS = 0, 3, 6, 7, 0x4200
_O_FORK, _O_CLONE, _O_EXITKILL = 0x2, 0x8, 0x100000
_WALL = 0x4000_0000
_U_DEBUGREG = 848
_RIP = 16 * 8
_ADDR_NO_RANDOMIZE = 0x0040000

Slots = list[tuple[int, int, str]]
"""(address, length, "x" | "w" | "rw"), DR0 first."""


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


def _start(argv: list[str], slots: Slots, options: int) -> int:
    """A program that stands before its first instruction, armed, and ends with us. Unavailable where the kernel refuses."""
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
    _, status = os.waitpid(pid, 0)
    if not os.WIFSTOPPED(status):
        raise Unavailable("the program did not start")
    _ptrace(_SETOPTIONS, pid, 0, _O_EXITKILL | options)
    try:
        _arm(pid, slots)
    except OSError as error:
        _end([pid])
        raise Unavailable(str(error)) from error
    return pid


def _arm(tid: int, slots: Slots) -> None:
    control = 0
    for index, (address, length, kind) in enumerate(slots):
        _ptrace(_POKEUSER, tid, _U_DEBUGREG + 8 * index, address)
        control |= dr.dr7_encode(index, length, kind)  # type: ignore[arg-type]
    _ptrace(_POKEUSER, tid, _U_DEBUGREG + 56, control)


def _hit(tid: int) -> tuple[int, int] | None:
    """(ip, slots as bits) of a task that stands with SIGTRAP; None where no slot is the cause."""
    bits = _ptrace(_PEEKUSER, tid, _U_DEBUGREG + 48) & 0xF
    return (_ptrace(_PEEKUSER, tid, _RIP) & (1 << 64) - 1, bits) if bits else None


def _end(tids: Iterable[int]) -> None:
    for tid in tids:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(tid, signal.SIGKILL)
            os.waitpid(tid, _WALL)


def trace(argv: list[str], slots: Slots, limit: int = 100_000) -> tuple[list[SiliconHit], int]:
    """Run a program with `slots` armed from its first instruction.

    Returns its hits in order and its wait status. Raises Unavailable where the kernel refuses.
    """
    pid = _start(argv, slots, 0)
    hits: list[SiliconHit] = []
    pending = 0
    try:
        while len(hits) < limit:
            _ptrace(_CONT, pid, 0, pending)
            _, status = os.waitpid(pid, 0)
            if os.WIFEXITED(status) or os.WIFSIGNALED(status):
                return hits, status
            pending = os.WSTOPSIG(status)
            if pending == signal.SIGTRAP and (found := _hit(pid)):
                values = tuple(
                    None if kind == "x" else _read(pid, address, length) for address, length, kind in slots
                )
                hits.append(SiliconHit(*found, values))
                pending = 0
        raise AssertionError(f"more than {limit} hits")
    finally:
        _end([pid])


def trace_tasks(argv: list[str], slots: Slots) -> list[list[tuple[int, int]]]:
    """A program with threads or children, the same slots armed in every task: (ip, slots as bits) of each hit, by task in
    the order of their creation. Unavailable where the kernel refuses."""
    pid = _start(argv, slots, _O_CLONE | _O_FORK)
    hits: dict[int, list[tuple[int, int]]] = {pid: []}
    armed, alive = {pid}, {pid}
    try:
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
            elif pending == signal.SIGTRAP and (found := _hit(tid)):
                hits[tid].append(found)
                pending = 0
            _ptrace(_CONT, tid, 0, pending)
    finally:
        _end(alive)
    return [hits[tid] for tid in sorted(hits)]
