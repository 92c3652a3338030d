"""Addresses to source lines and back, from .debug_line, one compile unit at a time."""

from __future__ import annotations

import struct
from bisect import bisect_right
from functools import cached_property

from symbols.arrays import np
from symbols.debug_sections import DebugSections, unit_offsets
from symbols.elf import ElfImage
from symbols.line_program import END, IS_STMT, LineUnit, read_files, read_unit
from symbols.table import SymbolTable

__all__ = ["LineTable"]

ARANGES_LIMIT = 1 << 20


class LineTable:
    """The line table of one image. Broken units have no lines; nothing here raises."""

    def __init__(
        self, image: ElfImage, table: SymbolTable | None = None, sections: DebugSections | None = None
    ) -> None:
        self._sections = sections or DebugSections(image)
        self._table = table
        self._image = image
        self._units: dict[int, LineUnit] = {}
        self._names: dict[int, tuple[str, ...]] = {}

    def at(self, vaddr: int) -> tuple[str, int] | None:
        """File (as the compiler was given it) and line of an address."""
        if not 0 <= vaddr < 1 << 64 or not self._offsets:
            return None
        near = self._near(vaddr)
        if near is not None:
            return self._row(self._unit(near), vaddr)
        for offset in self._offsets:
            if found := self._row(self._unit(offset), vaddr):
                return found
        return None

    def addresses(self, file: str, line: int) -> list[int]:
        """Where `file:line` begins, once for each function: the first statement of that line there.

        A line without code means the next one in the file that has some, as in gdb.
        """
        rows = self._rows(file)
        lines = sorted({number for number, _ in rows if number >= line})
        if not lines:
            return []
        best: dict[object, int] = {}
        for number, address in rows:
            if number == lines[0]:
                found = self._table.at(address) if self._table else None
                function = found[0].name.removesuffix(".cold") if found else None
                best[function] = min(address, best.get(function, address))
        return sorted(best.values())

    def has_file(self, file: str) -> bool:
        """Whether any unit names this file, by base name or by the end of its path."""
        return any(_same(name, file) for offset in self._offsets for name in self._files(offset))

    def files(self) -> list[str]:
        """Every file that has a name here, sorted."""
        return sorted({name for offset in self._offsets for name in self._files(offset) if name})

    @cached_property
    def _offsets(self) -> list[int]:
        return unit_offsets(self._sections["line"])

    def _unit(self, offset: int) -> LineUnit:
        if offset not in self._units:
            self._units[offset] = read_unit(self._sections, offset)
        return self._units[offset]

    def _files(self, offset: int) -> tuple[str, ...]:
        if offset not in self._names:
            self._names[offset] = read_files(self._sections, offset)
        return self._names[offset]

    @staticmethod
    def _row(unit: LineUnit, vaddr: int) -> tuple[str, int] | None:
        row = int(np.searchsorted(unit.address, np.uint64(vaddr), "right")) - 1
        if row < 0 or unit.flags[row] & END or not unit.line[row]:
            return None
        file = int(unit.file[row])
        return (
            (unit.files[file], int(unit.line[row])) if file < len(unit.files) and unit.files[file] else None
        )

    def _rows(self, file: str) -> list[tuple[int, int]]:
        rows: list[tuple[int, int]] = []
        for offset in self._offsets:
            matching = [index for index, name in enumerate(self._files(offset)) if _same(name, file)]
            if matching:
                unit = self._unit(offset)
                keep = (
                    np.isin(unit.file, matching)
                    & ((unit.flags & (IS_STMT | END)) == IS_STMT)
                    & (unit.line > 0)
                )
                rows += zip(unit.line[keep].tolist(), unit.address[keep].tolist(), strict=True)
        return rows

    def _near(self, vaddr: int) -> int | None:
        """The line unit of the compile unit that .debug_aranges gives for an address."""
        starts, ranges = self._ranges
        place = bisect_right(starts, vaddr) - 1
        if place < 0 or vaddr >= ranges[place][1]:
            return None
        try:
            top = self._sections.unit(ranges[place][2]).get_top_DIE()
            offset = int(top.attributes["DW_AT_stmt_list"].value)
        except Exception:  # broken DWARF: pyelftools raises what it meets
            return None
        return offset if offset in self._known else None

    @cached_property
    def _known(self) -> frozenset[int]:
        return frozenset(self._offsets)

    @cached_property
    def _ranges(self) -> tuple[list[int], list[tuple[int, int, int]]]:
        """.debug_aranges: (start, end, unit in .debug_info), sorted (DWARF 5, 6.1.2)."""
        data = self._sections["aranges"]
        ranges: list[tuple[int, int, int]] = []
        for at in unit_offsets(data):
            length, version, unit, size, segment = struct.unpack_from(
                "<IHIBB", data.ljust(at + 12, b"\0"), at
            )
            if length == 0xFFFFFFFF or version != 2 or size != 8 or segment:
                continue
            for start, count in struct.iter_unpack("<QQ", data[at + 16 : at + 16 + (length - 12 & -16)]):
                if count and len(ranges) < ARANGES_LIMIT:
                    ranges.append((start, start + count, unit))
        ranges.sort()
        return [start for start, _, _ in ranges], ranges


def _same(name: str, wanted: str) -> bool:
    """Whether a path ends in the wanted one, whole components."""
    wanted = wanted.removeprefix("./")
    return bool(wanted) and (
        name == wanted or (name.endswith("/" + wanted.lstrip("/")) and not wanted.startswith("/"))
    )
