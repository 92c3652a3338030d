"""One lane of an SSE instruction on floats, exactly, with the exceptions it raises (SDM 1, 11.5; IEEE 754).

Values are bit patterns, exceptions the flags of MXCSR. The exact arithmetic is the x87 unit's (`backends.emulated.x87.numbers`); what
differs is here: which NaN an instruction returns, minimum and maximum, denormals as zeros, tiny results as zeros.
"""

from __future__ import annotations

from typing import Final

from backends.emulated.x87 import numbers as n
from backends.emulated.x87.numbers import DENORMAL, DIVIDE_BY_ZERO, INEXACT, INVALID, UNDERFLOW, Format, Real

__all__ = ["MASKS", "Lane", "arithmetic", "compared", "from_integer", "ordered", "resized", "to_integer"]

MASKS: Final = 7
"""The mask of an exception is its flag, shifted by so much."""
_DENORMALS_ARE_ZEROS, _FLUSH_TO_ZERO = 1 << 6, 1 << 15
_SIGNALING_PREDICATES: Final = (1, 2, 5, 6)

Lane = tuple[int, int]
"""A result's bits, and the exceptions raised."""


def _mode(mxcsr: int) -> int:
    return mxcsr >> 13 & 3


def _operand(bits: int, format_: Format, mxcsr: int) -> Real:
    value = n.decode_short(bits, format_)
    if value.kind == "denormal" and mxcsr & _DENORMALS_ARE_ZEROS:
        return Real("zero", value.negative)
    return value


def _denormals(*values: Real) -> int:
    return DENORMAL if any(value.kind == "denormal" for value in values) else 0


def _rounded(value: Real, format_: Format, mxcsr: int) -> Lane:
    result, raised, _ = n.rounded(value, _mode(mxcsr), format_)
    top = result.exponent + result.significand.bit_length() - 1
    tiny = raised & UNDERFLOW or (result.finite and result.kind != "zero" and top < format_.least)
    if tiny and not mxcsr & UNDERFLOW << MASKS:
        raised |= UNDERFLOW  # not masked, it is raised for exact results, too
    elif tiny and mxcsr & _FLUSH_TO_ZERO:
        return n.encode_short(Real("zero", value.negative), format_), raised | UNDERFLOW | INEXACT
    return n.encode_short(result, format_), raised


def arithmetic(operation: str, first: int, second: int, format_: Format, mxcsr: int) -> Lane:
    """ADD, SUB, MUL, DIV, MIN or MAX of two values, or SQRT of the second."""
    a, b = _operand(first, format_, mxcsr), _operand(second, format_, mxcsr)
    if operation in ("MIN", "MAX"):
        return _chosen(operation, a, b, _kept(first, a, format_), _kept(second, b, format_))
    if operation == "SQRT":
        a = b
    if a.is_nan or b.is_nan:
        raised = INVALID if "signaling" in (a.kind, b.kind) else 0
        return n.encode_short(n.one_nan(a if a.is_nan else b), format_), raised
    if operation in ("ADD", "SUB"):
        other = b._replace(negative=b.negative != (operation == "SUB"))
        value, raised = n.add(a, other, _mode(mxcsr))
    elif operation == "MUL":
        value, raised = n.multiply(a, b)
    elif operation == "DIV":
        value, raised = n.divide(a, b)
    else:
        value, raised = n.square_root(b)
    if raised & (INVALID | DIVIDE_BY_ZERO):
        return n.encode_short(value, format_), raised
    if not value.finite:
        return n.encode_short(value, format_), _denormals(a, b)
    result, more = _rounded(value, format_, mxcsr)
    return result, _denormals(a, b) | more


def _kept(bits: int, value: Real, format_: Format) -> int:
    """An operand as it is returned: itself, or the zero that a denormal one counts as."""
    return n.encode_short(value, format_) if value.kind == "zero" else bits


def _chosen(operation: str, a: Real, b: Real, first: int, second: int) -> Lane:
    """The second operand, unless the first is certainly less or more."""
    if a.is_nan or b.is_nan:
        return second, INVALID
    order = _order(a, b)
    return (first if (order < 0 if operation == "MIN" else order > 0) else second), _denormals(a, b)


def _order(a: Real, b: Real) -> int:
    if a.kind == b.kind == "zero":
        return 0
    return n.compare(a, b)


def ordered(first: int, second: int, format_: Format, mxcsr: int, *, quiet: bool) -> tuple[int | None, int]:
    """COMISD, or UCOMISD (`quiet`): -1, 0, 1 or None for unordered, and what is raised."""
    a, b = _operand(first, format_, mxcsr), _operand(second, format_, mxcsr)
    if a.is_nan or b.is_nan:
        return None, INVALID if not quiet or "signaling" in (a.kind, b.kind) else 0
    return _order(a, b), _denormals(a, b)


def compared(predicate: int, first: int, second: int, format_: Format, mxcsr: int) -> Lane:
    """CMPSD and its kin: all ones or zero. The predicate is 0 to 7: eq, lt, le, unord, neq, nlt, nle, ord."""
    order, raised = ordered(first, second, format_, mxcsr, quiet=predicate not in _SIGNALING_PREDICATES)
    unordered = order is None
    holds = (order == 0, order is not None and order < 0, order is not None and order <= 0, unordered)[
        predicate & 3
    ]
    holds ^= predicate >= 4
    return ((1 << (64 if format_ is n.DOUBLE else 32)) - 1 if holds else 0), raised


def resized(bits: int, format_: Format, to: Format, mxcsr: int) -> Lane:
    """CVTSD2SS and CVTSS2SD."""
    value = _operand(bits, format_, mxcsr)
    if value.is_nan:
        return n.encode_short(n.one_nan(value), to), INVALID if value.kind == "signaling" else 0
    if not value.finite:
        return n.encode_short(value, to), 0
    result, raised = _rounded(value, to, mxcsr)
    return result, raised | _denormals(value)


def to_integer(bits: int, format_: Format, size: int, mxcsr: int, *, truncate: bool) -> Lane:
    """CVTSD2SI, CVTTPS2DQ and their kin, to `size` bits; the integer indefinite where it does not fit."""
    value = _operand(bits, format_, mxcsr)
    indefinite = 1 << size - 1
    if not value.finite:
        return indefinite, INVALID
    whole, inexact, _ = n.integer(value, n.TRUNCATE if truncate else _mode(mxcsr))
    if not -indefinite <= whole < indefinite:
        return indefinite, INVALID
    return whole & (1 << size) - 1, INEXACT if inexact else 0


def from_integer(value: int, format_: Format, mxcsr: int) -> Lane:
    """CVTSI2SD, CVTDQ2PS: a signed integer."""
    if not value:
        return 0, 0
    return _rounded(n.exact(value < 0, abs(value), 0), format_, mxcsr)
