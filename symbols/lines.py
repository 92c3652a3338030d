"""Addresses to source lines and inlined calls, and lines to addresses, one compile unit at a time."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from symbols.arrays import np
from symbols.dataclass import dataclass
from symbols.debug_sections import BROKEN, DebugSections, unit_offsets
from symbols.demangle import demangle
from symbols.dwarf_names import AT
from symbols.elf import ElfImage
from symbols.functions import Functions
from symbols.line_program import END, IS_STMT, LineUnit, read_files, read_unit
from symbols.table import SymbolTable

if TYPE_CHECKING:
    from symbols.whole_lines import WholeLines

__all__ = ["Frame", "LineTable"]

MANY = 256  # addresses
LARGE = 1 << 20  # bytes of .debug_line


@dataclass(frozen=True, slots=True)
class Frame:
    """One level of the source's call stack at one address: where in `function` it is.

    `file` is as the compiler was given it, "" where unknown; `line` and `column` count from 1, 0 where unknown.
    """

    function: str
    file: str
    line: int
    column: int
    inlined: bool


class LineTable:
    """The line table of one image. Broken units have no lines; nothing here raises."""

    def __init__(
        self, image: ElfImage, table: SymbolTable | None = None, sections: DebugSections | None = None
    ) -> None:
        self._sections = sections or DebugSections(image)
        self._table = table
        self._units: dict[int, LineUnit] = {}
        self._names: dict[int, tuple[str, ...]] = {}

    @cached_property
    def functions(self) -> Functions:
        """What .debug_info says of functions."""
        return Functions(self._sections)

    def at(self, vaddr: int) -> tuple[str, int] | None:
        """File (as the compiler was given it) and line of an address."""
        found = self.row(vaddr)
        return found[:2] if found else None

    def row(self, vaddr: int) -> tuple[str, int, int] | None:
        """File, line and column (0: unknown) of an address."""
        if not 0 <= vaddr < 1 << 64 or not self._offsets:
            return None
        near = self._near(vaddr)
        if near is not None:
            return self._row(self._unit(near), vaddr)
        for offset in self._strays:
            if found := self._row(self._unit(offset), vaddr):
                return found
        return None

    def frames(self, vaddr: int) -> tuple[Frame, ...]:
        """The function and what was inlined into it, innermost first; () where no line is known either.

        `function` is "" where .debug_info knows none.
        """
        row = self.row(vaddr)
        unit = self._sections.unit_at(vaddr)
        calls = self.functions.calls(unit, vaddr) if unit is not None else ()
        if unit is None or not calls:
            return (Frame("", *row, False),) if row else ()
        file, line, column = row or ("", 0, 0)
        frames = []
        for call in calls:
            frames.append(Frame(demangle(call.name), file, line, column, call.inlined))
            if call.inlined:
                offset = self._statements(unit.offset)
                files = self._files(offset) if offset is not None else ()
                file = files[call.file] if call.file < len(files) else ""
                line, column = call.line, call.column
        return tuple(frames)

    def at_many(self, vaddrs: Any) -> tuple[list[str], Any, Any]:
        """(files, number of each address's file in them or -1, line or 0) for an array of file addresses.

        For very many addresses of a large program the whole table is read at once and kept in the cache on disk.
        """
        wanted = np.asarray(vaddrs, np.uint64)
        if (
            len(wanted) >= MANY
            and len(self._sections["line"]) >= LARGE
            and (whole := self._whole) is not None
        ):
            numbers, lines = whole.at_many(wanted)
            used = np.unique(numbers[numbers >= 0])
            place = np.searchsorted(used, numbers)
            return [whole.file(int(each)) for each in used], np.where(numbers >= 0, place, -1), lines
        files: dict[str, int] = {}
        numbers, lines = np.full(len(wanted), -1, np.int64), np.zeros(len(wanted), np.uint32)
        order = np.argsort(wanted, kind="stable")
        at = 0
        while at < len(order):
            first = int(wanted[order[at]])
            unit = self._sections.unit_at(first)
            offset = self._statements(unit.offset) if unit is not None else None
            end = self._sections.unit_end(first) if unit is not None else first + 1
            stop = int(np.searchsorted(wanted[order], np.uint64(min(end, (1 << 64) - 1)), "left"))
            stop = max(stop, at + 1)
            here = order[at:stop]
            at = stop
            rows = self._unit(offset) if offset is not None else None
            if rows is None:
                for each in here.tolist():
                    if found := self.row(int(wanted[each])):
                        numbers[each] = files.setdefault(found[0], len(files))
                        lines[each] = found[1]
                continue
            row = np.searchsorted(rows.address, wanted[here], "right") - 1
            good = row >= 0
            row = np.where(good, row, 0)
            if not len(rows.address):
                continue
            good &= ((rows.flags[row] & END) == 0) & (rows.line[row] > 0) & (rows.file[row] < len(rows.files))
            for number in np.unique(rows.file[row][good]).tolist():
                if name := rows.files[number]:
                    mine = good & (rows.file[row] == number)
                    numbers[here[mine]] = files.setdefault(name, len(files))
                    lines[here[mine]] = rows.line[row][mine]
        return list(files), numbers, lines

    @cached_property
    def _whole(self) -> WholeLines | None:
        from symbols.whole_lines import whole_lines

        return whole_lines(self._sections, self._offsets)

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

    def extent(self, vaddr: int) -> tuple[int, int] | None:
        """The addresses around one that belong to the same row of the line table: start, and end."""
        near = self._near(vaddr)
        for offset in [near] if near is not None else self._strays:
            unit = self._unit(offset)
            row = int(np.searchsorted(unit.address, np.uint64(vaddr), "right")) - 1
            if row >= 0 and not unit.flags[row] & END and row + 1 < len(unit.address):
                line = unit.line[row]
                first, last = row, row + 1
                while first and unit.line[first - 1] == line and not unit.flags[first - 1] & END:
                    first -= 1
                while last < len(unit.line) - 1 and unit.line[last] == line and not unit.flags[last] & END:
                    last += 1
                return int(unit.address[first]), int(unit.address[last])
        return None

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
    def _row(unit: LineUnit, vaddr: int) -> tuple[str, int, int] | None:
        row = int(np.searchsorted(unit.address, np.uint64(vaddr), "right")) - 1
        if row < 0 or unit.flags[row] & END or not unit.line[row]:
            return None
        file = int(unit.file[row])
        if file >= len(unit.files) or not unit.files[file]:
            return None
        return unit.files[file], int(unit.line[row]), int(unit.column[row])

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
        """The line unit of the compile unit that covers an address."""
        unit = self._sections.unit_at(vaddr)
        return self._statements(unit.offset) if unit is not None else None

    def _statements(self, offset: int) -> int | None:
        """Where the line table of the unit at an offset of .debug_info begins."""
        unit = self._sections.unit(offset)
        try:
            found = unit.head.number(AT.stmt_list) if unit is not None else None
        except BROKEN:
            return None
        return found if found in self._known else None

    @cached_property
    def _known(self) -> frozenset[int]:
        return frozenset(self._offsets)

    @cached_property
    def _strays(self) -> list[int]:
        """Line units of compile units that do not say where their code is."""
        told = set()
        for offset in self._sections.units:
            unit = self._sections.unit(offset)
            try:
                if unit is not None and unit.top.ranges():
                    told.add(self._statements(offset))
            except BROKEN:
                continue
        return [offset for offset in self._offsets if offset not in told]


def _same(name: str, wanted: str) -> bool:
    """Whether a path ends in the wanted one, whole components."""
    wanted = wanted.removeprefix("./")
    return bool(wanted) and (
        name == wanted or (name.endswith("/" + wanted.lstrip("/")) and not wanted.startswith("/"))
    )
