"""Arithmetic on the register stack: each function runs one instruction (SDM 2, the page of its name).

All take the same: the unit, the instruction, the size of its memory operand in bytes (0: none) and the bytes there.
"""

from __future__ import annotations

from typing import Final

import iced_x86 as ic

from backends.emulated.x87 import numbers as n
from backends.emulated.x87.numbers import Real
from backends.emulated.x87.unit import C0, C1, C2, C3, STACK_FAULT, Unit

__all__ = ["OPERATIONS", "arithmetic", "extract", "memory_operand", "place_of", "remainder", "scale", "unary"]

_M = ic.Mnemonic


def place_of(register: int) -> int:
    """Which ST(i) a register operand is."""
    return register - ic.Register.ST0


def _binary(u: Unit, first: Real, second: Real, operation: str) -> Real:
    if first.kind == "unsupported" or second.kind == "unsupported":
        u.raise_(n.INVALID)
        return n.INDEFINITE
    if first.is_nan or second.is_nan:
        u.raise_(n.INVALID if "signaling" in (first.kind, second.kind) else 0)
        return n.two_nans(first, second)
    if operation == "+":
        value, more = n.add(first, second, u.mode)
    elif operation == "-":
        value, more = n.add(first, second._replace(negative=not second.negative), u.mode)
    elif operation == "*":
        value, more = n.multiply(first, second)
    else:
        value, more = n.divide(first, second)
    if not more & (n.INVALID | n.DIVIDE_BY_ZERO) and "denormal" in (first.kind, second.kind):
        more |= n.DENORMAL
    if more & n.INVALID or not value.finite:
        u.raise_(more)
        return value
    return u.round(value, more)


OPERATIONS: Final = {
    _M.FADD: ("+", 0, 0), _M.FADDP: ("+", 0, 1), _M.FIADD: ("+", 0, 0),
    _M.FMUL: ("*", 0, 0), _M.FMULP: ("*", 0, 1), _M.FIMUL: ("*", 0, 0),
    _M.FSUB: ("-", 0, 0), _M.FSUBP: ("-", 0, 1), _M.FISUB: ("-", 0, 0),
    _M.FSUBR: ("-", 1, 0), _M.FSUBRP: ("-", 1, 1), _M.FISUBR: ("-", 1, 0),
    _M.FDIV: ("/", 0, 0), _M.FDIVP: ("/", 0, 1), _M.FIDIV: ("/", 0, 0),
    _M.FDIVR: ("/", 1, 0), _M.FDIVRP: ("/", 1, 1), _M.FIDIVR: ("/", 1, 0),
}  # fmt: skip
"""The operation, whether its operands change places, and whether it pops."""
_INTEGER_OPERANDS: Final = {
    *(_M.FIADD, _M.FIMUL, _M.FISUB, _M.FISUBR, _M.FIDIV, _M.FIDIVR, _M.FICOM, _M.FICOMP)
}


def memory_operand(i: ic.Instruction, size: int, memory: bytes) -> Real:
    """A number of 2, 4 or 8 bytes as arithmetic and comparisons take it: exactly."""
    if i.mnemonic in _INTEGER_OPERANDS:
        whole = int.from_bytes(memory, "little", signed=True)
        return n.exact(whole < 0, abs(whole), 0)
    return n.decode_short(int.from_bytes(memory, "little"), n.SINGLE if size == 4 else n.DOUBLE)


def arithmetic(u: Unit, i: ic.Instruction, size: int, memory: bytes) -> None:
    """FADD, FSUB, FMUL, FDIV and their reversed, popping and integer forms."""
    operation, reverse, pops = OPERATIONS[i.mnemonic]
    second: Real | None
    u.clear_c1()
    if size:
        target, first, second = 0, u.get(0), memory_operand(i, size, memory)
    else:
        target = place_of(i.op0_register)
        first, second = u.get(target), u.get(place_of(i.op1_register))
    left, right = (second, first) if reverse else (first, second)
    if left is None or right is None:
        u.set(target, n.INDEFINITE)
    else:
        u.set(target, _binary(u, left, right, operation))
    if pops:
        u.pop()


def unary(u: Unit, i: ic.Instruction, _size: int, _memory: bytes) -> None:
    """FCHS, FABS, FSQRT, FRNDINT."""
    u.clear_c1()
    value = u.get(0)
    if value is None:
        u.set(0, n.INDEFINITE)
    elif i.mnemonic in (_M.FCHS, _M.FABS):
        bits = u.bits(0)
        u.registers[u.top] = bits ^ 1 << 79 if i.mnemonic == _M.FCHS else bits & (1 << 79) - 1
    elif value.kind == "unsupported":
        u.raise_(n.INVALID)
        u.set(0, n.INDEFINITE)
    elif value.is_nan:
        u.raise_(n.INVALID if value.kind == "signaling" else 0)
        u.set(0, n.one_nan(value))
    elif i.mnemonic == _M.FSQRT:
        result, raised = n.square_root(value)
        if value.kind == "denormal" and not raised:
            raised = n.DENORMAL
        if raised & n.INVALID:
            u.raise_(raised)
            u.set(0, result)
        else:
            u.set(0, u.round(result, raised))
    elif value.kind == "denormal" or value.kind == "normal":  # FRNDINT
        whole, inexact, up = n.integer(value, u.mode) if value.exponent < 0 else (0, False, False)
        u.raise_(
            (n.INEXACT if inexact else 0) | (n.DENORMAL if value.kind == "denormal" else 0), C1 if up else 0
        )
        if value.exponent < 0:
            u.set(0, n.exact(value.negative, abs(whole), 0))


def _top_two(u: Unit) -> tuple[Real, Real] | None:
    """ST(0) and ST(1); None where one of them is empty, unsupported or a NaN, and ST(0) already holds the answer."""
    value, by = u.get(0), u.get(1)
    if value is None or by is None:
        u.set(0, n.INDEFINITE)
        return None
    if "unsupported" in (value.kind, by.kind):
        u.raise_(n.INVALID)
        u.set(0, n.INDEFINITE)
        return None
    if value.is_nan or by.is_nan:
        u.raise_(n.INVALID if "signaling" in (value.kind, by.kind) else 0)
        u.set(0, n.two_nans(value, by))
        return None
    return value, by


def scale(u: Unit, _i: ic.Instruction, _size: int, _memory: bytes) -> None:
    """FSCALE."""
    u.clear_c1()
    if (pair := _top_two(u)) is None:
        return
    value, by = pair
    denormal = n.DENORMAL if "denormal" in (value.kind, by.kind) else 0
    if by.kind == "infinity":
        if value.kind == ("infinity" if by.negative else "zero"):
            u.raise_(n.INVALID)
            u.set(0, n.INDEFINITE)
        else:
            u.raise_(denormal)
            u.set(0, Real("zero" if by.negative else "infinity", value.negative))
        return
    u.raise_(denormal)
    if value.kind in ("zero", "infinity"):
        return
    shift = n.integer(by, n.TRUNCATE)[0] if by.exponent < 64 else (-(1 << 17) if by.negative else 1 << 17)
    shift = max(-(1 << 17), min(1 << 17, shift))
    u.set(0, u.round(value._replace(exponent=value.exponent + shift, kind="normal"), 0, precise=True))


def extract(u: Unit, _i: ic.Instruction, _size: int, _memory: bytes) -> None:
    """FXTRACT."""
    u.clear_c1()
    value = u.get(0)
    if value is None or not u.empty(-1):
        if value is not None:
            u.raise_(n.INVALID, STACK_FAULT | C1)
        u.set(0, n.INDEFINITE)
        significand, exponent = n.INDEFINITE, n.INDEFINITE
    elif value.kind == "unsupported":
        u.raise_(n.INVALID)
        significand = exponent = n.INDEFINITE
    elif value.is_nan:
        u.raise_(n.INVALID if value.kind == "signaling" else 0)
        significand = exponent = n.one_nan(value)
    elif value.kind == "infinity":
        significand, exponent = value, n.INFINITY
    elif value.kind == "zero":
        u.raise_(n.DIVIDE_BY_ZERO)
        significand, exponent = value, Real("infinity", True)
    else:
        u.raise_(n.DENORMAL if value.kind == "denormal" else 0)
        power = value.exponent + value.significand.bit_length() - 1
        significand = n.exact(value.negative, value.significand, value.exponent - power)
        exponent = n.exact(power < 0, abs(power), 0)
    u.set(0, exponent)
    u.top = u.top - 1 & 7
    u.set(0, significand)


def remainder(u: Unit, i: ic.Instruction, _size: int, _memory: bytes) -> None:
    """FPREM and FPREM1."""
    u.status &= ~(C1 | C2)
    if (pair := _top_two(u)) is None:
        return
    value, by = pair
    if value.kind == "infinity" or by.kind == "zero":
        u.raise_(n.INVALID)
        u.set(0, n.INDEFINITE)
        return
    u.raise_(n.DENORMAL if "denormal" in (value.kind, by.kind) else 0)
    u.status &= ~(C0 | C1 | C2 | C3)
    if value.kind == "zero" or by.kind == "infinity":
        return
    top = value.exponent + value.significand.bit_length()
    distance = top - (by.exponent + by.significand.bit_length())
    low = min(value.exponent, by.exponent)
    left, right = value.significand << value.exponent - low, by.significand << by.exponent - low
    negative = value.negative
    if distance >= 64:  # only part of the way: C2
        part = distance - (32 + distance % 32)
        quotient = left // (right << part)
        left -= quotient * (right << part)
        u.status |= C2
    else:
        quotient, left = divmod(left, right)
        if i.mnemonic == _M.FPREM1 and (2 * left > right or (2 * left == right and quotient & 1)):
            quotient, left, negative = quotient + 1, right - left, not negative
        u.status |= (C1 if quotient & 1 else 0) | (C3 if quotient & 2 else 0) | (C0 if quotient & 4 else 0)
    result = n.exact(negative if left else value.negative, left, low)
    done = n.rounded(result, u.mode, n.EXTENDED)
    u.raise_(done.raised)
    u.set(0, done.value)
