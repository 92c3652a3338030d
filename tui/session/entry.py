"""Where a loaded program begins: AT_ENTRY, worked out from the ELF header that lies in its own memory."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from backends.model import Mapping

__all__ = ["entry_point"]

_ET_DYN: Final = 3
_PT_LOAD: Final = 1
_PAGE: Final = ~0xFFF


def entry_point(read: Callable[[int, int], bytes], mappings: tuple[Mapping, ...], program: str) -> int | None:
    """e_entry plus the load bias; None where the program's first page is not mapped or is no ELF-64.

    Raises HwbpError where that memory cannot be read.
    """
    start = next((m.start for m in mappings if m.path == program and m.offset == 0), None)
    if start is None:
        return None
    header = read(start, 64)
    if header[:5] != b"\x7fELF\x02":
        return None
    (kind,) = struct.unpack_from("<H", header, 16)
    entry, table = struct.unpack_from("<QQ", header, 24)
    size, count = struct.unpack_from("<HH", header, 54)
    if kind != _ET_DYN:
        return int(entry)
    for number in range(count):
        segment = read(start + table + number * size, 24)
        segment_type, _flags, offset, address = struct.unpack("<IIQQ", segment)
        if segment_type == _PT_LOAD and offset == 0:
            return int(start - (address & _PAGE) + entry)
    return None
