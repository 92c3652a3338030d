"""Instructions that enter a handler or return from one, and those that change what may interrupt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import iced_x86 as ic

from backends.emulated import rflags
from backends.emulated.bare import state as at
from backends.emulated.bare.code import Instruction
from backends.emulated.bare.faults import GP, UD, GuestFault, MachineEnds
from backends.emulated.bare.operands import go_on, need_level_0
from backends.emulated.bare.tables import descriptor, interrupt_return
from backends.emulated.engine import Unsupported

if TYPE_CHECKING:
    from backends.emulated.bare.cpu import BareCpu

__all__ = [
    "far_return",
    "halt",
    "icebp",
    "int_n",
    "interrupt_flag",
    "iretq",
    "no_sysenter",
    "popf",
    "pushf",
    "syscall",
    "sysret",
]

_M = ic.Mnemonic
_MASK64: Final = (1 << 64) - 1


def int_n(cpu: BareCpu, decoded: Instruction) -> None:
    """INT n and INT3: through the gate, if that is open to the caller (SDM 2A, INT)."""
    vector = 3 if decoded.mnemonic == _M.INT3 else decoded.instruction.immediate8
    go_on(cpu, decoded)
    cpu.software_interrupt(vector)


def icebp(cpu: BareCpu, decoded: Instruction) -> None:
    """INT1: a #DB of its own kind, through any gate."""
    go_on(cpu, decoded)
    cpu.icebp()


def iretq(cpu: BareCpu, decoded: Instruction) -> None:
    """IRETQ; Unsupported for narrower frames."""
    if decoded.mnemonic != _M.IRETQ:
        raise Unsupported("only iretq is emulated: 16- and 32-bit frames are not")
    interrupt_return(cpu)


def far_return(cpu: BareCpu, decoded: Instruction) -> None:
    """RETF to 64-bit code of the same level; Unsupported for all else."""
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


def syscall(cpu: BareCpu, decoded: Instruction) -> None:
    """SYSCALL: STAR, LSTAR, FMASK (SDM 2B, SYSCALL)."""
    state, engine = cpu.state, cpu.engine
    if not state.msr[at.EFER] & 1:
        raise GuestFault(UD, why="EFER.SCE is clear")
    engine.set("RCX", engine.pc + decoded.length)
    engine.set("R11", state.rflags(engine) & ~rflags.RF)
    selector = state.msr[at.STAR] >> 32 & 0xFFFC
    state.cs, state.ss, state.cpl = selector, selector + 8, 0
    state.set_rflags(engine, state.rflags(engine) & ~(state.msr[at.FMASK] | rflags.RF))
    engine.pc = state.msr[at.LSTAR]
    cpu.entered_by_instruction()


def sysret(cpu: BareCpu, decoded: Instruction) -> None:
    """SYSRETQ to level 3 (SDM 2B, SYSRET)."""
    state, engine = cpu.state, cpu.engine
    if not state.msr[at.EFER] & 1:
        raise GuestFault(UD, why="EFER.SCE is clear")
    need_level_0(cpu)
    if decoded.mnemonic != _M.SYSRETQ:
        raise Unsupported("sysret to 32-bit code: compatibility mode is not emulated")
    if engine.get("RCX") >> 47:
        raise GuestFault(GP, 0, why="sysret to an address that is not canonical")
    selector = state.msr[at.STAR] >> 48 & 0xFFFF
    state.cs, state.ss, state.cpl = selector + 16 | 3, selector + 8 | 3, 3
    state.set_rflags(engine, engine.get("R11") & ~rflags.RF)
    engine.pc = engine.get("RCX")


def no_sysenter(cpu: BareCpu, decoded: Instruction) -> None:
    """SYSENTER and SYSEXIT, which were not set up: #GP(0)."""
    raise GuestFault(GP, 0, why="IA32_SYSENTER_CS is 0")


def pushf(cpu: BareCpu, decoded: Instruction) -> None:
    """PUSHF: RF and VM are clear in the image."""
    address, size, _ = decoded.accesses()[0]
    cpu.store(address, size, cpu.state.rflags(cpu.engine) & ~rflags.RF)
    cpu.engine.set("RSP", address)
    go_on(cpu, decoded)


def popf(cpu: BareCpu, decoded: Instruction) -> None:
    """POPF: IOPL and IF only with the privilege; RF is cleared."""
    address, size, _ = decoded.accesses()[0]
    value, old = cpu.load(address, size), cpu.state.rflags(cpu.engine)
    if size == 2:
        value |= old & ~0xFFFF
    kept = (
        0
        if cpu.state.cpl == 0
        else rflags.IOPL | (0 if cpu.state.cpl <= cpu.state.flags >> 12 & 3 else rflags.IF)
    )
    cpu.state.set_rflags(cpu.engine, value & ~(kept | rflags.RF) | old & kept)
    cpu.engine.set("RSP", address + size & _MASK64)
    go_on(cpu, decoded)


def interrupt_flag(cpu: BareCpu, decoded: Instruction) -> None:
    """CLI and STI."""
    if cpu.state.cpl > cpu.state.flags >> 12 & 3:
        raise GuestFault(GP, 0, why="IOPL")
    if decoded.mnemonic == _M.STI:
        cpu.state.flags |= rflags.IF  # its shadow holds back interrupts, of which there are none, and no #DB
    else:
        cpu.state.flags &= ~rflags.IF
    go_on(cpu, decoded)


def halt(cpu: BareCpu, decoded: Instruction) -> None:
    """HLT: MachineEnds where nothing is pending."""
    need_level_0(cpu)
    if not cpu.wakes_at_once:
        raise MachineEnds("halted: nothing is left that could interrupt", 0)
    go_on(cpu, decoded)
