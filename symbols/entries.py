"""Named debugging entries of one unit: at file level, in a function, and in scope at an address (DWARF 5 section 3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from symbols.debug_sections import BROKEN
from symbols.dies import Die, Unit
from symbols.dwarf_names import AT, TAG

__all__ = ["Entry", "UnitEntries", "file_level", "in_scope", "locals_named"]

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
class UnitEntries:
    """What a unit says at file level: variables and types by name, and its functions."""

    variables: dict[str, list[Entry]] = field(default_factory=dict)
    types: dict[str, list[Entry]] = field(default_factory=dict)
    functions: list[Entry] = field(default_factory=list)


def file_level(unit: Unit) -> UnitEntries:
    """What a unit says at file level, in its order; of a broken one, what was found before it broke."""
    found = UnitEntries()
    with suppress(*BROKEN):
        _collect(unit, found)
    return found


def locals_named(unit: Unit, function: Entry, name: str) -> Iterator[Entry]:
    """The variables and parameters of this name anywhere in a function of the unit."""
    try:
        die = unit.die(function.offset)
        if die is None or not die.children:
            return
        scope = (*function.scope, function.name)
        for _, each in unit.walk(die.end, _LOCALS):
            if each.name == name:
                yield Entry(name, scope, unit.offset, each.offset, each.tag, function=function.offset)
    except BROKEN:
        return


def in_scope(unit: Unit, functions: Iterable[Entry], vaddr: int) -> list[Entry]:
    """The parameters and variables that can be named at a file address, innermost block first; none if it is broken.

    `functions` are those of the unit.
    """
    try:
        offset = _innermost(unit, functions, vaddr)
        function = unit.die(offset) if offset is not None else None
        if offset is None or function is None:
            return []
        return _visible(function, vaddr, (function.name,), offset)
    except BROKEN:
        return []


def _innermost(unit: Unit, functions: Iterable[Entry], vaddr: int) -> int | None:
    """The function at an address, or the innermost of those inlined there: only its names are in scope, as in the source."""
    for entry in functions:
        die = unit.die(entry.offset)
        if die is not None and any(low <= vaddr < high for low, high in die.ranges()):
            inner = [
                each.offset
                for _, each in unit.walk(die.end, (TAG.inlined_subroutine,), None, _INLINED)
                if any(low <= vaddr < high for low, high in each.ranges())
            ]
            return inner[-1] if inner else entry.offset
    return None


def _visible(around: Die, vaddr: int, scope: tuple[str, ...], function: int) -> list[Entry]:
    unit, found, inner = around.unit, [], []
    for die in unit.children(around, _LOCALS | _BLOCKS):
        if die.tag in _LOCALS:
            if name := die.name:
                found.append(Entry(name, scope, unit.offset, die.offset, die.tag, function=function))
        elif any(low <= vaddr < high for low, high in die.ranges()):
            inner = _visible(die, vaddr, scope, function)
    return inner + found


def _collect(unit: Unit, into: UnitEntries) -> None:
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
        elif AT.specification in die.attributes and (origin := die.reference(AT.specification)) is not None:
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
