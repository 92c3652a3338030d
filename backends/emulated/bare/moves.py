"""MOV, PUSH and POP of control, debug and segment registers (SDM 2B, MOV)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import iced_x86 as ic

from backends import dr
from backends.emulated.bare.code import Instruction
from backends.emulated.bare.faults import GP, UD, GeneralDetect, GuestFault
from backends.emulated.bare.operands import SEGMENTS, go_on, need_level_0, store_operand
from backends.emulated.bare.tables import load_segment
from backends.emulated.debug_unit import RegisterUndefined
from backends.emulated.decode import REGISTER_NAMES
from backends.emulated.engine import Unsupported

if TYPE_CHECKING:
    from backends.emulated.bare.cpu import BareCpu

__all__ = ["move", "pop", "push_segment"]

_MASK64: Final = (1 << 64) - 1


def move(cpu: BareCpu, decoded: Instruction) -> None:
    """MOV whose one side is a control, debug or segment register."""
    target, source = decoded.instruction.op0_register, decoded.instruction.op1_register
    if ic.RegisterExt.is_dr(target) or ic.RegisterExt.is_dr(source):
        mov_dr(cpu, decoded)
    elif ic.RegisterExt.is_cr(target) or ic.RegisterExt.is_cr(source):
        mov_cr(cpu, decoded)
    elif target in SEGMENTS:
        if target == ic.Register.CS:
            raise GuestFault(UD, why="CS cannot be moved to")
        if decoded.instruction.op1_kind == ic.OpKind.REGISTER:
            selector = cpu.engine.read_register(REGISTER_NAMES[source]) & 0xFFFF
        else:
            selector = cpu.load(decoded.accesses()[0][0], 2)
        load_segment(cpu, SEGMENTS[target], selector)
        go_on(cpu, decoded)
    else:
        store_operand(cpu, decoded, cpu.selector(SEGMENTS[source]))


def mov_dr(cpu: BareCpu, decoded: Instruction) -> None:
    """The order of checks is #UD, #GP for privilege, general detect, #GP for the value (kvm vmx.c handle_dr)."""
    target, source = decoded.instruction.op0_register, decoded.instruction.op1_register
    writes = ic.RegisterExt.is_dr(target)
    number = ic.RegisterExt.number(target if writes else source)
    unit = cpu.unit
    if number > 7 or (number in (4, 5) and unit.cr4 & dr.CR4_DE):
        raise GuestFault(UD, why=f"there is no DR{number}" + (" while CR4.DE is set" if number < 8 else ""))
    need_level_0(cpu)
    if unit.dr7 & dr.DR7_GD:
        raise GeneralDetect
    if not writes:
        cpu.engine.set(REGISTER_NAMES[target], unit.read(number))
    else:
        value = cpu.engine.get(REGISTER_NAMES[source])
        if number > 3 and value >> 32:
            raise GuestFault(GP, 0, why=f"bits 63:32 of DR{number} must be clear")
        try:
            cpu.write_dr(number, value, "program")
        except RegisterUndefined as error:  # cannot be: looked at above
            raise GuestFault(UD) from error
    go_on(cpu, decoded)


def mov_cr(cpu: BareCpu, decoded: Instruction) -> None:
    target, source = decoded.instruction.op0_register, decoded.instruction.op1_register
    writes = ic.RegisterExt.is_cr(target)
    number = ic.RegisterExt.number(target if writes else source)
    if number not in cpu.state.control:
        raise GuestFault(UD, why=f"there is no CR{number}")
    need_level_0(cpu)
    if writes:
        write_cr(cpu, number, cpu.engine.get(REGISTER_NAMES[source]))
    else:
        cpu.engine.set(REGISTER_NAMES[target], cpu.state.control[number])
    go_on(cpu, decoded)


def write_cr(cpu: BareCpu, number: int, value: int) -> None:
    old = cpu.state.control[number]
    if number in (0, 4) and value >> 32:
        raise GuestFault(GP, 0, why=f"bits 63:32 of CR{number} must be clear")
    if number == 0 and (old ^ value) & 0x8000_0001:
        raise Unsupported("leaving 64-bit mode is not emulated")
    if number == 3 and value & ~0xFFF != old & ~0xFFF:
        raise Unsupported("the program's own page tables are not emulated: memory is identity mapped")
    if number == 4:
        if not value & 0x20:
            raise GuestFault(GP, 0, why="CR4.PAE cannot be cleared in 64-bit mode")
        if value & ~0x7FF:
            raise GuestFault(GP, 0, why=f"CR4 {value:#x}: bits of features that this CPU has not")
        cpu.write_cr4(value)
    cpu.state.control[number] = value | 0x10 if number == 0 else value & 0xF if number == 8 else value


def push_segment(cpu: BareCpu, decoded: Instruction) -> None:
    """PUSH FS and PUSH GS."""
    address, size, _ = decoded.accesses()[0]
    cpu.store(address, size, cpu.selector(SEGMENTS[decoded.instruction.op0_register]))
    cpu.engine.set("RSP", address)
    go_on(cpu, decoded)


def pop(cpu: BareCpu, decoded: Instruction) -> None:
    """POP of a segment register, and of memory, whose store comes after RSP has moved."""
    if decoded.instruction.op0_kind == ic.OpKind.MEMORY:
        cpu.run_on_engine(decoded, ("RSP",))
        return
    address, size, _ = decoded.accesses()[0]
    load_segment(cpu, SEGMENTS[decoded.instruction.op0_register], cpu.load(address, size) & 0xFFFF)
    cpu.engine.set("RSP", address + size & _MASK64)
    go_on(cpu, decoded)
