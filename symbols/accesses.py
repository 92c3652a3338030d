"""What one instruction touched, told from the registers *behind* it: compiled once, evaluated for arrays of hits.

A data breakpoint is reported after the instruction, so its address registers may be gone (`mov rax, [rax]`) or moved by a
known amount (`push`, `stos`). Each memory operand becomes a row: how its address follows from the registers of afterwards,
and where its value is in them, if it is. Which operands there are is iced-x86's word; SDM volume 2 is the source of the rest.
"""

from __future__ import annotations

from typing import Any, Final

import iced_x86 as ic
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "COLUMNS",
    "FLAGS",
    "FS_BASE",
    "NOTHING",
    "OPERAND",
    "RSP",
    "VALUE_AND_OLD",
    "VALUE_COMPARED",
    "VALUE_CONDITION",
    "VALUE_EXCHANGED",
    "VALUE_IMMEDIATE",
    "VALUE_IP",
    "VALUE_NONE",
    "VALUE_REGISTER",
    "compile_operands",
    "general",
]

GENERAL: Final = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", *(f"r{n}" for n in range(8, 16)))
COLUMNS: Final = (*GENERAL, "rflags", "fs_base")
"""Registers that can be sampled, general ones in the CPU's own numbering (SDM 2, table 3-1)."""
RSP, RBP, RSI, RDI, FLAGS, FS_BASE, NOTHING = 4, 5, 6, 7, 16, 17, 18
"""Columns by number; NOTHING reads 0."""

OPERAND: Final = np.dtype([
    ("base", "u1"),
    ("index", "u1"),
    ("scale", "u1"),
    ("kind", "u1"),  # 1 read, 2 write, 3 both; 0: no such operand
    ("known", "?"),  # the address follows from base + index * scale + displacement
    ("narrow", "?"),  # of which 32 bits count
    ("step", "u1"),  # string instructions: bytes by which the pointer has moved on, down with DF
    ("source", "u1"),  # one of VALUE_*
    ("register", "u1"),
    ("shift", "u1"),  # bits: 8 for ah, ch, dh and bh
    ("condition", "u1"),  # VALUE_CONDITION: the low four bits of setcc's opcode
    ("size", "u4"),  # bytes
    ("displacement", "u8"),
    ("immediate", "u8"),
])  # fmt: skip

VALUE_NONE: Final = 0
VALUE_IMMEDIATE: Final = 1
VALUE_REGISTER: Final = 2
"""`register >> shift`, plus the immediate."""
VALUE_CONDITION: Final = 3
"""1 or 0, by the flags: setcc changes none."""
VALUE_EXCHANGED: Final = 4
"""cmpxchg: ZF says whether `register` was stored; without it memory is what the accumulator now holds."""
VALUE_IP: Final = 5
"""A jump through memory: where the program is now is what was read."""
VALUE_COMPARED: Final = 6
"""The register, or the immediate where register is NOTHING; known only if the comparison left ZF set."""
VALUE_AND_OLD: Final = 7
"""xchg and xadd: what memory held before is in the register now, what it holds is gone."""

_R = ic.Register
_M = ic.Mnemonic
_KINDS = {
    ic.OpAccess.READ: 1,
    ic.OpAccess.COND_READ: 1,
    ic.OpAccess.WRITE: 2,
    ic.OpAccess.COND_WRITE: 2,
    ic.OpAccess.READ_WRITE: 3,
    ic.OpAccess.READ_COND_WRITE: 3,  # a failing cmpxchg writes the old value back
}
_WRITES = frozenset({
    ic.OpAccess.WRITE, ic.OpAccess.COND_WRITE, ic.OpAccess.READ_WRITE, ic.OpAccess.READ_COND_WRITE,
})  # fmt: skip
_COLUMN = {getattr(_R, name.upper()): number for number, name in enumerate(GENERAL)}
_BIT_TESTS = frozenset({_M.BT, _M.BTS, _M.BTR, _M.BTC})
_STORES = frozenset({_M.MOV, _M.MOVNTI})
_LOADS = frozenset({_M.MOV, _M.MOVZX, _M.MOVSX, _M.MOVSXD})
_STOS = frozenset({_M.STOSB, _M.STOSW, _M.STOSD, _M.STOSQ})
_LODS = frozenset({_M.LODSB, _M.LODSW, _M.LODSD, _M.LODSQ})
_SCAS = frozenset({_M.SCASB, _M.SCASW, _M.SCASD, _M.SCASQ})
_STACK = frozenset({_M.PUSH, _M.PUSHF, _M.PUSHFQ, _M.POP, _M.POPF, _M.POPFQ, _M.CALL, _M.RET})
_SETCC = {
    getattr(_M, "SET" + name): code
    for code, name in enumerate(
        ["O", "NO", "B", "AE", "E", "NE", "BE", "A", "S", "NS", "P", "NP", "L", "GE", "LE", "G"]
    )
}
_XSAVE_MOST = 1 << 14
"""Bytes: more than any XSAVE area is (Intel's with AMX is 11,008)."""
_MASK = (1 << 64) - 1
_FACTORY = ic.InstructionInfoFactory()
_FULL: dict[Any, Any] = {
    value: ic.RegisterExt.full_register(value)
    for name in dir(_R)
    if name.isupper() and not isinstance(value := getattr(_R, name), str)
}


def general(register: Any) -> int | None:
    """The column of a general register or of the one that it is a part of, None for any other."""
    return _COLUMN.get(_FULL.get(register))


def compile_operands(instruction: Any, rows: NDArray[np.void]) -> bool:
    """Fill two rows of OPERAND from an iced instruction; False where it touches no memory.

    An instruction with more than two memory operands (a nested `enter`) is kept as one whose address is unknown.
    """
    rows[:] = np.zeros((), OPERAND)
    info = _FACTORY.info(instruction)
    memory = [used for used in info.used_memory() if used.access in _KINDS]
    if not memory:
        return False
    written = {
        _FULL[used.register] for used in info.used_registers() if used.access in _WRITES
    }  # as full registers
    if len(memory) > 2:
        kind = 0
        for used in memory:
            kind |= _KINDS[used.access]
        rows[0]["kind"], rows[0]["size"] = kind, 1
        return True
    for row, used in zip(rows, memory, strict=False):
        _address(instruction, used, written, row)
        _value(instruction, used, row)
    return True


def _address(instruction: Any, used: Any, written: set[Any], row: Any) -> None:
    row["kind"] = _KINDS[used.access]
    row["base"] = row["index"] = NOTHING
    row["scale"] = 1
    size = ic.MemorySizeExt.size(used.memory_size) or ic.MemorySizeExt.size(instruction.memory_size)
    row["size"] = size or _XSAVE_MOST
    displacement = used.displacement
    known = True
    if instruction.is_string_instruction:
        row["step"] = size
        written = written - {_R.RSI, _R.RDI}
    if instruction.mnemonic in _BIT_TESTS and instruction.op1_kind == ic.OpKind.REGISTER:
        known = False  # the bit number moves the operand
    if instruction.mnemonic == _M.ENTER:
        row["base"], row["known"] = RBP, not instruction.immediate8_2nd  # rbp points at what was pushed
        return
    if instruction.mnemonic == _M.LEAVE:
        row["base"], row["known"], row["displacement"] = RSP, True, -size & _MASK
        return
    if instruction.mnemonic in _STACK:
        # rsp before is rsp now less what the instruction added to it; its other registers are as they were.
        displacement -= instruction.stack_pointer_increment if used.base in (_R.RSP, _R.ESP) else 0
        popped = instruction.op0_register if instruction.mnemonic == _M.POP else _R.NONE
        written = {_FULL[popped]} if popped != _R.NONE else set()
    for field, register in (("base", used.base), ("index", used.index)):
        if register in (_R.NONE, _R.RIP, _R.EIP):
            continue
        full = _FULL[register]
        if full not in _COLUMN or full in written or (register != full and not _is_32(register)):
            known = False  # a vector of indices, al in xlat, or overwritten
        else:
            row[field] = _COLUMN[full]
            row["narrow"] |= _is_32(register)
    if used.segment == _R.FS:
        if row["index"] == NOTHING:
            row["index"] = FS_BASE
        elif row["base"] == NOTHING and row["scale"] == 1:
            row["base"] = FS_BASE
        else:
            known = False
    elif used.segment == _R.GS:
        known = False
    if row["index"] != FS_BASE:
        row["scale"] = used.scale
    if row["narrow"] and FS_BASE in (row["index"], row["base"]):
        known = False
    row["known"] = known
    row["displacement"] = displacement & _MASK


def _is_32(register: Any) -> bool:
    return bool(ic.RegisterExt.is_gpr32(register))


def _source(row: Any, source: int, register: int = _R.NONE, immediate: int = 0) -> None:
    """The value is in a register (any general one, ah included), or an immediate."""
    row["source"], row["register"], row["immediate"] = source, NOTHING, immediate & _MASK
    if register != _R.NONE:
        full = _FULL[register]
        if full not in _COLUMN:
            row["source"] = VALUE_NONE
            return
        row["register"] = _COLUMN[full]
        row["shift"] = 8 if register in (_R.AH, _R.CH, _R.DH, _R.BH) else 0


def _value(instruction: Any, used: Any, row: Any) -> None:
    """Where the bytes of this operand can be found in the registers afterwards."""
    mnemonic = instruction.mnemonic
    writes = used.access in (ic.OpAccess.WRITE, ic.OpAccess.COND_WRITE)
    reads = used.access in (ic.OpAccess.READ, ic.OpAccess.COND_READ)
    first, second = instruction.op0_kind, instruction.op1_kind
    register, memory = ic.OpKind.REGISTER, ic.OpKind.MEMORY
    if mnemonic in _STORES and writes:
        if second == register:
            _source(row, VALUE_REGISTER, instruction.op1_register)
        else:
            _source(row, VALUE_IMMEDIATE, immediate=instruction.immediate(1))
    elif mnemonic in _LOADS and reads and first == register:
        _source(row, VALUE_REGISTER, instruction.op0_register)
    elif mnemonic == _M.PUSH and writes:
        if first == register:
            own = instruction.op0_register in (_R.RSP, _R.ESP)
            _source(row, VALUE_REGISTER, instruction.op0_register, int(row["size"]) if own else 0)
        elif first != memory:
            _source(row, VALUE_IMMEDIATE, immediate=instruction.immediate(0))
    elif mnemonic == _M.POP and reads and first == register:
        _source(row, VALUE_REGISTER, instruction.op0_register)
    elif mnemonic == _M.CALL and writes:
        _source(row, VALUE_IMMEDIATE, immediate=instruction.next_ip)
    elif mnemonic in (_M.CALL, _M.JMP, _M.RET) and reads:
        _source(row, VALUE_IP)
    elif mnemonic == _M.LEAVE:
        _source(row, VALUE_REGISTER, _R.RBP)
    elif mnemonic in _STOS or mnemonic in _LODS:
        _source(row, VALUE_REGISTER, _R.RAX)
    elif mnemonic in _SCAS:
        _source(row, VALUE_COMPARED, _R.RAX)
    elif mnemonic in _SETCC:
        _source(row, VALUE_CONDITION)
        row["condition"] = _SETCC[mnemonic]
    elif mnemonic == _M.CMPXCHG:
        _source(row, VALUE_EXCHANGED, instruction.op1_register)
    elif mnemonic in (_M.XCHG, _M.XADD):
        other = instruction.op1_register if first == memory else instruction.op0_register
        _source(row, VALUE_AND_OLD, other)
    elif mnemonic == _M.CMP and not instruction.is_string_instruction:
        if first == register:
            _source(row, VALUE_COMPARED, instruction.op0_register)
        elif second == register:
            _source(row, VALUE_COMPARED, instruction.op1_register)
        else:
            _source(row, VALUE_COMPARED, immediate=instruction.immediate(1))
    elif (
        mnemonic in (_M.AND, _M.OR)
        and first == memory
        and second != register
        and (instruction.immediate(1) ^ (0 if mnemonic == _M.AND else _MASK)) << 64 - 8 * int(row["size"])
        & _MASK
        == 0
    ):
        _source(row, VALUE_IMMEDIATE, immediate=instruction.immediate(1))
