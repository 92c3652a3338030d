"""IN, OUT, INS and OUTS: permission, the port, and I/O breakpoints (SDM 1 chapter 19, 3B 17.2)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import iced_x86 as ic

from backends.emulated.bare.code import Instruction
from backends.emulated.bare.faults import GP, GuestFault
from backends.emulated.decode import REGISTER_NAMES

if TYPE_CHECKING:
    from backends.emulated.bare.cpu import BareCpu

__all__ = ["io_in", "io_out", "io_string"]

_MASK64: Final = (1 << 64) - 1
_M = ic.Mnemonic
_INS: Final[dict[int, int]] = {_M.INSB: 1, _M.INSW: 2, _M.INSD: 4}
_OUTS: Final[dict[int, int]] = {_M.OUTSB: 1, _M.OUTSW: 2, _M.OUTSD: 4}


def _allow(cpu: BareCpu, port: int, size: int) -> None:
    """IOPL, else the TSS's I/O permission bitmap."""
    state = cpu.state
    if state.cpl <= state.flags >> 12 & 3:
        return
    tss = state.tss
    if tss.selector and tss.limit >= 0x67:
        (base,) = struct.unpack("<H", cpu.system_read(tss.base + 0x66, 2))
        first = base + port // 8
        if first + 1 <= tss.limit:
            (bits,) = struct.unpack("<H", cpu.system_read(tss.base + first, 2))
            if not bits >> port % 8 & (1 << size) - 1:
                return
    raise GuestFault(GP, 0, why=f"no permission for port {port:#x}")


def _port(cpu: BareCpu, decoded: Instruction, operand: int) -> int:
    instruction = decoded.instruction
    if instruction.op_kind(operand) == ic.OpKind.REGISTER:
        return cpu.engine.get("RDX") & 0xFFFF
    return int(instruction.immediate8)


def io_in(cpu: BareCpu, decoded: Instruction) -> None:
    """IN AL/AX/EAX from imm8 or DX."""
    register = decoded.instruction.op0_register
    size, port = ic.RegisterExt.size(register), _port(cpu, decoded, 1)
    _allow(cpu, port, size)
    value = cpu.ports.read(port, size)
    old = cpu.engine.get("RAX")
    cpu.engine.set("RAX", value if size == 4 else old & ~((1 << 8 * size) - 1) | value)
    cpu.engine.pc += decoded.length
    cpu.touched_port(port, size)


def io_out(cpu: BareCpu, decoded: Instruction) -> None:
    """OUT AL/AX/EAX to imm8 or DX."""
    register = decoded.instruction.op1_register
    size, port = ic.RegisterExt.size(register), _port(cpu, decoded, 0)
    _allow(cpu, port, size)
    cpu.ports.write(port, size, cpu.engine.read_register(REGISTER_NAMES[register]))
    cpu.engine.pc += decoded.length
    cpu.touched_port(port, size)


def io_string(cpu: BareCpu, decoded: Instruction) -> None:
    """One element of INS or OUTS, repeated or not. Its I/O slot and its memory slot both trap after the element."""
    engine = cpu.engine
    inputs = decoded.mnemonic in _INS
    size = _INS[decoded.mnemonic] if inputs else _OUTS[decoded.mnemonic]
    instruction = decoded.instruction
    repeated = instruction.has_rep_prefix or instruction.has_repne_prefix
    wide = ic.OpKind.MEMORY_ESRDI if inputs else ic.OpKind.MEMORY_SEG_RSI
    mask = _MASK64 if wide in (instruction.op0_kind, instruction.op1_kind) else 0xFFFF_FFFF
    count = engine.get("RCX") & mask
    port = engine.get("RDX") & 0xFFFF
    if repeated and not count:
        engine.pc += decoded.length
        return
    _allow(cpu, port, size)
    pointer = "RDI" if inputs else "RSI"
    address = decoded.accesses()[0][0]
    if inputs:
        cpu.store(address, size, cpu.ports.read(port, size))
    else:
        cpu.ports.write(port, size, cpu.load(address, size))
    step = -size if engine.get("RFLAGS") >> 10 & 1 else size
    engine.set(pointer, engine.get(pointer) + step & mask)
    if repeated:
        engine.set("RCX", count - 1)
        cpu.element_done(ended=count == 1)
    if not repeated or count == 1:
        engine.pc += decoded.length
    cpu.touched_port(port, size)
