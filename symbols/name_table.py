""".debug_names: which units say something about a name (DWARF 5 section 6.1.1)."""

from __future__ import annotations

import struct

from symbols.debug_sections import DebugSections, unit_offsets
from symbols.line_program import Reader

__all__ = ["units_naming"]

HITS_LIMIT = 4096


def units_naming(sections: DebugSections, name: str) -> list[int] | None:
    """Offsets in .debug_info of the units that define a name; None where there is no whole index to ask."""
    data = sections["names"]
    if not data:
        return None
    found: dict[int, None] = {}
    covered: set[int] = set()
    try:
        for offset in unit_offsets(data):
            _one(sections, data, offset, name.encode("utf-8", "surrogateescape"), found, covered)
    except (ValueError, struct.error, IndexError):
        return None
    # An index that leaves units out says nothing of what they hold.
    if not covered >= set(sections.own_units):
        return None
    return [sections.split.whole.get(unit, unit) for unit in found]


def _one(
    sections: DebugSections, data: bytes, offset: int, name: bytes, found: dict[int, None], covered: set[int]
) -> None:
    reader = Reader(data, offset)
    length, word = reader.number(4), 4
    if length == 0xFFFFFFFF:
        length, word = reader.number(8), 8
    reader.end = end = reader.at + length
    if end > len(data):
        raise ValueError("beyond the end")
    if reader.number(2) != 5:
        raise ValueError("an unknown version")
    reader.skip(2)
    units, local, foreign, buckets, names, abbreviations, augmentation = (reader.number(4) for _ in range(7))
    reader.skip(augmentation + 3 & -4)
    unit_list = [reader.number(word) for _ in range(min(units, len(data) // word + 1))]
    covered.update(unit_list)
    reader.skip(local * word + foreign * 8)
    bucket_at = reader.at
    hash_at = bucket_at + 4 * buckets
    strings_at = hash_at + (4 * names if buckets else 0)
    entries_at = strings_at + names * word
    codes_at = entries_at + names * word
    pool_at = codes_at + abbreviations
    if pool_at > end:
        raise ValueError("beyond the end")
    forms = _codes(Reader(data, codes_at, pool_at))
    strings = sections["str"]

    def at(place: int, size: int) -> int:
        return int.from_bytes(data[place : place + size], "little")

    first, last = 0, names
    wanted = _hash(name)
    if buckets:
        first = at(bucket_at + 4 * (wanted % buckets), 4) - 1
        if first < 0:
            return
    for row in range(first, last):
        if buckets:
            value = at(hash_at + 4 * row, 4)
            if value % buckets != wanted % buckets:
                return
            if value != wanted:
                continue
        string = at(strings_at + word * row, word)
        if not strings.startswith(name + b"\0", string):
            continue
        pool = Reader(data, pool_at + at(entries_at + word * row, word), end)
        for _ in range(HITS_LIMIT):
            code = pool.uleb()
            if not code:
                break
            unit = 0
            for index, form in forms[code]:
                value = _value(pool, form)
                if index == 1:  # DW_IDX_compile_unit
                    unit = value
            if unit < len(unit_list):
                found[unit_list[unit]] = None


def _codes(reader: Reader) -> dict[int, list[tuple[int, int]]]:
    codes: dict[int, list[tuple[int, int]]] = {}
    while reader.at < reader.end and (code := reader.uleb()):
        reader.uleb()
        codes[code] = []
        while True:
            index, form = reader.uleb(), reader.uleb()
            if not index and not form:
                break
            codes[code].append((index, form))
    return codes


def _value(reader: Reader, form: int) -> int:
    if form == 0x19:
        return 1
    if form in (0x0F, 0x15):
        return reader.uleb()
    size = {0x0B: 1, 0x11: 1, 0x05: 2, 0x12: 2, 0x06: 4, 0x13: 4, 0x07: 8, 0x14: 8, 0x0C: 1}.get(form)
    if size is None:
        raise ValueError("an unknown form")
    return reader.number(size)


def _hash(name: bytes) -> int:
    """The case-folding DJB hash of DWARF 5 section 7.33, for names of ASCII letters."""
    value = 5381
    for byte in name.decode("utf-8", "surrogateescape").casefold().encode("utf-8", "surrogateescape"):
        value = value * 33 + byte & 0xFFFFFFFF
    return value
