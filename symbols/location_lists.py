"""Location lists: which description of a variable's place holds at an address (DWARF 5 section 2.6.2).

Three formats: .debug_loclists of DWARF 5 (7.7.3), .debug_loc before it (DWARF 4, 2.6.2), and what GNU put into .debug_loc.dwo.
"""

from __future__ import annotations

from collections.abc import Iterator

from symbols.address_ranges import ADDRESS_MASK
from symbols.dies import Die, Unit
from symbols.dwarf_names import AT
from symbols.line_program import Reader

__all__ = ["listed"]

ENTRIES_LIMIT = 1 << 16
_INDEX_FORM = 0x22  # DW_FORM_loclistx


def listed(die: Die, pc: int) -> bytes | None:
    """The expression that holds at a file address, None where there is none. Raises one of BROKEN."""
    unit = die.unit
    form, value = die.attributes[AT.location]
    base = unit.head.address(AT.low_pc) or 0
    if unit.version >= 5:
        data = unit.home["loclists"]
        if form == _INDEX_FORM:
            table = unit.base(AT.loclists_base, 12 if unit.word == 4 else 20)
            value = table + Reader(data, table + value * unit.word).number(unit.word)
        entries = _loclists(unit, Reader(data, value), base)
    elif unit.skeleton is not None:
        entries = _gnu(unit, Reader(unit.home["loc"], value), base)
    else:
        entries = _loc(Reader(unit.home["loc"], value), base)
    for low, high, code in entries:
        if low <= pc < high:
            return code
    return None


def _loclists(unit: Unit, reader: Reader, base: int) -> Iterator[tuple[int, int, bytes]]:
    address, otherwise = unit.sections.address, b""
    for _ in range(ENTRIES_LIMIT):
        kind = reader.number(1)
        low = high = 0
        if kind == 0:
            break
        if kind == 1:
            base = address(unit, reader.uleb())
            continue
        if kind == 6:
            base = reader.number(8)
            continue
        if kind == 2:
            low, high = address(unit, reader.uleb()), address(unit, reader.uleb())
        elif kind == 3:
            low = address(unit, reader.uleb())
            high = low + reader.uleb()
        elif kind == 4:
            low, high = base + reader.uleb(), base + reader.uleb()
        elif kind == 7:
            low, high = reader.number(8), reader.number(8)
        elif kind == 8:
            low = reader.number(8)
            high = low + reader.uleb()
        elif kind != 5:
            raise ValueError("an unknown location")
        code = _block(reader, reader.uleb())
        if kind == 5:
            otherwise = code
        else:
            yield low, high, code
    if otherwise:
        yield 0, ADDRESS_MASK, otherwise


def _loc(reader: Reader, base: int) -> Iterator[tuple[int, int, bytes]]:
    for _ in range(ENTRIES_LIMIT):
        low, high = reader.number(8), reader.number(8)
        if not low and not high:
            return
        if low == ADDRESS_MASK:
            base = high
        else:
            yield base + low & ADDRESS_MASK, base + high & ADDRESS_MASK, _block(reader, reader.number(2))


def _gnu(unit: Unit, reader: Reader, base: int) -> Iterator[tuple[int, int, bytes]]:
    address = unit.sections.address
    for _ in range(ENTRIES_LIMIT):
        kind = reader.number(1)
        if kind == 0:
            return
        if kind == 1:
            base = address(unit, reader.uleb())
            continue
        if kind == 2:
            low, high = address(unit, reader.uleb()), address(unit, reader.uleb())
        elif kind == 3:
            low = address(unit, reader.uleb())
            high = low + reader.number(4)
        elif kind == 4:
            low, high = base + reader.number(4), base + reader.number(4)
        else:
            raise ValueError("an unknown location")
        yield low, high, _block(reader, reader.number(2))


def _block(reader: Reader, size: int) -> bytes:
    at = reader.at
    reader.skip(size)
    return reader.data[at : reader.at]
