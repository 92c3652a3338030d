"""Types out of DWARF (DWARF 5 chapter 5). Each entry becomes one `Type`, kept; what is broken becomes "unknown"."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from symbols.ctype import UNKNOWN, VOID, Kind, Member, Type, Variants
from symbols.debug_sections import BROKEN
from symbols.dies import Die
from symbols.dwarf_names import AT, TAG
from symbols.line_program import Reader

__all__ = ["DwarfTypes"]

TYPES_LIMIT = 1 << 18
MEMBERS_LIMIT = 1 << 16
SPACE: Final = 1 << 47
_KINDS: Final[dict[int, Kind]] = {
    TAG.array_type: "array",
    TAG.class_type: "class",
    TAG.enumeration_type: "enum",
    TAG.pointer_type: "pointer",
    TAG.ptr_to_member_type: "pointer",
    TAG.reference_type: "reference",
    TAG.rvalue_reference_type: "reference",
    TAG.structure_type: "struct",
    TAG.subroutine_type: "function",
    TAG.subprogram: "function",
    TAG.typedef: "typedef",
    TAG.template_alias: "typedef",
    TAG.union_type: "union",
    TAG.base_type: "int",
    TAG.const_type: "const",
    TAG.immutable_type: "const",
    TAG.volatile_type: "volatile",
    TAG.restrict_type: "restrict",
    TAG.atomic_type: "atomic",
    TAG.subrange_type: "typedef",
    TAG.unspecified_type: "void",
}
_FLOAT, _BOOL, _CHARS = (3, 4), 2, (6, 8, 0x10)
_SIGNED = (5, 6, 13)
_BASES = (TAG.inheritance,)


class DwarfTypes:
    """The types of one image. `whole` finds the full record of a name and tag that an entry only declares."""

    def __init__(self, whole: Callable[[str, int], Die | None]) -> None:
        self._whole = whole
        self._known: dict[tuple[int, str, int], Type] = {}

    def of(self, die: Die | None) -> Type:
        """The type that an entry refers to; void where it refers to none."""
        try:
            entry = die.find(AT.type).reference(AT.type) if die is not None else None
        except BROKEN:
            return UNKNOWN
        return self.type(entry) if entry is not None else VOID

    def type(self, die: Die) -> Type:
        """The type that an entry describes."""
        key = (id(die.unit.sections), die.unit.section, die.offset)
        known = self._known.get(key)
        if known is None:
            try:
                known = self._make(die)
            except BROKEN:
                known = UNKNOWN
            if len(self._known) < TYPES_LIMIT:
                self._known[key] = known
        return known

    def _make(self, die: Die) -> Type:
        kind = _KINDS.get(die.tag)
        if kind is None:
            return UNKNOWN
        name = die.text(AT.name)
        size = die.number(AT.byte_size)
        if size is not None and not 0 <= size < SPACE:
            size = None
        if die.tag == TAG.base_type:
            encoding = die.number(AT.encoding) or 0
            if encoding in _FLOAT:
                kind = "float"
            elif encoding == _BOOL:
                kind = "bool"
            elif encoding in _CHARS:
                kind = "char"
            return Type(kind, name, size, encoding in _SIGNED)
        if kind == "void":
            return Type("typedef" if name else "void", name, refers=lambda: VOID)
        signed = False
        if kind == "enum":
            signed = any(value < 0 for _, value in _enumerators(die))
        return Type(
            kind,
            name,
            8 if die.tag == TAG.ptr_to_member_type else size,
            signed,
            tuple(self._counts(die)) if kind == "array" else (),
            AT.declaration in die.attributes,
            refers=lambda: self.of(die),
            holds=lambda: _safely(lambda: tuple(self._members(die))),
            lists=lambda: _safely(lambda: tuple(_enumerators(die))),
            chooses=(lambda: self._variants(die)) if kind == "struct" else None,
            completed=lambda: self._complete(die),
        )

    def _complete(self, die: Die) -> Type | None:
        name = die.text(AT.name)
        found = self._whole(name, die.tag) if name else None
        return self.type(found) if found is not None else None

    @staticmethod
    def _counts(array: Die) -> Iterator[int | None]:
        dimensions = 0
        for child in array.unit.children(array, (TAG.subrange_type,)):
            dimensions += 1
            if dimensions > 64:
                return
            count, upper = child.number(AT.count), child.number(AT.upper_bound)
            if count is None and upper is not None:
                count = upper + 1 if upper + 1 < 1 << 32 else 0
            yield count if count is not None and 0 <= count < SPACE else None
        if not dimensions:
            yield None

    def _members(self, record: Die) -> Iterator[Member]:
        seen = 0
        for child in record.unit.children(record, (TAG.member, TAG.inheritance)):
            if AT.external in child.attributes or AT.declaration in child.attributes:
                continue  # a static member of a class: it has an address of its own
            seen += 1
            if seen > MEMBERS_LIMIT:
                return
            member = self._member(child)
            if 0 <= member.offset < SPACE:
                yield member

    def _member(self, child: Die) -> Member:
        kind = self.of(child)
        name = child.text(AT.name) if child.tag == TAG.member else ""
        place = child.number(AT.data_member_location)
        block = child.block(AT.data_member_location)
        if place is None:
            place = Reader(block, 1).uleb() if block and block[:1] == b"\x23" else 0  # DW_OP_plus_uconst
        width = child.number(AT.bit_size)
        bits = None
        if width is not None and 0 < width <= 1 << 16:
            start = child.number(AT.data_bit_offset)
            if start is not None:
                start += place * 8
            else:  # DWARF 2 and 3 count from the most significant bit of the storage unit
                storage = child.number(AT.byte_size) or kind.size or 0
                start = place * 8 + storage * 8 - (child.number(AT.bit_offset) or 0) - width
            if start >= 0:
                bits, place = (start, width), start // 8
        return Member(name, place, kind, bits, child.tag in _BASES)

    def _variants(self, record: Die) -> Variants | None:
        try:
            for part in record.unit.children(record, (TAG.variant_part,)):
                tag = part.reference(AT.discr)
                cases: list[tuple[tuple[int, ...] | None, Member]] = []
                for variant in part.unit.children(part, (TAG.variant,)):
                    value = variant.number(AT.discr_value)
                    for member in variant.unit.children(variant, (TAG.member,)):
                        cases.append((None if value is None else (value,), self._member(member)))
                        if len(cases) > MEMBERS_LIMIT:
                            return None
                return Variants(self._member(tag) if tag is not None else None, tuple(cases))
        except BROKEN:
            pass
        return None


def _enumerators(die: Die) -> Iterator[tuple[str, int]]:
    for count, child in enumerate(die.unit.children(die, (TAG.enumerator,))):
        value = child.number(AT.const_value)
        if value is not None:
            form = child.attributes[AT.const_value][0]
            size = {0x0B: 1, 0x05: 2, 0x06: 4, 0x07: 8}.get(form)
            if size is not None and value >> 8 * size - 1 and size == (die.number(AT.byte_size) or 4):
                encoding = die.number(AT.encoding)
                if encoding in _SIGNED:
                    value -= 1 << 8 * size
            yield child.text(AT.name), value
        if count > MEMBERS_LIMIT:
            return


def _safely(make: Callable[[], tuple]) -> tuple:  # type: ignore[type-arg]
    """What an entry holds; nothing where it is broken."""
    try:
        return make()
    except BROKEN:
        return ()
