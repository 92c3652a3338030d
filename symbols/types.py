"""C types as DWARF describes them: sizes, names, members, elements (DWARF 5 chapter 5).

Every walk is bounded, since a broken file can make types that contain themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from symbols.debug_sections import DebugSections
from symbols.line_program import Reader

__all__ = ["Budget", "Member", "Rows", "Types", "text_of"]

CHAIN_LIMIT = 32
POINTERS = ("DW_TAG_pointer_type", "DW_TAG_reference_type", "DW_TAG_rvalue_reference_type")
RECORDS = ("DW_TAG_structure_type", "DW_TAG_union_type", "DW_TAG_class_type")
_QUALIFIERS = {
    "DW_TAG_const_type": "const ",
    "DW_TAG_volatile_type": "volatile ",
    "DW_TAG_restrict_type": "",
    "DW_TAG_atomic_type": "_Atomic ",
    "DW_TAG_typedef": "",
}
_KEYWORDS = {
    "DW_TAG_structure_type": "struct ",
    "DW_TAG_union_type": "union ",
    "DW_TAG_enumeration_type": "enum ",
    "DW_TAG_class_type": "class ",
}


class Budget:
    """How much may still be read. Raises ValueError when it is used up."""

    def __init__(self, left: int) -> None:
        self.left = left

    @classmethod
    def of(cls, unit: Any) -> Budget:
        """Attributes that a unit of this size can honestly hold: few take no byte at all."""
        return cls(2 * unit.size + 1000)

    def spend(self, cost: int) -> None:
        self.left -= cost
        if self.left < 0:
            raise ValueError("too much debug information")


@dataclass(frozen=True, slots=True)
class Member:
    """One member: `offset` and `size` in bytes from its record; a bit-field is the bytes that hold it."""

    name: str
    offset: int
    size: int | None
    type: Any


@dataclass(frozen=True, slots=True)
class Rows:
    """What is left of an array of several dimensions when the first was indexed; stands in for an entry."""

    array: Any
    counts: list[int | None]
    tag: str = "DW_TAG_array_type"
    attributes: dict[str, Any] = field(default_factory=dict)


def text_of(die: Any, attribute: str = "DW_AT_name") -> str:
    """A text attribute of an entry, "" where it has none."""
    found = die.attributes.get(attribute)
    value = found.value if found is not None else b""
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else ""


class Types:
    """Type entries of one image. Methods raise what pyelftools makes of broken input, or ValueError."""

    def __init__(self, sections: DebugSections) -> None:
        self._sections = sections

    def reference(self, die: Any, attribute: str) -> Any:
        """The entry that an attribute refers to, None where there is none."""
        found = die.attributes.get(attribute)
        if found is None:
            return None
        if found.form == "DW_FORM_ref_addr":
            unit = self._sections.unit_of(found.raw_value)
            return None if unit is None else self._sections.entry(self._sections.unit(unit), found.raw_value)
        if found.form in (
            "DW_FORM_ref1",
            "DW_FORM_ref2",
            "DW_FORM_ref4",
            "DW_FORM_ref8",
            "DW_FORM_ref_udata",
        ):
            return self._sections.entry(die.cu, die.cu.cu_offset + found.raw_value)
        return die.get_DIE_from_attribute(attribute)

    def subtree(
        self, die: Any, budget: Budget, into: tuple[str, ...] | None = None
    ) -> Iterator[tuple[int, Any]]:
        """(depth, entry) below an entry, in file order; depth 0 is a child. `into`: only enter entries of these tags."""
        if not die.has_children:
            return
        cu, depth = die.cu, 0
        offset = die.offset + die.size
        end = cu.cu_offset + cu.size
        while offset < end:
            child = self._sections.entry(cu, offset)
            offset += child.size
            if child.tag is None:
                budget.spend(1)
                depth -= 1
                if depth < 0:
                    return
                continue
            budget.spend(1 + len(cu.get_abbrev_table().get_abbrev(child.abbrev_code)["attr_spec"]))
            wanted = into is None or child.tag in into
            shown = depth
            if child.has_children:
                sibling = child.attributes.get("DW_AT_sibling")
                target = cu.cu_offset + sibling.raw_value if sibling is not None else 0
                if not wanted and target > offset:  # forward only: a broken file points back
                    offset = target
                elif wanted:
                    depth += 1
                else:
                    offset = self._past(child, budget, end)
            yield shown, child

    def _past(self, die: Any, budget: Budget, end: int) -> int:
        offset, depth = int(die.offset + die.size), 1
        while depth and offset < end:
            child = self._sections.entry(die.cu, offset)
            offset += child.size
            budget.spend(
                1
                + (
                    len(child.cu.get_abbrev_table().get_abbrev(child.abbrev_code)["attr_spec"])
                    if child.tag
                    else 0
                )
            )
            depth += -1 if child.tag is None else 1 if child.has_children else 0
        return offset

    def stripped(self, die: Any) -> Any:
        """A type without typedefs and qualifiers; None for void."""
        for _ in range(CHAIN_LIMIT):
            if die is None or die.tag not in _QUALIFIERS:
                return die
            die = self.reference(die, "DW_AT_type")
        raise ValueError("a type that contains itself")

    def of(self, die: Any) -> Any:
        """The type that an entry refers to; None for void."""
        if isinstance(die, Rows):
            die = die.array
        return self.reference(die, "DW_AT_type")

    def size(self, die: Any, depth: int = 0) -> int | None:
        """Bytes, None where the type does not say."""
        die = self.stripped(die)
        if die is None or depth > CHAIN_LIMIT:
            return None
        size = die.attributes.get("DW_AT_byte_size")
        if size is not None:
            return int(size.value) if isinstance(size.value, int) else None
        if die.tag in POINTERS:
            return 8
        if die.tag == "DW_TAG_array_type":
            element = self.size(self.of(die), depth + 1)
            for count in self.counts(die):
                element = None if element is None or count is None else element * count
            return element
        return self.size(self.of(die), depth + 1) if "DW_AT_type" in die.attributes else None

    def counts(self, array: Any) -> list[int | None]:
        """Elements in each dimension of an array, None where it does not say."""
        if isinstance(array, Rows):
            return array.counts
        counts: list[int | None] = []
        for depth, child in self.subtree(array, Budget(1000), into=()):
            if depth == 0 and child.tag == "DW_TAG_subrange_type":
                count = child.attributes.get("DW_AT_count")
                upper = child.attributes.get("DW_AT_upper_bound")
                if count is not None and isinstance(count.value, int):
                    counts.append(count.value)
                elif upper is not None and isinstance(upper.value, int):
                    counts.append(upper.value + 1 if upper.value + 1 < 1 << 32 else 0)
                else:
                    counts.append(None)
        return counts or [None]

    def name(self, die: Any, depth: int = 0) -> str:
        """A type as C writes it, arrays with their dimensions."""
        if die is None:
            return "void"
        if depth > CHAIN_LIMIT:
            return "..."
        own = text_of(die)
        if die.tag in _KEYWORDS:
            return _KEYWORDS[die.tag] + (own or "{...}")
        if own:
            return own
        inner = self.of(die)
        if die.tag == "DW_TAG_array_type":
            counts = "".join(f"[{'' if count is None else count}]" for count in self.counts(die))
            return f"{self.name(inner, depth + 1)}{counts}"
        if die.tag in POINTERS:
            text = self.name(inner, depth + 1)
            return f"{text}{'' if text.endswith('*') else ' '}{'*' if die.tag == POINTERS[0] else '&'}"
        if die.tag == "DW_TAG_subroutine_type":
            return f"{self.name(inner, depth + 1)} ()"
        qualifier, text = _QUALIFIERS.get(die.tag, ""), self.name(inner, depth + 1)
        return text + qualifier.strip() if text.endswith("*") else qualifier + text

    def members(self, record: Any) -> Iterator[Member]:
        """The members of a struct, union or class, anonymous and inherited ones with an empty name."""
        for depth, child in self.subtree(record, Budget(200_000), into=()):
            if (
                depth
                or child.tag not in ("DW_TAG_member", "DW_TAG_inheritance")
                or "DW_AT_external" in child.attributes
            ):
                continue
            kind = self.of(child)
            name = text_of(child) if child.tag == "DW_TAG_member" else ""
            offset = _member_offset(child)
            bits = child.attributes.get("DW_AT_bit_size")
            start = child.attributes.get("DW_AT_data_bit_offset")
            size = self.size(kind)
            if bits is not None and start is not None:
                offset, size = start.value // 8, (start.value % 8 + bits.value + 7) // 8
            if 0 <= offset < 1 << 47:
                yield Member(name, offset, size, kind)

    def member(self, record: Any, name: str, depth: int = 0) -> tuple[int, int | None, Any] | None:
        """(offset, size, type) of a member by name, also of one in an anonymous member."""
        for member in self.members(record) if depth < CHAIN_LIMIT else ():
            if member.name == name:
                return member.offset, member.size, member.type
            inner = self.stripped(member.type) if not member.name else None
            if inner is not None and inner.tag in RECORDS and (found := self.member(inner, name, depth + 1)):
                return member.offset + found[0], found[1], found[2]
        return None

    def member_names(self, record: Any, depth: int = 0) -> Iterator[str]:
        """The names of all members, those in anonymous members too."""
        for member in self.members(record) if depth < CHAIN_LIMIT else ():
            inner = self.stripped(member.type) if not member.name else None
            if member.name:
                yield member.name
            elif inner is not None and inner.tag in RECORDS:
                yield from self.member_names(inner, depth + 1)

    def complete(self, record: Any, named: Any) -> Any:
        """The whole record where this entry only declares it; `named` finds entries by name."""
        if record is None or "DW_AT_declaration" not in record.attributes or not text_of(record):
            return record
        return named(text_of(record), record.tag) or record


def _member_offset(child: Any) -> int:
    place = child.attributes.get("DW_AT_data_member_location")
    if place is None:
        return 0
    if isinstance(place.value, int):
        return int(place.value)
    block = bytes(place.value)
    return Reader(block, 1).uleb() if block[:1] == b"\x23" else 0  # DW_OP_plus_uconst
