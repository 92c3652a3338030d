"""The rows of one symbol table, .symtab or .dynsym: as arrays, or looked through one by one. Layout: `elf.h` (Elf64_Sym,
Elf32_Sym)."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import field
from typing import TYPE_CHECKING, Any, Literal

from symbols.arrays import np
from symbols.dataclass import dataclass
from symbols.elf import ElfImage, Section

if TYPE_CHECKING:
    from symbols.versions import Versions

__all__ = ["STT_FILE", "STT_TLS", "Rows", "Strings", "Symbol", "look_through"]

_FIELDS = [
    ("name", "<u4"),
    ("info", "u1"),
    ("other", "u1"),
    ("shndx", "<u2"),
    ("value", "<u8"),
    ("size", "<u8"),
]
_NARROW_FIELDS = [
    ("name", "<u4"),
    ("value", "<u4"),
    ("size", "<u4"),
    ("info", "u1"),
    ("other", "u1"),
    ("shndx", "<u2"),
]
_ROW, _NARROW_ROW = struct.Struct("<IBBHQQ"), struct.Struct("<IIIBBH")
_KINDS: dict[int, Literal["func", "object", "tls", "other"]] = {
    1: "object",
    2: "func",
    5: "object",
    6: "tls",
    10: "func",
}
_BINDS: dict[int, Literal["local", "global", "weak"]] = {0: "local", 2: "weak"}
STT_FILE, STT_TLS = 4, 6
TABLE_LIMIT = 1 << 28  # bytes


@dataclass(frozen=True, slots=True)
class Symbol:
    """One symbol. `value` is an address of the file (for "tls": an offset in the thread's block), `size` in bytes.

    `file` is the source file's name as the symbol table has it, for local symbols only. `version` is `@VERSION`, or
    `@@VERSION` for the default one, "" where there is none.
    """

    name: str
    value: int
    size: int
    kind: Literal["func", "object", "tls", "other"]
    bind: Literal["local", "global", "weak"]
    file: str | None = None
    version: str = field(default="", compare=False)


class Strings:
    """A string table whose strings are decoded one at a time."""

    def __init__(self, data: bytes) -> None:
        self.data = data + b"\0"

    def at(self, offset: int) -> str:
        end = self.data.find(b"\0", offset)
        raw = self.data[offset:end] if 0 <= offset <= end else b""
        name, _, _ = raw.partition(b"@") if raw[:1] != b"@" else (raw, b"", b"")
        return name.decode("utf-8", "surrogateescape")

    def version(self, offset: int) -> str:
        """What a linker wrote behind the name in .symtab: `@GLIBC_2.3`."""
        end = self.data.find(b"\0", offset)
        place = self.data.find(b"@", offset + 1, end) if 0 <= offset < end else -1
        return self.data[place:end].decode("utf-8", "surrogateescape") if place > 0 else ""

    def offsets(self, name: str) -> list[int]:
        """Where the string, with or without a version behind it, begins; tails of longer strings count."""
        raw = name.encode("utf-8", "surrogateescape")
        if not raw or b"\0" in raw:
            return []
        return [match.start() for match in re.finditer(re.escape(raw) + b"[\0@]", self.data)]


def look_through(image: ElfImage, section: Section, name: str) -> Iterator[Symbol]:
    """The symbols of this name in a small table, row by row."""
    table = image.section_table
    names = Strings(image.section_bytes(table[section.link] if section.link < len(table) else None))
    offsets = frozenset(names.offsets(name))
    file = None
    data = image.section_bytes(section) if offsets else b""
    versions: Versions | None = None
    wide = image.bits == 64
    form = _ROW if wide else _NARROW_ROW
    for row, fields in enumerate(form.iter_unpack(data[: len(data) // form.size * form.size])):
        if wide:
            at, info, _, shndx, value, size = fields
        else:
            at, value, size, info, _, shndx = fields
        if info & 15 == STT_FILE:
            file = names.at(at) or None
        elif at in offsets and at and shndx and info & 15 != 3:
            bind = _BINDS.get(info >> 4, "global")
            local = file if bind == "local" else None
            if section.name == ".dynsym":
                from symbols.versions import Versions

                versions = versions or Versions(image)
            version = versions.of(row) if versions is not None else names.version(at)
            yield Symbol(names.at(at), value, size, _KINDS.get(info & 15, "other"), bind, local, version)


def _rows_of(image: ElfImage, data: bytes) -> Any:
    """A whole table, in the fields of Elf64_Sym."""
    wide = np.dtype(_FIELDS)
    if image.bits == 64:
        return np.frombuffer(data[: len(data) // wide.itemsize * wide.itemsize], dtype=wide)
    narrow = np.dtype(_NARROW_FIELDS)
    found = np.frombuffer(data[: len(data) // narrow.itemsize * narrow.itemsize], dtype=narrow)
    rows = np.zeros(len(found), wide)
    for name in wide.names or ():
        rows[name] = found[name]
    return rows


class Rows:
    """One table: its rows without undefined ones, its strings, its STT_FILE marks."""

    def __init__(self, image: ElfImage, section: Section) -> None:
        from symbols.versions import Versions

        table = image.section_table
        self.versions = Versions(image) if section.name == ".dynsym" else None
        data = image.section_bytes(section) if section.size <= TABLE_LIMIT else b""
        rows = _rows_of(image, data)
        strings = table[section.link] if section.link < len(table) else None
        self.names = Strings(image.section_bytes(strings))
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
            self.versions.of(int(self.index[row]))
            if self.versions is not None
            else self.names.version(int(entry["name"])),
        )

    def _file(self, row: int) -> str | None:
        mark = int(np.searchsorted(self.files, self.index[row])) - 1
        if mark < 0:
            return None
        return self.names.at(int(self.all["name"][self.files[mark]])) or None
