"""The ways to write a unit of memory: hexadecimal, signed, floating point, in one to eight bytes."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

__all__ = ["FORMS", "KINDS", "Form", "spell"]


class Form(NamedTuple):
    """One way to write a unit: its size in bytes, how many cells it takes, and what it is called."""

    name: str
    size: int
    cells: int
    kind: str


FORMS: Final = (
    Form("bytes", 1, 2, "x"), Form("2 bytes", 2, 4, "x"), Form("4 bytes", 4, 8, "x"), Form("8 bytes", 8, 16, "x"),
    Form("8-bit signed", 1, 4, "d"), Form("16-bit signed", 2, 6, "d"), Form("32-bit signed", 4, 11, "d"),
    Form("64-bit signed", 8, 20, "d"), Form("float", 4, 12, "f"), Form("double", 8, 20, "f"),
)  # fmt: skip
KINDS: Final = ("x", "d", "f")


def spell(data: bytes, form: Form) -> str:
    """One unit, little-endian, in at most `form.cells` cells."""
    if form.kind == "f":
        number = struct.unpack("<f" if form.size == 4 else "<d", data)[0]
        return f"{number:.{form.cells - 8}g}"[: form.cells]
    if form.kind == "d":
        return str(int.from_bytes(data, "little", signed=True))
    return f"{int.from_bytes(data, 'little'):0{2 * form.size}x}"
