"""Variables and types of one image by name, and variables by address, from DWARF 2 to 5.

A name leads to the few compile units whose entries mention it (by its string, or by its offset in .debug_str), so a
lookup in a large program walks a few units and not all. Broken debug information has no variables.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from symbols.ctype import RECORDS, UNKNOWN, Type
from symbols.debug_sections import BROKEN, DebugSections
from symbols.dies import Die, Unit
from symbols.dwarf_names import AT, TAG
from symbols.dwarf_types import DwarfTypes
from symbols.elf import ElfImage
from symbols.location import Located, Thread, Unlocated, locate
from symbols.name_table import units_naming
from symbols.table import SymbolTable

__all__ = ["DebugInfo", "Entry"]

STRINGS_LIMIT: Final = 256
DEPTH_LIMIT: Final = 32
LOOKUP_LIMIT: Final = 1 << 25  # bytes of units that one lookup may read
ENTRIES_LIMIT: Final = 1 << 20
_TYPES: Final = frozenset(
    (
        TAG.structure_type,
        TAG.union_type,
        TAG.class_type,
        TAG.enumeration_type,
        TAG.typedef,
        TAG.base_type,
        TAG.template_alias,
    )
)
_KEYWORDS: Final = {
    "struct": (TAG.structure_type, TAG.class_type),
    "class": (TAG.class_type, TAG.structure_type),
    "union": (TAG.union_type,),
    "enum": (TAG.enumeration_type,),
}
_WANT: Final = _TYPES | {TAG.variable, TAG.member, TAG.namespace, TAG.module, TAG.subprogram}
_RECORDS: Final = frozenset((TAG.structure_type, TAG.union_type, TAG.class_type))
_INTO: Final = _RECORDS | {TAG.namespace, TAG.module}
_STATIC: Final = {
    TAG.member: frozenset((AT.external,)),
    TAG.subprogram: frozenset((AT.name, AT.low_pc, AT.ranges)),
}
_INLINED: Final = {TAG.inlined_subroutine: frozenset((AT.low_pc, AT.ranges))}
_LOCALS: Final = frozenset((TAG.variable, TAG.formal_parameter))
_BLOCKS: Final = frozenset((TAG.lexical_block,))


@dataclass(frozen=True, slots=True)
class Entry:
    """A named entry: the functions and namespaces around it, and where it lies. `function` is the one it is local to."""

    name: str
    scope: tuple[str, ...]
    unit: int
    offset: int
    tag: int
    external: bool = False
    declared: bool = False
    function: int | None = None

    @property
    def local(self) -> bool:
        return self.function is not None


@dataclass(slots=True)
class _Unit:
    """What a unit says at file level, by name."""

    variables: dict[str, list[Entry]] = field(default_factory=dict)
    types: dict[str, list[Entry]] = field(default_factory=dict)
    functions: list[Entry] = field(default_factory=list)


class DebugInfo:
    """The variables and types of one image. Without DWARF it knows none. Nothing here raises."""

    def __init__(
        self, image: ElfImage, table: SymbolTable | None = None, sections: DebugSections | None = None
    ) -> None:
        self.sections = sections or DebugSections(image)
        self._table = table if table is not None else SymbolTable(image)
        self._read: dict[int, _Unit] = {}
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
        found: list[Entry] = []
        try:
            for offset in self._functions_at(unit, vaddr):
                function = unit.die(offset)
                assert function is not None
                found = self._visible(function, vaddr, (function.name,), offset) + found
        except BROKEN:
            return []
        return found

    def _functions_at(self, unit: Unit, vaddr: int) -> list[int]:
        for entry in self._unit(unit.offset).functions:
            die = unit.die(entry.offset)
            if die is not None and any(low <= vaddr < high for low, high in die.ranges()):
                inner = [
                    each.offset
                    for _, each in unit.walk(die.end, (TAG.inlined_subroutine,), None, _INLINED)
                    if any(low <= vaddr < high for low, high in each.ranges())
                ]
                # Only the innermost frame's names are in scope, as in the source.
                return [inner[-1] if inner else entry.offset]
        return []

    def _visible(self, around: Die, vaddr: int, scope: tuple[str, ...], function: int) -> list[Entry]:
        unit, found, inner = around.unit, [], []
        for die in unit.children(around, _LOCALS | _BLOCKS):
            if die.tag in _LOCALS:
                if name := die.name:
                    found.append(Entry(name, scope, unit.offset, die.offset, die.tag, function=function))
            elif any(low <= vaddr < high for low, high in die.ranges()):
                inner = self._visible(die, vaddr, scope, function)
        return inner + found

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

    def _locals(self, function: Entry, name: str) -> Iterator[Entry]:
        """The variables and parameters of this name anywhere in a function."""
        unit = self.sections.unit(function.unit)
        try:
            die = unit.die(function.offset) if unit is not None else None
            if unit is None or die is None or not die.children:
                return
            scope = (*function.scope, function.name)
            for _, each in unit.walk(die.end, _LOCALS):
                if each.name == name:
                    yield Entry(name, scope, unit.offset, each.offset, each.tag, function=function.offset)
        except BROKEN:
            return

    def _unit(self, offset: int) -> _Unit:
        known = self._read.get(offset)
        if known is None:
            known = _Unit()
            unit = self.sections.unit(offset)
            self._left -= self.sections.size_of(offset)
            if unit is None or self._left < 0:
                return known
            self._read[offset] = known
            with suppress(*BROKEN):  # what was found before it stays
                self._collect(unit, known)
        return known

    def _collect(self, unit: Unit, into: _Unit) -> None:
        around: list[tuple[int, str]] = []
        declared: dict[int, tuple[str, ...]] = {}  # the scopes of what is defined elsewhere in the unit
        seen = 0
        for depth, die in unit.walk(unit.top.end, _WANT, _INTO, _STATIC):
            seen += 1
            if seen > ENTRIES_LIMIT:
                return
            while around and around[-1][0] >= depth:
                around.pop()
            name = die.name
            scope = tuple(text for _, text in around if text)
            if die.tag in _INTO:
                around.append((depth, name))
            if die.tag == TAG.enumeration_type and not name:
                name = "{...}"  # its enumerators have names all the same
            if not name or die.tag in (TAG.namespace, TAG.module):
                continue
            if AT.declaration in die.attributes or die.tag == TAG.member:
                declared[die.offset] = scope
            elif (
                AT.specification in die.attributes and (origin := die.reference(AT.specification)) is not None
            ):
                scope = declared.get(origin.offset, scope)
            entry = Entry(
                name,
                scope,
                unit.offset,
                die.offset,
                die.tag,
                AT.external in die.find(AT.external).attributes,
                AT.declaration in die.attributes,
            )
            if die.tag == TAG.subprogram:
                into.functions.append(entry)
            else:
                names = into.types if die.tag in _TYPES else into.variables
                names.setdefault(name, []).append(entry)

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
