""".gdb_index: where units have code, and which define a name (gdb manual, "Index Section Format", versions 7 to 9).

It leaves out what is local, and spells names with their scopes, so its word on names comes first and is not the last.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cached_property
from typing import Final

from symbols.line_program import Reader

__all__ = ["GdbIndex"]

_VERSIONS: Final = (7, 8, 9)
RANGES_LIMIT: Final = 1 << 20
UNITS_LIMIT: Final = 1 << 18
NAMED_LIMIT: Final = 1 << 12
_STEPS: Final = 1 << 12
_UNIT: Final = 0xFF_FFFF  # the low 24 bits of a symbol's entry are a number of a unit


class GdbIndex:
    """The index of one file. A broken one knows nothing; nothing here raises."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._parts = self._header()

    def _header(self) -> tuple[int, ...]:
        if len(self._data) < 24:
            return ()
        version, *parts = struct.unpack_from("<6I", self._data)
        whole = version in _VERSIONS and sorted(parts) == parts and parts[-1] <= len(self._data)
        return tuple(parts) if whole else ()

    @cached_property
    def units(self) -> list[int]:
        """Offsets in .debug_info by number."""
        if not self._parts:
            return []
        units, types = self._parts[:2]
        part = self._data[units : min(types, units + 16 * UNITS_LIMIT)]
        return [offset for offset, _ in struct.iter_unpack("<QQ", part[: len(part) & -16])]

    def ranges(self) -> Iterator[tuple[int, int, int]]:
        """(start, end, unit in .debug_info) of code."""
        if not self._parts:
            return
        _, _, at, end, _ = self._parts
        part = self._data[at : min(end, at + 20 * RANGES_LIMIT)]
        for low, high, number in struct.iter_unpack("<QQI", part[: len(part) - len(part) % 20]):
            if low and low < high and number < len(self.units):
                yield low, high, self.units[number]

    def naming(self, name: bytes) -> list[int]:
        """The units that define exactly this name."""
        if not self._parts:
            return []
        _, _, _, table, pool = self._parts
        slots = (pool - table) // 8
        if not slots or slots & slots - 1:
            return []
        value = 0
        for byte in name.lower():
            value = value * 67 + byte - 113 & 0xFFFFFFFF
        place, step = value & slots - 1, value * 17 & slots - 1 | 1
        try:
            for _ in range(min(slots, _STEPS)):
                text, vector = struct.unpack_from("<II", self._data, table + 8 * place)
                if not text and not vector:
                    return []
                if self._data.startswith(name + b"\0", pool + text):
                    return self._vector(pool + vector)
                place = place + step & slots - 1
        except (struct.error, ValueError):
            return []
        return []

    def _vector(self, at: int) -> list[int]:
        reader = Reader(self._data, at)
        numbers = [reader.number(4) & _UNIT for _ in range(min(reader.number(4), NAMED_LIMIT))]
        return list(dict.fromkeys(self.units[number] for number in numbers if number < len(self.units)))
