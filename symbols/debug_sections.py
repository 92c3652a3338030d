"""The .debug_* sections of an image, read once each and bounded, and where their units lie."""

from __future__ import annotations

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
    from symbols.gdb_index import GdbIndex
    from symbols.split_units import Home

__all__ = ["DebugSections", "unit_offsets"]

UNITS_LIMIT = 1 << 18
ARANGES_LIMIT = 1 << 20
STRINGS_LIMIT = 256
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
        self._split: Split | None = None

    def __getitem__(self, name: str) -> bytes:
        """The contents of `.debug_<name>`; for "info" and "types" with those of split units behind them."""
        if name in ("info", "types") and self.split:
            return self.split.joined[name]
        return self.own(name)

    def own(self, name: str) -> bytes:
        """The contents of `.debug_<name>` in the file itself."""
        if name not in self._cache:
            sections = self.image.sections
            found = sections.get(f".debug_{name}") or sections.get(f".zdebug_{name}")
            self._cache[name] = self.image.section_bytes(found)
        return self._cache[name]

    @cached_property
    def own_units(self) -> list[int]:
        """Offsets of the units in the file's own .debug_info, ascending."""
        return unit_offsets(self.own("info"))

    @cached_property
    def units(self) -> list[int]:
        """Offsets of the units in .debug_info, ascending; split ones in the place of their skeletons."""
        if not self.split:
            return self.own_units
        return sorted({*self.own_units, *self.split.homes["info"]})

    @property
    def split(self) -> Split:
        """The split units."""
        if self._split is None:
            self._split = Split()  # while the skeletons are read there are none
            self._split = Split.of(self)
        return self._split

    def home(self, section: str, offset: int) -> DebugSections | Home:
        """Where what the entries of a unit refer to is."""
        return self.split.homes[section].get(offset, self) if section in ("info", "types") else self

    def skeleton(self, section: str, offset: int) -> Unit | None:
        """The skeleton of a split unit."""
        found = self.split.skeletons.get(offset) if section == "info" else None
        return self.unit(found) if found is not None else None

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
            for offset in self.units if section == "info" else self._type_units:
                unit = self.unit(offset, section)
                if unit is not None and unit.signature and unit.kind in (2, 6):
                    found.setdefault(unit.signature, (section, offset))
        return found

    @property
    def _type_units(self) -> list[int]:
        return [*unit_offsets(self.own("types")), *self.split.homes["types"]]

    @cached_property
    def gdb_index(self) -> GdbIndex:
        """.gdb_index, which gdb-add-index and linkers write."""
        from symbols.gdb_index import GdbIndex

        return GdbIndex(self.image.section_bytes(self.image.sections.get(".gdb_index")))

    # Which unit an address belongs to

    def unit_at(self, vaddr: int) -> Unit | None:
        """The unit whose code or data, as .debug_aranges or the unit itself says, covers a file address."""
        starts, ends, units = self._covers
        place = bisect_right(starts, vaddr) - 1
        if place < 0 or vaddr >= ends[place]:
            return None
        return self.unit(self.split.whole.get(units[place], units[place]))

    def unit_end(self, vaddr: int) -> int:
        """Where the range of `unit_at` around an address ends."""
        starts, ends, _ = self._covers
        place = bisect_right(starts, vaddr) - 1
        following = starts[place + 1] if place + 1 < len(starts) else ends[place]
        return min(ends[place], following)

    @cached_property
    def _covers(self) -> tuple[list[int], list[int], list[int]]:
        own = set(self.own_units)
        ranges = list(self._aranges()) or [each for each in self.gdb_index.ranges() if each[2] in own]
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
        known = frozenset(self.own_units)
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


class Split:
    """The split units of a file, laid behind its own in .debug_info and .debug_types, so that one offset names any unit.

    `homes`: section, then unit -> where its entries' references are. `skeletons`: unit -> skeleton; `whole`: the other way.
    """

    def __init__(self) -> None:
        self.joined: dict[str, bytes] = {}
        self.homes: dict[str, dict[int, Home]] = {"info": {}, "types": {}}
        self.skeletons: dict[int, int] = {}
        self.whole: dict[int, int] = {}

    def __bool__(self) -> bool:
        return bool(self.joined)

    def naming(self, raw: bytes) -> list[int]:
        """The units that may hold a text (with the zero behind it): in their entries, or by number."""
        found: dict[int, bool] = {}
        for home in self.homes["info"].values():
            if id(home) not in found:
                at, places = -1, set[bytes]()
                while (at := home["str"].find(raw, at + 1)) >= 0 and len(places) < STRINGS_LIMIT:
                    places.add(struct.pack("<I", at & 0xFFFFFFFF))
                found[id(home)] = (
                    raw in home["info"]
                    or len(places) == STRINGS_LIMIT
                    or any(place in home["str_offsets"] for place in places)
                )
        return [offset for offset, home in self.homes["info"].items() if found[id(home)]]

    @classmethod
    def of(cls, sections: DebugSections) -> Split:
        """Those of a file."""
        from symbols.dies import Unit
        from symbols.split_units import split_units

        split = cls()
        parts = {name: [sections.own(name)] for name in split.homes}
        ends = {name: len(sections.own(name)) for name in split.homes}
        known: dict[int, dict[int, int]] = {}  # by home: identifier -> unit
        for skeleton, home in split_units(sections):
            if id(home) not in known:
                known[id(home)] = {}
                for name in split.homes:
                    for offset in unit_offsets(home[name]):
                        place = ends[name] + offset
                        split.homes[name][place] = home
                        try:
                            unit = Unit.split(home, offset) if name == "info" else None
                            if unit is not None and unit.kind not in (2, 6):
                                identifier = unit.dwo_id or unit.top.number(AT.GNU_dwo_id) or 0
                                known[id(home)][identifier] = place
                        except BROKEN:
                            continue
                    parts[name].append(home[name])
                    ends[name] += len(home[name])
            own = sections.unit(skeleton)
            try:
                wanted = own.dwo_id or own.top.number(AT.GNU_dwo_id) if own is not None else None
            except BROKEN:
                continue
            found = known[id(home)].get(wanted or 0)
            if found is not None:
                split.whole[skeleton] = found
                split.skeletons[found] = skeleton
        if known:
            split.joined = {name: b"".join(parts[name]) for name in split.homes}
        return split


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
