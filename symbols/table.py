"""Symbol tables as arrays: .symtab and .dynsym of one image, and names for its PLT stubs.

The tables are read as numpy arrays and sorted by address; a name is decoded when it is asked for. Layout: `elf.h`
(Elf64_Sym, Elf64_Rela), the x86-64 psABI's PLT forms.
"""

from __future__ import annotations

import difflib
import re
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Literal

from symbols.arrays import np
from symbols.dataclass import dataclass
from symbols.elf import SHF_EXECINSTR, SHT_NOBITS, ElfImage, Section

__all__ = ["Symbol", "SymbolTable"]

_FIELDS = [
    ("name", "<u4"),
    ("info", "u1"),
    ("other", "u1"),
    ("shndx", "<u2"),
    ("value", "<u8"),
    ("size", "<u8"),
]
_ROW = struct.Struct("<IBBHQQ")
_KINDS: dict[int, Literal["func", "object", "tls", "other"]] = {
    1: "object",
    2: "func",
    5: "object",
    6: "tls",
    10: "func",
}
_BINDS: dict[int, Literal["local", "global", "weak"]] = {0: "local", 2: "weak"}
STT_FILE, STT_TLS = 4, 6
SHN_ABS = 0xFFF1
OVERLAP = 32  # symbols looked back through for one that covers the address
TABLE_LIMIT = 1 << 28  # bytes
PLT_LIMIT = 1 << 20
NEAR_LIMIT = 50_000
SMALL = 1 << 17  # bytes of a table that is looked through row by row, without numpy
R_COPY, R_IRELATIVE = 5, 37


@dataclass(frozen=True, slots=True)
class Symbol:
    """One symbol. `value` is an address of the file (for "tls": an offset in the thread's block), `size` in bytes.

    `file` is the source file's name as the symbol table has it, for local symbols only.
    """

    name: str
    value: int
    size: int
    kind: Literal["func", "object", "tls", "other"]
    bind: Literal["local", "global", "weak"]
    file: str | None = None


class _Names:
    """A string table whose strings are decoded one at a time."""

    def __init__(self, data: bytes) -> None:
        self.data = data + b"\0"

    def at(self, offset: int) -> str:
        end = self.data.find(b"\0", offset)
        raw = self.data[offset:end] if 0 <= offset <= end else b""
        name, _, _ = raw.partition(b"@") if raw[:1] != b"@" else (raw, b"", b"")
        return name.decode("utf-8", "surrogateescape")

    def offsets(self, name: str) -> list[int]:
        """Where the string, with or without a version behind it, begins; tails of longer strings count."""
        raw = name.encode("utf-8", "surrogateescape")
        if not raw or b"\0" in raw:
            return []
        return [match.start() for match in re.finditer(re.escape(raw) + b"[\0@]", self.data)]


def _look_through(image: ElfImage, section: Section, name: str) -> Iterator[Symbol]:
    """The symbols of this name in a small table, row by row."""
    table = image.section_table
    names = _Names(image.section_bytes(table[section.link] if section.link < len(table) else None))
    offsets = frozenset(names.offsets(name))
    file = None
    data = image.section_bytes(section) if offsets else b""
    for at, info, _, shndx, value, size in _ROW.iter_unpack(data[: len(data) // 24 * 24]):
        if info & 15 == STT_FILE:
            file = names.at(at) or None
        elif at in offsets and at and shndx and info & 15 != 3:
            bind = _BINDS.get(info >> 4, "global")
            local = file if bind == "local" else None
            yield Symbol(names.at(at), value, size, _KINDS.get(info & 15, "other"), bind, local)


class _Part:
    """One of the two tables: its rows without undefined ones, its strings, its STT_FILE marks."""

    def __init__(self, image: ElfImage, section: Section) -> None:
        table = image.section_table
        data = image.section_bytes(section) if section.size <= TABLE_LIMIT else b""
        rows = np.frombuffer(data[: len(data) // 24 * 24], dtype=np.dtype(_FIELDS))
        strings = table[section.link] if section.link < len(table) else None
        self.names = _Names(image.section_bytes(strings))
        kinds = rows["info"] & 15
        self.all = rows
        self.files: Any = np.flatnonzero(kinds == STT_FILE)
        keep = (rows["shndx"] != 0) & (rows["name"] != 0) & (kinds != 3) & (kinds != STT_FILE)
        self.index: Any = np.flatnonzero(keep)
        self.rows = rows[self.index]
        letters = np.frombuffer(self.names.data, "u1")
        self.plain: Any = letters[np.minimum(self.rows["name"], len(letters) - 1)] != ord("_")

    def symbol(self, row: int) -> Symbol:
        entry = self.rows[row]
        info = int(entry["info"])
        bind = _BINDS.get(info >> 4, "global")
        name = self.names.at(int(entry["name"]))
        kind = _KINDS.get(info & 15, "other")
        return Symbol(
            name,
            int(entry["value"]),
            int(entry["size"]),
            kind,
            bind,
            self._file(row) if bind == "local" else None,
        )

    def _file(self, row: int) -> str | None:
        mark = int(np.searchsorted(self.files, self.index[row])) - 1
        if mark < 0:
            return None
        return self.names.at(int(self.all["name"][self.files[mark]])) or None


class SymbolTable:
    """The symbols of one image. A missing or broken table has no symbols; nothing here raises."""

    def __init__(self, image: ElfImage) -> None:
        self._image = image
        found = [image.sections.get(name) for name in (".symtab", ".dynsym")]
        self._sections = [s for s in found if s is not None and s.type != SHT_NOBITS]

    @cached_property
    def _parts(self) -> list[_Part]:
        return [_Part(self._image, section) for section in self._sections]

    @cached_property
    def _index(self) -> tuple[Any, Any, Any, Any]:
        """By address: first and past-the-end addresses, and where each symbol is (part, row)."""
        part = np.concatenate(
            [np.full(len(p.rows), i, "u1") for i, p in enumerate(self._parts)] or [np.zeros(0, "u1")]
        )
        row = np.concatenate([np.arange(len(p.rows)) for p in self._parts] or [np.zeros(0, "i8")])
        rows = np.concatenate([p.rows for p in self._parts] or [np.zeros(0, np.dtype(_FIELDS))])
        kind, bind = rows["info"] & 15, rows["info"] >> 4
        placed = (kind != STT_TLS) & (rows["shndx"] != SHN_ABS)
        typed = np.isin(kind, (1, 2, 10))
        # Of several symbols at one address the last in this order names it: typed, sized, visible, `malloc` rather
        # than `__libc_malloc`, global, from .symtab.
        plain = np.concatenate([p.plain for p in self._parts] or [np.zeros(0, bool)])
        rank = (
            typed * 64
            + (rows["size"] > 0) * 32
            + (bind != 0) * 16
            + plain * 8
            + (bind == 1) * 4
            + (part == 0)
        )
        order = np.lexsort((rank, rows["value"]))
        order = order[placed[order]]
        values = rows["value"][order]
        return values, values + np.minimum(rows["size"][order], np.uint64(1 << 47)), part[order], row[order]

    def __len__(self) -> int:
        return sum(len(part.rows) for part in self._parts)

    def find(self, name: str) -> list[Symbol]:
        """Every symbol of exactly this name (versions left out), each (address, file) once; `foo@plt` for stubs."""
        if name.endswith("@plt"):
            return [symbol for symbol in self._plt[1] if symbol.name == name]
        found: dict[tuple[int, str], Symbol] = {}
        if "_parts" not in self.__dict__ and sum(section.size for section in self._sections) <= SMALL:
            for section in self._sections:
                for symbol in _look_through(self._image, section, name):
                    found.setdefault((symbol.value, symbol.kind), symbol)
            return list(found.values())
        for part in self._parts:
            offsets = part.names.offsets(name)
            if offsets:
                for row in np.flatnonzero(np.isin(part.rows["name"], offsets)):
                    symbol = part.symbol(int(row))
                    found.setdefault((symbol.value, symbol.kind), symbol)
        return list(found.values())

    def at(self, vaddr: int) -> tuple[Symbol, int] | None:
        """The symbol that covers an address and the offset in it.

        Where none covers it, the nearest symbol before it in the same executable section, if that has no size.
        """
        if not 0 <= vaddr < 1 << 64:
            return None
        starts, stubs = self._plt
        near = bisect_right(starts, vaddr) - 1
        if near >= 0 and vaddr < starts[near] + stubs[near].size:
            return stubs[near], vaddr - starts[near]
        values, ends, _, _ = self._index
        last = int(np.searchsorted(values, np.uint64(vaddr), "right")) - 1
        for place in range(last, max(-1, last - OVERLAP), -1):
            if vaddr < int(ends[place]):
                symbol = self._symbol(place)
                return symbol, vaddr - symbol.value
        return self._before(vaddr, last)

    def near(self, name: str, limit: int = 3) -> list[str]:
        """Names like this one, the likest first, for "did you mean"."""
        slack = max(2, len(name) // 3)
        names = [n for n in self._sorted_names[:NEAR_LIMIT] if abs(len(n) - len(name)) <= slack]
        folded = name.casefold()
        same = [n for n in names if n.casefold() == folded]
        alike = difflib.get_close_matches(name, names, limit + len(same), 0.7)
        return list(dict.fromkeys(same + alike))[:limit]

    def names(self, prefix: str, limit: int) -> list[str]:
        """Names that begin with `prefix`, in order, at most `limit`."""
        names = self._sorted_names
        found: list[str] = []
        for name in names[bisect_left(names, prefix) :]:
            if len(found) >= limit or not name.startswith(prefix):
                break
            found.append(name)
        return found

    @cached_property
    def _sorted_names(self) -> list[str]:
        names: set[str] = set()
        for part in self._parts:
            names.update(part.names.at(offset) for offset in part.rows["name"].tolist())
        names.discard("")
        return sorted(names)

    def _symbol(self, place: int) -> Symbol:
        _, _, part, row = self._index
        return self._parts[int(part[place])].symbol(int(row[place]))

    def _before(self, vaddr: int, last: int) -> tuple[Symbol, int] | None:
        section = self._section_of(vaddr)
        if section is None or not section.flags & SHF_EXECINSTR:
            return None
        for place in range(last, max(-1, last - OVERLAP), -1):
            symbol = self._symbol(place)
            if symbol.value < section.addr or symbol.size:
                return None
            if symbol.kind in ("func", "other"):
                return symbol, vaddr - symbol.value
        return None

    def _section_of(self, vaddr: int) -> Section | None:
        for section in self._image.section_table:
            if section.addr and 0 <= vaddr - section.addr < section.size and section.flags & 2:
                return section
        return None

    @cached_property
    def _plt(self) -> tuple[list[int], list[Symbol]]:
        """Stubs by address. A stub is known by the GOT slot it jumps through, and that by its relocation."""
        sections = [
            s for n in (".plt", ".plt.sec", ".plt.got", ".iplt") if (s := self._image.sections.get(n))
        ]
        if not sections:
            return [], []
        slots = self._slots()
        stubs: dict[int, Symbol] = {}
        for section in sections:
            data = self._image.section_bytes(section)[:PLT_LIMIT]
            step = 8 if section.name == ".plt.got" and section.entsize == 8 else 16
            for at in range(0, len(data) - 5, step):
                jump = data.find(b"\xff\x25", at, at + step)
                if 0 <= jump <= len(data) - 6:
                    slot = section.addr + jump + 6 + struct.unpack_from("<i", data, jump + 2)[0]
                    if name := slots.get(slot):
                        stubs[section.addr + at] = Symbol(
                            f"{name}@plt", section.addr + at, step, "func", "local"
                        )
        starts = sorted(stubs)
        return starts, [stubs[start] for start in starts]

    def _slots(self) -> dict[int, str]:
        slots: dict[int, str] = {}
        # Relocations count rows of .dynsym, which is read last.
        dynamic = self._parts[-1] if self._parts and ".dynsym" in self._image.sections else None
        for section_name in (".rela.dyn", ".rela.plt"):
            section = self._image.sections.get(section_name)
            data = self._image.section_bytes(section)[: 24 * PLT_LIMIT] if section else b""
            rows = np.frombuffer(
                data[: len(data) // 24 * 24], np.dtype([("at", "<u8"), ("info", "<u8"), ("add", "<i8")])
            )
            types = rows["info"] & np.uint64(0xFFFFFFFF)
            for row in rows[np.isin(types, (6, 7, R_IRELATIVE))].tolist():
                at, info, addend = row
                if info & 0xFFFFFFFF == R_IRELATIVE:
                    values = self._index[0]
                    last = int(np.searchsorted(values, np.uint64(addend & (1 << 64) - 1), "right")) - 1
                    if last >= 0 and int(values[last]) == addend:
                        slots[at] = self._symbol(last).name
                    continue
                if dynamic is not None and info >> 32 < len(dynamic.all):
                    slots[at] = dynamic.names.at(int(dynamic.all["name"][info >> 32]))
        return slots
