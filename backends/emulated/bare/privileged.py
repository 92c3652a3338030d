"""What the engine may not run: privileged instructions, those that enter a handler, and those it has no state for.

Each function takes the CPU and the instruction, does everything the manual's page of that instruction says (SDM volume
2), and moves pc. GuestFault leaves all as it was.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import iced_x86 as ic

from backends import dr
from backends.emulated.bare import state as at
from backends.emulated.bare.code import Instruction
from backends.emulated.bare.faults import GP, TS, UD, GeneralDetect, GuestFault, MachineEnds
from backends.emulated.bare.io import io_in, io_out, io_string
from backends.emulated.bare.tables import descriptor, interrupt_return, load_segment
from backends.emulated.debug_unit import RegisterUndefined
from backends.emulated.decode import REGISTER_NAMES
from backends.emulated.division import DIVISIONS, overflows
from backends.emulated.engine import Unsupported
from backends.emulated.special import UndefinedInstruction, run_special
from backends.emulated.x87.instructions import MNEMONICS, STORES
from backends.emulated.x87.instructions import run as run_x87

if TYPE_CHECKING:
    from backends.emulated.bare.cpu import BareCpu

__all__ = ["run_ours"]

_M = ic.Mnemonic
_MASK64: Final = (1 << 64) - 1
_MASK32: Final = (1 << 32) - 1
_SEGMENTS: Final = {
    ic.Register.ES: "ES", ic.Register.CS: "CS", ic.Register.SS: "SS",
    ic.Register.DS: "DS", ic.Register.FS: "FS", ic.Register.GS: "GS",
}  # fmt: skip
_DE_AND_FRIENDS: Final = 1 << 2 | 1 << 3 | 1 << 5 | 1 << 6
"""CPUID.1:EDX bits that a kernel may ask for: DE, PSE, MSR, PAE."""


def run_ours(cpu: BareCpu, decoded: Instruction) -> None:
    """Run the instruction at pc, one of those that are not the engine's."""
    if decoded.fault is not None:
        raise decoded.fault
    if decoded.instruction.encoding != ic.EncodingKind.LEGACY:
        raise GuestFault(UD, why="CR4.OSXSAVE is clear, so there is no AVX")
    if decoded.is_string:
        cpu.run_string(decoded)
        return
    run = _TABLE.get(decoded.mnemonic)
    if run is None:
        raise Unsupported("this instruction is not emulated in bare mode")
    run(cpu, decoded)


def _level_0(cpu: BareCpu) -> None:
    if cpu.state.cpl:
        raise GuestFault(GP, 0, why="privileged")


def _next(cpu: BareCpu, decoded: Instruction) -> None:
    cpu.engine.pc += decoded.length


def _operand(cpu: BareCpu, decoded: Instruction, size: int) -> int:
    """The value of operand 0, a register or memory."""
    instruction = decoded.instruction
    if instruction.op0_kind == ic.OpKind.REGISTER:
        return cpu.engine.read_register(REGISTER_NAMES[instruction.op0_register]) & (1 << 8 * size) - 1
    return cpu.load(decoded.accesses()[0][0], size)


def _set_register(cpu: BareCpu, register: Any, value: int) -> None:
    """Write a general register of 16, 32 or 64 bits, with the zero-extension of 64-bit mode."""
    full = REGISTER_NAMES[ic.RegisterExt.full_register(register)]
    size = ic.RegisterExt.size(register)
    if size == 2:
        value = cpu.engine.get(full) & ~0xFFFF | value & 0xFFFF
    cpu.engine.set(full, value & (_MASK32 if size == 4 else _MASK64))


def _store_operand(cpu: BareCpu, decoded: Instruction, value: int) -> None:
    """Operand 0 takes a 16-bit value: zero-extended into a register, two bytes in memory."""
    if decoded.instruction.op0_kind == ic.OpKind.REGISTER:
        _set_register(cpu, decoded.instruction.op0_register, value)
    else:
        cpu.store(decoded.accesses()[0][0], 2, value)
    _next(cpu, decoded)


# -- MOV to and from control, debug and segment registers


def _mov(cpu: BareCpu, decoded: Instruction) -> None:
    target, source = decoded.instruction.op0_register, decoded.instruction.op1_register
    if ic.RegisterExt.is_dr(target) or ic.RegisterExt.is_dr(source):
        _mov_dr(cpu, decoded)
    elif ic.RegisterExt.is_cr(target) or ic.RegisterExt.is_cr(source):
        _mov_cr(cpu, decoded)
    elif target in _SEGMENTS:
        if target == ic.Register.CS:
            raise GuestFault(UD, why="CS cannot be moved to")
        if decoded.instruction.op1_kind == ic.OpKind.REGISTER:
            selector = cpu.engine.read_register(REGISTER_NAMES[source]) & 0xFFFF
        else:
            selector = cpu.load(decoded.accesses()[0][0], 2)
        load_segment(cpu, _SEGMENTS[target], selector)
        _next(cpu, decoded)
    else:
        _store_operand(cpu, decoded, cpu.selector(_SEGMENTS[source]))


def _mov_dr(cpu: BareCpu, decoded: Instruction) -> None:
    """The order of checks is #UD, #GP for privilege, general detect, #GP for the value (kvm vmx.c handle_dr)."""
    target, source = decoded.instruction.op0_register, decoded.instruction.op1_register
    writes = ic.RegisterExt.is_dr(target)
    number = ic.RegisterExt.number(target if writes else source)
    unit = cpu.unit
    if number > 7 or (number in (4, 5) and unit.cr4 & dr.CR4_DE):
        raise GuestFault(UD, why=f"there is no DR{number}" + (" while CR4.DE is set" if number < 8 else ""))
    _level_0(cpu)
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
    _next(cpu, decoded)


def _mov_cr(cpu: BareCpu, decoded: Instruction) -> None:
    target, source = decoded.instruction.op0_register, decoded.instruction.op1_register
    writes = ic.RegisterExt.is_cr(target)
    number = ic.RegisterExt.number(target if writes else source)
    if number not in cpu.state.control:
        raise GuestFault(UD, why=f"there is no CR{number}")
    _level_0(cpu)
    if writes:
        _write_cr(cpu, number, cpu.engine.get(REGISTER_NAMES[source]))
    else:
        cpu.engine.set(REGISTER_NAMES[target], cpu.state.control[number])
    _next(cpu, decoded)


def _write_cr(cpu: BareCpu, number: int, value: int) -> None:
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


# -- entering and leaving handlers


def _int_n(cpu: BareCpu, decoded: Instruction) -> None:
    vector = 3 if decoded.mnemonic == _M.INT3 else decoded.instruction.immediate8
    _next(cpu, decoded)
    cpu.software_interrupt(vector)


def _icebp(cpu: BareCpu, decoded: Instruction) -> None:
    _next(cpu, decoded)
    cpu.icebp()


def _iretq(cpu: BareCpu, decoded: Instruction) -> None:
    if decoded.mnemonic != _M.IRETQ:
        raise Unsupported("only iretq is emulated: 16- and 32-bit frames are not")
    interrupt_return(cpu)


def _far_return(cpu: BareCpu, decoded: Instruction) -> None:
    if decoded.instruction.code not in (ic.Code.RETFQ, ic.Code.RETFQ_IMM16):
        raise Unsupported("only the 64-bit far return is emulated")
    rsp = cpu.engine.get("RSP")
    rip, selector = cpu.load(rsp, 8), cpu.load(rsp + 8 & _MASK64, 8) & 0xFFFF
    target = descriptor(cpu, selector)
    if not target.code or target.dpl != cpu.state.cpl or selector & 3 != cpu.state.cpl:
        raise Unsupported("a far return to another privilege level is not emulated")
    if not target.long:
        raise Unsupported(f"code segment {selector:#x} is 32-bit: compatibility mode is not emulated")
    immediate = decoded.instruction.immediate16 if decoded.instruction.op_count else 0
    cpu.engine.set("RSP", rsp + 16 + immediate & _MASK64)
    cpu.state.cs = selector
    cpu.engine.pc = rip


def _syscall(cpu: BareCpu, decoded: Instruction) -> None:
    state, engine = cpu.state, cpu.engine
    if not state.msr[at.EFER] & 1:
        raise GuestFault(UD, why="EFER.SCE is clear")
    engine.set("RCX", engine.pc + decoded.length)
    engine.set("R11", state.rflags(engine) & ~at.RF)
    selector = state.msr[at.STAR] >> 32 & 0xFFFC
    state.cs, state.ss, state.cpl = selector, selector + 8, 0
    state.set_rflags(engine, state.rflags(engine) & ~(state.msr[at.FMASK] | at.RF))
    engine.pc = state.msr[at.LSTAR]
    cpu.entered_by_instruction()


def _sysret(cpu: BareCpu, decoded: Instruction) -> None:
    state, engine = cpu.state, cpu.engine
    if not state.msr[at.EFER] & 1:
        raise GuestFault(UD, why="EFER.SCE is clear")
    _level_0(cpu)
    if decoded.mnemonic != _M.SYSRETQ:
        raise Unsupported("sysret to 32-bit code: compatibility mode is not emulated")
    if engine.get("RCX") >> 47:
        raise GuestFault(GP, 0, why="sysret to an address that is not canonical")
    selector = state.msr[at.STAR] >> 48 & 0xFFFF
    state.cs, state.ss, state.cpl = selector + 16 | 3, selector + 8 | 3, 3
    state.set_rflags(engine, engine.get("R11") & ~at.RF)
    engine.pc = engine.get("RCX")


def _no_sysenter(cpu: BareCpu, decoded: Instruction) -> None:
    raise GuestFault(GP, 0, why="IA32_SYSENTER_CS is 0")


# -- flags


def _pushf(cpu: BareCpu, decoded: Instruction) -> None:
    address, size, _ = decoded.accesses()[0]
    cpu.store(address, size, cpu.state.rflags(cpu.engine) & ~at.RF)
    cpu.engine.set("RSP", address)
    _next(cpu, decoded)


def _popf(cpu: BareCpu, decoded: Instruction) -> None:
    address, size, _ = decoded.accesses()[0]
    value, old = cpu.load(address, size), cpu.state.rflags(cpu.engine)
    if size == 2:
        value |= old & ~0xFFFF
    kept = 0 if cpu.state.cpl == 0 else at.IOPL | (0 if cpu.state.cpl <= cpu.state.flags >> 12 & 3 else at.IF)
    cpu.state.set_rflags(cpu.engine, value & ~(kept | at.RF) | old & kept)
    cpu.engine.set("RSP", address + size & _MASK64)
    _next(cpu, decoded)


def _interrupt_flag(cpu: BareCpu, decoded: Instruction) -> None:
    if cpu.state.cpl > cpu.state.flags >> 12 & 3:
        raise GuestFault(GP, 0, why="IOPL")
    if decoded.mnemonic == _M.STI:
        cpu.state.flags |= at.IF  # its shadow holds back interrupts, of which there are none, and no #DB
    else:
        cpu.state.flags &= ~at.IF
    _next(cpu, decoded)


def _halt(cpu: BareCpu, decoded: Instruction) -> None:
    _level_0(cpu)
    if not cpu.wakes_at_once:
        raise MachineEnds("halted: nothing is left that could interrupt", 0)
    _next(cpu, decoded)


# -- tables, MSRs and the rest


def _load_table(cpu: BareCpu, decoded: Instruction) -> None:
    _level_0(cpu)
    address = decoded.accesses()[0][0]
    limit, base = cpu.load(address, 2), cpu.load(address + 2 & _MASK64, 8)
    table = cpu.state.idt if decoded.mnemonic == _M.LIDT else cpu.state.gdt
    table.limit, table.base = limit, base
    _next(cpu, decoded)


def _store_table(cpu: BareCpu, decoded: Instruction) -> None:
    table = cpu.state.idt if decoded.mnemonic == _M.SIDT else cpu.state.gdt
    address = decoded.accesses()[0][0]
    cpu.store(address, 2, table.limit)
    cpu.store(address + 2 & _MASK64, 8, table.base)
    _next(cpu, decoded)


def _ltr(cpu: BareCpu, decoded: Instruction) -> None:
    _level_0(cpu)
    selector = _operand(cpu, decoded, 2)
    found = descriptor(cpu, selector)
    if not found.system or found.type != 9:
        raise GuestFault(GP, selector & 0xFFFC, why=f"selector {selector:#x} is no free 64-bit TSS")
    if not found.present:
        raise GuestFault(TS, selector & 0xFFFC, why="the TSS is not present")
    where = cpu.state.gdt.base + (selector & 0xFFF8)
    (high,) = struct.unpack("<Q", cpu.system_read(where + 8, 8))
    (low,) = struct.unpack("<Q", cpu.system_read(where, 8))
    cpu.system_write(where, struct.pack("<Q", low | 2 << 40))
    tss = cpu.state.tss
    tss.selector, tss.base, tss.limit = selector, found.base | (high & _MASK32) << 32, found.limit
    _next(cpu, decoded)


def _lldt(cpu: BareCpu, decoded: Instruction) -> None:
    _level_0(cpu)
    if _operand(cpu, decoded, 2) & 0xFFFC:
        raise Unsupported("local descriptor tables are not emulated")
    _next(cpu, decoded)


def _store_selector(cpu: BareCpu, decoded: Instruction) -> None:
    values: dict[int, int] = {
        _M.STR: cpu.state.tss.selector,
        _M.SLDT: 0,
        _M.SMSW: cpu.state.control[0] & 0xFFFF,
    }
    _store_operand(cpu, decoded, values[decoded.mnemonic])


def _nothing(cpu: BareCpu, decoded: Instruction) -> None:
    """CLTS, INVD, WBINVD, INVLPG: no caches, no lazy FPU."""
    _level_0(cpu)
    _next(cpu, decoded)


def _cache_line(cpu: BareCpu, decoded: Instruction) -> None:
    """CLFLUSH and CLWB are loads of a byte to the debug registers."""
    cpu.load(decoded.accesses()[0][0], 1)
    _next(cpu, decoded)


def _rdmsr(cpu: BareCpu, decoded: Instruction) -> None:
    _level_0(cpu)
    value = cpu.read_msr(cpu.engine.get("RCX") & _MASK32)
    cpu.engine.set("RAX", value & _MASK32)
    cpu.engine.set("RDX", value >> 32)
    _next(cpu, decoded)


def _wrmsr(cpu: BareCpu, decoded: Instruction) -> None:
    _level_0(cpu)
    engine = cpu.engine
    value = engine.get("RAX") & _MASK32 | (engine.get("RDX") & _MASK32) << 32
    cpu.write_msr(engine.get("RCX") & _MASK32, value)
    _next(cpu, decoded)


def _swapgs(cpu: BareCpu, decoded: Instruction) -> None:
    _level_0(cpu)
    msr, engine = cpu.state.msr, cpu.engine
    old = engine.get("GS_BASE")
    engine.set("GS_BASE", msr[at.KERNEL_GS_BASE])
    msr[at.KERNEL_GS_BASE] = old
    _next(cpu, decoded)


def _push_segment(cpu: BareCpu, decoded: Instruction) -> None:
    address, size, _ = decoded.accesses()[0]
    cpu.store(address, size, cpu.selector(_SEGMENTS[decoded.instruction.op0_register]))
    cpu.engine.set("RSP", address)
    _next(cpu, decoded)


def _pop(cpu: BareCpu, decoded: Instruction) -> None:
    if decoded.instruction.op0_kind == ic.OpKind.MEMORY:
        cpu.run_on_engine(decoded, ("RSP",))
        return
    address, size, _ = decoded.accesses()[0]
    load_segment(cpu, _SEGMENTS[decoded.instruction.op0_register], cpu.load(address, size) & 0xFFFF)
    cpu.engine.set("RSP", address + size & _MASK64)
    _next(cpu, decoded)


def _undefined(cpu: BareCpu, decoded: Instruction) -> None:
    raise GuestFault(UD, why="undefined")


def _not_permitted(cpu: BareCpu, decoded: Instruction) -> None:
    _level_0(cpu)
    raise GuestFault(GP, 0, why="this CPU has no performance counters")


def _as_in_user_mode(cpu: BareCpu, decoded: Instruction) -> None:
    """CPUID and RDTSC."""
    leaf = cpu.engine.get("RAX") & _MASK32
    try:
        if not run_special(cpu.engine, decoded, cpu.instructions):
            cpu.run_on_engine(decoded)
            return
    except UndefinedInstruction as error:
        raise GuestFault(UD, why="undefined") from error
    if decoded.mnemonic == _M.CPUID and leaf == 1:
        cpu.engine.set("RDX", cpu.engine.get("RDX") | _DE_AND_FRIENDS)


def _x87(cpu: BareCpu, decoded: Instruction) -> None:
    instruction = decoded.instruction
    in_memory = instruction.op_count > 0 and instruction.op0_kind == ic.OpKind.MEMORY
    address, size, _ = decoded.accesses()[0] if in_memory else (0, 0, 0)
    stores = in_memory and decoded.mnemonic in STORES
    memory = cpu.load(address, size).to_bytes(size, "little") if in_memory and not stores else b""
    out = run_x87(cpu.engine.x87, instruction, size, memory, cpu.engine.flags)
    if out is not None and in_memory:
        cpu.store(address, size, int.from_bytes(out, "little"))
    elif out is not None:  # fnstsw ax
        cpu.engine.set("RAX", cpu.engine.get("RAX") & ~0xFFFF | int.from_bytes(out, "little"))
    _next(cpu, decoded)


def _divide(cpu: BareCpu, decoded: Instruction) -> None:
    if overflows(decoded, cpu.engine, cpu):
        raise GuestFault(0, why="the quotient does not fit")
    cpu.run_on_engine(decoded)


_TABLE: Final[dict[int, Callable[[BareCpu, Instruction], None]]] = {
    _M.MOV: _mov,
    **dict.fromkeys((_M.INT, _M.INT3), _int_n),
    _M.INT1: _icebp,
    **dict.fromkeys((_M.IRET, _M.IRETD, _M.IRETQ), _iretq),
    _M.RETF: _far_return,
    _M.SYSCALL: _syscall,
    **dict.fromkeys((_M.SYSRET, _M.SYSRETQ), _sysret),
    **dict.fromkeys((_M.SYSENTER, _M.SYSEXIT, _M.SYSEXITQ), _no_sysenter),
    **dict.fromkeys((_M.PUSHF, _M.PUSHFQ), _pushf),
    **dict.fromkeys((_M.POPF, _M.POPFQ), _popf),
    **dict.fromkeys((_M.CLI, _M.STI), _interrupt_flag),
    _M.HLT: _halt,
    _M.IN: io_in,
    _M.OUT: io_out,
    **dict.fromkeys((_M.INSB, _M.INSW, _M.INSD, _M.OUTSB, _M.OUTSW, _M.OUTSD), io_string),
    **dict.fromkeys((_M.LGDT, _M.LIDT), _load_table),
    **dict.fromkeys((_M.SGDT, _M.SIDT), _store_table),
    _M.LTR: _ltr,
    _M.LLDT: _lldt,
    **dict.fromkeys((_M.STR, _M.SLDT, _M.SMSW), _store_selector),
    **dict.fromkeys((_M.CLTS, _M.INVD, _M.WBINVD, _M.INVLPG), _nothing),
    **dict.fromkeys((_M.CLFLUSH, _M.CLFLUSHOPT, _M.CLWB), _cache_line),
    _M.RDMSR: _rdmsr,
    _M.WRMSR: _wrmsr,
    _M.RDPMC: _not_permitted,
    _M.SWAPGS: _swapgs,
    _M.PUSH: _push_segment,
    _M.POP: _pop,
    **dict.fromkeys(
        (_M.UD0, _M.UD1, _M.UD2, _M.INVALID, _M.XSETBV, _M.RDFSBASE, _M.RDGSBASE, _M.WRFSBASE, _M.WRGSBASE, _M.MONITOR,
         _M.MWAIT, _M.INTO, _M.RSM, _M.GETSEC, _M.VMCALL, _M.VMMCALL, _M.CLAC, _M.STAC, _M.INVPCID),
        _undefined,
    ),
    **dict.fromkeys((_M.CPUID, _M.RDTSC, _M.RDTSCP, _M.XGETBV), _as_in_user_mode),
    **dict.fromkeys(MNEMONICS, _x87),
    **dict.fromkeys(DIVISIONS, _divide),
}  # fmt: skip
