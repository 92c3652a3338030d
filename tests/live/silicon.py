"""This machine's own debug registers, through ptrace: the opinion that the emulated CPU is held against."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass

from tests.live.ptrace import (
    CONT,
    DR6,
    O_CLONE,
    O_FORK,
    PEEKUSER,
    RIP,
    WALL,
    Slots,
    Unavailable,
    arm,
    ptrace,
    start,
)

__all__ = ["SiliconHit", "trace", "trace_tasks"]


@dataclass(frozen=True)
class SiliconHit:
    """One SIGTRAP: where the CPU stood, which slots said so, and the watched bytes then."""

    ip: int
    slots: int
    values: tuple[int | None, ...]


def _read(pid: int, address: int, size: int) -> int:
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        return int.from_bytes(memory.read(size), "little")


def _start(argv: list[str], slots: Slots, options: int = 0) -> int:
    """A program that stands before its first instruction, armed. Unavailable where the kernel refuses."""
    pid = start(argv, {}, options)
    try:
        arm(pid, slots)
    except Unavailable:
        _end([pid])
        raise
    return pid


def _hit(tid: int) -> tuple[int, int] | None:
    """(ip, slots as bits) of a task that stands with SIGTRAP; None where no slot is the cause."""
    bits = ptrace(PEEKUSER, tid, DR6) & 0xF
    return (ptrace(PEEKUSER, tid, RIP), bits) if bits else None


def _end(tids: Iterable[int]) -> None:
    for tid in tids:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(tid, signal.SIGKILL)
            os.waitpid(tid, WALL)


def trace(argv: list[str], slots: Slots, limit: int = 100_000) -> tuple[list[SiliconHit], int]:
    """Run a program with `slots` armed from its first instruction.

    Returns its hits in order and its wait status. Raises Unavailable where the kernel refuses.
    """
    pid = _start(argv, slots)
    hits: list[SiliconHit] = []
    pending = 0
    try:
        while len(hits) < limit:
            ptrace(CONT, pid, 0, pending)
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
    pid = _start(argv, slots, O_CLONE | O_FORK)
    hits: dict[int, list[tuple[int, int]]] = {pid: []}
    armed, alive = {pid}, {pid}
    try:
        ptrace(CONT, pid)
        while alive:
            tid, status = os.waitpid(-1, WALL)
            if os.WIFEXITED(status) or os.WIFSIGNALED(status):
                alive.discard(tid)
                continue
            alive.add(tid)
            pending = os.WSTOPSIG(status)
            if tid not in armed:  # the first stop of a new task, a SIGSTOP that is not for it
                armed.add(tid)
                hits.setdefault(tid, [])
                arm(tid, slots)
                pending = 0
            elif status >> 16:  # PTRACE_EVENT_CLONE or _FORK
                pending = 0
            elif pending == signal.SIGTRAP and (found := _hit(tid)):
                hits[tid].append(found)
                pending = 0
            ptrace(CONT, tid, 0, pending)
    finally:
        _end(alive)
    return [hits[tid] for tid in sorted(hits)]
