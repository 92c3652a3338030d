"""Far JMP, CALL and RET, and IRET, of a program in user mode: its own code segment again, or a fault (SDM 2, the pages of each).

Linux has one 64-bit and one 32-bit code segment for programs (arch/x86/include/asm/segment.h): to the second is to 32-bit code, which
is refused. As AMD has it (APM 3), REX.W does not widen the pointer that a far JMP or CALL reads.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import iced_x86 as ic

from backends.emulated.access_faults import canonical, first_fault, memory_fault
from backends.emulated.decode import AccessList, Decoded
from backends.emulated.engine import Engine, Unsupported
from backends.emulated.hits import report, touched_by
from backends.emulated.rflags import RF, TF

if TYPE_CHECKING:
    from backends.emulated.cpu import Cpu

__all__ = ["is_transfer", "run_transfer"]

_M = ic.Mnemonic
_RETURNS: Final[dict[int, int]] = {_M.IRETQ: 8, _M.IRETD: 4, _M.IRET: 2}
_USER_CS, _USER32_CS, _USER_DS = 0x33, 0x23, 0x2B
_SIGSEGV, _SI_KERNEL = 11, 0x80
_POPPED_FLAGS: Final = 0x24_4DD5
"""ID, AC, NT, OF, DF, SF, ZF, AF, PF, CF: what IRET gives a program; TF and RF are the CPU's (IF and IOPL stay)."""
_FORMATS: Final = {2: "H", 4: "I", 8: "Q"}
_FLOW: Final = ic.FlowControl
_NEAR: Final = {
    _FLOW.CONDITIONAL_BRANCH, _FLOW.UNCONDITIONAL_BRANCH, _FLOW.INDIRECT_BRANCH, _FLOW.CALL, _FLOW.INDIRECT_CALL, _FLOW.RETURN,
}  # fmt: skip
_LEGACY_PREFIXES: Final = frozenset((0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF0, 0xF2, 0xF3))


def is_transfer(engine: Engine, pc: int, decoded: Decoded) -> bool:
    """Whether it is one of these, or a near branch whose operand-size prefix processors understand differently."""
    instruction = decoded.instruction
    return (
        instruction.is_jmp_far_indirect
        or instruction.is_call_far_indirect
        or decoded.mnemonic == _M.RETF
        or decoded.mnemonic in _RETURNS
        or _is_short(engine, pc, decoded)
    )


def _is_short(engine: Engine, pc: int, decoded: Decoded) -> bool:
    """A near branch or return with an operand-size prefix: Intel ignores that, AMD cuts the instruction pointer to 16 bits."""
    if decoded.instruction.flow_control not in _NEAR:
        return False
    prefixes = engine.read(pc, decoded.length)
    count = next((at for at, byte in enumerate(prefixes) if byte not in _LEGACY_PREFIXES), 0)
    return 0x66 in prefixes[:count] and prefixes[count] & 0xF8 != 0x48


def run_transfer(cpu: Cpu, pc: int, decoded: Decoded) -> None:
    """Run the instruction at pc. Raises Unsupported before anything has changed."""
    instruction = decoded.instruction
    if instruction.is_jmp_far_indirect or instruction.is_call_far_indirect:
        _through_memory(cpu, pc, decoded)
    elif decoded.mnemonic in _RETURNS:
        _interrupt_return(cpu, pc, decoded)
    elif decoded.mnemonic == _M.RETF:
        _far_return(cpu, pc, decoded)
    else:
        raise Unsupported("processors differ about a near branch with an operand-size prefix")


def _refused(cpu: Cpu, accesses: AccessList) -> bool:
    """Whether one of these accesses faults, which is then the instruction's."""
    at = first_fault(cpu.space, accesses)
    if at is not None:
        memory_fault(cpu, at, at)
    return at is not None


def _enters(cpu: Cpu, selector: int, target: int) -> bool:
    """Whether this code segment and address can be gone to; else it is #GP. Raises Unsupported for 32-bit code."""
    if selector | 3 == _USER32_CS:
        raise Unsupported("32-bit code is not emulated")
    if selector | 3 == _USER_CS and canonical(target):
        return True
    cpu.signal(_SIGSEGV, 0, _SI_KERNEL)
    return False


def _finish(cpu: Cpu, pc: int, target: int, accesses: AccessList, pushed: bytes = b"") -> None:
    """Every access is allowed: make it, go to `target`, and report what was hit. `pushed` is written at the last access."""
    engine = cpu.engine
    touched = touched_by(cpu, accesses)
    stack = cpu.stack(pc) if touched else 0
    if pushed:
        engine.write(accesses[-1][0], pushed)
    engine.pc = target
    cpu.surplus -= 1
    cpu.rf_pc = -1
    report(cpu, pc, touched, stack)


def _through_memory(cpu: Cpu, pc: int, decoded: Decoded) -> None:
    engine = cpu.engine
    size = 2 if decoded.instruction.memory_size == ic.MemorySize.SEG_PTR16 else 4
    address = decoded.accesses()[0][0]
    accesses: AccessList = ((address, size + 2, 1),)
    if _refused(cpu, accesses):
        return
    pointer = engine.read(address, size + 2)
    target, selector = struct.unpack(f"<{_FORMATS[size]}H", pointer)
    if not _enters(cpu, selector, target):
        return
    if decoded.instruction.is_jmp_far_indirect:
        _finish(cpu, pc, target, accesses)
        return
    width = 8 if decoded.instruction.memory_size == ic.MemorySize.SEG_PTR64 else size
    below = engine.get("RSP") - 2 * width & 0xFFFF_FFFF_FFFF_FFFF
    pushes: AccessList = ((below + width, width, 2), (below, width, 2))
    if _refused(cpu, pushes):
        return
    back = engine.pc + decoded.length & (1 << 8 * width) - 1
    engine.set("RSP", below)
    _finish(
        cpu,
        pc,
        target,
        (*accesses, (below, 2 * width, 2)),
        back.to_bytes(width, "little") + _USER_CS.to_bytes(width, "little"),
    )


def _popped(cpu: Cpu, size: int, count: int) -> tuple[AccessList, tuple[int, ...]] | None:
    """`count` values of `size` bytes from the stack, which stay there yet; None where reading them faults."""
    engine = cpu.engine
    top = engine.get("RSP")
    accesses: AccessList = tuple([(top + size * n & 0xFFFF_FFFF_FFFF_FFFF, size, 1) for n in range(count)])
    if _refused(cpu, accesses):
        return None
    return accesses, struct.unpack(f"<{count}{_FORMATS[size]}", engine.read(top, size * count))


def _far_return(cpu: Cpu, pc: int, decoded: Decoded) -> None:
    engine, instruction = cpu.engine, decoded.instruction
    size = {ic.Code.RETFW: 2, ic.Code.RETFW_IMM16: 2, ic.Code.RETFQ: 8, ic.Code.RETFQ_IMM16: 8}.get(
        instruction.code, 4
    )
    popped = _popped(cpu, size, 2)
    if popped is None:
        return
    accesses, (target, selector) = popped
    selector &= 0xFFFF
    if selector & 3 != 3:
        cpu.signal(_SIGSEGV, 0, _SI_KERNEL)
    elif _enters(cpu, selector, target):
        engine.set(
            "RSP", engine.get("RSP") + 2 * size + (instruction.immediate16 if instruction.op_count else 0)
        )
        _finish(cpu, pc, target, accesses)


def _interrupt_return(cpu: Cpu, pc: int, decoded: Decoded) -> None:
    engine = cpu.engine
    popped = _popped(cpu, _RETURNS[decoded.mnemonic], 5)
    if popped is None:
        return
    accesses, (target, selector, flags, top, stack_selector) = popped
    selector &= 0xFFFF
    if selector & 3 != 3 or stack_selector & 0xFFFF != _USER_DS:
        cpu.signal(_SIGSEGV, 0, _SI_KERNEL)
    elif _enters(cpu, selector, target):
        kept = _POPPED_FLAGS if decoded.mnemonic != _M.IRET else _POPPED_FLAGS & 0xFFFF
        engine.set("RFLAGS", engine.get("RFLAGS") & ~kept | flags & kept)
        engine.set("RSP", top)
        _finish(cpu, pc, target, accesses)
        cpu.guest_tf = bool(flags & TF)
        if flags & RF and decoded.mnemonic != _M.IRET:
            cpu.rf_pc = target
