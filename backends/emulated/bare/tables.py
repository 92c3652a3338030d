"""Descriptor tables: segments, and the delivery of exceptions and interrupts through the IDT (SDM 3A 5 and 6)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from backends.emulated.bare.faults import GP, NP, SS, TS, GuestFault, name_of
from backends.emulated.engine import Unsupported
from backends.emulated.rflags import IF, NT, RF, TF

if TYPE_CHECKING:
    from backends.emulated.bare.cpu import BareCpu

__all__ = ["Descriptor", "deliver", "descriptor", "interrupt_return", "load_segment"]

_INTERRUPT_GATE, _TRAP_GATE = 0xE, 0xF
_MASK64: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A descriptor of the GDT. `type` is the 4-bit type field, `system` tells a TSS or a gate from code and data."""

    base: int
    limit: int
    type: int
    system: bool
    dpl: int
    present: bool
    long: bool
    default: bool

    @property
    def code(self) -> bool:
        """A code segment."""
        return not self.system and bool(self.type & 8)

    @property
    def conforming(self) -> bool:
        """Code that keeps its caller's privilege."""
        return self.code and bool(self.type & 4)

    @property
    def writable(self) -> bool:
        """A data segment that may be a stack."""
        return not self.system and self.type & 0xA == 2


def descriptor(cpu: BareCpu, selector: int, ext: int = 0, vector: int = GP) -> Descriptor:
    """The descriptor that a selector names. Raises the fault `vector` with the selector as its error code."""
    error = selector & 0xFFFC | ext
    at = selector & 0xFFF8
    if not at:
        raise GuestFault(vector, ext, why="null selector")
    if selector & 4:
        raise GuestFault(vector, error, why=f"selector {selector:#x}: there is no LDT")
    if at + 7 > cpu.state.gdt.limit:
        raise GuestFault(vector, error, why=f"selector {selector:#x} is beyond the GDT's limit")
    (low,) = struct.unpack("<Q", cpu.system_read(cpu.state.gdt.base + at, 8))
    access, flags = low >> 40 & 0xFF, low >> 52 & 0xF
    limit = low & 0xFFFF | low >> 32 & 0xF0000
    return Descriptor(
        base=low >> 16 & 0xFF_FFFF | low >> 32 & 0xFF00_0000,
        limit=limit << 12 | 0xFFF if flags & 8 else limit,
        type=access & 0xF,
        system=not access & 0x10,
        dpl=access >> 5 & 3,
        present=bool(access & 0x80),
        long=bool(flags & 2),
        default=bool(flags & 4),
    )


def _long_code(target: Descriptor, selector: int, ext: int) -> None:
    if not target.code:
        raise GuestFault(GP, selector & 0xFFFC | ext, why=f"selector {selector:#x} is not code")
    if not target.present:
        raise GuestFault(NP, selector & 0xFFFC | ext, why=f"code segment {selector:#x} is not present")
    if not target.long:
        raise Unsupported(f"code segment {selector:#x} is 32-bit: compatibility mode is not emulated")
    if target.default:
        raise GuestFault(GP, selector & 0xFFFC | ext, why=f"code segment {selector:#x} has both L and D")


def deliver(
    cpu: BareCpu, vector: int, error: int | None, *, software: bool = False, rf: bool = False
) -> None:
    """Enter the handler of a vector; the frame's RIP is the engine's pc.

    `software`: INT n, whose gate must allow the caller. `rf`: the RF bit of the frame. Raises GuestFault, with nothing
    changed, where the tables or the stack do not allow it; the memory of a frame may have been written.
    """
    state, engine = cpu.state, cpu.engine
    ext = 0 if software else 1
    if vector * 16 + 15 > state.idt.limit:
        why = f"the IDT's limit is {state.idt.limit:#x}" if state.idt.limit else "there is no IDT"
        raise GuestFault(GP, vector * 8 + 2 + ext, why=why)
    low, high = struct.unpack("<QQ", cpu.system_read(state.idt.base + vector * 16, 16))
    access, selector = low >> 40 & 0xFF, low >> 16 & 0xFFFF
    gate = access & 0x1F
    if gate not in (_INTERRUPT_GATE, _TRAP_GATE):
        raise GuestFault(GP, vector * 8 + 2 + ext, why=f"gate {vector} has type {gate:#x}")
    if software and access >> 5 & 3 < state.cpl:
        raise GuestFault(GP, vector * 8 + 2, why=f"gate {vector} is not for level {state.cpl}")
    if not access & 0x80:
        raise GuestFault(NP, vector * 8 + 2 + ext, why=f"gate {vector} ({name_of(vector)}) is not present")
    code = descriptor(cpu, selector, ext)
    _long_code(code, selector, ext)
    if code.dpl > state.cpl:
        raise GuestFault(GP, selector & 0xFFFC | ext, why=f"code segment {selector:#x} is less privileged")
    cpl = state.cpl if code.conforming else code.dpl
    old_rsp = engine.get("RSP")
    rsp = _stack(cpu, low >> 32 & 7, cpl, old_rsp) & -16
    ss = state.ss if cpl == state.cpl else cpl
    flags = state.rflags(engine) & ~RF | (RF if rf else 0)
    frame = [state.ss, old_rsp, flags, state.cs, engine.pc] + ([] if error is None else [error])
    for value in frame:
        rsp -= 8
        cpu.store(rsp & _MASK64, 8, value)
    engine.set("RSP", rsp & _MASK64)
    state.cs, state.ss, state.cpl = selector & 0xFFFC | cpl, ss, cpl
    state.flags &= ~(TF | NT | RF | (IF if gate == _INTERRUPT_GATE else 0))
    engine.pc = low & 0xFFFF | low >> 32 & 0xFFFF_0000 | (high & 0xFFFF_FFFF) << 32


def _stack(cpu: BareCpu, ist: int, cpl: int, rsp: int) -> int:
    """Where the frame goes: the interrupt stack table, the TSS's stack of that level, or where RSP is."""
    at = 0x1C + 8 * ist if ist else 4 + 8 * cpl if cpl < cpu.state.cpl else 0
    if not at:
        return rsp
    tss = cpu.state.tss
    if at + 7 > tss.limit or not tss.selector:
        raise GuestFault(
            TS, tss.selector & 0xFFFC | 1, why="the TSS has no such stack" if tss.selector else "no TSS"
        )
    (value,) = struct.unpack("<Q", cpu.system_read(tss.base + at, 8))
    return int(value)


def interrupt_return(cpu: BareCpu) -> None:
    """IRETQ (SDM 2A, IRET)."""
    state, engine = cpu.state, cpu.engine
    if state.flags & NT:
        raise GuestFault(GP, 0, why="iret with NT set")
    at = engine.get("RSP")
    rip, cs, flags, rsp, ss = (cpu.load(at + 8 * n & _MASK64, 8) for n in range(5))
    cs, ss = cs & 0xFFFF, ss & 0xFFFF
    cpl = cs & 3
    if cpl < state.cpl:
        raise GuestFault(GP, cs & 0xFFFC, why="iret to a more privileged level")
    target = descriptor(cpu, cs)
    _long_code(target, cs, 0)
    if (target.dpl > cpl) if target.conforming else (target.dpl != cpl):
        raise GuestFault(GP, cs & 0xFFFC, why=f"code segment {cs:#x} is of level {target.dpl}")
    check_stack_segment(cpu, ss, cpl)
    if rip >> 47 not in (0, 0x1FFFF):
        raise GuestFault(GP, 0, why=f"iret to {rip:#x}, which is not canonical")
    old = state.rflags(engine)
    kept = 0 if state.cpl == 0 else 3 << 12 | (0 if state.cpl <= state.flags >> 12 & 3 else IF)
    cpu.frame_left(at)
    state.set_rflags(engine, flags & ~kept | old & kept)
    if cpl > state.cpl:
        _drop_privileged_segments(cpu, cpl)
    state.cs, state.ss, state.cpl = cs, ss, cpl
    engine.set("RSP", rsp)
    engine.pc = rip


def _drop_privileged_segments(cpu: BareCpu, cpl: int) -> None:
    """Data segments that the outer level may not use become null (SDM 2A, IRET)."""
    for name, selector in cpu.state.segments.items():
        if selector & 0xFFF8 and descriptor(cpu, selector).dpl < cpl:
            cpu.state.segments[name] = 0


def check_stack_segment(cpu: BareCpu, selector: int, cpl: int) -> None:
    """Whether SS may be loaded with this for that privilege level; raises GuestFault."""
    if not selector & 0xFFFC:
        if cpl == 3 or selector & 3 != cpl:
            raise GuestFault(GP, 0, why="null SS")
        return
    found = descriptor(cpu, selector)
    if selector & 3 != cpl or found.dpl != cpl or not found.writable:
        raise GuestFault(GP, selector & 0xFFFC, why=f"selector {selector:#x} is no stack of level {cpl}")
    if not found.present:
        raise GuestFault(SS, selector & 0xFFFC, why=f"stack segment {selector:#x} is not present")


def load_segment(cpu: BareCpu, name: str, selector: int) -> None:
    """MOV or POP to a segment register other than CS. Loading SS begins the shadow (SDM 3A 6.8.3)."""
    state = cpu.state
    if name == "SS":
        check_stack_segment(cpu, selector, state.cpl)
        state.ss = selector
        cpu.begin_shadow()
        return
    base = 0
    if selector & 0xFFFC:
        found = descriptor(cpu, selector)
        if found.system or (found.code and not found.type & 2):
            raise GuestFault(GP, selector & 0xFFFC, why=f"selector {selector:#x} cannot be read")
        if not found.conforming and max(state.cpl, selector & 3) > found.dpl:
            raise GuestFault(GP, selector & 0xFFFC, why=f"selector {selector:#x} is of level {found.dpl}")
        if not found.present:
            raise GuestFault(NP, selector & 0xFFFC, why=f"segment {selector:#x} is not present")
        base = found.base
    state.segments[name] = selector
    if name in ("FS", "GS"):
        cpu.engine.set(f"{name}_BASE", base)
