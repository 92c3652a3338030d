"""The .debug_* sections of an image, read once each and bounded, and pyelftools' view of them."""

from __future__ import annotations

import io
import struct
from bisect import bisect_right
from functools import cached_property
from typing import Any

from symbols.elf import ElfImage

__all__ = ["DebugSections", "unit_offsets"]

UNITS_LIMIT = 1 << 16


class DebugSections:
    """DWARF as bytes. A section that is missing or broken is empty."""

    def __init__(self, image: ElfImage) -> None:
        self._image = image
        self._cache: dict[str, bytes] = {}

    def __getitem__(self, name: str) -> bytes:
        """The contents of `.debug_<name>`."""
        if name not in self._cache:
            self._cache[name] = self._image.section_bytes(self._image.sections.get(f".debug_{name}"))
        return self._cache[name]

    @cached_property
    def units(self) -> list[int]:
        """Offsets of the units in .debug_info, ascending."""
        return unit_offsets(self["info"])

    def unit_of(self, offset: int) -> int | None:
        """The unit whose header or entries cover an offset of .debug_info."""
        place = bisect_right(self.units, offset) - 1
        return self.units[place] if place >= 0 else None

    def size_of(self, unit: int) -> int:
        """Bytes of the unit at an offset."""
        place = bisect_right(self.units, unit)
        return (self.units[place] if place < len(self.units) else len(self["info"])) - unit

    def unit(self, offset: int) -> Any:
        """pyelftools' CompileUnit at an offset of .debug_info. Raises whatever pyelftools makes of broken input."""
        cu = self._dwarf.get_CU_at(offset)
        cu.get_top_DIE()
        return cu

    def entry(self, cu: Any, offset: int) -> Any:
        """pyelftools' DIE at an offset, not cached: walks must not keep every entry of a large program."""
        from elftools.dwarf.die import DIE

        return DIE(cu=cu, stream=self._dwarf.debug_info_sec.stream, offset=offset)

    @property
    def dwarf(self) -> Any:
        """pyelftools' DWARFInfo."""
        return self._dwarf

    @cached_property
    def _dwarf(self) -> Any:
        # Built from bounded bytes rather than by ELFFile, which believes sizes that a broken file claims.
        from elftools.dwarf.dwarfinfo import DebugSectionDescriptor, DwarfConfig, DWARFInfo

        names = "info aranges abbrev frame str loc ranges line pubtypes pubnames addr str_offsets line_str loclists"
        arguments: dict[str, Any] = {}
        for name in f"{names} rnglists types".split():
            data = self[name]
            arguments[f"debug_{name}_sec"] = (
                DebugSectionDescriptor(io.BytesIO(data), f".debug_{name}", 0, len(data), 0) if data else None
            )
        arguments |= {"eh_frame_sec": None, "debug_sup_sec": None, "gnu_debugaltlink_sec": None}
        return DWARFInfo(config=DwarfConfig(True, "x64", 8), **arguments)


def unit_offsets(data: bytes) -> list[int]:
    """Where units begin in a section of length-prefixed units (DWARF 5, 7.4)."""
    offsets: list[int] = []
    at = 0
    while at + 4 <= len(data) and len(offsets) < UNITS_LIMIT:
        (length,) = struct.unpack_from("<I", data, at)
        head = 4
        if length == 0xFFFFFFFF and at + 12 <= len(data):
            (length,) = struct.unpack_from("<Q", data, at + 4)
            head = 12
        if length == 0 or at + head + length > len(data):
            break
        offsets.append(at)
        at += head + length
    return offsets
