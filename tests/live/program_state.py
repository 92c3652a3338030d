"""Everything that a program can see of itself, from this machine's silicon and from the emulated one, in one form."""

from __future__ import annotations

import ctypes
import os
import signal
import struct
from dataclasses import dataclass

from backends.base import Launch
from backends.dr import DR6_BASE
from backends.emulated.backend import EmulatedBackend
from backends.emulated.x87.image import fxsave
from backends.model import BreakpointRequest
from backends.ring import FLAG_SAME_DB, create_memfd
from backends.ring_reader import RingReader
from tests.live.ptrace import (
    CONT,
    DR6,
    GETFPREGS,
    GETSIGINFO,
    PEEKUSER,
    POKEUSER,
    SINGLESTEP,
    Slots,
    Unavailable,
    arm,
    ptrace,
)
from tests.live.tracee import USER_REGS, Tracee

__all__ = ["End", "Halt", "TooMany", "compared", "emulated", "silicon"]

_DB_BITS = 0x400F
"""BS and B0 to B3."""
_GENERAL = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", *(f"r{n}" for n in range(8, 16)), "rip")
_FLAGS = 0xCD5
"""OF, DF, SF, ZF, AF, PF and CF."""
_LEFT_BY_EXIT = ("rax", "rcx", "r11", "rip")
_MOST = 20_000


class TooMany(Exception):
    """The program hits more often than is kept."""


@dataclass(frozen=True)
class Halt:
    """One #DB: where the CPU stood, BS and B0 to B3 of DR6, and (slot, its bytes) of each slot that was hit."""

    ip: int
    dr6: int
    values: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class End:
    """How a program ended (a signal with si_code and si_addr), and everything it had then, but what the exit itself changes."""

    how: str
    state: dict[str, int]
    memory: bytes


def _image(image: bytes) -> dict[str, int]:
    """The registers in 512 bytes of FXSAVE; those of the x87 that are empty and its pointers are left out."""
    control, status, used = struct.unpack_from("<HHB", image)
    state = {"fcw": control, "fsw": status, "ftw": used, "mxcsr": struct.unpack_from("<I", image, 24)[0]}
    top = status >> 11 & 7
    for place in range(8):
        if used >> (top + place & 7) & 1:
            at = 32 + 16 * place
            state[f"st{place}"] = int.from_bytes(image[at : at + 10], "little")
    for number in range(16):
        at = 160 + 16 * number
        state[f"xmm{number}"] = int.from_bytes(image[at : at + 16], "little")
    return state


def _state(general: dict[str, int], flags: int, image: bytes, exited: bool) -> dict[str, int]:
    kept = {name: general[name] for name in _GENERAL if not (exited and name in _LEFT_BY_EXIT)}
    return {**kept, "flags": flags & _FLAGS, **_image(image)}


def _how(number: int, code: int, address: int) -> str:
    return f"{signal.Signals(number).name} code {code:#x} address {address:#x}"


class _Silicon(Tracee):
    def image(self) -> bytes:
        buffer = ctypes.create_string_buffer(512)
        ptrace(GETFPREGS, self.pid, 0, ctypes.addressof(buffer))
        return buffer.raw

    def how(self, stop: int) -> str:
        """The signal that it stopped with (siginfo_t: si_code at 8, si_addr at 16)."""
        buffer = ctypes.create_string_buffer(128)
        ptrace(GETSIGINFO, self.pid, 0, ctypes.addressof(buffer))
        code, address = struct.unpack_from("<i4xQ", buffer.raw, 8)
        return _how(stop, code, address)

    def after_call(self) -> bool:
        """Whether a step has ended at a system call: SIGTRAP from the kernel, without a #DB (syscall-common's user_single_step_report)."""
        at = self.registers()[16] - 2
        return self.read(at, 2) == b"\x0f\x05" and " code 0x1 " in self.how(signal.SIGTRAP)

    def catches(self, stop: int) -> bool:
        """Whether it has a handler for the signal."""
        with open(f"/proc/{self.pid}/status") as lines:
            caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt"))
        return bool(caught >> stop - 1 & 1)

    def db(self) -> int:
        """BS and B0 to B3 of the last #DB, once."""
        dr6 = ptrace(PEEKUSER, self.pid, DR6) & _DB_BITS
        ptrace(POKEUSER, self.pid, DR6, DR6_BASE)
        return dr6


def silicon(path: str, slots: Slots, steps: int, memory: tuple[int, int]) -> tuple[list[Halt], End]:
    """Run a program with `slots` armed, its first `steps` instructions by PTRACE_SINGLESTEP. Raises Unavailable, TooMany."""
    halts: list[Halt] = []
    tracee = _Silicon([path], {})
    stepped = pending = 0
    with tracee:
        arm(tracee.pid, slots)
        while len(halts) < _MOST:
            stop = tracee.go(SINGLESTEP if stepped < steps else CONT, pending)
            pending = 0
            dr6 = tracee.db() if stop == signal.SIGTRAP else 0
            own = dr6 >> 14 and stepped >= steps  # the program has TF set, and the signal is its own
            if own:
                dr6 &= 0xF
            if dr6:
                values = tuple(
                    (slot, int.from_bytes(tracee.read(address, length), "little") if kind != "x" else 0)
                    for slot, (address, length, kind) in enumerate(slots)
                    if dr6 >> slot & 1
                )
                stepped += dr6 >> 14
                halts.append(Halt(tracee.registers()[16], dr6, values))
                if not own:
                    continue
            if stop == signal.SIGTRAP and stepped < steps and tracee.after_call():
                stepped += 1
                halts.append(Halt(tracee.registers()[16], 0, ()))
                continue
            if tracee.status is not None:
                raise Unavailable("the program is gone before it was looked at")
            registers = dict(zip(USER_REGS, tracee.registers(), strict=True))
            state = _state(registers, registers["rflags"], tracee.image(), stop is None)
            if stop is not None and tracee.catches(stop):
                pending = stop
                continue
            how = f"exit {registers['rdi'] & 0xFF}" if stop is None else tracee.how(stop)
            return halts, End(how, state, tracee.read(*memory))
    raise TooMany(f"more than {_MOST} halts")


def emulated(path: str, slots: Slots, steps: int, memory: tuple[int, int]) -> tuple[list[Halt], End]:
    """The same on the emulated machine."""
    fd = create_memfd(1 << 15)
    ring = RingReader(fd)
    backend = EmulatedBackend(fd)
    os.close(fd)
    backend.launch(Launch(path, (), stacks=False))
    if slots:
        backend.arm(
            tuple(BreakpointRequest(address, length, kind, "perf") for address, length, kind in slots)  # type: ignore[arg-type]
        )
    machine = backend._machine
    faults = [(0, 0)]
    deliver = machine.cpus[0].kernel.deliver_fault

    def deliver_fault(signal_number: int, address: int, code: int) -> bool:
        faults.append((code, address))
        return deliver(signal_number, address, code)

    machine.cpus[0].kernel.deliver_fault = deliver_fault  # type: ignore[method-assign]
    halts: list[Halt] = []
    seen = 0
    values: list[tuple[int, int]] = []
    cpu, engine = machine.cpus[0], machine.linux.first.process.mm.engine
    for _ in range(steps):
        before = engine.pc
        view = backend.step(1, False)
        for row in ring.read(seen, 64):
            seen += 1
            slot, value = int(row["slot"]), int(row["value"])
            if slots[slot][2] == "x" and not row["flags"] & FLAG_SAME_DB:
                halts.append(Halt(before, 1 << slot, ((slot, value),)))
            elif slots[slot][2] == "x":
                last = halts.pop()
                halts.append(Halt(before, last.dr6 | 1 << slot, (*last.values, (slot, value))))
            else:
                values.append((slot, value))
        if view.state == "failed" or not machine.linux.alive:
            break
        halts.append(Halt(engine.pc, 0 if cpu.entered_kernel else cpu.last_dr6 & _DB_BITS, tuple(values)))
        values.clear()
    if machine.linux.alive and backend.view().state != "failed":
        backend.resume()
        while backend.running:
            backend.run_slice()
    for row in ring.read(seen, 1 << 15):
        slot, value = int(row["slot"]), int(row["value"])
        if row["flags"] & FLAG_SAME_DB:
            last = halts.pop()
            halts.append(Halt(last.ip, last.dr6 | 1 << slot, (*last.values, (slot, value))))
        else:
            halts.append(Halt(int(row["ip"]), 1 << slot, ((slot, value),)))
    view = backend.view()
    status = view.exit_status
    if status is None:
        how = view.stop.text
    else:
        how = f"exit {status}" if status >= 0 else _how(-status, *faults[-1])
    registers = {each.name: each.value for each in backend.registers(None)}
    exited = status is not None and status >= 0
    end = End(how, _state(registers, registers["eflags"], fxsave(engine), exited), backend.read(*memory))
    backend.close()
    return halts, end


def compared(path: str, slots: Slots, steps: int, memory: tuple[int, int]) -> tuple[int, str]:
    """A program on both: how often it halted, and what differs, "" where nothing does. Raises Unavailable, TooMany."""
    there, end = silicon(path, slots, steps, memory)
    here, ours = emulated(path, slots, steps, memory)
    return len(there), _difference(here, ours, there, end, memory[0])


def _difference(here: list[Halt], ours: End, there: list[Halt], end: End, start: int) -> str:
    for at, (mine, real) in enumerate(zip(here, there, strict=False)):
        if mine != real:
            return f"#DB {at}: emulated {mine}, silicon {real}"
    if ours.how != end.how:
        return f"end: emulated {ours.how}, silicon {end.how}"
    if len(here) != len(there):
        return f"{len(here)} #DB emulated, {len(there)} on silicon"
    different = [name for name in ours.state | end.state if ours.state.get(name) != end.state.get(name)]
    if different:
        return "; ".join(
            f"{name}: emulated {ours.state.get(name, 0):#x}, silicon {end.state.get(name, 0):#x}"
            for name in different
        )
    if ours.memory != end.memory:
        at = next(n for n in range(len(end.memory)) if ours.memory[n] != end.memory[n])
        return f"memory at {start + at:#x}: emulated {ours.memory[at]:#x}, silicon {end.memory[at]:#x}"
    return ""
