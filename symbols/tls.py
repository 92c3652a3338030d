"""Where a thread's own variables are: the block of a module for a thread pointer (ELF TLS, x86-64 variant II)."""

from __future__ import annotations

import struct
from collections.abc import Callable

from symbols.elf import ElfImage
from symbols.table import SymbolTable

__all__ = ["block"]

PT_TLS = 7
R_DTPMOD64, R_TPOFF64 = 16, 18
ROWS_LIMIT = 1 << 20
MASK = (1 << 64) - 1
Read = Callable[[int, int], bytes]


def block(
    image: ElfImage, table: SymbolTable, bias: int, main: bool, pointer: int, read: Read | None
) -> int | str:
    """The first address of a module's block for the thread whose fs base is `pointer`, or why it is not known.

    The main program's block ends at the thread pointer. A library's is told by the GOT slots that the loader filled
    for it: an offset from the thread pointer (R_X86_64_TPOFF64), or the module's number in the thread's vector
    (R_X86_64_DTPMOD64).
    """
    if image.bits == 32:
        return "is thread-local, and in programs of 32 bits these are not looked for"
    segment = next((s for s in image.segments if s.type == PT_TLS), None)
    if segment is None:
        return "is thread-local, and its file says nothing of where"
    if main:
        align = max(1, segment.align)
        padding = (-segment.vaddr - segment.memsz) & (align - 1) if align & (align - 1) == 0 else 0
        return pointer - segment.memsz - padding & MASK
    if read is None:
        return "is thread-local: the thread's memory is needed to find it"
    for at, kind, row, addend in _relocations(image):
        slot = _word(read, at + bias)
        if slot is None:
            continue
        if kind == R_TPOFF64:
            value = table.dynamic_value(row) if row else 0
            if value is not None:
                return pointer + slot - value - addend & MASK
        elif kind == R_DTPMOD64 and not row:
            vector = _word(read, pointer + 8)
            entry = _word(read, vector + slot * 16) if vector is not None and 0 < slot < 1 << 16 else None
            if entry is not None and entry not in (0, MASK):
                return entry
            return "is thread-local, and this thread has not used it yet"
    return "is thread-local, and nothing says where its module's block is"


def _word(read: Read, address: int) -> int | None:
    try:
        data = read(address & MASK, 8)
    except Exception:  # whatever the reader's own error is
        return None
    return int.from_bytes(data, "little") if len(data) == 8 else None


def _relocations(image: ElfImage) -> list[tuple[int, int, int, int]]:
    """(address, type, row of .dynsym, addend) of the relocations that are about thread-local storage."""
    section = image.sections.get(".rela.dyn")
    data = image.section_bytes(section)[: 24 * ROWS_LIMIT] if section else b""
    found = []
    for at, info, addend in struct.iter_unpack("<QQq", data[: len(data) // 24 * 24]):
        if info & 0xFFFFFFFF in (R_DTPMOD64, R_TPOFF64):
            found.append((at, info & 0xFFFFFFFF, info >> 32, addend))
    return found
