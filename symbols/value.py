"""What an expression is: something with a type, in memory or on its own; and whom an expression asks for names."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from symbols.ctype import Type
from symbols.dataclass import dataclass

if TYPE_CHECKING:
    from symbols.nodes import Name

__all__ = ["MASK", "SCALARS", "Resolver", "Value", "decode"]

MASK: Final = (1 << 64) - 1
SCALARS: Final = ("int", "char", "bool", "enum", "float", "pointer", "reference")
_FLOATS: Final = {4: "<f", 8: "<d"}


@dataclass(frozen=True, slots=True)
class Value:
    """Something with a type: in memory at `address`, or as a `number` or `data` of its own.

    `size` stands in for the type's where a symbol has none; `code`: a function; `also`, `frame` and `per_thread` as in `Target`.
    """

    type: Type | None
    address: int | None = None
    number: int | float | None = None
    data: bytes | None = None
    bits: tuple[int, int] | None = None
    code: bool = False
    size: int | None = None
    also: tuple[int, ...] = ()
    frame: int | None = None
    per_thread: bool = False
    why: str = ""
    """Why it has no address, where it has none."""

    @property
    def length(self) -> int | None:
        """Bytes, None where it is not known."""
        if self.bits is not None:
            return (self.bits[0] + self.bits[1] + 7) // 8
        return self.type.size if self.type is not None and self.type.size is not None else self.size


class Resolver(Protocol):
    """Whom an expression asks. All of it may raise ExpressionError; `read` whatever it likes."""

    def object(self, name: Name) -> Value: ...
    def type_named(self, words: tuple[str, ...]) -> Type | None: ...
    def register(self, name: str) -> int | Value: ...
    @property
    def read(self) -> Callable[[int, int], bytes] | None: ...


def decode(data: bytes, kind: Type, bits: tuple[int, int] | None = None) -> int | float:
    """The number that these bytes are, by their type."""
    plain = kind.plain
    value = int.from_bytes(data, "little")
    width = 8 * len(data)
    if bits is not None:
        value, width = value >> bits[0] & (1 << bits[1]) - 1, bits[1]
    elif plain.kind == "float":
        if len(data) in _FLOATS:
            return float(struct.unpack(_FLOATS[len(data)], data)[0])
        return _extended(data)
    return value - (1 << width) if plain.signed and width and value >> width - 1 else value


def _extended(data: bytes) -> float:
    """An 80-bit x87 number (SDM 1 4.2.2)."""
    mantissa, top = int.from_bytes(data[:8], "little"), int.from_bytes(data[8:10], "little")
    exponent, sign = top & 0x7FFF, -1.0 if top >> 15 else 1.0
    if exponent == 0x7FFF:
        return sign * math.inf if not mantissa << 1 & MASK else math.nan
    try:
        return sign * math.ldexp(mantissa, exponent - 16383 - 63)
    except OverflowError:
        return sign * math.inf
