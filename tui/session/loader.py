"""Where a program's dynamic loader calls its debugger: `r_brk`, found by way of DT_DEBUG in the program's own memory.

The loader fills in DT_DEBUG when it starts, and calls that function before and behind each change of what is mapped
(System V ABI as glibc and musl have it: include/link.h, struct r_debug). Behind: everything new is mapped, and none of its
code has run.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Final, Literal

from backends.model import Mapping
from tui.session.entry import program_headers

__all__ = ["loader_call"]

_PT_DYNAMIC: Final = 2
_DT_NULL: Final = 0
_DT_DEBUG: Final = 21
_R_BRK: Final = 2  # in pointers, of struct r_debug: int r_version, pointer r_map, pointer r_brk
_MOST_ENTRIES: Final = 4096


def loader_call(
    read: Callable[[int, int], bytes],
    mappings: tuple[Mapping, ...],
    program: str,
    bits: Literal[32, 64] = 64,
) -> int | None:
    """The address that the loader calls; None where no loader has begun to work for this program, one of so many bits.

    Raises HwbpError where that memory cannot be read.
    """
    place = next((value for tag, value in _dynamic(read, mappings, program, bits) if tag == _DT_DEBUG), 0)
    if not place:
        return None
    width = bits // 8
    address = int.from_bytes(read(place + _R_BRK * width, width), "little")
    code = any("x" in row.perms and row.start <= address < row.end for row in mappings)
    return address if code else None


def _dynamic(
    read: Callable[[int, int], bytes],
    mappings: tuple[Mapping, ...],
    program: str,
    bits: Literal[32, 64],
) -> Iterator[tuple[int, int]]:
    """(tag, value) of the program's dynamic section."""
    for header in program_headers(read, mappings, program):
        if header.type == _PT_DYNAMIC:
            row = struct.Struct("<QQ" if bits == 64 else "<II")
            for number in range(min(header.size // row.size, _MOST_ENTRIES)):
                tag, value = row.unpack(read(header.address + row.size * number, row.size))
                if tag == _DT_NULL:
                    return
                yield tag, value
