"""Line-number tables of .debug_line, DWARF 2 to 5 (DWARF 5 section 6.2): their headers, and one unit's rows by address.

pyelftools' reader believes the counts in the header (2**60 file names of no bytes each hang it) and makes an object
of every row, so this one is our own: it reads what is there, and stops where the unit ends.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final

from symbols.arrays import np
from symbols.line_rows import END, IS_STMT, Program, run

__all__ = ["END", "IS_STMT", "Header", "LineUnit", "Reader", "read_files", "read_header", "read_unit"]

FILES_LIMIT = 65536
NAME_LIMIT = 4096
"""Bytes of a name: what Linux takes as a path (PATH_MAX)."""
NAMES_BYTES: Final = 1 << 24
"""Of all names of one header: entries may all refer to one long string."""

Strings = dict[tuple[int, int], str]
"""Names out of .debug_str and .debug_line_str, by form and offset: units share most of theirs."""


class Reader:
    """Little-endian numbers out of bytes. Raises ValueError beyond the end."""

    def __init__(self, data: bytes, at: int = 0, end: int | None = None) -> None:
        self.data = data
        self.at = at
        self.end = len(data) if end is None else min(end, len(data))

    def number(self, size: int) -> int:
        at = self.at
        self.at = at + size
        if self.at > self.end:
            raise ValueError("beyond the end")
        return int.from_bytes(self.data[at : self.at], "little")

    def uleb(self) -> int:
        value = shift = 0
        while True:
            byte = self.number(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 70:
                raise ValueError("a number of too many bytes")

    def sleb(self) -> int:
        start = self.at
        value = self.uleb()
        bits = 7 * (self.at - start)
        return value - (1 << bits) if value >> (bits - 1) & 1 else value

    def string(self) -> bytes:
        end = self.data.find(b"\0", self.at, self.end)
        if end < 0:
            raise ValueError("an unterminated string")
        at, self.at = self.at, end + 1
        return self.data[at:end]

    def skip(self, size: int) -> None:
        self.at += size
        if self.at > self.end:
            raise ValueError("beyond the end")


@dataclass(frozen=True, slots=True)
class LineUnit:
    """The rows of one unit sorted by address; `flags` has IS_STMT and END. `files` is indexed by a row's file."""

    files: tuple[str, ...]
    address: Any
    line: Any
    file: Any
    flags: Any
    column: Any


@dataclass(frozen=True, slots=True)
class Header:
    """The names that a unit's rows refer to, and its program."""

    files: tuple[str, ...]
    program: Program


def read_header(sections: Any, offset: int, strings: Strings | None = None) -> Header | None:
    """The header at an offset of .debug_line; None where it is broken. `strings` are those of other headers, and get its own."""
    try:
        return _header(sections, offset, {} if strings is None else strings)
    except ValueError:
        return None


def read_files(sections: Any, offset: int) -> tuple[str, ...]:
    """The file names of the unit at an offset; empty where it is broken."""
    header = read_header(sections, offset)
    return header.files if header is not None else ()


def read_unit(sections: Any, offset: int) -> LineUnit:
    """The rows of the unit at an offset of .debug_line: none where it is broken."""
    header = read_header(sections, offset)
    rows = run(sections["line"], [header.program] if header is not None else [])
    # Where one sequence ends and the next begins at one address, the end comes first: the later row wins.
    order = np.lexsort(((rows.flags & END) == 0, rows.address))
    return LineUnit(
        header.files if header is not None else (),
        rows.address[order],
        rows.line[order],
        rows.file[order],
        rows.flags[order],
        rows.column[order],
    )


def _header(sections: Any, offset: int, strings: Strings) -> Header:
    data: bytes = sections["line"]
    if not 0 <= offset < len(data):
        raise ValueError("beyond the end")
    reader = Reader(data, offset)
    word = 4
    length = reader.number(4)
    if length == 0xFFFFFFFF:
        length, word = reader.number(8), 8
    end = reader.at + length
    if end > len(data):
        raise ValueError("beyond the end")
    reader.end = end
    version = reader.number(2)
    if not 2 <= version <= 5:
        raise ValueError("an unknown version")
    if version >= 5:
        reader.number(2)  # bytes of an address and of a segment selector
    size = reader.number(word)
    start = reader.at + size
    minimum = reader.number(1)
    if version >= 4:
        reader.number(1)
    default_is_stmt = reader.number(1)
    line_base = (reader.number(1) ^ 0x80) - 0x80
    line_range, opcode_base = reader.number(1), reader.number(1)
    if start > end or not line_range or not opcode_base:
        raise ValueError("a broken header")
    lengths = tuple(reader.number(1) for _ in range(opcode_base - 1))
    reader.end = start
    files = _files5(sections, reader, word, strings) if version >= 5 else _files4(reader)
    if sum(map(len, files)) > NAMES_BYTES:
        raise ValueError("too many names")
    return Header(
        files,
        Program(start, end, minimum, default_is_stmt != 0, line_base, line_range, opcode_base, lengths),
    )


def _text(raw: bytes) -> str:
    return raw[:NAME_LIMIT].decode("utf-8", "surrogateescape")


def _join(directory: str, name: str) -> str:
    return name if not directory or name.startswith("/") else f"{directory}/{name}"


def _files4(reader: Reader) -> tuple[str, ...]:
    directories = [""]
    while raw := reader.string():
        directories.append(_text(raw))
    files = [""]
    while len(files) < FILES_LIMIT and (raw := reader.string()):
        index = reader.uleb()
        reader.uleb()
        reader.uleb()
        files.append(_join(directories[index] if index < len(directories) else "", _text(raw)))
    return tuple(files)


def _files5(sections: Any, reader: Reader, word: int, strings: Strings) -> tuple[str, ...]:
    directories = [name for name, _ in _entries5(sections, reader, word, strings)]
    files = _entries5(sections, reader, word, strings)
    # Directory 0 is where the compiler ran: a name without a directory of its own stays as it was given.
    return tuple(_join(directories[d] if 0 < d < len(directories) else "", name) for name, d in files)


def _entries5(sections: Any, reader: Reader, word: int, strings: Strings) -> list[tuple[str, int]]:
    """(name, directory's number) of each entry."""
    forms = [(reader.uleb(), reader.uleb()) for _ in range(reader.number(1))]
    count = reader.uleb()
    if count > FILES_LIMIT or (count and not forms):
        raise ValueError("too many names")
    if (found := _alike5(sections, reader, word, strings, forms, count)) is not None:
        return found
    entries = []
    size = 0
    for _ in range(count):
        name, directory = "", 0
        for content, form in forms:
            value = _form(sections, reader, form, word)
            if content == _PATH and isinstance(value, bytes):
                name = _text(value)
            elif content == _DIRECTORY and isinstance(value, int):
                directory = value
        size += len(name)
        if size > NAMES_BYTES:
            raise ValueError("too many names")
        entries.append((name, directory))
    return entries


def _alike5(
    sections: Any, reader: Reader, word: int, strings: Strings, forms: list[tuple[int, int]], count: int
) -> list[tuple[str, int]] | None:
    """Entries that all have one size, whose names are elsewhere: as compilers write them. None for others."""
    contents = [content for content, _ in forms]
    if (
        contents not in ([_PATH], [_PATH, _DIRECTORY], [_PATH, _DIRECTORY, _MD5])
        or forms[0][1] not in _STRINGS
    ):
        return None
    letters = _LETTERS | dict.fromkeys(_STRINGS, "I" if word == 4 else "Q")
    if not all(form in letters for _, form in forms):
        return None
    entry = struct.Struct("<" + "".join(letters[form] for _, form in forms))
    end = reader.at + count * entry.size
    if end > reader.end:
        return None
    rows = list(entry.iter_unpack(reader.data[reader.at : end]))
    if len(forms) > 1 and forms[1][1] == _UDATA and any(row[1] >= 0x80 for row in rows):
        return None  # numbers of more than one byte
    reader.at = end
    form = forms[0][1]
    section = sections[_STRINGS[form]]
    entries = []
    size = 0
    for row in rows:
        name = strings.get((form, row[0]))
        if name is None:
            name = strings[form, row[0]] = _text(Reader(section, row[0]).string())
        size += len(name)
        if size > NAMES_BYTES:
            raise ValueError("too many names")
        entries.append((name, row[1] if len(row) > 1 else 0))
    return entries


_PATH, _DIRECTORY, _MD5 = 1, 2, 5
"""What an entry's field is (DWARF 5 section 6.2.4.1)."""
_UDATA: Final = 0x0F
_STRINGS: Final = {0x0E: "str", 0x1F: "line_str"}
"""Forms whose value is an offset into a section."""
_LETTERS: Final = {0x0B: "B", 0x05: "H", 0x06: "I", 0x07: "Q", _UDATA: "B", 0x1E: "16s"}
"""Other forms of one size, for `struct`; a LEB128 number of one byte among them."""
_FIXED = {0x0B: 1, 0x05: 2, 0x06: 4, 0x07: 8, 0x1E: 16, 0x25: 1, 0x26: 2, 0x27: 3, 0x28: 4}


def _form(sections: Any, reader: Reader, form: int, word: int) -> bytes | int | None:
    if form == 0x08:
        return reader.string()
    if form in _STRINGS:
        return Reader(sections[_STRINGS[form]], reader.number(word)).string()
    if form in _FIXED:
        return reader.number(_FIXED[form])
    if form in (0x0F, 0x1A):
        return reader.uleb()
    if form == 0x09:
        reader.skip(reader.uleb())
        return None
    raise ValueError("an unknown form")
