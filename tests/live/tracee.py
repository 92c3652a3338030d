"""A program under ptrace with this machine's debug registers armed, and the instruction of each hit known for certain.

A hit is reported behind its instruction. So a program is run twice: from the first run come the instructions that are said to
have made the hits; in the second each of them has an `int3`, is stepped alone, and its step shows whether the hit is its own.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from backends import dr
from backends.perf.program import BELOW_WORDS
from tests.live.ptrace import (
    CONT,
    DR6,
    GETREGS,
    O_EXIT,
    O_SYSGOOD,
    PEEKUSER,
    POKEUSER,
    RIP,
    SINGLESTEP,
    SYSCALL,
    Slots,
    arm,
    ptrace,
    start,
)

__all__ = ["BATCH", "USER_REGS", "Tracee", "WatchHit", "watch"]

_EVENT_EXIT = 6
_SYSCALL_STOP = signal.SIGTRAP | 0x80
BATCH = 32
"""Hits that are looked at together, as a recorder does while the program runs."""
_STEPS = 60_000  # a suspect may be a hot instruction that rarely hits
_PLANTING = 400  # system calls at the beginning, in which libraries are mapped, piece over piece

USER_REGS = (
    "r15",
    "r14",
    "r13",
    "r12",
    "rbp",
    "rbx",
    "r11",
    "r10",
    "r9",
    "r8",
    "rax",
    "rcx",
    "rdx",
    "rsi",
    "rdi",
    "orig_rax",
    "rip",
    "cs",
    "rflags",
    "rsp",
    "ss",
    "fs_base",
    "gs_base",
    "ds",
    "es",
    "fs",
    "gs",
)
"""struct user_regs_struct (arch/x86/include/asm/user_64.h)."""
_REGS = struct.Struct("27Q")


@dataclass(frozen=True, slots=True)
class WatchHit:
    """One slot's share of one #DB. `insn_ip` is known if the instruction was stepped alone."""

    ip: int
    slot: int
    registers: tuple[int, ...]
    top: int | None
    value: int
    insn_ip: int | None
    below: tuple[int, ...] = ()


class Tracee:
    """A child that ends with us. Raises Unavailable where it cannot be started or armed."""

    def __init__(self, argv: list[str], environment: dict[str, str], stdin: str = os.devnull) -> None:
        self.status: int | None = None
        self.pid = start(argv, environment, O_SYSGOOD | O_EXIT, stdin)
        self._memory = os.open(f"/proc/{self.pid}/mem", os.O_RDWR)
        self.planted: dict[int, int] = {}

    def __enter__(self) -> Tracee:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            while True:  # a stop at its exit is not ended by a signal
                with suppress(OSError):
                    ptrace(CONT, self.pid)
                _, status = os.waitpid(self.pid, 0)
                if not os.WIFSTOPPED(status):
                    break
        os.close(self._memory)

    def go(self, request: int = CONT, pending: int = 0) -> int | None:
        """Let it go on; the signal that stopped it, None when it is over (about to exit: its memory is still there)."""
        ptrace(request, self.pid, 0, pending)
        _, status = os.waitpid(self.pid, 0)
        if os.WIFSTOPPED(status):
            return None if status >> 16 == _EVENT_EXIT else os.WSTOPSIG(status)
        self.status = status
        return None

    def registers(self) -> tuple[int, ...]:
        """In the order of USER_REGS."""
        buffer = ctypes.create_string_buffer(_REGS.size)
        ptrace(GETREGS, self.pid, 0, ctypes.addressof(buffer))
        return _REGS.unpack(buffer.raw)

    def set_rip(self, rip: int) -> None:
        ptrace(POKEUSER, self.pid, RIP, rip)

    def hits(self) -> int:
        """B0-B3 of the last #DB."""
        dr6 = ptrace(PEEKUSER, self.pid, DR6)
        if dr6 & 0xF:
            ptrace(POKEUSER, self.pid, DR6, dr.DR6_BASE)
        return dr6 & 0xF

    def read(self, address: int, size: int) -> bytes:
        """Memory, without our own breakpoints. Raises OSError."""
        data = bytearray(os.pread(self._memory, size, address))
        if len(data) < size:
            raise OSError("memory ends")
        near = range(address, address + size) if size < len(self.planted) else self.planted
        for at in near:
            if at in self.planted and address <= at < address + size:
                data[at - address] = self.planted[at]
        return bytes(data)

    def plant(self, address: int) -> bool:
        """Put an int3 there, if there is memory; again where the memory was mapped anew since."""
        try:
            byte = os.pread(self._memory, 1, address)
            if byte == b"\xcc" and address in self.planted:
                return True
            os.pwrite(self._memory, b"\xcc", address)
        except OSError:
            return False
        self.planted[address] = byte[0]
        return True

    def lift(self, address: int) -> None:
        """Take an int3 away."""
        os.pwrite(self._memory, bytes([self.planted.pop(address)]), address)

    def mappings(self) -> list[tuple[int, int, str, int, str]]:
        """Rows of /proc/PID/maps as `symbols.space.AddressSpace` takes them."""
        rows = []
        with open(f"/proc/{self.pid}/maps") as lines:
            for line in lines:
                span, perms, offset, _, _, *path = line.split(maxsplit=5)
                start, _, end = span.partition("-")
                rows.append(
                    (
                        int(start, 16),
                        int(end, 16),
                        perms,
                        int(offset, 16),
                        path[0].rstrip("\n") if path else "",
                    )
                )
        return rows


def watch(
    tracee: Tracee,
    slots: Slots,
    limit: int,
    suspects: Iterable[int] = (),
    each: Callable[[list[WatchHit]], None] = lambda hits: None,
) -> list[WatchHit]:
    """Run to the end or to `limit` hits with slots armed; hits of `suspects` come with their instruction.

    `each` is called with every BATCH hits, and with the rest, while the program stands still.
    """
    arm(tracee.pid, slots)
    hits: list[WatchHit] = []
    told = 0
    suspects = set(suspects)
    calls = steps = pending = 0
    while len(hits) < limit and steps < _STEPS:
        if len(hits) >= told + BATCH:
            each(hits[told:])
            told = len(hits)
        if suspects and calls < _PLANTING:
            for address in suspects:
                tracee.plant(address)
            stop = tracee.go(SYSCALL, pending)
        else:
            stop = tracee.go(CONT, pending)
        pending = 0
        if stop is None:
            break
        if stop == _SYSCALL_STOP:
            calls += 1
            continue
        if stop != signal.SIGTRAP:
            pending = stop
            continue
        if found := tracee.hits():
            _note(tracee, slots, found, None, hits)
            continue
        registers = tracee.registers()
        at = registers[16] - 1
        while at in tracee.planted and steps < _STEPS:
            steps += 1
            tracee.set_rip(at)
            tracee.lift(at)
            stop = tracee.go(SINGLESTEP)
            if stop is None:
                each(hits[told:])
                return hits
            tracee.plant(at)
            if found := tracee.hits():
                _note(tracee, slots, found, at, hits)
            if stop != signal.SIGTRAP:
                pending = stop
            at = tracee.registers()[16]
    each(hits[told:])
    return hits


def _note(tracee: Tracee, slots: Slots, found: int, insn_ip: int | None, hits: list[WatchHit]) -> None:
    registers = tracee.registers()
    try:  # as a live record has them
        *under, top = struct.unpack(
            f"<{BELOW_WORDS + 1}Q", tracee.read(registers[19] - 8 * BELOW_WORDS, 8 * BELOW_WORDS + 8)
        )
    except OSError:
        under, top = [0] * BELOW_WORDS, None
    for slot, (address, length, _) in enumerate(slots):
        if found >> slot & 1:
            value = int.from_bytes(tracee.read(address, length), "little")
            hits.append(WatchHit(registers[16], slot, registers, top, value, insn_ip, tuple(under[::-1])))
