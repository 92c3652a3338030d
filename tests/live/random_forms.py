"""One random instruction of any form that CPUID promises, with operands around the data page, as machine code.

The forms are iced-x86's own list, so none is left out by whom it did not occur to. Left out are those that branch, use the stack,
strings or the x87 (they have pieces of their own), privileged ones, and what emulator.md says is refused or approximate.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from functools import cache
from typing import Any, Final

import iced_x86 as ic

from backends.emulated.decode import ON_FLOATS
from tests.live.instructions import PROMISED

__all__ = ["Forms"]

_K, _M, _R = ic.OpCodeOperandKind, ic.Mnemonic, ic.Register
_ELSEWHERE: Final = {
    _M.CPUID, _M.RDTSC, _M.LDMXCSR, _M.WAIT, _M.CLD, _M.STD, _M.RCPPS, _M.RCPSS, _M.RSQRTPS, _M.RSQRTSS, _M.DIV, _M.IDIV,
    _M.LSL, _M.LAR, _M.VERR, _M.VERW, _M.SIDT, _M.SGDT, _M.SLDT, _M.STR, _M.SMSW, _M.XLATB, _M.INT1, _M.INT3, _M.INT, _M.UD0, _M.UD1,
    _M.UD2, _M.PAUSE, _M.RSM, _M.MASKMOVDQU, _M.MASKMOVQ, _M.SYSENTER, _M.SYSCALL, _M.RDPMC, _M.ENTER, _M.LEAVE, _M.LSS, _M.LFS, _M.LGS,
}  # fmt: skip
_UNDEFINED: Final = {
    ic.Code.MOVSXD_R16_RM16, ic.Code.BSWAP_R16, ic.Code.SHLD_RM16_R16_CL, ic.Code.SHLD_RM16_R16_IMM8, ic.Code.SHRD_RM16_R16_CL,
    ic.Code.SHRD_RM16_R16_IMM8, *(getattr(ic.Code, name) for name in dir(ic.Code) if "0F0D" in name),
}  # fmt: skip
"""Results that the manual leaves undefined for some counts; forms that the engine lacks, or that vendors disagree about."""
_LOCKED: Final = {
    _M.ADD, _M.ADC, _M.AND, _M.BTC, _M.BTR, _M.BTS, _M.CMPXCHG, _M.CMPXCHG8B, _M.CMPXCHG16B, _M.DEC, _M.INC, _M.NEG, _M.NOT,
    _M.OR, _M.SBB, _M.SUB, _M.XADD, _M.XCHG, _M.XOR,
}  # fmt: skip
_BIT_TESTS: Final = {_M.BT, _M.BTS, _M.BTR, _M.BTC}
_8: Final = (_R.AL, _R.CL, _R.DL, _R.SIL, _R.DIL, _R.R8L, _R.R10L, _R.R13L)
_HIGH: Final = (_R.AH, _R.CH, _R.DH)
_16: Final = (_R.AX, _R.CX, _R.DX, _R.SI, _R.DI, _R.R8W, _R.R11W, _R.R14W)
_32: Final = (_R.EAX, _R.ECX, _R.EDX, _R.ESI, _R.EDI, _R.R8D, _R.R11D, _R.R14D)
_64: Final = (_R.RAX, _R.RCX, _R.RDX, _R.RSI, _R.RDI, _R.R8, _R.R11, _R.R14)
_XMM: Final = tuple(getattr(_R, f"XMM{n}") for n in (0, 1, 2, 3, 4, 7, 8, 9, 15))
_MM: Final = tuple(getattr(_R, f"MM{n}") for n in range(8))
_FIXED: Final = {
    _K.AL: _R.AL, _K.AX: _R.AX, _K.EAX: _R.EAX, _K.RAX: _R.RAX, _K.CL: _R.CL,
}  # fmt: skip
_REGISTERS: Final = {
    _K.R8_REG: _8, _K.R8_OPCODE: _8, _K.R16_REG: _16, _K.R16_OPCODE: _16, _K.R16_RM: _16, _K.R32_REG: _32, _K.R32_OPCODE: _32,
    _K.R32_RM: _32, _K.R64_REG: _64, _K.R64_OPCODE: _64, _K.R64_RM: _64, _K.XMM_REG: _XMM, _K.XMM_RM: _XMM, _K.MM_REG: _MM, _K.MM_RM: _MM,
}  # fmt: skip
_EITHER: Final = {
    _K.R8_OR_MEM: _8, _K.R16_OR_MEM: _16, _K.R32_OR_MEM: _32, _K.R64_OR_MEM: _64, _K.XMM_OR_MEM: _XMM, _K.MM_OR_MEM: _MM,
}  # fmt: skip
_IMMEDIATES: Final = {
    _K.IMM8: (ic.OpKind.IMMEDIATE8, "immediate8", 8), _K.IMM8SEX16: (ic.OpKind.IMMEDIATE8TO16, "immediate8to16", -8),
    _K.IMM8SEX32: (ic.OpKind.IMMEDIATE8TO32, "immediate8to32", -8), _K.IMM8SEX64: (ic.OpKind.IMMEDIATE8TO64, "immediate8to64", -8),
    _K.IMM16: (ic.OpKind.IMMEDIATE16, "immediate16", 16), _K.IMM32: (ic.OpKind.IMMEDIATE32, "immediate32", 32),
    _K.IMM32SEX64: (ic.OpKind.IMMEDIATE32TO64, "immediate32to64", -32), _K.IMM64: (ic.OpKind.IMMEDIATE64, "immediate64", 64),
    _K.IMM8_CONST_1: (ic.OpKind.IMMEDIATE8, "immediate8", 0),
}  # fmt: skip


@cache
def _forms() -> dict[int, list[Any]]:
    """iced-x86's codes by mnemonic."""
    found: dict[int, list[Any]] = {}
    for name in dir(ic.Code):
        code: Any = getattr(ic.Code, name)
        if not name.isupper():
            continue
        op = ic.OpCodeInfo(code)
        if not op.is_instruction or not op.mode64 or op.encoding != ic.EncodingKind.LEGACY:
            continue
        instruction = ic.Instruction()
        instruction.code = code
        kinds = [op.op_kind(n) for n in range(op.op_count)]
        if (
            set(instruction.cpuid_features()) <= PROMISED
            and instruction.mnemonic not in _ELSEWHERE
            and not any(kind in (_K.MM_REG, _K.MM_RM, _K.MM_OR_MEM) for kind in kinds)
            and code not in _UNDEFINED
            and instruction.flow_control == ic.FlowControl.NEXT
            and not instruction.is_stack_instruction
            and not instruction.is_privileged
            and not instruction.is_string_instruction
            and all(
                kind in _FIXED
                or kind in _REGISTERS
                or kind in _EITHER
                or kind in _IMMEDIATES
                or kind == _K.MEM
                for kind in kinds
            )
        ):
            found.setdefault(instruction.mnemonic, []).append(code)
    return found


class Forms:
    """Draws instructions; rbx holds the middle of the data, and so do the bases of fs and gs."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def piece(self, only: Iterable[int] | None = None) -> bytes:
        """One instruction, with what its operands need in front and a comparison behind where flags are undefined."""
        chance, forms = self._chance, _forms()
        mnemonics = sorted(forms if only is None else forms.keys() & only)
        while True:
            mnemonic = chance.choice(mnemonics)
            found = self._encoded(chance.choice(forms[mnemonic]))
            if found is not None:
                return found

    def floats(self) -> bytes:
        """One on floats."""
        return self.piece(ON_FLOATS)

    def at_r8(self) -> bytes:
        """One with its memory operand at [r8]."""
        while True:
            code = self._chance.choice(self._chance.choice(list(_forms().values())))
            kinds = [ic.OpCodeInfo(code).op_kind(n) for n in range(ic.OpCodeInfo(code).op_count)]
            if _K.MEM in kinds or any(kind in _EITHER for kind in kinds):
                found = self._encoded(code, at_r8=True)
                if found is not None:
                    return found

    def _encoded(self, code: Any, *, at_r8: bool = False) -> bytes | None:
        chance, op = self._chance, ic.OpCodeInfo(code)
        instruction = ic.Instruction()
        instruction.code = code
        before = b""
        in_memory = False
        registers: list[Any] = []
        for at in range(op.op_count):
            kind = op.op_kind(at)
            if kind in _IMMEDIATES:
                operand, name, bits = _IMMEDIATES[kind]
                value = 1 if not bits else chance.getrandbits(abs(bits))
                if bits < 0:
                    value -= value >> -bits - 1 << -bits
                setattr(instruction, f"op{at}_kind", operand)
                setattr(instruction, name, value)
            elif kind == _K.MEM or (kind in _EITHER and (at_r8 or chance.random() < 0.65)):
                setattr(instruction, f"op{at}_kind", ic.OpKind.MEMORY)
                in_memory = True
            else:
                choice = _FIXED.get(kind) or chance.choice(_REGISTERS.get(kind) or _EITHER[kind])
                if choice in _8 and chance.random() < 0.15:
                    choice = chance.choice(_HIGH)
                setattr(instruction, f"op{at}_kind", ic.OpKind.REGISTER)
                setattr(instruction, f"op{at}_register", choice)
                registers.append(choice)
        if in_memory:
            wide = ic.MemorySizeExt.size(instruction.memory_size) >= 16
            if at_r8:
                instruction.memory_base = _R.R8
            else:
                before += self._address(instruction, registers, wide)
            if instruction.mnemonic in _BIT_TESTS and registers:
                register = ic.RegisterExt.number(registers[0])
                before += bytes(
                    [0x48 | register >> 3, 0x83, 0xE0 | register & 7, 0 if at_r8 else 0x7F]
                )  # and r, 127
            if (
                instruction.mnemonic in _LOCKED
                and instruction.op0_kind == ic.OpKind.MEMORY
                and chance.random() < 0.25
            ):
                instruction.has_lock_prefix = True
        encoder = ic.Encoder(64)
        try:
            encoder.encode(instruction, 0x401000)
        except ValueError:
            return None
        after = b""
        if instruction.rflags_undefined:
            after = bytes(
                [0x48, 0x39, 0xC0 | chance.choice((0, 1, 2, 6, 7)) << 3 | chance.choice((0, 1, 2, 6, 7))]
            )
        return before + encoder.take_buffer() + after

    def _address(self, instruction: ic.Instruction, registers: list[Any], wide: bool) -> bytes:
        """A memory operand of any shape; the code that its index needs."""
        chance = self._chance
        at = chance.randrange(-24, 48)
        if wide and chance.random() < 0.93:
            at &= -16
        before = b""
        kind = chance.randrange(6)
        if kind == 0:  # fs or gs, whose bases are there
            instruction.segment_prefix = chance.choice((_R.FS, _R.GS))
            instruction.memory_base = _R.NONE
        elif kind == 1:
            instruction.memory_base = _R.EBX
        else:
            instruction.memory_base = _R.RBX
        if kind in (2, 3) and not any(ic.RegisterExt.full_register(each) == _R.R15 for each in registers):
            index, scale = chance.randrange(-3, 6), chance.choice((1, 2, 4, 8))
            before = b"\x49\xc7\xc7" + (index & 0xFFFF_FFFF).to_bytes(4, "little")  # mov r15, index
            instruction.memory_index, instruction.memory_index_scale = _R.R15, scale
            at -= index * scale
        small = -128 <= at < 128
        instruction.memory_displacement = at & 0xFFFF_FFFF_FFFF_FFFF
        if instruction.memory_base == _R.EBX:
            instruction.memory_displacement = at & 0xFFFF_FFFF
        instruction.memory_displ_size = (
            4 if instruction.memory_base == _R.NONE or not small else chance.choice((1, 1, 4))
        )
        if instruction.memory_base == _R.NONE or instruction.memory_displ_size == 4:
            instruction.memory_displ_size = 8 if instruction.memory_base != _R.EBX else 4
        return before
