"""The .debug_* sections of an image, read once each and bounded, and where their units lie."""

from __future__ import annotations

import io
import struct
from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from symbols.dwarf_names import AT
from symbols.elf import ElfImage
from symbols.line_program import Reader

if TYPE_CHECKING:
    from symbols.dies import Die, Unit

__all__ = ["DebugSections", "unit_offsets"]

UNITS_LIMIT = 1 << 18
ARANGES_LIMIT = 1 << 20
BROKEN = (ValueError, IndexError, struct.error, KeyError, TypeError, OverflowError)
"""What reading damaged DWARF raises."""


class DebugSections:
    """DWARF as bytes. A section that is missing or broken is empty.

    `supplement` is the file that dwz moved shared entries to (.gnu_debugaltlink).
    """

    def __init__(self, image: ElfImage, supplement: DebugSections | None = None) -> None:
        self.image = image
        self.supplement = supplement
        self.abbreviations: dict[tuple[int, int, int], Any] = {}
        self._cache: dict[str, bytes] = {}
        self._units: dict[tuple[str, int], Unit | None] = {}

    def __getitem__(self, name: str) -> bytes:
        """The contents of `.debug_<name>`."""
        if name not in self._cache:
            sections = self.image.sections
            found = sections.get(f".debug_{name}") or sections.get(f".zdebug_{name}")
            self._cache[name] = self.image.section_bytes(found)
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

    def unit(self, offset: int, section: str = "info") -> Unit | None:
        """The unit at an offset; None where it is broken."""
        key = (section, offset)
        if key not in self._units:
            from symbols.dies import Unit

            try:
                unit: Unit | None = Unit(self, section, offset)
            except BROKEN:
                unit = None
            self._units[key] = unit
        return self._units[key]

    def die(self, offset: int) -> Die | None:
        """The entry at an offset of .debug_info. Raises one of BROKEN."""
        place = self.unit_of(offset)
        unit = self.unit(place) if place is not None else None
        return unit.die(offset) if unit is not None else None

    def address(self, unit: Unit, index: int) -> int:
        """An address out of .debug_addr. Raises ValueError beyond its end."""
        base = unit.base(AT.addr_base, unit.base(AT.GNU_addr_base, 8))
        return Reader(self["addr"], base + index * 8).number(8)

    def signed_type(self, signature: int) -> Die | None:
        """The type that a type unit with this signature describes."""
        found = self._signatures.get(signature)
        unit = self.unit(found[1], found[0]) if found else None
        return unit.die(unit.offset + unit.type_offset) if unit is not None else None

    @cached_property
    def _signatures(self) -> dict[int, tuple[str, int]]:
        found: dict[int, tuple[str, int]] = {}
        for section in ("info", "types"):
            for offset in self.units if section == "info" else unit_offsets(self["types"]):
                unit = self.unit(offset, section)
                if unit is not None and unit.signature and unit.kind in (2, 6):
                    found.setdefault(unit.signature, (section, offset))
        return found

    # Which unit an address belongs to

    def unit_at(self, vaddr: int) -> Unit | None:
        """The unit whose code or data, as .debug_aranges or the unit itself says, covers a file address."""
        starts, ends, units = self._covers
        place = bisect_right(starts, vaddr) - 1
        return self.unit(units[place]) if place >= 0 and vaddr < ends[place] else None

    def unit_end(self, vaddr: int) -> int:
        """Where the range of `unit_at` around an address ends."""
        starts, ends, _ = self._covers
        place = bisect_right(starts, vaddr) - 1
        following = starts[place + 1] if place + 1 < len(starts) else ends[place]
        return min(ends[place], following)

    @cached_property
    def _covers(self) -> tuple[list[int], list[int], list[int]]:
        ranges = list(self._aranges())
        told = {unit for _, _, unit in ranges}
        for offset in self.units:
            if offset not in told and (unit := self.unit(offset)) is not None:
                try:
                    ranges += [(low, high, offset) for low, high in unit.top.ranges()]
                except BROKEN:
                    continue
        ranges.sort()
        return [r[0] for r in ranges], [r[1] for r in ranges], [r[2] for r in ranges]

    def _aranges(self) -> Iterator[tuple[int, int, int]]:
        """.debug_aranges: (start, end, unit in .debug_info) (DWARF 5, 6.1.2)."""
        data, count = self["aranges"], 0
        known = frozenset(self.units)
        for at in unit_offsets(data):
            length, version, unit, size, segment = struct.unpack_from(
                "<IHIBB", data.ljust(at + 12, b"\0"), at
            )
            if length == 0xFFFFFFFF or version != 2 or size != 8 or segment or unit not in known:
                continue
            body = data[at + 16 : at + 4 + length]
            for start, extent in struct.iter_unpack("<QQ", body[: len(body) & -16]):
                if extent and start and count < ARANGES_LIMIT:
                    count += 1
                    yield start, start + extent, unit

    # pyelftools' view, for what is read one small piece at a time

    def elftools_unit(self, offset: int) -> Any:
        """pyelftools' CompileUnit at an offset of .debug_info. Raises whatever pyelftools makes of broken input."""
        cu = self.elftools.get_CU_at(offset)
        cu.get_top_DIE()
        return cu

    @cached_property
    def elftools(self) -> Any:
        """pyelftools' DWARFInfo."""
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
