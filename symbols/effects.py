"""What instructions do to what is known of registers and of the stack: each rule is the instruction's definition (SDM 2).

Memory says nothing here, except for what was pushed; a call forgets every register that its function is not known to leave alone,
since not every language saves any.
"""

from __future__ import annotations

from typing import Any, Final

import iced_x86 as ic

from symbols.accesses import RBP, RSP, general
from symbols.sums import CONSTANT, LOW, MASK, State, Sum, added, kept_bits, on_stack, plus

__all__ = ["called", "named", "run"]

_M = ic.Mnemonic
_NARROW: Final = (1 << 32) - 1
_COUNTS: Final = frozenset({_M.TZCNT, _M.LZCNT, _M.POPCNT})
_WHOLES: Final = frozenset(range(ic.Register.RAX, ic.Register.R15 + 1))
_HALVES: Final = frozenset(range(ic.Register.EAX, ic.Register.R15D + 1))
_RAX, _RCX, _R11 = 0, 1, 11
_IMMEDIATES: Final = frozenset({
    ic.OpKind.IMMEDIATE8, ic.OpKind.IMMEDIATE16, ic.OpKind.IMMEDIATE32, ic.OpKind.IMMEDIATE64, ic.OpKind.IMMEDIATE8TO16,
    ic.OpKind.IMMEDIATE8TO32, ic.OpKind.IMMEDIATE8TO64, ic.OpKind.IMMEDIATE32TO64,
})  # fmt: skip
_WRITES: Final = frozenset({
    ic.OpAccess.WRITE, ic.OpAccess.COND_WRITE, ic.OpAccess.READ_WRITE, ic.OpAccess.READ_COND_WRITE,
})  # fmt: skip
_FACTORY = ic.InstructionInfoFactory()


def named(state: State, leader: int) -> None:
    """Where ways meet, what a register holds gets a name, too."""
    low = (leader << 8) + 32
    state.forget(low, low + 16)
    for column, value in enumerate(state.registers):
        if value is None:
            state.registers[column] = Sum(low + column, 0)


def called(state: State, low: int, following: int, kept: frozenset[int]) -> None:
    """Behind a call: rsp is as it was, and what lies above it that was pushed; the address that it returned to lies below."""
    state.forget(low, low + 32)
    stack = state.registers[RSP]
    state.nonzero = frozenset(column for column in state.nonzero if column % LOW in kept)
    for column in range(16):
        if column != RSP and column not in kept:
            state.registers[column] = Sum(low + column, 0)
    state.flags = None
    if stack is None or not on_stack(stack):
        state.pushed = {}
    else:
        state.pushed = {at: word for at, word in state.pushed.items() if at - stack.offset & MASK < MASK >> 1}
        state.pushed[stack.offset - 8 & MASK] = Sum(CONSTANT, following)


def run(state: State, instruction: Any) -> None:
    """What one instruction that goes on behind itself does to a state."""
    low = instruction.ip << 8
    mnemonic, registers = instruction.mnemonic, state.registers
    moves = instruction.stack_pointer_increment if mnemonic in (_M.PUSH, _M.POP) else 0
    results = _result(state, instruction) if mnemonic != _M.PUSH or moves == -8 else {}
    compared = _comparison(state, instruction)
    stack, frame = registers[RSP], registers[RBP]
    info = _FACTORY.info(instruction)
    stored = [used for used in info.used_memory() if used.access in _WRITES]
    written: dict[int, bool] = {}
    for used in info.used_registers():
        if used.access in _WRITES and (column := general(used.register)) is not None:
            written[column] = (
                instruction.op0_register in _HALVES and general(instruction.op0_register) == column
            )
    state.forget(low, low + 32)
    source = (
        general(instruction.op1_register)
        if mnemonic == _M.MOV and instruction.op1_kind == ic.OpKind.REGISTER
        else None
    )
    copied = _copied(state, instruction, source) if source is not None else frozenset[int]()
    state.nonzero = copied | frozenset(column for column in state.nonzero if column % LOW not in written)
    if moves in (8, -8):
        at = stack.offset if stack is not None and on_stack(stack) else None
        for column, narrow in written.items():
            registers[column] = Sum(low + column, 0, _NARROW if narrow else MASK)
        registers[RSP] = plus(stack, moves)
        if mnemonic == _M.PUSH:
            if at is not None:
                state.pushed[at - 8 & MASK] = results.get(RSP)
        elif instruction.op0_kind == ic.OpKind.REGISTER:
            column = general(instruction.op0_register)
            if column is not None:
                word = state.pushed.get(at) if at is not None else None
                registers[column] = word if word is not None else Sum(low + column, 0)
            if column == RSP:
                registers[RSP] = None
        return
    for column, narrow in written.items():
        registers[column] = results.get(column) or Sum(low + column, 0, _NARROW if narrow else MASK)
    if mnemonic == _M.LEAVE and frame is not None and on_stack(frame):
        registers[RSP], word = plus(frame, 8), state.pushed.get(frame.offset)
        registers[RBP] = word if word is not None else Sum(low + RBP, 0)
    if mnemonic == _M.SYSCALL:
        registers[_RAX] = Sum(low + _RAX, 0)
        registers[_RCX] = Sum(
            CONSTANT, instruction.next_ip
        )  # SDM 2, SYSCALL; Linux leaves it so (entry_64.S)
        registers[_R11] = Sum(low + _R11, 0)
    if stored:
        _stored(state, instruction, stack)
    if instruction.rflags_modified:
        state.flags = compared


def _copied(state: State, instruction: Any, source: int) -> frozenset[int]:
    """What a `mov` between general registers says is not 0, for what it writes."""
    to = general(instruction.op0_register)
    if to is None:
        return frozenset()
    low = source + LOW in state.nonzero
    if instruction.op1_register in _WHOLES:
        return frozenset({to} if source in state.nonzero else ()) | frozenset({to + LOW} if low else ())
    return frozenset({to, to + LOW} if low and instruction.op1_register in _HALVES else ())


def _stored(state: State, instruction: Any, stack: Sum | None) -> None:
    """A store by rsp may be to what was pushed; one by another register is to something else."""
    if instruction.memory_base != ic.Register.RSP or not state.pushed:
        return
    if stack is None or not on_stack(stack) or instruction.memory_index != ic.Register.NONE:
        state.pushed = {}
        return
    at = stack.offset + instruction.memory_displacement & MASK
    size = ic.MemorySizeExt.size(instruction.memory_size) or 64
    for word in [word for word in state.pushed if word - at + 7 & MASK < size + 7]:
        del state.pushed[word]


def _value(state: State, instruction: Any, operand: int) -> tuple[Sum, int] | None:
    """A register or an immediate as a sum, and its bits."""
    kind = instruction.op_kind(operand)
    if kind in _IMMEDIATES:
        return Sum(CONSTANT, instruction.immediate(operand) & MASK), 64
    if kind != ic.OpKind.REGISTER:
        return None
    register = instruction.op_register(operand)
    column = general(register)
    if column is None or register in (ic.Register.AH, ic.Register.BH, ic.Register.CH, ic.Register.DH):
        return None
    value = state.registers[column]
    return (value, ic.RegisterExt.size(register) * 8) if value is not None else None


def _result(state: State, instruction: Any) -> dict[int, Sum]:
    """What a register holds behind the instruction, where that is a sum; for a push under RSP what was pushed."""
    mnemonic = instruction.mnemonic
    if instruction.op_count == 1 and mnemonic == _M.PUSH:
        pushed = _value(state, instruction, 0)
        return {RSP: pushed[0]} if pushed is not None else {}
    if not instruction.op_count or instruction.op0_kind != ic.OpKind.REGISTER:
        return {}
    column, size = general(instruction.op0_register), ic.RegisterExt.size(instruction.op0_register)
    if column is None or size < 4:
        return {}
    bits, all_bits = size * 8, (1 << size * 8) - 1
    found: Sum | None = None
    own = (instruction.ip << 8) + column
    value = state.registers[column]
    whole = (
        value if value is not None and value.keep & all_bits == all_bits else None
    )  # what sums can be made of
    if mnemonic in (_M.MOV, _M.MOVZX):
        source = _value(state, instruction, 1)
        if source is not None:
            found = kept_bits(source[0], all_bits & (1 << source[1]) - 1)
        elif mnemonic == _M.MOVZX and instruction.op1_kind == ic.OpKind.MEMORY:
            found = Sum(own, 0, (1 << ic.MemorySizeExt.size(instruction.memory_size) * 8) - 1)
    elif mnemonic in _COUNTS:
        found = Sum(
            own, 0
        )  # 0 to the number of bits; for 0 on a processor without them the source language says nothing
        most = bits - 1 if _never_zero(state, instruction, all_bits) else bits
        state.bounds[own] = max(most, state.bounds.get(own, 0))
    elif mnemonic == _M.AND and instruction.op1_kind in _IMMEDIATES:
        found = kept_bits(value or Sum(own, 0), all_bits & instruction.immediate(1))
    elif mnemonic == _M.SHR and instruction.op1_kind in _IMMEDIATES:
        found = Sum(own, 0, (1 << bits - (instruction.immediate(1) & bits - 1)) - 1)
    elif mnemonic in (_M.PMOVMSKB, _M.VPMOVMSKB):
        found = Sum(own, 0, (1 << ic.RegisterExt.size(instruction.op1_register)) - 1)
    elif mnemonic == _M.LEA:
        found = kept_bits(_lea(state, instruction, bits), all_bits)
    elif mnemonic in (_M.ADD, _M.SUB, _M.INC, _M.DEC):
        amount: int | None = 1
        if instruction.op_count == 2:
            amount = instruction.immediate(1) if instruction.op1_kind in _IMMEDIATES else None
        if amount is not None and whole is not None:
            sign = -1 if mnemonic in (_M.SUB, _M.DEC) else 1
            found = kept_bits(whole._replace(offset=whole.offset + sign * amount & MASK), all_bits)
        elif mnemonic == _M.ADD:
            source = _value(state, instruction, 1)
            found = added(whole, source[0], bits) if source is not None else None
    if (
        mnemonic in (_M.XOR, _M.SUB)
        and instruction.op_count == 2
        and instruction.op1_kind == ic.OpKind.REGISTER
        and instruction.op0_register == instruction.op1_register
    ):
        found = Sum(CONSTANT, 0)
    return {column: found} if found is not None else {}


def _never_zero(state: State, instruction: Any, all_bits: int) -> bool:
    """Whether the bits that are counted are those of a register that is not 0."""
    if instruction.mnemonic == _M.POPCNT or instruction.op1_kind != ic.OpKind.REGISTER:
        return False
    column = general(instruction.op1_register)
    return column is not None and column + (LOW if all_bits == _NARROW else 0) in state.nonzero


def _lea(state: State, instruction: Any, bits: int) -> Sum | None:
    """So many low bits of the address of a memory operand."""
    base, index = instruction.memory_base, instruction.memory_index
    displacement = Sum(CONSTANT, instruction.memory_displacement & MASK)
    if base in (ic.Register.RIP, ic.Register.NONE):
        return displacement if index == ic.Register.NONE else None
    number = general(base)
    if number is None or ic.RegisterExt.size(base) != 8:
        return None
    found = added(state.registers[number], displacement, bits)
    if index == ic.Register.NONE:
        return found
    number = general(index)
    if number is None or ic.RegisterExt.size(index) != 8 or instruction.memory_index_scale != 1:
        return None
    return added(found, state.registers[number], bits)


def _comparison(state: State, instruction: Any) -> tuple[bool, Sum, Sum, int] | None:
    """The two sums whose comparison the flags are behind the instruction."""
    if instruction.mnemonic not in (_M.CMP, _M.TEST) or instruction.op_count != 2:
        return None
    first, second = _value(state, instruction, 0), _value(state, instruction, 1)
    if first is None or second is None or instruction.op0_kind != ic.OpKind.REGISTER:
        return None
    return instruction.mnemonic == _M.TEST, first[0], second[0], first[1]
