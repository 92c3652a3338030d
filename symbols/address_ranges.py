"""Lists of address ranges: .debug_ranges and .debug_rnglists (DWARF 5 section 2.17.3)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from symbols.dwarf_names import AT
from symbols.line_program import Reader

if TYPE_CHECKING:
    from symbols.dies import Unit

__all__ = ["ADDRESS_MASK", "address_ranges"]

RANGES_LIMIT = 1 << 16
ADDRESS_MASK: Final = (1 << 64) - 1


def address_ranges(unit: Unit, form: int, value: int, base: int) -> list[tuple[int, int]]:
    """(start, end) of each range of the list that an attribute leads to. Raises ValueError."""
    if unit.version < 5:
        found: list[tuple[int, int]] = []
        data = unit.sections["ranges"]
        value += unit.base(AT.GNU_ranges_base, 0) if unit.skeleton is not None else 0
        for start, end in struct.iter_unpack("<QQ", data[value : value + (len(data) - value & -16)]):
            if (not start and not end) or len(found) > RANGES_LIMIT:
                break
            if start == ADDRESS_MASK:
                base = end
            elif end > start and base + start:
                found.append((base + start & ADDRESS_MASK, base + end & ADDRESS_MASK))
        return found
    if form == 0x23:
        table = unit.base(AT.rnglists_base, 12 if unit.word == 4 else 20)
        value = table + Reader(unit.home["rnglists"], table + value * unit.word).number(unit.word)
    return [(low, high) for low, high in _rnglist(unit, value, base) if low and high > low]


def _rnglist(unit: Unit, offset: int, base: int) -> Iterator[tuple[int, int]]:
    """The entries of DWARF 5 section 7.25."""
    reader = Reader(unit.home["rnglists"], offset)
    address = unit.sections.address
    for _ in range(RANGES_LIMIT):
        kind = reader.number(1)
        if kind == 0:
            return
        if kind == 1:
            base = address(unit, reader.uleb())
        elif kind == 2:
            yield address(unit, reader.uleb()), address(unit, reader.uleb())
        elif kind == 3:
            low = address(unit, reader.uleb())
            yield low, low + reader.uleb()
        elif kind == 4:
            low, high = reader.uleb(), reader.uleb()
            if base:
                yield base + low & ADDRESS_MASK, base + high & ADDRESS_MASK
        elif kind == 5:
            base = reader.number(8)
        elif kind == 6:
            yield reader.number(8), reader.number(8)
        elif kind == 7:
            low = reader.number(8)
            yield low, low + reader.uleb()
        else:
            raise ValueError("an unknown range")
