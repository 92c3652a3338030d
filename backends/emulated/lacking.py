"""Instructions that the engine lacks or has wrong, done here: cache hints, the store of selected bytes, ENTER of 16 bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import iced_x86 as ic

from backends.emulated.access_faults import first_fault, memory_fault
from backends.emulated.decode import ON_FLOATS, REGISTER_NAMES, Decoded
from backends.emulated.hits import report
from backends.emulated.sse.running import run_float

if TYPE_CHECKING:
    from backends.emulated.cpu import Cpu

__all__ = ["LACKING", "run_lacking"]

_M = ic.Mnemonic
_CACHE_HINTS: Final = {_M.CLFLUSH, _M.CLFLUSHOPT, _M.CLWB}

_NOTHING: Final = {_M.LFENCE, _M.MFENCE, _M.SFENCE, _M.NOP, _M.RESERVEDNOP, _M.PREFETCHIT0, _M.PREFETCHIT1}
"""Forms of nop, and fences with a register in their ModRM, that the engine does not know."""


LACKING: Final = {_M.ENTER}
"""What the engine would run, wrongly."""


def run_lacking(cpu: Cpu, pc: int, decoded: Decoded) -> bool:
    """Run the instruction at pc if it is one of these."""
    if decoded.mnemonic in _CACHE_HINTS:
        _cache_hint(cpu, pc, decoded)
    elif decoded.mnemonic in _NOTHING:
        cpu.engine.pc += decoded.length
        cpu.rf_pc = -1
    elif (
        decoded.mnemonic in ON_FLOATS and not decoded.is_string
    ):  # a comparison with a predicate of more than three bits
        touched = [
            (slot, 1, slot.current(cpu.engine.raw_read))
            for address, size, _ in decoded.accesses()
            for slot in cpu.unit.touched(address, address + size)
        ]
        stack = cpu.stack(pc) if touched else 0
        if run_float(cpu, pc, decoded):
            report(cpu, pc, touched, stack)
    elif decoded.mnemonic == _M.MASKMOVDQU:
        _masked_store(cpu, pc, decoded)
    elif decoded.instruction.code == ic.Code.ENTERW_IMM16_IMM8:
        _enter_of_words(cpu, pc, decoded)
    else:
        return False
    return True


def _cache_hint(cpu: Cpu, pc: int, decoded: Decoded) -> None:
    """Changes nothing that a program can see, but is a load of one byte to the debug registers."""
    engine = cpu.engine
    address = decoded.accesses()[0][0]
    if first_fault(cpu.space, ((address, 1, 1),)) is not None:
        memory_fault(cpu, address)
        return
    engine.pc += decoded.length
    cpu.rf_pc = -1
    touched = [(s, 1, s.current(engine.raw_read)) for s in cpu.unit.touched(address, address + 1)]
    report(cpu, pc, touched, 0)


def _masked_store(cpu: Cpu, pc: int, decoded: Decoded) -> None:
    """MASKMOVDQU: the bytes whose mask byte has its highest bit set, at RDI.

    Found on an AMD Zen 5: it hits with the bytes that it stores alone, and faults by all 16, also with nothing selected.
    """
    engine, instruction = cpu.engine, decoded.instruction
    ((address, size, _),) = decoded.accesses()
    if first_fault(cpu.space, ((address, size, 2),)) is not None:
        memory_fault(cpu, address)
        return
    value, mask = (
        engine.get(REGISTER_NAMES[register])
        for register in (instruction.op1_register, instruction.op2_register)
    )
    stored = [at for at in range(size) if mask >> 8 * at + 7 & 1]
    touched = [
        (slot, 2, slot.current(engine.raw_read))
        for slot in cpu.unit.touched(address, address + size)
        if any(slot.start <= address + at < slot.end for at in stored)
    ]
    stack = cpu.stack(pc) if touched else 0
    for at in stored:
        engine.write(address + at, bytes([value >> 8 * at & 0xFF]))
    engine.pc += decoded.length
    cpu.rf_pc = -1
    report(cpu, pc, touched, stack)


def _enter_of_words(cpu: Cpu, pc: int, decoded: Decoded) -> None:
    """ENTER with an operand-size prefix: a frame of words on the 64-bit stack, and only BP of RBP changes (SDM 2, ENTER)."""
    engine, instruction = cpu.engine, decoded.instruction
    top, base = engine.get("RSP"), engine.get("RBP")
    level = instruction.immediate8_2nd & 31
    frame = top - 2
    copied = [base - 2 * n for n in range(1, level)]
    pushed = [frame - 2 * n for n in range(level + 1)]
    whole = 0xFFFF_FFFF_FFFF_FFFF
    accesses = [
        (pushed[0] & whole, 2, 2),
        *[(at & whole, 2, 1) for at in copied],
        *[(at & whole, 2, 2) for at in pushed[1:]],
    ]
    for access in accesses:
        if (at := first_fault(cpu.space, (access,))) is not None:
            memory_fault(cpu, at, at)
            return
    kinds: dict[int, int] = {}
    for address, size, kind in accesses:
        for slot in cpu.unit.touched(address, address + size):
            kinds[slot.index] = kinds.get(slot.index, 0) | kind
    touched = [(s, kinds[s.index], s.current(engine.raw_read)) for s in cpu.unit.data if s.index in kinds]
    stack = cpu.stack(pc) if touched else 0
    engine.write(pushed[0] & whole, (base & 0xFFFF).to_bytes(2, "little"))
    for source, target in zip(copied, pushed[1:], strict=False):
        engine.write(target & whole, engine.read(source & whole, 2))
    if level:
        engine.write(pushed[-1] & whole, (frame & 0xFFFF).to_bytes(2, "little"))
    engine.set("RBP", base & ~0xFFFF | frame & 0xFFFF)
    engine.set("RSP", pushed[-1] - instruction.immediate16 & whole)
    engine.pc += decoded.length
    cpu.surplus -= 1
    cpu.rf_pc = -1
    report(cpu, pc, touched, stack)
