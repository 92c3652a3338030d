"""Debugging entries of .debug_info, DWARF 2 to 5, read where they lie (DWARF 5 section 7.5).

A walk steps over what nobody asked for without building anything, so one unit of a large C++ program takes tens of
milliseconds. Every loop moves forward in the section, and what an abbreviation may promise is bounded.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from symbols.abbreviations import (
    BLOCK_SIZES,
    LEB,
    SKIP_BLOCK,
    SKIP_INDIRECT,
    SKIP_LEB,
    SKIP_STRING,
    Abbreviation,
    form_size,
    read_abbreviations,
)
from symbols.address_ranges import address_ranges
from symbols.dwarf_names import AT, FORM
from symbols.line_program import Reader

if TYPE_CHECKING:
    from symbols.debug_sections import DebugSections
    from symbols.split_units import Home

__all__ = ["Die", "Unit"]


_STRINGS = {0x0E: "str", 0x1F: "line_str"}
_INDEXED_STRINGS = (0x1A, 0x25, 0x26, 0x27, 0x28, 0x1F02)
_INDEXED_ADDRESSES = (0x1B, 0x29, 0x2A, 0x2B, 0x2C, 0x1F01)
_LOCAL_REFERENCES = (0x11, 0x12, 0x13, 0x14, 0x15)


class Unit:
    """One unit: its header, and its entries. Raises ValueError (also struct.error, IndexError) where it is broken."""

    def __init__(self, sections: DebugSections, section: str, offset: int) -> None:
        self.sections = sections
        self.home: DebugSections | Home = sections.home(section, offset)
        """Where what its entries refer to is: strings, abbreviations, lists."""
        self.skeleton: Unit | None = sections.skeleton(section, offset)
        """Of a split unit what the program's own file has of it: where its code and its addresses are."""
        self._begin(sections[section], section, offset)

    @classmethod
    def split(cls, home: Home, offset: int) -> Unit:
        """A unit of a .dwo file alone: what refers to its program cannot be read."""
        unit = cls.__new__(cls)
        unit.home, unit.skeleton = home, None
        unit._begin(home["info"], "info", offset)
        return unit

    def _begin(self, data: bytes, section: str, offset: int) -> None:
        self.section = section
        self.data = data
        self.offset = offset
        reader = Reader(self.data, offset)
        length, self.word = reader.number(4), 4
        if length == 0xFFFFFFFF:
            length, self.word = reader.number(8), 8
        self.end = reader.at + length
        if self.end > len(self.data):
            raise ValueError("beyond the end")
        reader.end = self.end
        self.version = reader.number(2)
        if not 2 <= self.version <= 5:
            raise ValueError("an unknown version")
        self.kind = 2 if section == "types" else 1
        self.signature = self.dwo_id = 0
        self.type_offset = 0
        if self.version >= 5:
            self.kind = reader.number(1)
            size = reader.number(1)
            table = reader.number(self.word)
            if self.kind in (2, 6):
                self.signature, self.type_offset = reader.number(8), reader.number(self.word)
            elif self.kind in (4, 5):
                self.dwo_id = reader.number(8)
        else:
            table = reader.number(self.word)
            size = reader.number(1)
            if section == "types":
                self.signature, self.type_offset = reader.number(8), reader.number(self.word)
        if size != 8:
            raise ValueError("addresses that are not of 8 bytes")
        self.first = reader.at
        self._table = table

    @cached_property
    def abbreviations(self) -> dict[int, Abbreviation]:
        key = (self._table, self.word, self.version)
        known = self.home.abbreviations.get(key)
        if known is None:
            known = self.home.abbreviations[key] = read_abbreviations(
                self.home["abbrev"], self._table, self.word, self.version
            )
        return known

    @cached_property
    def top(self) -> Die:
        """The unit's own entry."""
        die = self.die(self.first)
        if die is None:
            raise ValueError("a unit without an entry")
        return die

    @property
    def head(self) -> Die:
        """The entry that says where the unit's code and lines are."""
        return self.skeleton.top if self.skeleton is not None else self.top

    @cached_property
    def name(self) -> str:
        """The source file, as the compiler was given it."""
        return self.top.text(AT.name)

    def base(self, attribute: int, default: int) -> int:
        """Where this unit's part of an index section begins."""
        of_program = attribute in (AT.addr_base, AT.GNU_addr_base, AT.GNU_ranges_base)
        found = (self.head if of_program else self.top).attributes.get(attribute)
        return found[1] if found is not None and isinstance(found[1], int) else default

    def die(self, offset: int) -> Die | None:
        """The entry at an offset of the section; None for the mark that ends a list of children."""
        if not self.first <= offset < self.end:
            raise ValueError("a reference out of its unit")
        reader = Reader(self.data, offset, self.end)
        code = reader.uleb()
        if not code:
            return None
        abbreviation = self.abbreviations.get(code)
        if abbreviation is None:
            raise ValueError("an unknown abbreviation")
        attributes: dict[int, tuple[int, Any]] = {}
        for attribute, form, constant in abbreviation.specs:
            if form == 0x16:
                form = reader.uleb()
            attributes[attribute] = (form, constant if form == 0x21 else self._value(reader, form))
        return Die(self, offset, abbreviation.tag, abbreviation.children, reader.at, attributes)

    def _value(self, reader: Reader, form: int) -> Any:
        size = form_size(form, self.word, self.version)
        if size is not None:
            return True if form == 0x19 else reader.number(size)
        if form in LEB:
            return reader.sleb() if form == FORM.sdata else reader.uleb()
        if form == FORM.string:
            return reader.string()
        if form in (0x09, 0x18, *BLOCK_SIZES):
            count = reader.number(BLOCK_SIZES[form]) if form in BLOCK_SIZES else reader.uleb()
            at = reader.at
            reader.skip(count)
            return reader.data[at : reader.at]
        raise ValueError("an unknown form")

    def walk(
        self,
        start: int,
        want: Container[int],
        into: Container[int] | None = None,
        having: Mapping[int, frozenset[int]] | None = None,
    ) -> Iterator[tuple[int, Die]]:
        """(depth, entry) for entries with a tag in `want`, from the first child at `start` to the end of that list.

        Depth 0 is that list itself. Only entries with a tag in `into` are entered; None: all of them. `having`
        gives for a tag the attributes of which an entry must have one to count.
        """
        data, end, depth, at = self.data, self.end, 0, start
        abbreviations = self.abbreviations
        while at < end:
            begin = at
            code = data[at]
            at += 1
            if code >= 0x80:
                reader = Reader(data, begin, end)
                code, at = reader.uleb(), reader.at
            if not code:
                depth -= 1
                if depth < 0:
                    return
                continue
            entry = abbreviations.get(code)
            if entry is None:
                raise ValueError("an unknown abbreviation")
            shown = depth
            if entry.tag in want and (
                having is None
                or entry.tag not in having
                or not having[entry.tag].isdisjoint(entry.attributes)
            ):
                die = self.die(begin)
                assert die is not None
                at = die.end
                sibling = die.sibling
            else:
                die, sibling = None, 0
                if entry.sibling and entry.children and into is not None and entry.tag not in into:
                    other = self.die(begin)
                    assert other is not None
                    at, sibling = other.end, other.sibling
                else:
                    at = self._past(entry, at)
            if entry.children:
                if into is None or entry.tag in into:
                    depth += 1
                elif sibling > at:  # forward only: a broken file points back
                    at = sibling
                else:
                    at = self._past_children(at)
            if die is not None:
                yield shown, die

    def children(self, die: Die, want: Container[int]) -> Iterator[Die]:
        """The direct children of an entry with a tag in `want`."""
        if die.children:
            for _, child in self.walk(die.end, want, ()):
                yield child

    def _past(self, entry: Abbreviation, at: int) -> int:
        data = self.data
        for step in entry.skip:
            if step >= 0:
                at += step
            elif step == SKIP_LEB:
                while data[at] & 0x80:
                    at += 1
                at += 1
            elif step == SKIP_STRING:
                at = data.index(b"\0", at) + 1
            else:
                reader = Reader(data, at, self.end)
                form = reader.uleb() if step == SKIP_INDIRECT else 0
                if form:
                    self._value(reader, form)
                elif step == SKIP_BLOCK:
                    reader.skip(reader.uleb())
                else:
                    reader.skip(reader.number(-10 - step))
                at = reader.at
        return at

    def _past_children(self, at: int) -> int:
        data, end, depth = self.data, self.end, 1
        abbreviations = self.abbreviations
        while depth and at < end:
            reader = Reader(data, at, end)
            code = reader.uleb()
            at = reader.at
            if not code:
                depth -= 1
                continue
            entry = abbreviations[code]
            if entry.sibling and entry.children:
                die = self.die(at - 1) if code < 0x80 else None
                if die is not None and die.sibling > die.end:
                    at = die.sibling
                    continue
            at = self._past(entry, at)
            depth += entry.children
        return at


class Die:
    """One entry. `attributes` are (form, value as it is written) by attribute; `end` is where its children begin."""

    __slots__ = ("attributes", "children", "end", "offset", "tag", "unit")

    def __init__(
        self,
        unit: Unit,
        offset: int,
        tag: int,
        children: bool,
        end: int,
        attributes: dict[int, tuple[int, Any]],
    ) -> None:
        self.unit = unit
        self.offset = offset
        self.tag = tag
        self.children = children
        self.end = end
        self.attributes = attributes

    @property
    def sibling(self) -> int:
        """Offset of the next entry behind this one's children, 0 where it does not say."""
        found = self.attributes.get(AT.sibling)
        if found is None or not isinstance(found[1], int):
            return 0
        return found[1] + (self.unit.offset if found[0] in _LOCAL_REFERENCES else 0)

    def raw(self, attribute: int) -> bytes:
        """A text as bytes, b"" where there is none."""
        form, value = self.attributes.get(attribute, (0, None))
        if form == FORM.string:
            return bytes(value)
        unit = self.unit
        if form in _INDEXED_STRINGS:
            base = unit.base(AT.str_offsets_base, 2 * unit.word if unit.version >= 5 else 0)
            value = Reader(unit.home["str_offsets"], base + value * unit.word).number(unit.word)
            form = 0x0E
        if form in _STRINGS:
            return Reader(unit.home[_STRINGS[form]], value).string()
        if form in (0x1D, 0x1F21) and unit.home.supplement is not None:
            return Reader(unit.home.supplement["str"], value).string()
        return b""

    def text(self, attribute: int) -> str:
        """A text, "" where there is none."""
        return self.raw(attribute).decode("utf-8", "surrogateescape")

    def number(self, attribute: int) -> int | None:
        """A constant; None where there is none, or it is not a number."""
        form, value = self.attributes.get(attribute, (0, None))
        if not isinstance(value, int) or form in _INDEXED_STRINGS or form in _INDEXED_ADDRESSES:
            return None
        return int(value)

    def block(self, attribute: int) -> bytes | None:
        """A block or an expression; None where there is none."""
        _, value = self.attributes.get(attribute, (0, None))
        return value if isinstance(value, bytes) else None

    def address(self, attribute: int) -> int | None:
        """An address of the file, None where there is none."""
        form, value = self.attributes.get(attribute, (0, None))
        if form == FORM.addr:
            return int(value)
        return self.unit.sections.address(self.unit, value) if form in _INDEXED_ADDRESSES else None

    def reference(self, attribute: int) -> Die | None:
        """The entry that an attribute refers to, None where there is none."""
        found = self.attributes.get(attribute)
        if found is None:
            return None
        form, value = found
        unit = self.unit
        if form in _LOCAL_REFERENCES:
            return unit.die(unit.offset + value)
        if form == FORM.ref_addr:
            return unit.sections.die(value) if unit.skeleton is None else None
        if form == 0x20:
            return unit.sections.signed_type(value)
        if form in (0x1C, 0x24, 0x1F20) and unit.home.supplement is not None:
            return unit.home.supplement.die(value)
        return None

    def origin(self) -> Die | None:
        """The declaration or abstract instance that completes this entry."""
        return self.reference(AT.specification if AT.specification in self.attributes else AT.abstract_origin)

    def find(self, attribute: int) -> Die:
        """This entry, or the first one it originates in, that has an attribute; this one where none has."""
        die: Die | None = self
        for _ in range(4):
            if die is None or attribute in die.attributes:
                return die or self
            die = die.origin()
        return self

    def ranges(self) -> list[tuple[int, int]]:
        """(start, end) of the code of an entry, file addresses; what the linker dropped is left out."""
        low = self.address(AT.low_pc)
        if low is not None and AT.high_pc in self.attributes:
            form, value = self.attributes[AT.high_pc]
            high = self.address(AT.high_pc)
            high = high if high is not None else low + int(value)
            return [(low, high)] if low and high > low else []
        if AT.ranges not in self.attributes:
            return []
        form, value = self.attributes[AT.ranges]
        base = self.unit.head.address(AT.low_pc) or 0
        return address_ranges(self.unit, form, value, base)

    @property
    def name(self) -> str:
        """The name, its own or of what it originates in."""
        return self.find(AT.name).text(AT.name)

    @property
    def linkage_name(self) -> str:
        """The mangled name where there is one, else the name."""
        for attribute in (AT.linkage_name, AT.MIPS_linkage_name):
            if text := self.find(attribute).text(attribute):
                return text
        return self.name
