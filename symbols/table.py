"""Symbol tables as arrays: .symtab and .dynsym of one image, and names for its PLT stubs.

The tables are read as numpy arrays and sorted by address; a name is decoded when it is asked for. A stripped program has its
.symtab in its debug file, or compressed in .gnu_debugdata.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from symbols.arrays import np
from symbols.elf import SHF_EXECINSTR, SHT_NOBITS, ElfError, ElfImage, Section
from symbols.symbol_rows import STT_TLS, Rows, Symbol, look_through

if TYPE_CHECKING:
    from symbols.name_index import NameIndex

__all__ = ["Symbol", "SymbolTable", "without_parameters"]

SHN_ABS = 0xFFF1
OVERLAP = 32  # symbols looked back through for one that covers the address
EMBEDDED_LIMIT = 1 << 26  # bytes
FOUND_LIMIT = 1 << 14  # symbols of one name
NAME_LIMIT = 1024
MANGLED_LIMIT = 1 << 15  # names that are demangled to find one by its source form
SMALL = 1 << 17  # bytes of a table that is looked through row by row, without numpy


class SymbolTable:
    """The symbols of one image. A missing or broken table has no symbols; nothing here raises."""

    def __init__(self, image: ElfImage, debug: ElfImage | None = None) -> None:
        self._image = image
        self._places: list[tuple[ElfImage, Section]] = []
        if (whole := _table_of(image, ".symtab")) is not None:
            self._places.append((image, whole))
        elif debug is not None and (apart := _table_of(debug, ".symtab")) is not None:
            self._places.append((debug, apart))
        elif (small := _embedded(image)) is not None and (table := _table_of(small, ".symtab")) is not None:
            self._places.append((small, table))
        if (dynamic := _table_of(image, ".dynsym")) is not None:
            self._places.append((image, dynamic))

    @cached_property
    def _parts(self) -> list[Rows]:
        return [Rows(image, section) for image, section in self._places]

    @cached_property
    def _index(self) -> tuple[Any, Any, Any, Any]:
        """By address: first and past-the-end addresses, and where each symbol is (part, row)."""
        columns: list[list[Any]] = [[], [], [], [], []]
        for number, each in enumerate(self._parts):
            rows = each.rows
            kind, bind = rows["info"] & 15, rows["info"] >> 4
            place = np.flatnonzero((kind != STT_TLS) & (rows["shndx"] != SHN_ABS))
            sizes = np.ascontiguousarray(rows["size"])
            # Of several symbols at one address the last in this order names it: typed, sized, visible, `malloc` rather
            # than `__libc_malloc`, global, from .symtab.
            rank = np.full(len(rows), number == 0, np.uint8)
            for weight, holds in (
                (64, (kind == 1) | (kind == 2) | (kind == 10)),
                (32, sizes != 0),
                (16, bind != 0),
                (8, each.plain),
                (4, bind == 1),
            ):
                rank |= holds.astype(np.uint8) * np.uint8(weight)
            found = (
                rows["value"][place],
                sizes[place],
                rank[place],
                np.full(len(place), number, "u1"),
                place,
            )
            for column, piece in zip(columns, found, strict=True):
                column.append(piece)
        if not self._parts:
            return (np.zeros(0, "u8"),) * 4
        values, sizes, rank, part, row = (np.concatenate(column) for column in columns)
        if len(values) and int(values.max()) >> 57:
            order = np.lexsort((rank, values))
        else:  # both in one number: half the time
            order = np.argsort(values << np.uint64(7) | rank, kind="stable")
        values = values[order]
        return values, values + np.minimum(sizes[order], np.uint64(1 << 47)), part[order], row[order]

    def __len__(self) -> int:
        return sum(len(part.rows) for part in self._parts)

    def find(self, name: str) -> list[Symbol]:
        """Every symbol of exactly this name, each (address, kind) once; `foo@plt` for stubs.

        Without a version all are meant; `foo@V` and `foo@@V` mean that version.
        """
        if name.endswith("@plt"):
            return [symbol for symbol in self._plt[1] if symbol.name == name]
        name, at, wanted = name.partition("@")
        found: dict[tuple[int, str], Symbol] = {}
        if not at and "_parts" not in self.__dict__ and sum(s.size for _, s in self._places) <= SMALL:
            for image, section in self._places:
                for symbol in look_through(image, section, name):
                    found.setdefault((symbol.value, symbol.kind), symbol)
            return list(found.values())
        for part in self._parts:
            offsets = part.names.offsets(name)
            if offsets:
                rows = np.flatnonzero(np.isin(part.rows["name"], offsets))
                if not at:  # a hostile table may hold one name a million times
                    entries = part.rows[rows]
                    key = entries["value"] << np.uint64(4) | entries["info"] & np.uint8(15)
                    rows = rows[np.sort(np.unique(key, return_index=True)[1])]
                for row in rows[:FOUND_LIMIT].tolist():
                    symbol = part.symbol(row)
                    if not at or symbol.version.lstrip("@") == wanted.lstrip("@"):
                        known = found.setdefault((symbol.value, symbol.kind), symbol)
                        if symbol.version and not known.version:
                            found[symbol.value, symbol.kind] = replace(known, version=symbol.version)
        return list(found.values())

    def find_source(self, name: str) -> list[Symbol]:
        """Every symbol whose name in the source is this: whole (`ns::f(int)`), or without its parameters (`ns::f`).

        Mangled names hold each identifier behind its length (Itanium ABI 5.1.2, Rust RFC 2603), so only those that
        hold the last one are demangled.
        """
        from symbols.demangle import demangle, is_mangled

        last = re.search(r"([^\W\d]\w*)(?:<.*>)?$", without_parameters(name), re.DOTALL)
        if last is None or len(name) > NAME_LIMIT:
            return []
        raw = last[1].encode("utf-8", "surrogateescape")
        needle = re.compile(rb"%d_?%s" % (len(raw), re.escape(raw)))
        found: dict[str, None] = {}
        for part in self._parts:
            data = part.names.data
            starts = {data.rfind(b"\0", 0, match.start()) + 1 for match in needle.finditer(data)}
            for offset in sorted(starts)[:MANGLED_LIMIT]:
                mangled = part.names.at(offset)
                if is_mangled(mangled):
                    source = demangle(mangled)
                    plain = without_parameters(source)
                    if name in (source, plain) or plain.endswith(
                        f" {name}"
                    ):  # behind a template's return type
                        found[mangled] = None
        return [symbol for each in found for symbol in self.find(each)]

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

    def at_many(self, vaddrs: Any) -> Any:
        """For an array of addresses the places of their symbols, for `symbol_of` and `start_of`; -1 where none is.

        Unlike `at` it does not look behind a symbol that has no size, nor into PLT stubs.
        """
        values, ends, _, _ = self._index
        wanted = np.asarray(vaddrs, np.uint64)
        places = np.searchsorted(values, wanted, "right") - 1
        best = np.full(len(wanted), -1, np.int64)
        for back in range(OVERLAP):
            here = places - back
            open_ = (best < 0) & (here >= 0)
            if not open_.any():
                break
            rows = np.where(open_, here, 0)
            best = np.where(open_ & (wanted < ends[rows]), here, best)
        return best

    def names_of(self, places: Any) -> list[str]:
        """The names of the symbols at places that `at_many` gave."""
        _, _, part, row = self._index
        found = [""] * len(places)
        for number, each in enumerate(self._parts):
            mine = np.flatnonzero(part[places] == number)
            offsets = each.rows["name"][row[places[mine]]].tolist()
            for place, offset in zip(mine.tolist(), offsets, strict=True):
                found[place] = each.names.at(offset)
        return found

    def start_of(self, places: Any) -> Any:
        """The first addresses of the symbols at these places."""
        return self._index[0][places]

    def near(self, name: str, limit: int = 3) -> list[str]:
        """Names like this one, the likest first, for "did you mean"."""
        found = [each for index in self._name_indexes for each in index.near(name, limit)]
        return list(dict.fromkeys(found))[:limit]

    def names(self, prefix: str, limit: int) -> list[str]:
        """Names that begin with `prefix`, in order, at most `limit`."""
        found = {each for index in self._name_indexes for each in index.starting_with(prefix, limit)}
        return sorted(found)[:limit]

    @cached_property
    def _name_indexes(self) -> list[NameIndex]:
        from symbols.name_index import NameIndex

        return [NameIndex(part.names.data, part.rows["name"]) for part in self._parts]

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
        """Stubs by address."""
        from symbols.plt import stubs

        found = [
            Symbol(name, address, size, "func", "local")
            for address, size, name in stubs(self._image, self._dynamic_name, self._exact_name)
        ]
        return [symbol.value for symbol in found], found

    def _dynamic_name(self, row: int) -> str:
        part = self._parts[-1] if self._places and self._places[-1][1].name == ".dynsym" else None
        return part.names.at(int(part.all["name"][row])) if part is not None and row < len(part.all) else ""

    def dynamic_value(self, row: int) -> int | None:
        """The value of a row of .dynsym."""
        part = self._parts[-1] if self._places and self._places[-1][1].name == ".dynsym" else None
        return int(part.all["value"][row]) if part is not None and row < len(part.all) else None

    def _exact_name(self, vaddr: int) -> str:
        values = self._index[0]
        last = int(np.searchsorted(values, np.uint64(vaddr & (1 << 64) - 1), "right")) - 1
        return self._symbol(last).name if last >= 0 and int(values[last]) == vaddr else ""


def without_parameters(name: str) -> str:
    """`ns::f` of `ns::f(int) const`: cut at the parenthesis that opens the parameters."""
    depth = 0
    for at in range(len(name) - 1, -1, -1):
        if name[at] == ")":
            depth += 1
        elif name[at] == "(":
            depth -= 1
            if not depth and at:
                return name[:at] if not name[at - 1].isspace() and name[at - 1] != ":" else name
    return name


def _table_of(image: ElfImage, name: str) -> Section | None:
    found = image.sections.get(name)
    return found if found is not None and found.type != SHT_NOBITS else None


def _embedded(image: ElfImage) -> ElfImage | None:
    """.gnu_debugdata: a small ELF file with a .symtab only, compressed with xz (gdb manual, "MiniDebugInfo")."""
    data = image.section_bytes(image.sections.get(".gnu_debugdata"))
    if not data:
        return None
    import lzma

    try:
        inner = lzma.LZMADecompressor(memlimit=EMBEDDED_LIMIT).decompress(data, EMBEDDED_LIMIT)
        return ElfImage.of_bytes(f"{image.path} (.gnu_debugdata)", inner)
    except (lzma.LZMAError, ElfError):
        return None
