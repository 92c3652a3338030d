"""Exceptions of user mode other than #DB, and the instructions that the engine may not run by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import iced_x86 as ic

from backends.emulated.access_faults import first_fault, memory_fault
from backends.emulated.decode import IN_USER_FAULTS, Decoded
from backends.emulated.division import DIVISIONS, overflows
from backends.emulated.engine import EXEC, WRITE, EngineError, EventKind, Unsupported
from backends.emulated.hits import POINTERS, after_element, report, take_back
from backends.emulated.lacking import LACKING, run_lacking
from backends.emulated.rep import run_in_bulk
from backends.emulated.rflags import TF
from backends.emulated.shadow import moves_ss, run_mov_ss
from backends.emulated.sleigh_floats import TRAP
from backends.emulated.special import Privileged, UndefinedInstruction, is_undefined, run_special
from backends.emulated.sse.running import run_float
from backends.emulated.transfers import is_transfer, run_transfer
from backends.emulated.x87.running import RUN_HERE, run_x87

if TYPE_CHECKING:
    from backends.emulated.cpu import Cpu

__all__ = [
    "SIGFPE",
    "SIGILL",
    "SIGSEGV",
    "SIGTRAP",
    "exception",
    "rewritten",
    "run_special_at",
    "unmapped",
]

SIGILL, SIGTRAP, SIGFPE, SIGSEGV = 4, 5, 8, 11
_SEGV_MAPERR, _SEGV_ACCERR, _SI_KERNEL, _FPE_INTDIV, _ILL_ILLOPN, _TRAP_BRKPT = 1, 2, 0x80, 1, 2, 1
_REP_STEPS = 4096
_M = ic.Mnemonic
_PUSHES_FLAGS = {_M.PUSHFQ, _M.PUSHF}
_POPS_FLAGS = {_M.POPFQ, _M.POPF}


def exception(cpu: Cpu, kind: EventKind) -> None:
    """The engine would not go on at pc: what Linux makes of that (arch/x86/kernel/traps.c)."""
    if kind is EventKind.NO_EXEC:
        pc = cpu.engine.pc
        cpu.signal(SIGSEGV, pc, _SEGV_ACCERR if cpu.space.mapped(pc) else _SEGV_MAPERR)
    elif kind is EventKind.DIVIDE:
        cpu.signal(SIGFPE, cpu.engine.pc, _FPE_INTDIV)
    elif kind is EventKind.INTERRUPT:
        _interrupt(cpu, cpu.engine.event().value)
    elif kind is EventKind.GAVE_UP:
        cpu.mm.translator_failed()
    else:
        _refused(cpu, kind)


def unmapped(cpu: Cpu, address: int) -> None:
    """The instruction at pc touches memory that is not there, or an operand that is not aligned: #PF, #SS or #GP.

    Or it is one on floats that is left to us.
    """
    pc = cpu.engine.pc
    if address == TRAP and cpu.space.prot_at(pc) & EXEC:
        run_float(cpu, pc, cpu.decode(pc))
        return
    take_back(cpu)
    memory_fault(cpu, address)


def rewritten(cpu: Cpu) -> None:
    """The instruction at pc stores to code that has run: a fault where it may not. Raises Unsupported where it may."""
    address = cpu.engine.event().address
    if cpu.space.prot_at(address) & WRITE:
        raise Unsupported("code that has already run is being rewritten")
    take_back(cpu)
    memory_fault(cpu, address)


def _refused(cpu: Cpu, kind: EventKind) -> None:
    """The engine would not run the instruction: is that the program's fault, or ours?"""
    pc = cpu.engine.pc
    if cpu.space.prot_at(pc) & EXEC == 0:
        exception(cpu, EventKind.NO_EXEC)
        return
    decoded = cpu.decode(pc)
    if decoded.mnemonic in IN_USER_FAULTS or decoded.touches_system_register:
        cpu.signal(SIGSEGV, 0, _SI_KERNEL)
    elif is_undefined(decoded) or (
        decoded.mnemonic in (_M.UD0, _M.UD1, _M.UD2, _M.INVALID) and kind is EventKind.INVALID
    ):
        cpu.signal(SIGILL, pc, _ILL_ILLOPN)
    elif not run_lacking(cpu, pc, decoded):
        raise Unsupported("the engine lacks this instruction")


def _interrupt(cpu: Cpu, vector: int) -> None:
    engine = cpu.engine
    decoded = cpu.decode(engine.pc)
    if vector == 3:
        engine.pc += decoded.length
        cpu.signal(SIGTRAP, 0, _SI_KERNEL, trap=True)
    elif vector == 1:
        engine.pc += decoded.length
        cpu.db(0, "trap: icebp")
        cpu.signal(SIGTRAP, engine.pc, _TRAP_BRKPT, trap=True)
    elif vector == 0x80:
        raise Unsupported("32-bit system calls are not emulated")
    elif vector == 4:  # #OF, the other one that a program may raise (arch/x86/kernel/idt.c)
        engine.pc += decoded.length
        cpu.signal(SIGSEGV, 0, _SI_KERNEL, trap=True)
    else:
        cpu.signal(SIGSEGV, 0, _SI_KERNEL)


def run_special_at(cpu: Cpu, pc: int) -> None:
    """Run the instruction at pc, which may be one of ours."""
    engine = cpu.engine
    decoded = cpu.decode(pc)
    if decoded.is_narrow and not _narrow(cpu, decoded):
        return
    if decoded.rep:
        _repeat(cpu, pc, decoded)
        return
    try:
        if run_special(engine, decoded, cpu.instructions):
            cpu.surplus -= 1
            cpu.rf_pc = -1
            return
    except Privileged:
        cpu.signal(SIGSEGV, 0, _SI_KERNEL)
        return
    except UndefinedInstruction:
        cpu.signal(SIGILL, pc, _ILL_ILLOPN)
        return
    if is_transfer(engine, pc, decoded):
        run_transfer(cpu, pc, decoded)
        return
    if decoded.mnemonic in LACKING and run_lacking(cpu, pc, decoded):
        return
    if moves_ss(decoded):
        run_mov_ss(cpu, pc, decoded)
        return
    if decoded.mnemonic in RUN_HERE:
        run_x87(cpu, pc, decoded)
        return
    if decoded.mnemonic in _PUSHES_FLAGS and _push_flags(cpu, pc, decoded):
        return
    if decoded.mnemonic in DIVISIONS and overflows(decoded, engine, cpu.space):
        cpu.surplus -= 1
        cpu.signal(SIGFPE, pc, _FPE_INTDIV)
        return
    image = _top_of_stack(cpu)
    cpu.rf_pc = -1
    cpu.event(engine.single())
    if decoded.mnemonic in _POPS_FLAGS and engine.pc != pc:
        cpu.guest_tf = bool(image & TF)


def _narrow(cpu: Cpu, decoded: Decoded) -> bool:
    """A string instruction with 32-bit addresses works on the lower halves of its registers, and clears the upper ones.

    False where its first element faults, which changes nothing.
    """
    engine = cpu.engine
    names = [
        name
        for kind, name in POINTERS.items()
        if kind in (decoded.instruction.op0_kind, decoded.instruction.op1_kind)
    ]
    if decoded.rep:
        if not engine.get("RCX") & 0xFFFF_FFFF:
            return True
        names.append("RCX")
    if (at := first_fault(cpu.space, decoded.accesses())) is not None:
        memory_fault(cpu, at, at)
        return False
    for name in names:
        if (value := engine.get(name)) >> 32:
            engine.set(name, value & 0xFFFF_FFFF)
    return True


def _push_flags(cpu: Cpu, pc: int, decoded: Decoded) -> bool:
    """pushf, whose image the engine makes without bit 1; False where the store faults."""
    engine = cpu.engine
    address, size, _ = decoded.accesses()[0]
    try:
        cpu.space.check(address, size, WRITE)
    except OSError:
        return False
    stack = cpu.stack(pc) if cpu.unit.data else 0
    touched = [(slot, 2, slot.current(engine.raw_read)) for slot in cpu.unit.touched(address, address + size)]
    flags = engine.get("RFLAGS") | (TF if cpu.guest_tf else 0)
    engine.write(address, flags.to_bytes(8, "little")[:size])
    engine.set("RSP", address)
    engine.pc += decoded.length
    cpu.surplus -= 1
    cpu.rf_pc = -1
    report(cpu, pc, touched, stack)
    return True


def _top_of_stack(cpu: Cpu) -> int:
    try:
        return int.from_bytes(cpu.engine.read(cpu.engine.get("RSP"), 8), "little")
    except EngineError:
        return 0


def _repeat(cpu: Cpu, pc: int, decoded: Decoded) -> None:
    """A repeated string instruction: in bulk where nothing is watched, else element by element."""
    engine = cpu.engine
    cpu.rf_pc = -1
    if engine.get("RCX") == 0 or (decoded.is_narrow and not engine.get("RCX") & 0xFFFF_FFFF):
        cpu.rep_pc = -1
        cpu.event(engine.single())
        return
    if not cpu.stepping and run_in_bulk(decoded, engine, cpu.space, cpu.unit):
        cpu.surplus -= 1
        cpu.rep_pc = -1
        return
    cpu.rep_pc = pc
    for _ in range(1 if cpu.stepping else _REP_STEPS):
        head = cpu.capture.head
        kind = engine.single()
        if kind is not EventKind.LIMIT:
            cpu.event(kind)
        else:
            after_element(cpu, pc, decoded)
        if engine.pc != pc or cpu.stop is not None or cpu.yielding or cpu.capture.head - head > 1:
            return
