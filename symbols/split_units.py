"""Split DWARF: units whose entries lie in .dwo files, or together in a .dwp package (DWARF 5 sections 7.3.2 and 7.3.5).

What the program's own file keeps of such a unit, its skeleton, says where the file was written, and holds its addresses.
A file counts only if it carries the skeleton's identifier.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from symbols.dwarf_names import AT
from symbols.elf import ElfError, ElfImage
from symbols.line_program import Reader

if TYPE_CHECKING:
    from symbols.debug_sections import DebugSections
    from symbols.dies import Unit

__all__ = ["Home", "split_units"]

FILES_LIMIT: Final = 4096
BYTES_LIMIT: Final = 1 << 29
ROWS_LIMIT: Final = 1 << 20
_SKELETON: Final = 4  # DW_UT_skeleton
_NAMES: Final = ("info", "types", "abbrev", "str", "str_offsets", "rnglists", "loclists", "loc", "line")
_INDEX_NAMES: Final = {
    2: {1: "info", 2: "types", 3: "abbrev", 4: "line", 5: "loc", 6: "str_offsets"},
    5: {1: "info", 3: "abbrev", 4: "line", 5: "loclists", 6: "str_offsets", 8: "rnglists"},
}
"""Columns of .debug_cu_index by its version (DWARF 5 7.3.5.3; version 2 is GNU's, before DWARF 5)."""


class Home:
    """The sections that the entries of split units refer to; those that they lack are empty."""

    def __init__(self, sections: dict[str, bytes]) -> None:
        self._sections = sections
        self.abbreviations: dict[tuple[int, int, int], Any] = {}
        self.supplement: DebugSections | None = None

    def __getitem__(self, name: str) -> bytes:
        """The contents of `.debug_<name>.dwo`."""
        return self._sections.get(name, b"")


class _Skeleton(NamedTuple):
    unit: Unit
    identifier: int
    name: str
    directory: str


def split_units(sections: DebugSections) -> Iterator[tuple[int, Home]]:
    """(offset of the skeleton in .debug_info, where its unit is) for every skeleton whose file is there.

    A home holds one program unit, and the type units that it uses.
    """
    skeletons = list(_skeletons(sections))
    if not skeletons:
        return
    left = BYTES_LIMIT
    packages = _packages(sections.image)
    opened: dict[str, Home | None] = {}
    for skeleton in skeletons:
        home = next((found for each in packages if (found := each.get(skeleton.identifier))), None)
        for path in _places(skeleton, sections.image.path) if home is None else ():
            if path not in opened and len(opened) < FILES_LIMIT and left > 0:
                read = opened[path] = _read(path)
                left -= sum(len(read[name]) for name in _NAMES) if read is not None else 0
            found = opened.get(path)
            if found is not None and skeleton.identifier in _identifiers(found):
                home = found
                break
        if home is not None:
            yield skeleton.unit.offset, home


def _skeletons(sections: DebugSections) -> Iterator[_Skeleton]:
    from symbols.debug_sections import BROKEN

    if not sections["addr"]:
        return
    for offset in sections.own_units:
        unit = sections.unit(offset)
        if unit is None or (unit.version >= 5 and unit.kind != _SKELETON):
            continue
        try:
            top = unit.top
            name = top.text(AT.dwo_name) or top.text(AT.GNU_dwo_name)
            identifier = unit.dwo_id or top.number(AT.GNU_dwo_id)
            if name and identifier:
                yield _Skeleton(unit, identifier, name, top.text(AT.comp_dir))
        except BROKEN:
            continue


def _places(skeleton: _Skeleton, program: str) -> Iterator[str]:
    """Where the file was written, then beside the program."""
    yield os.path.join(skeleton.directory, skeleton.name)
    beside = os.path.dirname(os.path.realpath(program))
    yield os.path.join(beside, skeleton.name)
    yield os.path.join(beside, os.path.basename(skeleton.name))


def _open(path: str) -> ElfImage | None:
    try:
        return ElfImage.open(path, loadable=False)
    except (ElfError, ValueError):  # a name with a zero byte is a ValueError
        return None


def _sections_of(image: ElfImage) -> dict[str, bytes]:
    return {name: image.section_bytes(image.sections.get(f".debug_{name}.dwo")) for name in _NAMES}


def _read(path: str) -> Home | None:
    image = _open(path)
    return Home(_sections_of(image)) if image is not None else None


def _identifiers(home: Home) -> set[int]:
    """The identifiers of the units in a .dwo file, out of the header or of GNU's attribute."""
    from symbols.debug_sections import BROKEN, unit_offsets
    from symbols.dies import Unit

    found: set[int] = set()
    for offset in unit_offsets(home["info"]):
        try:
            unit = Unit.split(home, offset)
            found.add(unit.dwo_id or unit.top.number(AT.GNU_dwo_id) or 0)
        except BROKEN:
            continue
    return found - {0}


# Packages


class _Package:
    """A .dwp file: each unit's parts of its sections, by identifier."""

    def __init__(self, sections: dict[str, bytes], index: bytes) -> None:
        self._sections = sections
        self._homes: dict[int, Home] = {}
        self._rows: dict[int, dict[str, tuple[int, int]]] = {}
        try:
            self._rows = dict(_index(index))
        except (ValueError, struct.error, IndexError):
            self._rows = {}

    def get(self, identifier: int) -> Home | None:
        """Where the unit with an identifier is."""
        parts = self._rows.get(identifier)
        if parts is None:
            return None
        if identifier not in self._homes:
            cut = {name: self._sections[name][at : at + size] for name, (at, size) in parts.items()}
            self._homes[identifier] = Home({**cut, "str": self._sections["str"]})
        return self._homes[identifier]


def _packages(image: ElfImage) -> list[_Package]:
    found = []
    for path in dict.fromkeys((f"{image.path}.dwp", f"{os.path.realpath(image.path)}.dwp")):
        package = _open(path)
        if package is not None:
            index = package.section_bytes(package.sections.get(".debug_cu_index"))
            found.append(_Package(_sections_of(package), index))
    return found


def _index(data: bytes) -> Iterator[tuple[int, dict[str, tuple[int, int]]]]:
    """(identifier, section -> (offset, size)) of a unit index (DWARF 5 7.3.5.3)."""
    reader = Reader(data)
    version = reader.number(4)
    if version != 2:
        version &= 0xFFFF  # version 5 is two bytes, and two of padding
    names = _INDEX_NAMES.get(version)
    columns, units, slots = reader.number(4), reader.number(4), reader.number(4)
    if names is None or columns > 16 or units > ROWS_LIMIT or slots > ROWS_LIMIT:
        raise ValueError("an index of another kind")
    hashes = [reader.number(8) for _ in range(slots)]
    rows = [reader.number(4) for _ in range(slots)]
    kinds = [reader.number(4) for _ in range(columns)]
    table = reader.at
    for identifier, row in zip(hashes, rows, strict=True):
        if not 0 < row <= units:
            continue
        parts: dict[str, tuple[int, int]] = {}
        for column, kind in enumerate(kinds):
            at = table + 4 * ((row - 1) * columns + column)
            offset = Reader(data, at).number(4)
            size = Reader(data, at + 4 * units * columns).number(4)
            if name := names.get(kind):
                parts[name] = offset, size
        yield identifier, parts
