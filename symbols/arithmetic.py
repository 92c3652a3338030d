"""C's arithmetic: promotions, conversions and operators, on numbers as Python has them (C11 6.3.1 and 6.5)."""

from __future__ import annotations

import math

from symbols.ctype import BUILTIN, Type
from symbols.expression import spell
from symbols.nodes import Binary
from symbols.target import ExpressionError
from symbols.value import Value

__all__ = ["arithmetic", "common", "fitted", "promoted", "wrapped"]

_LONG, _ULONG, _INT, _DOUBLE = (BUILTIN[name] for name in ("long", "unsigned long", "int", "double"))


def promoted(value: Value) -> Type:
    """The integer promotions (C11 6.3.1.1)."""
    kind = value.type if value.type is not None else _LONG
    plain = kind.plain
    if plain.kind == "float":
        return kind
    return (
        kind if (plain.size or 8) >= 4 and plain.kind == "int" else _INT if (plain.size or 8) < 8 else _ULONG
    )


def common(left: Value, right: Value) -> Type:
    """The usual arithmetic conversions (C11 6.3.1.8)."""
    kinds = [promoted(value) for value in (left, right)]
    if any(kind.plain.kind == "float" for kind in kinds):
        return _DOUBLE
    size = max(kind.size or 4 for kind in kinds)
    unsigned = any((kind.size or 4) == size and not kind.plain.signed for kind in kinds)
    if size <= 4:
        return BUILTIN["unsigned int"] if unsigned else _INT
    return _ULONG if unsigned else _LONG


def fitted(number: int | float, kind: Type) -> Value:
    """A result as a value of a type, wider where a constant needs it. Raises ExpressionError beyond 64 bits."""
    if isinstance(number, float):
        return Value(_DOUBLE, number=number)
    if (
        kind.plain.kind == "int"
        and kind.plain.signed
        and not -(1 << 31) <= number < 1 << 31
        and kind.size == 4
    ):
        kind = _LONG  # constants are read as wide as they need, so that addresses stay whole
    if kind.plain.kind == "float":
        return Value(kind, number=float(number))
    if abs(number) >= 1 << 64:
        raise ExpressionError("a number beyond 64 bits")
    return Value(kind, number=wrapped(number, kind))


def wrapped(number: int, kind: Type) -> int:
    """A number cut to the bits of an integer type."""
    width = 8 * (kind.size or 8)
    number &= (1 << width) - 1
    return number - (1 << width) if kind.plain.signed and number >> width - 1 else number


def arithmetic(operator: str, a: int | float, b: int | float, node: Binary) -> int | float:
    """One operator on two numbers. Raises ExpressionError where C leaves it undefined."""
    if operator in "/%" and not b:
        raise ExpressionError(f"division by zero in '{spell(node)}'", span=node.right.span)
    if isinstance(a, float) or isinstance(b, float):
        try:
            if operator in "+-*/":
                return float({"+": a + b, "-": a - b, "*": a * b, "/": a / b if b else math.nan}[operator])
        except OverflowError:
            return math.inf
        raise ExpressionError(f"{operator} needs whole numbers", span=node.span)
    if operator in ("<<", ">>"):
        if not 0 <= b < 64:
            raise ExpressionError(f"a shift by {b} in '{spell(node)}'", span=node.right.span)
        return a << b if operator == "<<" else a >> b
    if operator in "/%":  # C truncates, Python floors
        quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
        return quotient if operator == "/" else a - quotient * b
    return {"+": a + b, "-": a - b, "*": a * b, "&": a & b, "|": a | b, "^": a ^ b}[operator]
