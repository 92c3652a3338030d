"""80-bit extended precision, exactly: encodings, rounding and arithmetic (SDM 1, chapter 8; IEEE 754).

A number is a `Real`: its sign, its class, and for finite ones the magnitude `significand * 2**exponent` with integers of
any size. Operations return the exact result (with `sticky` for what lies below its last bit), which `rounded` brings to a
precision and exponent range under a rounding mode. Nothing here knows of registers.
"""

from __future__ import annotations

from math import isqrt
from typing import Final, Literal, NamedTuple

__all__ = [
    "DENORMAL", "DIVIDE_BY_ZERO", "DOUBLE", "EXTENDED", "INDEFINITE", "INEXACT", "INFINITY", "INVALID", "OVERFLOW",
    "SINGLE", "TRUNCATE", "UNDERFLOW", "ZERO", "Format", "Real", "Rounded", "add", "compare", "decode", "decode_short", "divide",
    "encode", "encode_short", "exact", "integer", "multiply", "one_nan", "rounded", "square_root", "two_nans",
]  # fmt: skip

INVALID, DENORMAL, DIVIDE_BY_ZERO, OVERFLOW, UNDERFLOW, INEXACT = 1, 2, 4, 8, 16, 32
"""Exception bits, where the status word has them."""

Class = Literal["zero", "denormal", "normal", "infinity", "quiet", "signaling", "unsupported"]
NEAREST, DOWN, UP, TRUNCATE = range(4)
"""Rounding modes, as rounding control has them."""
_QUIET: Final = 1 << 62
_INTEGER: Final = 1 << 63
_SPARE: Final = 70
"""Bits of a quotient or root beyond the 64 that are kept."""


class Format(NamedTuple):
    """Bits of precision, and the exponents of the smallest and largest normal numbers."""

    precision: int
    least: int
    most: int


SINGLE: Final = Format(24, -126, 127)
DOUBLE: Final = Format(53, -1022, 1023)
EXTENDED: Final = Format(64, -16382, 16383)


class Real(NamedTuple):
    """A value of a register. NaNs keep their 64 bits in `significand`; so do unsupported encodings."""

    kind: Class
    negative: bool
    significand: int = 0
    exponent: int = 0
    sticky: bool = False

    @property
    def is_nan(self) -> bool:
        """Quiet or signaling."""
        return self.kind in ("quiet", "signaling")

    @property
    def finite(self) -> bool:
        """Zero included."""
        return self.kind in ("zero", "denormal", "normal")


ZERO: Final = Real("zero", False)
INFINITY: Final = Real("infinity", False)
INDEFINITE: Final = Real("quiet", True, _INTEGER | _QUIET)
"""Real indefinite: the NaN that stands for the answer of an invalid operation."""


def exact(negative: bool, significand: int, exponent: int, sticky: bool = False) -> Real:
    """A finite value, not yet rounded."""
    if not significand and not sticky:
        return Real("zero", negative)
    return Real("normal", negative, significand, exponent, sticky)


def decode(bits: int) -> Real:
    """The 80 bits of a register or of memory (SDM 1, tables 4-3 and 8-3)."""
    significand, biased, negative = bits & (1 << 64) - 1, bits >> 64 & 0x7FFF, bool(bits >> 79)
    if biased == 0x7FFF:
        if not significand & _INTEGER:
            return Real("unsupported", negative, significand, biased)
        if significand == _INTEGER:
            return Real("infinity", negative)
        return Real("quiet" if significand & _QUIET else "signaling", negative, significand)
    if biased == 0:
        if not significand:
            return Real("zero", negative)
        return Real("denormal", negative, significand, -16445)
    if not significand & _INTEGER:
        return Real("unsupported", negative, significand, biased)
    return Real("normal", negative, significand, biased - 16383 - 63)


def encode(value: Real) -> int:
    """The 80 bits of a value that fits them (`rounded` sees to that)."""
    sign = value.negative << 79
    if value.kind == "zero":
        return sign
    if value.kind == "infinity":
        return sign | 0x7FFF << 64 | _INTEGER
    if value.is_nan:
        return sign | 0x7FFF << 64 | value.significand
    if value.kind == "unsupported":
        return sign | value.exponent << 64 | value.significand
    shift = 64 - value.significand.bit_length()
    exponent = value.exponent - shift
    if exponent < -16445:
        return sign | value.significand << value.exponent + 16445
    biased = exponent + 63 + 16383
    significand = value.significand << shift
    return sign | (biased << 64 if significand & _INTEGER else 0) | significand


def decode_short(bits: int, format_: Format) -> Real:
    """A number of 32 or 64 bits, exactly."""
    fraction_bits = format_.precision - 1
    exponent_bits = 8 if format_ is SINGLE else 11
    fraction, biased = bits & (1 << fraction_bits) - 1, bits >> fraction_bits & (1 << exponent_bits) - 1
    negative = bool(bits >> fraction_bits + exponent_bits)
    if biased == (1 << exponent_bits) - 1:
        if not fraction:
            return Real("infinity", negative)
        significand = _INTEGER | fraction << 63 - fraction_bits
        return Real("quiet" if significand & _QUIET else "signaling", negative, significand)
    if biased == 0:
        if not fraction:
            return Real("zero", negative)
        return Real("denormal", negative, fraction, format_.least - fraction_bits)
    return Real("normal", negative, 1 << fraction_bits | fraction, biased + format_.least - 1 - fraction_bits)


def encode_short(value: Real, format_: Format) -> int:
    """The 32 or 64 bits of a value that fits them; a NaN loses its lowest bits."""
    fraction_bits = format_.precision - 1
    exponent_bits = 8 if format_ is SINGLE else 11
    sign = value.negative << fraction_bits + exponent_bits
    highest = (1 << exponent_bits) - 1 << fraction_bits
    if value.kind == "zero":
        return sign
    if value.kind == "infinity":
        return sign | highest
    if value.is_nan:
        return sign | highest | (value.significand & _INTEGER - 1) >> 63 - fraction_bits
    bits = value.significand.bit_length()
    top = value.exponent + bits - 1
    if top < format_.least:
        return sign | value.significand << value.exponent - (format_.least - fraction_bits)
    significand = value.significand << format_.precision - bits
    return sign | top - format_.least + 1 << fraction_bits | significand & (1 << fraction_bits) - 1


class Rounded(NamedTuple):
    """A value brought to a format: what was raised, and whether rounding made its magnitude larger (C1)."""

    value: Real
    raised: int
    up: bool


def rounded(value: Real, mode: int, format_: Format, precision: int = 0) -> Rounded:
    """Bring an exact finite value to a format; `precision` when fewer bits are to be kept (precision control)."""
    if value.kind == "zero" or not value.finite:
        return Rounded(value, 0, False)
    keep = precision or format_.precision
    kept, exponent, inexact, up = _round(value, mode, keep, format_.least - (keep - 1))
    raised = 0
    if inexact:
        raised |= INEXACT
        if _top(value) < format_.least:
            free, at, _, _ = _round(value, mode, keep, None)
            if free.bit_length() + at - 1 < format_.least:  # tiny after rounding as if the range had no end
                raised |= UNDERFLOW
    if not kept:
        return Rounded(Real("zero", value.negative), raised, up)
    if kept.bit_length() + exponent - 1 > format_.most:
        raised |= OVERFLOW | INEXACT
        away = mode == NEAREST or mode == (DOWN if value.negative else UP)
        if away:
            return Rounded(Real("infinity", value.negative), raised, True)
        largest = exact(value.negative, (1 << keep) - 1, format_.most - keep + 1)
        return Rounded(largest, raised, False)
    return Rounded(exact(value.negative, kept, exponent), raised, up)


def integer(value: Real, mode: int) -> tuple[int, bool, bool]:
    """A finite value as an integer: itself with its sign, whether it is inexact, and whether it was rounded up."""
    if value.kind == "zero":
        return 0, False, False
    kept, exponent, inexact, up = _round(value, mode, None, 0)
    magnitude = kept << exponent
    return (-magnitude if value.negative else magnitude), inexact, up


def _top(value: Real) -> int:
    return value.exponent + value.significand.bit_length() - 1


def _round(value: Real, mode: int, keep: int | None, least: int | None) -> tuple[int, int, bool, bool]:
    """Keep so many bits, none of a weight below 2**least: significand, exponent, inexact, rounded up."""
    bits = value.significand.bit_length()
    exponent = value.exponent if keep is None else value.exponent + bits - keep
    if least is not None:
        exponent = least if keep is None else max(exponent, least)
    shift = exponent - value.exponent
    if shift <= 0:
        kept, rest, half = value.significand << -shift, 0, 1
    else:
        kept, rest, half = value.significand >> shift, value.significand & (1 << shift) - 1, 1 << shift - 1
    if shift <= 0 and not value.sticky:
        return kept, exponent, False, False
    inexact = bool(rest) or value.sticky
    if mode == NEAREST:
        up = shift > 0 and (rest > half or (rest == half and (value.sticky or bool(kept & 1))))
    else:
        up = inexact and mode == (DOWN if value.negative else UP)
    kept += up
    if keep is not None and kept.bit_length() > keep:
        kept, exponent = kept >> 1, exponent + 1
    return kept, exponent, inexact, up


# NaNs


def one_nan(value: Real) -> Real:
    """A NaN as it leaves an operation: quiet."""
    return Real("quiet", value.negative, value.significand | _QUIET)


def two_nans(first: Real, second: Real) -> Real:
    """Which NaN an operation on two values returns (SDM 1, table 4-7): the one with the larger significand."""
    if not second.is_nan:
        return one_nan(first)
    if not first.is_nan:
        return one_nan(second)
    if first.kind != second.kind:  # a quiet one before a signaling one
        return one_nan(first if first.kind == "quiet" else second)
    if first.significand != second.significand:
        return one_nan(first if first.significand > second.significand else second)
    return one_nan(second if first.negative else first)


# Arithmetic on values that are no NaNs: the exact result and what it raises


def add(first: Real, second: Real, mode: int) -> tuple[Real, int]:
    """The sum (INVALID for infinities of different signs)."""
    if first.kind == "infinity" or second.kind == "infinity":
        if first.kind == second.kind and first.negative != second.negative:
            return INDEFINITE, INVALID
        return (first if first.kind == "infinity" else second), 0
    if first.kind == "zero" and second.kind == "zero":
        same = first.negative == second.negative
        return Real("zero", first.negative if same else mode == DOWN), 0
    if first.kind == "zero":
        return second, 0
    if second.kind == "zero":
        return first, 0
    low = min(first.exponent, second.exponent)
    total = _signed(first) << first.exponent - low
    total += _signed(second) << second.exponent - low
    if not total:
        return Real("zero", mode == DOWN), 0
    return exact(total < 0, abs(total), low), 0


def _signed(value: Real) -> int:
    return -value.significand if value.negative else value.significand


def multiply(first: Real, second: Real) -> tuple[Real, int]:
    """The product (INVALID for zero times infinity)."""
    negative = first.negative != second.negative
    kinds = first.kind, second.kind
    if "infinity" in kinds:
        return (INDEFINITE, INVALID) if "zero" in kinds else (Real("infinity", negative), 0)
    if "zero" in kinds:
        return Real("zero", negative), 0
    return exact(negative, first.significand * second.significand, first.exponent + second.exponent), 0


def divide(first: Real, second: Real) -> tuple[Real, int]:
    """The quotient (INVALID for 0/0 and infinity/infinity, DIVIDE_BY_ZERO)."""
    negative = first.negative != second.negative
    if first.kind == second.kind and first.kind in ("zero", "infinity"):
        return INDEFINITE, INVALID
    if first.kind == "infinity":
        return Real("infinity", negative), 0
    if second.kind == "infinity" or first.kind == "zero":
        return Real("zero", negative), 0
    if second.kind == "zero":
        return Real("infinity", negative), DIVIDE_BY_ZERO
    shift = 64 + _SPARE + max(0, second.significand.bit_length() - first.significand.bit_length())
    quotient, rest = divmod(first.significand << shift, second.significand)
    return exact(negative, quotient, first.exponent - shift - second.exponent, bool(rest)), 0


def square_root(value: Real) -> tuple[Real, int]:
    """The root (INVALID below zero)."""
    if value.kind == "zero":
        return value, 0
    if value.negative:
        return INDEFINITE, INVALID
    if value.kind == "infinity":
        return value, 0
    shift = 2 * (64 + _SPARE)
    shift += (value.exponent - shift) & 1
    radicand = value.significand << shift
    root = isqrt(radicand)
    return exact(False, root, (value.exponent - shift) // 2, root * root != radicand), 0


def compare(first: Real, second: Real) -> int:
    """-1, 0 or 1 for values that are no NaNs."""
    if first.kind == "infinity" or second.kind == "infinity":
        ends = [0 if value.kind != "infinity" else -1 if value.negative else 1 for value in (first, second)]
        return (ends[0] > ends[1]) - (ends[0] < ends[1])
    low = min(first.exponent, second.exponent)
    left, right = _signed(first) << first.exponent - low, _signed(second) << second.exponent - low
    return (left > right) - (left < right)
