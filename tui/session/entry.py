"""Where a loaded program begins: AT_ENTRY, worked out from the ELF header that lies in its own memory."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, NamedTuple

from backends.model import Mapping

__all__ = ["ProgramHeader", "entry_point", "program_headers"]

_ET_DYN: Final = 3
_PT_LOAD: Final = 1
_PAGE: Final = ~0xFFF
_MASK: Final = (1 << 64) - 1
_NARROW, _WIDE = b"\x7fELF\1", b"\x7fELF\2"
_MOST: Final = 1 << 16  # bytes of program headers: fs/binfmt_elf.c, load_elf_phdrs

Read = Callable[[int, int], bytes]


class ProgramHeader(NamedTuple):
    """A segment where it lies in memory: `address` and `size` in bytes."""

    type: int
    address: int
    size: int


def entry_point(read: Read, mappings: tuple[Mapping, ...], program: str) -> int | None:
    """e_entry plus the load bias; None where the program's first page is not mapped or is no ELF file's.

    Raises HwbpError where that memory cannot be read.
    """
    found = _image(read, mappings, program)
    return None if found is None else found[0] + found[1] & _MASK


def program_headers(read: Read, mappings: tuple[Mapping, ...], program: str) -> tuple[ProgramHeader, ...]:
    """The program's segments; none where `entry_point` finds nothing. Raises HwbpError."""
    found = _image(read, mappings, program)
    return () if found is None else found[2]


def _image(
    read: Read, mappings: tuple[Mapping, ...], program: str
) -> tuple[int, int, tuple[ProgramHeader, ...]] | None:
    """(load bias, e_entry, segments)."""
    start = next((m.start for m in mappings if m.path == program and m.offset == 0), None)
    if start is None:
        return None
    header = read(start, 64)
    if header[:5] not in (_NARROW, _WIDE):
        return None
    wide = header[:5] == _WIDE
    (kind,) = struct.unpack_from("<H", header, 16)
    entry, offset = struct.unpack_from("<QQ" if wide else "<II", header, 24)
    size, count = struct.unpack_from("<HH", header, 54 if wide else 42)
    # (type, offset, address, bytes in the file) of Elf64_Phdr or Elf32_Phdr
    row_of = struct.Struct("<I4xQQ8xQ16x" if wide else "<III4xI12x")
    if size < row_of.size or not 0 < size * count <= _MOST:
        return None
    table = read(start + offset, size * count)
    rows = [row_of.unpack_from(table, number * size) for number in range(count)]
    bias = 0
    if kind == _ET_DYN:
        first = next((row for row in rows if row[0] == _PT_LOAD and row[1] == 0), None)
        if first is None:
            return None
        bias = start - (first[2] & _PAGE)
    segments = (ProgramHeader(row[0], bias + row[2] & _MASK, row[3]) for row in rows)
    return bias, entry, tuple(segments)
