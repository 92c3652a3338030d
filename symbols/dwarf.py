"""Variables and types of one image by name, and variables by address, from DWARF 2 to 5.

A name leads to the few compile units whose entries mention it (by its string, or by its offset in .debug_str), so a
lookup in a large program walks a few units and not all. Broken debug information has no variables.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Final

from symbols.ctype import RECORDS, UNKNOWN, Type
from symbols.debug_sections import BROKEN, DebugSections
from symbols.dies import Die, Unit
from symbols.dwarf_names import AT, TAG
from symbols.dwarf_types import DwarfTypes
from symbols.elf import ElfImage
from symbols.entries import Entry, UnitEntries, file_level, in_scope, locals_named
from symbols.location import Located, Thread, Unlocated, locate
from symbols.name_table import units_naming
from symbols.table import SymbolTable

__all__ = ["DebugInfo"]

STRINGS_LIMIT: Final = 256
DEPTH_LIMIT: Final = 32
LOOKUP_LIMIT: Final = 1 << 25  # bytes of units that one lookup may read
_KEYWORDS: Final = {
    "struct": (TAG.structure_type, TAG.class_type),
    "class": (TAG.class_type, TAG.structure_type),
    "union": (TAG.union_type,),
    "enum": (TAG.enumeration_type,),
}


class DebugInfo:
    """The variables and types of one image. Without DWARF it knows none. Nothing here raises."""

    def __init__(
        self, image: ElfImage, table: SymbolTable | None = None, sections: DebugSections | None = None
    ) -> None:
        self.sections = sections or DebugSections(image)
        self._table = table if table is not None else SymbolTable(image)
        self._read: dict[int, UnitEntries] = {}
        self._places: dict[tuple[int, int], Located | str] = {}
        self._whole_types: dict[tuple[str, int], Die | None] = {}
        self._left = LOOKUP_LIMIT

    def __bool__(self) -> bool:
        return bool(self.sections["info"])

    @cached_property
    def types(self) -> DwarfTypes:
        """Types by their entries."""
        return DwarfTypes(self._whole)

    # Variables by name

    def find(self, scope: tuple[str, ...], name: str) -> list[Entry]:
        """The variables of this name; with a scope (files, functions, namespaces) those in it."""
        self._left = LOOKUP_LIMIT
        # The unit that defines it holds its address; in a large program a hundred others may declare it.
        entries: list[Entry] = []
        for attempt in (True, False):
            units: Iterable[int] = (
                self._defining([s.value for s in self._table.find(name)])
                if attempt
                else self._naming(scope, name)
            )
            entries = list(self._scoped(units, scope, name))
            if any(isinstance(self.place(entry), Located) for entry in entries):
                break
        return entries

    def statics(self, name: str) -> tuple[str, ...]:
        """`func::v` for each static `v` inside a function, for "did you mean"."""
        self._left = LOOKUP_LIMIT
        found = set()
        for unit in self._units(name):
            for function in self._unit(unit).functions:
                for entry in self._locals(function, name):
                    located = self.place(entry)
                    if isinstance(located, Located) and located.address is not None:
                        found.add("::".join((*entry.scope, entry.name)))
        return tuple(sorted(found))

    def place(self, entry: Entry, thread: Thread | None = None) -> Located | str:
        """Where a variable is, or why it is nowhere; "" for a mere declaration."""
        key = (entry.unit, entry.offset)
        if thread is None and key in self._places:
            return self._places[key]
        found: Located | str
        try:
            die = self._die(entry)
            function = (
                die.unit.die(entry.function) if die is not None and entry.function is not None else None
            )
            found = locate(die, thread, function) if die is not None else ""
        except Unlocated as error:
            found = str(error)
        except BROKEN:
            found = "has broken debug information"
        if thread is None:
            self._places[key] = found
        return found

    def type(self, entry: Entry) -> Type:
        """The type of a variable."""
        try:
            return self.types.of(self._die(entry))
        except BROKEN:
            return UNKNOWN

    def spelled(self, entry: Entry) -> str:
        """`file.c::v`, `file.c::func::v`."""
        unit = self.sections.unit(entry.unit)
        return "::".join((_file(unit).rpartition("/")[2], *(entry.scope if entry.local else ()), entry.name))

    def inlined_everywhere(self, name: str) -> str | None:
        """`file.c:12` where a function is defined that has no code of its own; None where there is none of the name."""
        self._left = LOOKUP_LIMIT
        for unit in self._units(name):
            for entry in self._unit(unit).functions:
                die = self._die(entry) if entry.name == name and not entry.declared else None
                if die is not None and die.number(AT.inline) in (1, 3):
                    return f"{_file(die.unit).rpartition('/')[2]}:{die.number(AT.decl_line) or '?'}"
        return None

    # Variables by address

    def variable_at(self, vaddr: int) -> tuple[str, int] | None:
        """The variable at a file address as a path to its innermost element (`cfg.limits[3]`), and the offset in it."""
        found = self.object_at(vaddr)
        if found is None:
            return None
        text, kind, offset = found
        return descend(text, kind, offset)

    def object_at(self, vaddr: int) -> tuple[str, Type, int] | None:
        """The variable at a file address, its type, and the offset of the address in it."""
        found = self._table.at(vaddr)
        if found is None or found[0].kind != "object":
            return None
        symbol, offset = found
        entry = self.entry_at(symbol.value, re.sub(r"\.\d+$", "", symbol.name))
        if entry is None:
            return None
        text = "::".join((*entry.scope, entry.name)) if entry.local or entry.scope else entry.name
        return text, self.type(entry), offset

    def entry_at(self, vaddr: int, name: str) -> Entry | None:
        """The variable that begins at exactly this file address; `name` is what its symbol says."""
        if not self:
            return None
        self._left = LOOKUP_LIMIT
        for unit in self._defining([vaddr]) or self._units(name):
            for entries in self._unit(unit).variables.values():
                for entry in entries:
                    if self._is_at(entry, vaddr):
                        return entry
            for function in self._unit(unit).functions:
                if not function.declared:
                    for entry in self._locals(function, name):
                        if self._is_at(entry, vaddr):
                            return entry
        return None

    def _is_at(self, entry: Entry, vaddr: int) -> bool:
        located = self.place(entry)
        return isinstance(located, Located) and located.address == vaddr

    # The variables of a frame

    def in_scope(self, vaddr: int) -> list[Entry]:
        """The parameters and variables that can be named at a file address, innermost block first."""
        unit = self.sections.unit_at(vaddr)
        if unit is None:
            return []
        return in_scope(unit, self._unit(unit.offset).functions, vaddr)

    # Types by name

    def type_named(self, words: tuple[str, ...]) -> Type | None:
        """The type that these words name: `struct node`, `config_t`, `ns::Name`."""
        self._left = LOOKUP_LIMIT
        tags = _KEYWORDS.get(words[0]) if len(words) == 2 else None
        if len(words) > 2 or (len(words) == 2 and tags is None):
            return None
        *scope, name = words[-1].split("::")
        declared: Type | None = None
        for unit in self._units(name):
            for entry in self._unit(unit).types.get(name, ()):
                fits = not scope or list(entry.scope[-len(scope) :]) == scope
                if fits and (tags is None or entry.tag in tags) and (die := self._die(entry)) is not None:
                    if not entry.declared:
                        return self.types.type(die)
                    declared = declared or self.types.type(die)
        return declared

    def enumerator(self, scope: tuple[str, ...], name: str) -> tuple[Type, int] | None:
        """The enumeration and the value that a name stands for; a scope is the enumeration's, as in C++."""
        self._left = LOOKUP_LIMIT
        for unit in self._units(name):
            for entries in self._unit(unit).types.values():
                for entry in entries:
                    own = (*entry.scope, entry.name)
                    fits = not scope or scope == entry.scope[-len(scope) :] or scope == own[-len(scope) :]
                    if entry.tag != TAG.enumeration_type or not fits or (die := self._die(entry)) is None:
                        continue
                    kind = self.types.type(die)
                    for each, value in kind.enumerators:
                        if each == name:
                            return kind, value
        return None

    def _whole(self, name: str, tag: int) -> Die | None:
        """The full record of a name that an entry only declares."""
        if (name, tag) not in self._whole_types:
            self._whole_types[name, tag] = None
            self._left = LOOKUP_LIMIT
            for unit in self._units(name):
                for entry in self._unit(unit).types.get(name, ()):
                    if entry.tag == tag and not entry.declared:
                        self._whole_types[name, tag] = self._die(entry)
                        return self._whole_types[name, tag]
        return self._whole_types[name, tag]

    # Units

    def _scoped(self, units: Iterable[int], scope: tuple[str, ...], name: str) -> Iterator[Entry]:
        for unit in units:
            read = self._unit(unit)
            entries = read.variables.get(name, ())
            if not scope:
                yield from entries
                continue
            in_file = self._in_file(unit, scope[0])
            inner = scope[1:] if in_file else scope
            for entry in entries:
                if (in_file and not inner) or (inner and entry.scope[-len(inner) :] == inner):
                    yield entry
            for function in read.functions if inner else ():
                own = (*function.scope, function.name)
                if own[-len(inner) :] == inner:
                    yield from self._locals(function, name)

    def _locals(self, function: Entry, name: str) -> Iterable[Entry]:
        """The variables and parameters of this name anywhere in a function."""
        unit = self.sections.unit(function.unit)
        return locals_named(unit, function, name) if unit is not None else ()

    def _unit(self, offset: int) -> UnitEntries:
        known = self._read.get(offset)
        if known is None:
            unit = self.sections.unit(offset)
            self._left -= self.sections.size_of(offset)
            if unit is None or self._left < 0:
                return UnitEntries()
            known = self._read[offset] = file_level(unit)
        return known

    def _naming(self, scope: tuple[str, ...], name: str) -> Iterable[int]:
        """The units that may name it; an index of names leaves locals out, but has the function they are in."""
        around = self._units(scope[-1]) if scope and self.sections["names"] else ()
        return dict.fromkeys((*self._units(name), *around))

    def _die(self, entry: Entry) -> Die | None:
        unit = self.sections.unit(entry.unit)
        return unit.die(entry.offset) if unit is not None else None

    def _in_file(self, unit: int, wanted: str) -> bool:
        return f"/{_file(self.sections.unit(unit))}".endswith(f"/{wanted.lstrip('/')}")

    def _defining(self, addresses: list[int]) -> list[int]:
        """The units that hold one of these addresses as eight bytes, as DW_OP_addr does."""
        units: dict[int, None] = {}
        for address in addresses[:STRINGS_LIMIT]:
            needle = b"\x03" + struct.pack("<Q", address & (1 << 64) - 1)
            at = self.sections["info"].find(needle)
            if at >= 0 and (unit := self.sections.unit_of(at)) is not None:
                units[unit] = None
        return list(units)

    def _units(self, name: str) -> Iterable[int]:
        """The units that may name it: by .debug_names, by the string itself, or by its offset in .debug_str."""
        told = units_naming(self.sections, name)
        if told is not None:
            return told
        info, strings = self.sections.own("info"), self.sections["str"]
        raw = name.encode("utf-8", "surrogateescape") + b"\0"
        split = self.sections.split.naming(raw)
        own, whole = frozenset(self.sections.own_units), self.sections.split.whole
        first = [whole.get(unit, unit) for unit in self.sections.gdb_index.naming(raw[:-1]) if unit in own]
        offsets = [match.start() for match in re.finditer(re.escape(raw), strings)]
        every = self.sections.own_units
        if len(offsets) > STRINGS_LIMIT or self.sections["str_offsets"]:
            return dict.fromkeys([*first, *every, *split])
        needles = [raw, *(struct.pack("<I", offset) for offset in offsets if offset < 1 << 32)]
        units: dict[int, None] = {}
        for match in re.finditer(b"|".join(re.escape(n) for n in needles), info):
            if (unit := self.sections.unit_of(match.start())) is not None:
                units[unit] = None
        return dict.fromkeys([*first, *units, *split])


def descend(text: str, kind: Type, offset: int) -> tuple[str, int]:
    """The path from an object to its innermost element at an offset, and the offset in that."""
    for _ in range(DEPTH_LIMIT):
        plain = kind.plain
        if plain.kind in RECORDS:
            for member in plain.members:
                if member.size and 0 <= offset - member.offset < member.size:
                    text += f".{member.name}" if member.name else ""
                    kind, offset = member.type, offset - member.offset
                    break
            else:
                break
        elif plain.kind == "array":
            size = plain.element.size
            if not size or (plain.counts[0] is not None and offset // size >= plain.counts[0]):
                break
            text, kind, offset = f"{text}[{offset // size}]", plain.element, offset % size
        else:
            break
    return text, offset


def _file(unit: Unit | None) -> str:
    try:
        return unit.name if unit is not None else ""
    except BROKEN:
        return ""
