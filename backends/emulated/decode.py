"""What an instruction will touch, from its bytes: compiled once per address, evaluated at each hit.

iced-x86 says which memory operands an instruction has; the corrections for what it leaves out are here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar, overload

import iced_x86 as ic

__all__ = [
    "IN_USER_FAULTS",
    "IN_USER_UNDEFINED",
    "ON_FLOATS",
    "REGISTER_NAMES",
    "UNSEEN",
    "AccessList",
    "Decoded",
    "decode",
]

AccessList = tuple[tuple[int, int, int], ...]
"""(address, size in bytes, kind): kind is 1 for a read, 2 for a write, 3 for both."""

_ACCESS = ic.OpAccess
_KIND = {
    _ACCESS.READ: 1,
    _ACCESS.COND_READ: 1,
    _ACCESS.WRITE: 2,
    _ACCESS.COND_WRITE: 2,
    _ACCESS.READ_WRITE: 3,
    _ACCESS.READ_COND_WRITE: 3,  # cmpxchg: the hardware writes the old value back when it fails
}
REGISTER_NAMES = {
    value: re.sub(r"^(R\d+)L$", r"\1B", name)
    for name in dir(ic.Register)
    if name.isupper() and isinstance(value := getattr(ic.Register, name), int)
}
_M = ic.Mnemonic
_FXSAVES = {_M.FXSAVE, _M.FXSAVE64, _M.FXRSTOR, _M.FXRSTOR64}
_INSTRUCTION_POINTERS = (ic.Register.RIP, ic.Register.EIP)
_FXSAVE_TOUCHES = 416
"""Bytes of the 512-byte image: the reserved end of it was found untouched on an AMD Zen 5."""
_BIT_TESTS = {_M.BT, _M.BTS, _M.BTR, _M.BTC}
ON_FLOATS = frozenset(
    getattr(_M, name)
    for name in dir(_M)
    if re.fullmatch(r"(ADD|SUB|MUL|DIV|SQRT|MIN|MAX|CMP)[PS][SD]|U?COMIS[SD]|CVT\w+", name)
)
"""Instructions on floats, which the engine leaves to us where they raise flags of MXCSR (and CMPSD of strings)."""
UNSEEN = frozenset({_M.PUNPCKHQDQ, _M.UNPCKHPD, _M.PMULUDQ})
"""Instructions of which the engine does not show every access: they take halves out of an operand that silicon loads whole."""
_LOWER_HALF = frozenset({
    _M.PUNPCKLBW, _M.PUNPCKLWD, _M.PUNPCKLDQ, _M.PUNPCKLQDQ, _M.UNPCKLPS, _M.UNPCKLPD, _M.PSLLW, _M.PSLLD, _M.PSLLQ, _M.PSRLW, _M.PSRLD, _M.PSRLQ,
    _M.PSRAW, _M.PSRAD,
})  # fmt: skip
"""Instructions that load only the lower half of a 128-bit operand, as found on an AMD Zen 5."""
_NARROW = {ic.OpKind.MEMORY_SEG_ESI, ic.OpKind.MEMORY_ESEDI}
_STRING = {
    _M.MOVSB, _M.MOVSW, _M.MOVSQ, _M.STOSB, _M.STOSW, _M.STOSD, _M.STOSQ, _M.LODSB, _M.LODSW, _M.LODSD, _M.LODSQ,
    _M.SCASB, _M.SCASW, _M.SCASD, _M.SCASQ, _M.CMPSB, _M.CMPSW, _M.CMPSQ,
}  # fmt: skip
_STRING_OR_SSE = {_M.MOVSD, _M.CMPSD}  # the mnemonics that SSE2 shares
IN_USER_FAULTS = frozenset({
    _M.IN, _M.OUT, _M.INSB, _M.INSW, _M.INSD, _M.OUTSB, _M.OUTSW, _M.OUTSD, _M.CLI, _M.STI, _M.HLT, _M.LGDT, _M.LIDT,
    _M.LLDT, _M.LTR, _M.LMSW, _M.CLTS, _M.INVD, _M.WBINVD, _M.INVLPG, _M.RDMSR, _M.WRMSR, _M.RDPMC, _M.SWAPGS,
    _M.SYSRETQ, _M.SYSRET, _M.SYSEXITQ, _M.SYSEXIT, _M.XSETBV,
})  # fmt: skip
"""Instructions that give #GP at CPL 3, so SIGSEGV under Linux (MOV to and from CR and DR are told by their operands)."""
IN_USER_UNDEFINED = frozenset({
    _M.MONITOR, _M.MWAIT, _M.SYSENTER, _M.GETSEC, _M.RSM, _M.CLAC, _M.STAC,
})  # fmt: skip
"""Instructions that give #UD at CPL 3 on the processor that CPUID describes (APM 3), so SIGILL under Linux."""


class Decoded:
    """One instruction: `accesses()` evaluates its memory operands with the registers of now."""

    __slots__ = (
        *(
            "accesses",
            "condition",
            "element",
            "instruction",
            "is_narrow",
            "is_plain",
            "is_string",
            "is_unseen",
            "length",
            "mnemonic",
            "rep",
            "segment",
        ),
        "touches_memory",
    )

    def __init__(self, instruction: ic.Instruction, accesses: Callable[[], AccessList]) -> None:
        self.instruction = instruction
        self.accesses = accesses
        self.touches_memory = True
        self.segment = ""
        """Of a string instruction with 32-bit addresses: the register that holds the base its source counts from, if any."""
        self.length: int = instruction.len
        self.mnemonic: int = instruction.mnemonic
        self.is_string = self.mnemonic in _STRING or (
            self.mnemonic in _STRING_OR_SSE and instruction.is_string_instruction
        )
        self.is_narrow = self.is_string and any(
            kind in _NARROW for kind in (instruction.op0_kind, instruction.op1_kind)
        )
        """Whether its addresses, and the count of its repetition, are of 32 bits."""
        self.is_plain = not self.is_string and self.mnemonic not in ON_FLOATS
        """Whether the engine alone finishes it, in one piece."""
        self.is_unseen = self.mnemonic in UNSEEN
        self.element: int = ic.MemorySizeExt.size(instruction.memory_size) if self.is_string else 0
        self.rep = self.is_string and (instruction.has_rep_prefix or instruction.has_repne_prefix)
        compares = self.mnemonic in {_M.SCASB, _M.SCASW, _M.SCASD, _M.SCASQ} or (
            self.is_string and self.mnemonic in {_M.CMPSB, _M.CMPSW, _M.CMPSD, _M.CMPSQ}
        )
        self.condition: int | None = (
            (1 if instruction.has_rep_prefix else 0) if self.rep and compares else None
        )
        """For repe and repne: the value of ZF that lets the repetition go on."""

    @property
    def touches_system_register(self) -> bool:
        """MOV to or from a control or debug register."""
        return self.mnemonic == _M.MOV and any(
            ic.RegisterExt.is_cr(register) or ic.RegisterExt.is_dr(register)
            for register in (self.instruction.op0_register, self.instruction.op1_register)
        )


_FACTORY = ic.InstructionInfoFactory()


D = TypeVar("D", bound=Decoded)


@overload
def decode(data: bytes, ip: int, read_register: Callable[[str], int]) -> Decoded: ...
@overload
def decode(data: bytes, ip: int, read_register: Callable[[str], int], kind: type[D]) -> D: ...
def decode(
    data: bytes, ip: int, read_register: Callable[[str], int], kind: type[Decoded] = Decoded
) -> Decoded:
    """Decode the instruction at `ip` from its (at most 15) bytes, as this kind of `Decoded`.

    `read_register` reads the engine's registers by name, FS_OFFSET and GS_OFFSET being the segment bases.
    """
    instruction = next(iter(ic.Decoder(64, data, ip=ip)))
    operands = [_operand(instruction, memory) for memory in _FACTORY.info(instruction).used_memory()]
    source = "".join(f"({text},{size},{kind})," for text, size, kind in operands if kind)
    # The text holds only register names and numbers that were made here.
    accesses: Callable[[], AccessList] = eval(
        f"lambda: ({source})", {"R": read_register, "S": _signed, "__builtins__": {}}
    )
    decoded = kind(instruction, accesses)
    decoded.touches_memory = bool(source)
    if decoded.is_narrow and instruction.memory_segment in (ic.Register.FS, ic.Register.GS):
        decoded.segment = "FS_OFFSET" if instruction.memory_segment == ic.Register.FS else "GS_OFFSET"
    return decoded


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> bits - 1 & 1 else value


def _operand(instruction: ic.Instruction, memory: Any) -> tuple[str, int, int]:
    kind = _KIND.get(memory.access, 0)
    size = ic.MemorySizeExt.size(memory.memory_size) or ic.MemorySizeExt.size(instruction.memory_size) or 1
    if instruction.mnemonic in _FXSAVES:
        size = _FXSAVE_TOUCHES
    elif instruction.mnemonic in _LOWER_HALF:
        size = min(size, 8)
    terms = []
    if memory.segment == ic.Register.FS:
        terms.append("R('FS_OFFSET')")
    elif memory.segment == ic.Register.GS:
        terms.append("R('GS_OFFSET')")
    inner = []
    if memory.base not in (ic.Register.NONE, *_INSTRUCTION_POINTERS):
        inner.append(f"R('{REGISTER_NAMES[memory.base]}')")
    if memory.index != ic.Register.NONE:
        inner.append(f"R('{REGISTER_NAMES[memory.index]}')*{memory.scale}")
    displacement = memory.displacement & 0xFFFF_FFFF_FFFF_FFFF
    base = (
        instruction.memory_base if instruction.memory_base not in _INSTRUCTION_POINTERS else ic.Register.NONE
    )
    explicit = base == memory.base and instruction.memory_index == memory.index
    if explicit and instruction.mnemonic in _BIT_TESTS and instruction.op1_kind == ic.OpKind.REGISTER:
        bits = size * 8
        register = REGISTER_NAMES[instruction.op1_register]
        inner.append(f"(S(R('{register}'),{bits})//{bits})*{size}")
    if displacement or not inner:
        inner.append(str(displacement))
    text = "+".join(inner)
    if instruction.code_size == ic.CodeSize.CODE64 and _address_is_32_bits(memory):
        text = f"(({text})&0xffffffff)"
    if terms or len(inner) > 1:
        text = f"({'+'.join([*terms, text])})&0xffffffffffffffff"
    return text, size, kind


def _address_is_32_bits(memory: Any) -> bool:
    return bool(memory.address_size == ic.CodeSize.CODE32)
