"""One x87 instruction: loads, stores, comparisons and the words are here, arithmetic is next door (SDM 2, the F... pages).

Not here: the transcendental instructions, whose last bit differs between processors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import iced_x86 as ic

from backends.emulated.engine import Unsupported
from backends.emulated.x87 import numbers as n
from backends.emulated.x87.arithmetic import (
    OPERATIONS,
    arithmetic,
    extract,
    memory_operand,
    place_of,
    remainder,
    scale,
    unary,
)
from backends.emulated.x87.numbers import Real
from backends.emulated.x87.unit import C0, C1, C2, C3, STACK_FAULT, Unit

__all__ = ["MNEMONICS", "STORES", "run"]

Flags = Callable[[int | None], int]
"""EFLAGS: read with None, else written."""
Run = Callable[[Unit, ic.Instruction, int, bytes, Flags], bytes | None]

_M = ic.Mnemonic
_CF, _PF, _AF, _ZF, _SF, _OF = 1, 4, 0x10, 0x40, 0x80, 0x800


def run(unit: Unit, instruction: ic.Instruction, size: int, memory: bytes, flags: Flags) -> bytes | None:
    """Run one instruction: returns the bytes to store, if it stores any (for `fnstsw ax`: what AX becomes).

    `size` is its memory operand's in bytes (0: none) and `memory` what stands there, for one that loads. Raises
    Unsupported without changing anything that a program could see.
    """
    do = _RUN.get(instruction.mnemonic)
    if do is None:
        raise Unsupported("this x87 instruction's last bits differ from processor to processor")
    before = unit.control, unit.status, unit.top, unit.used, list(unit.registers)
    try:
        return do(unit, instruction, size, memory, flags)
    except Unsupported:
        unit.control, unit.status, unit.top, unit.used, unit.registers = before
        raise


# Loads and stores


def _fld(u: Unit, i: ic.Instruction, size: int, memory: bytes, _flags: Flags) -> None:
    u.clear_c1()
    if size:
        value, raised = u.load(memory, size)
        u.push(value, raised)
    else:
        u.push(u.get(place_of(i.op1_register if i.op_count > 1 else i.op0_register)))


def _fild(u: Unit, _i: ic.Instruction, _size: int, memory: bytes, _flags: Flags) -> None:
    u.clear_c1()
    whole = int.from_bytes(memory, "little", signed=True)
    u.push(n.exact(whole < 0, abs(whole), 0))


def _fbld(u: Unit, _i: ic.Instruction, _size: int, memory: bytes, _flags: Flags) -> None:
    u.clear_c1()
    whole = sum(((byte & 15) + 10 * (byte >> 4)) * 100**k
                for k, byte in enumerate(memory[:9]))  # fmt: skip
    u.push(n.exact(bool(memory[9] & 0x80), whole, 0))


def _fst(u: Unit, i: ic.Instruction, size: int, _memory: bytes, _flags: Flags) -> bytes | None:
    u.clear_c1()
    value = u.get(0)
    out = None
    if size:
        out = u.store(value, size)
    else:
        u.set(place_of(i.op0_register), n.INDEFINITE if value is None else value)
    if i.mnemonic == _M.FSTP:
        u.pop()
    return out


def _fist(u: Unit, i: ic.Instruction, size: int, _memory: bytes, _flags: Flags) -> bytes:
    u.clear_c1()
    out = u.store_integer(u.get(0), size, n.TRUNCATE if i.mnemonic == _M.FISTTP else u.mode)
    if i.mnemonic != _M.FIST:
        u.pop()
    return out


def _fbstp(u: Unit, _i: ic.Instruction, _size: int, _memory: bytes, _flags: Flags) -> bytes:
    u.clear_c1()
    out = u.store_decimal(u.get(0))
    u.pop()
    return out


_CONSTANTS: Final = {  # significands that nearest and up give, then down and truncate; SDM 1, 8.3.8
    _M.FLD1: (0x3FFF, 0x8000000000000000, 0x8000000000000000, 0x8000000000000000),
    _M.FLDL2T: (0x4000, 0xD49A784BCD1B8AFE, 0xD49A784BCD1B8AFF, 0xD49A784BCD1B8AFE),
    _M.FLDL2E: (0x3FFF, 0xB8AA3B295C17F0BC, 0xB8AA3B295C17F0BC, 0xB8AA3B295C17F0BB),
    _M.FLDPI: (0x4000, 0xC90FDAA22168C235, 0xC90FDAA22168C235, 0xC90FDAA22168C234),
    _M.FLDLG2: (0x3FFD, 0x9A209A84FBCFF799, 0x9A209A84FBCFF799, 0x9A209A84FBCFF798),
    _M.FLDLN2: (0x3FFE, 0xB17217F7D1CF79AC, 0xB17217F7D1CF79AC, 0xB17217F7D1CF79AB),
    _M.FLDZ: (0, 0, 0, 0),
}


def _constant(u: Unit, i: ic.Instruction, _size: int, _memory: bytes, _flags: Flags) -> None:
    u.clear_c1()
    biased, nearest, up, down = _CONSTANTS[i.mnemonic]
    u.push(n.decode(biased << 64 | (nearest, down, up, down)[u.mode]))


# Comparisons


def _order(u: Unit, first: Real | None, second: Real | None, quiet: bool) -> int | None:
    """-1, 0, 1, or None for unordered."""
    if first is None or second is None:
        return None
    kinds = first.kind, second.kind
    if first.is_nan or second.is_nan or "unsupported" in kinds:
        signals = not quiet or "signaling" in kinds or "unsupported" in kinds
        u.raise_(n.INVALID if signals else 0)
        return None
    u.raise_(n.DENORMAL if "denormal" in kinds else 0)
    return n.compare(first, second)


_CODES: Final = {None: C3 | C2 | C0, -1: C0, 0: C3, 1: 0}
_TO_FLAGS: Final = {_M.FCOMI, _M.FCOMIP, _M.FUCOMI, _M.FUCOMIP}
_QUIET: Final = {_M.FUCOM, _M.FUCOMP, _M.FUCOMPP, _M.FUCOMI, _M.FUCOMIP}
_POPS: Final = {
    _M.FCOMP: 1, _M.FUCOMP: 1, _M.FICOMP: 1, _M.FCOMPP: 2, _M.FUCOMPP: 2, _M.FCOMIP: 1, _M.FUCOMIP: 1,
}  # fmt: skip


def _fcom(u: Unit, i: ic.Instruction, size: int, memory: bytes, flags: Flags) -> None:
    to_flags = i.mnemonic in _TO_FLAGS
    first = u.get(0)
    if i.mnemonic == _M.FTST:
        second: Real | None = n.ZERO
    elif size:
        second = memory_operand(i, size, memory)
    else:
        second = u.get(1 if i.op_count < 2 and i.mnemonic in (_M.FCOMPP, _M.FUCOMPP) else place_of(
            i.op1_register if i.op_count > 1 else i.op0_register))  # fmt: skip
    order = _order(u, first, second, i.mnemonic in _QUIET)
    if not to_flags or first is None or second is None:
        u.clear_c1()
    if to_flags:
        bits = {None: _ZF | _PF | _CF, -1: _CF, 0: _ZF, 1: 0}[order]
        flags(flags(None) & ~(_CF | _PF | _AF | _ZF | _SF | _OF) | bits)
    else:
        u.status = u.status & ~(C0 | C2 | C3) | _CODES[order]
    for _ in range(_POPS.get(i.mnemonic, 0)):
        u.pop()


_EXAMINED: Final = {
    "unsupported": 0, "quiet": C0, "signaling": C0, "normal": C2, "infinity": C2 | C0, "zero": C3,
    "denormal": C3 | C2,
}  # fmt: skip


def _fxam(u: Unit, _i: ic.Instruction, _size: int, _memory: bytes, _flags: Flags) -> None:
    value = n.decode(u.bits(0))
    code = C3 | C0 if u.empty(0) else _EXAMINED[value.kind]
    u.status = u.status & ~(C0 | C1 | C2 | C3) | code | (C1 if value.negative else 0)


_MOVES: Final[dict[int, tuple[int, bool]]] = {
    _M.FCMOVB: (_CF, True), _M.FCMOVE: (_ZF, True), _M.FCMOVBE: (_CF | _ZF, True), _M.FCMOVU: (_PF, True),
    _M.FCMOVNB: (_CF, False), _M.FCMOVNE: (_ZF, False), _M.FCMOVNBE: (_CF | _ZF, False), _M.FCMOVNU: (_PF, False),
}  # fmt: skip


def _fcmov(u: Unit, i: ic.Instruction, _size: int, _memory: bytes, flags: Flags) -> None:
    place = place_of(i.op1_register)
    if u.empty(0) or u.empty(place):
        u.clear_c1()
        u.raise_(n.INVALID, STACK_FAULT)
        u.set(0, n.INDEFINITE)
        return
    mask, wanted = _MOVES[i.mnemonic]
    if bool(flags(None) & mask) == wanted:
        u.registers[u.top] = u.bits(place)


# The stack and the words


def _fxch(u: Unit, i: ic.Instruction, _size: int, _memory: bytes, _flags: Flags) -> None:
    u.clear_c1()
    place = place_of(i.op1_register if i.op_count > 1 else i.op0_register)
    first, second = u.get(0), u.get(place)
    bits = u.bits(0), u.bits(place)
    indefinite = n.encode(n.INDEFINITE)
    u.registers[u.top + place & 7] = indefinite if first is None else bits[0]
    u.registers[u.top] = indefinite if second is None else bits[1]
    u.used |= 1 << u.top | 1 << (u.top + place & 7)


def _free(u: Unit, i: ic.Instruction, _size: int, _memory: bytes, _flags: Flags) -> None:
    u.clear_c1()
    u.used &= ~(1 << (u.top + place_of(i.op0_register) & 7))
    if i.mnemonic == _M.FFREEP:
        u.pop()


def _turn(u: Unit, i: ic.Instruction, _size: int, _memory: bytes, _flags: Flags) -> None:
    u.clear_c1()
    u.top = u.top + (1 if i.mnemonic == _M.FINCSTP else -1) & 7


def _fninit(u: Unit, _i: ic.Instruction, _size: int, _memory: bytes, _flags: Flags) -> None:
    u.reset()


def _fnclex(u: Unit, _i: ic.Instruction, _size: int, _memory: bytes, _flags: Flags) -> None:
    u.status &= ~0xFF


def _nothing(_u: Unit, _i: ic.Instruction, _size: int, _memory: bytes, _flags: Flags) -> None:
    return None


def _fldcw(u: Unit, _i: ic.Instruction, _size: int, memory: bytes, _flags: Flags) -> None:
    u.load_words(int.from_bytes(memory, "little"), u.status | u.top << 11)


def _fnstcw(u: Unit, _i: ic.Instruction, _size: int, _memory: bytes, _flags: Flags) -> bytes:
    return (u.control | 0x40).to_bytes(2, "little")


def _fnstsw(u: Unit, _i: ic.Instruction, _size: int, _memory: bytes, _flags: Flags) -> bytes:
    return u.status_word().to_bytes(2, "little")


def _fnstenv(u: Unit, _i: ic.Instruction, _size: int, _memory: bytes, _flags: Flags) -> bytes:
    out = u.environment()
    u.control |= 0x3F
    return out


def _fldenv(u: Unit, _i: ic.Instruction, _size: int, memory: bytes, _flags: Flags) -> None:
    u.load_environment(memory)


def _fnsave(u: Unit, _i: ic.Instruction, _size: int, _memory: bytes, _flags: Flags) -> bytes:
    out = u.image()
    u.reset()
    return out


def _frstor(u: Unit, _i: ic.Instruction, _size: int, memory: bytes, _flags: Flags) -> None:
    u.load_image(memory)


def _without_flags(do: Callable[[Unit, ic.Instruction, int, bytes], None]) -> Run:
    def run_it(u: Unit, i: ic.Instruction, size: int, memory: bytes, _flags: Flags) -> None:
        do(u, i, size, memory)

    return run_it


_RUN: Final[dict[int, Run]] = {
    _M.FLD: _fld, _M.FILD: _fild, _M.FBLD: _fbld, _M.FST: _fst, _M.FSTP: _fst, _M.FIST: _fist, _M.FISTP: _fist,
    _M.FISTTP: _fist, _M.FBSTP: _fbstp, **dict.fromkeys(_CONSTANTS, _constant), **dict.fromkeys(OPERATIONS, _without_flags(arithmetic)),
    _M.FCHS: _without_flags(unary), _M.FABS: _without_flags(unary), _M.FSQRT: _without_flags(unary), _M.FRNDINT: _without_flags(unary), _M.FSCALE: _without_flags(scale), _M.FXTRACT: _without_flags(extract),
    _M.FPREM: _without_flags(remainder), _M.FPREM1: _without_flags(remainder), _M.FCOM: _fcom, _M.FCOMP: _fcom, _M.FCOMPP: _fcom, _M.FUCOM: _fcom,
    _M.FUCOMP: _fcom, _M.FUCOMPP: _fcom, _M.FICOM: _fcom, _M.FICOMP: _fcom, _M.FTST: _fcom, _M.FCOMI: _fcom,
    _M.FCOMIP: _fcom, _M.FUCOMI: _fcom, _M.FUCOMIP: _fcom, _M.FXAM: _fxam, **dict.fromkeys(_MOVES, _fcmov),
    _M.FXCH: _fxch, _M.FFREE: _free, _M.FFREEP: _free, _M.FINCSTP: _turn, _M.FDECSTP: _turn, _M.FNINIT: _fninit,
    _M.FNCLEX: _fnclex, _M.FNOP: _nothing, _M.FLDCW: _fldcw, _M.FNSTCW: _fnstcw, _M.FNSTSW: _fnstsw,
    _M.FNSTENV: _fnstenv, _M.FLDENV: _fldenv, _M.FNSAVE: _fnsave, _M.FRSTOR: _frstor,
}  # fmt: skip
_LAST_BITS: Final = (_M.F2XM1, _M.FYL2X, _M.FYL2XP1, _M.FPTAN, _M.FPATAN, _M.FSIN, _M.FCOS, _M.FSINCOS)
MNEMONICS: Final = frozenset((*_RUN, *_LAST_BITS))
"""Every instruction of the unit, the refused ones included."""
STORES: Final = frozenset((
    _M.FST, _M.FSTP, _M.FIST, _M.FISTP, _M.FISTTP, _M.FBSTP, _M.FNSTCW, _M.FNSTSW, _M.FNSTENV, _M.FNSAVE,
))  # fmt: skip
"""Those that write their memory operand; the others read it."""
