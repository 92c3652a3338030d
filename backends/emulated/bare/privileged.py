"""What the engine may not run: privileged instructions, those that enter a handler, and those it has no state for.

Each function takes the CPU and the instruction, does everything the manual's page of that instruction says (SDM volume
2), and moves pc. GuestFault leaves all as it was.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import iced_x86 as ic

from backends.emulated.bare import state as at
from backends.emulated.bare.code import Instruction
from backends.emulated.bare.entering import (
    far_return,
    halt,
    icebp,
    int_n,
    interrupt_flag,
    iretq,
    no_sysenter,
    popf,
    pushf,
    syscall,
    sysret,
)
from backends.emulated.bare.faults import GP, TS, UD, GuestFault
from backends.emulated.bare.io import io_in, io_out, io_string
from backends.emulated.bare.moves import move, pop, push_segment
from backends.emulated.bare.msr import read_msr, write_msr
from backends.emulated.bare.operands import go_on, need_level_0, operand, store_operand
from backends.emulated.bare.tables import descriptor
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


def _load_table(cpu: BareCpu, decoded: Instruction) -> None:
    need_level_0(cpu)
    address = decoded.accesses()[0][0]
    limit, base = cpu.load(address, 2), cpu.load(address + 2 & _MASK64, 8)
    table = cpu.state.idt if decoded.mnemonic == _M.LIDT else cpu.state.gdt
    table.limit, table.base = limit, base
    go_on(cpu, decoded)


def _store_table(cpu: BareCpu, decoded: Instruction) -> None:
    table = cpu.state.idt if decoded.mnemonic == _M.SIDT else cpu.state.gdt
    address = decoded.accesses()[0][0]
    cpu.store(address, 2, table.limit)
    cpu.store(address + 2 & _MASK64, 8, table.base)
    go_on(cpu, decoded)


def _ltr(cpu: BareCpu, decoded: Instruction) -> None:
    need_level_0(cpu)
    selector = operand(cpu, decoded, 2)
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
    go_on(cpu, decoded)


def _lldt(cpu: BareCpu, decoded: Instruction) -> None:
    need_level_0(cpu)
    if operand(cpu, decoded, 2) & 0xFFFC:
        raise Unsupported("local descriptor tables are not emulated")
    go_on(cpu, decoded)


def _store_selector(cpu: BareCpu, decoded: Instruction) -> None:
    values: dict[int, int] = {
        _M.STR: cpu.state.tss.selector,
        _M.SLDT: 0,
        _M.SMSW: cpu.state.control[0] & 0xFFFF,
    }
    store_operand(cpu, decoded, values[decoded.mnemonic])


def _nothing(cpu: BareCpu, decoded: Instruction) -> None:
    """CLTS, INVD, WBINVD, INVLPG: no caches, no lazy FPU."""
    need_level_0(cpu)
    go_on(cpu, decoded)


def _cache_line(cpu: BareCpu, decoded: Instruction) -> None:
    """CLFLUSH and CLWB are loads of a byte to the debug registers."""
    cpu.load(decoded.accesses()[0][0], 1)
    go_on(cpu, decoded)


def _rdmsr(cpu: BareCpu, decoded: Instruction) -> None:
    need_level_0(cpu)
    value = read_msr(cpu, cpu.engine.get("RCX") & _MASK32)
    cpu.engine.set("RAX", value & _MASK32)
    cpu.engine.set("RDX", value >> 32)
    go_on(cpu, decoded)


def _wrmsr(cpu: BareCpu, decoded: Instruction) -> None:
    need_level_0(cpu)
    engine = cpu.engine
    value = engine.get("RAX") & _MASK32 | (engine.get("RDX") & _MASK32) << 32
    write_msr(cpu, engine.get("RCX") & _MASK32, value)
    go_on(cpu, decoded)


def _swapgs(cpu: BareCpu, decoded: Instruction) -> None:
    need_level_0(cpu)
    msr, engine = cpu.state.msr, cpu.engine
    old = engine.get("GS_BASE")
    engine.set("GS_BASE", msr[at.KERNEL_GS_BASE])
    msr[at.KERNEL_GS_BASE] = old
    go_on(cpu, decoded)


def _undefined(cpu: BareCpu, decoded: Instruction) -> None:
    raise GuestFault(UD, why="undefined")


def _not_permitted(cpu: BareCpu, decoded: Instruction) -> None:
    need_level_0(cpu)
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
    go_on(cpu, decoded)


def _divide(cpu: BareCpu, decoded: Instruction) -> None:
    if overflows(decoded, cpu.engine, cpu):
        raise GuestFault(0, why="the quotient does not fit")
    cpu.run_on_engine(decoded)


_TABLE: Final[dict[int, Callable[[BareCpu, Instruction], None]]] = {
    _M.MOV: move,
    **dict.fromkeys((_M.INT, _M.INT3), int_n),
    _M.INT1: icebp,
    **dict.fromkeys((_M.IRET, _M.IRETD, _M.IRETQ), iretq),
    _M.RETF: far_return,
    _M.SYSCALL: syscall,
    **dict.fromkeys((_M.SYSRET, _M.SYSRETQ), sysret),
    **dict.fromkeys((_M.SYSENTER, _M.SYSEXIT, _M.SYSEXITQ), no_sysenter),
    **dict.fromkeys((_M.PUSHF, _M.PUSHFQ), pushf),
    **dict.fromkeys((_M.POPF, _M.POPFQ), popf),
    **dict.fromkeys((_M.CLI, _M.STI), interrupt_flag),
    _M.HLT: halt,
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
    _M.PUSH: push_segment,
    _M.POP: pop,
    **dict.fromkeys(
        (_M.UD0, _M.UD1, _M.UD2, _M.INVALID, _M.XSETBV, _M.RDFSBASE, _M.RDGSBASE, _M.WRFSBASE, _M.WRGSBASE, _M.MONITOR,
         _M.MWAIT, _M.INTO, _M.RSM, _M.GETSEC, _M.VMCALL, _M.VMMCALL, _M.CLAC, _M.STAC, _M.INVPCID),
        _undefined,
    ),
    **dict.fromkeys((_M.CPUID, _M.RDTSC, _M.RDTSCP, _M.XGETBV), _as_in_user_mode),
    **dict.fromkeys(MNEMONICS, _x87),
    **dict.fromkeys(DIVISIONS, _divide),
}  # fmt: skip
