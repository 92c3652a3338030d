"""Variables of one image by C expression, and expressions by address, from DWARF 4 and 5.

A name leads to the few compile units whose entries mention it (by its string, or by its offset in .debug_str), so a
lookup in a large program walks a few units and not all. Broken debug information has no variables.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from symbols.debug_sections import DebugSections
from symbols.elf import ElfImage
from symbols.expression import ExpressionError, Path, Step, Target, parse, spell
from symbols.line_program import Reader
from symbols.table import SymbolTable
from symbols.types import POINTERS, RECORDS, Budget, Rows, Types, text_of

__all__ = ["DebugInfo", "ExpressionError", "Target"]

Read = Callable[[int, int], bytes]
_INTO = (
    "DW_TAG_subprogram",
    "DW_TAG_namespace",
    "DW_TAG_lexical_block",
    "DW_TAG_inlined_subroutine",
    "DW_TAG_module",
)
_SCOPES = ("DW_TAG_subprogram", "DW_TAG_namespace")
STRINGS_LIMIT = 256
DEPTH_LIMIT = 32
LOOKUP_LIMIT = 1 << 23  # bytes of units that one lookup may read
ADDRESS_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class _Entry:
    """A named variable or parameter of a unit: the functions and namespaces around it, and where its entry lies."""

    name: str
    scope: tuple[str, ...]
    local: bool
    external: bool
    unit: int
    offset: int


class DebugInfo:
    """The variables of one image. Without DWARF it knows none."""

    def __init__(
        self, image: ElfImage, table: SymbolTable | None = None, sections: DebugSections | None = None
    ) -> None:
        self._sections = sections or DebugSections(image)
        self._table = table if table is not None else SymbolTable(image)
        self._types = Types(self._sections)
        self._walked: dict[int, list[_Entry]] = {}
        self._files: dict[int, str] = {}
        self._budget = Budget(LOOKUP_LIMIT)

    def __bool__(self) -> bool:
        return bool(self._sections["info"])

    def variable(self, expr: str | Path, read: Read | None = None, bias: int = 0) -> Target | None:
        """Address, size and type of a C path; None where no variable of this name is known.

        Addresses are those of the file plus `bias`; pointers are followed with `read(address, size)`. Raises
        ExpressionError where the name is ambiguous, or the path leads nowhere.
        """
        path = parse(expr) if isinstance(expr, str) else expr
        if not isinstance(path, Path):
            return None
        entries = self._find(path.scope, path.name)
        if not entries:
            return None
        entry, place, kind = self._choose(path, entries)
        try:
            return self._follow(path, (place + bias) & ADDRESS_MASK, kind, read)
        except ExpressionError:
            raise
        except Exception:  # broken DWARF: pyelftools raises what it meets
            raise ExpressionError(f"the debug information of {entry.name} is broken") from None

    def variable_at(self, vaddr: int) -> tuple[str, int] | None:
        """The variable at a file address as a path to its innermost element (`cfg.limits[3]`), and the offset in it."""
        found = self._table.at(vaddr)
        if found is None or found[0].kind != "object":
            return None
        symbol, offset = found
        name = re.sub(r"\.\d+$", "", symbol.name)
        units = self._defining([symbol.value]) or self._units(name)
        for entry in [e for unit in units for e in self._walk(unit) if e.name == name]:
            place, kind = self._place(entry)
            if place == symbol.value:
                text = "::".join((*entry.scope, name)) if entry.local else name
                try:
                    return self._descend(text, kind, offset)
                except Exception:  # broken DWARF: the name alone is still right
                    return text, offset
        return None

    def statics(self, name: str) -> tuple[str, ...]:
        """`func::v` for each static `v` inside a function, for "did you mean"."""
        entries = [e for unit in self._units(name) for e in self._walk(unit) if e.name == name and e.local]
        found = ["::".join((*e.scope, e.name)) for e in entries if isinstance(self._place(e)[0], int)]
        return tuple(sorted(set(found)))

    def _find(self, scope: tuple[str, ...], name: str) -> list[_Entry]:
        # The unit that defines it holds its address; in a large program a hundred others may declare it.
        for units in (self._defining([s.value for s in self._table.find(name)]), self._units(name)):
            entries = self._scoped([e for unit in units for e in self._walk(unit) if e.name == name], scope)
            if any(isinstance(self._place(e)[0], int) for e in entries):
                break
        return entries

    def _scoped(self, entries: list[_Entry], scope: tuple[str, ...]) -> list[_Entry]:
        if not scope:
            return [e for e in entries if not e.local]
        inner = scope[1:]
        return [
            e
            for e in entries
            if e.scope[-len(scope) :] == scope
            or (
                self._in_file(e.unit, scope[0])
                and (e.scope[-len(inner) :] == inner if inner else not e.local)
            )
        ]

    def _defining(self, addresses: list[int]) -> list[int]:
        """The units that hold one of these addresses as eight bytes, as DW_OP_addr does."""
        self._budget = Budget(LOOKUP_LIMIT)
        units: dict[int, None] = {}
        for address in addresses[:STRINGS_LIMIT]:
            needle = b"\x03" + struct.pack("<Q", address & ADDRESS_MASK)
            at = self._sections["info"].find(needle)
            if at >= 0 and (unit := self._sections.unit_of(at)) is not None:
                units[unit] = None
        return list(units)

    def _choose(self, path: Path, entries: list[_Entry]) -> tuple[_Entry, int, Any]:
        """The one variable that is meant: a global one before statics, as gdb chooses."""
        placed: dict[int, tuple[_Entry, int, Any]] = {}
        why = ""
        kind: Any = None
        for entry in entries:
            place, found = self._place(entry)
            if isinstance(place, int):
                if place not in placed or entry.external:
                    placed[place] = (entry, place, found)
            elif place:
                why = place
            else:
                kind = found
        external = [choice for choice in placed.values() if choice[0].external and not choice[0].local]
        choices = external[:1] or list(placed.values())
        if len(choices) > 1:
            names = tuple(sorted({self._spelled(entry) for entry, _, _ in choices}))
            raise ExpressionError(f"{path.name} is ambiguous: {', '.join(names)}", names)
        if choices:
            return choices[0]
        # Declared here and defined where there is no DWARF, or (link-time optimisation) described in another unit.
        symbols = [s for s in self._table.find(path.name) if s.kind == "object"]
        if kind is not None and len({s.value for s in symbols}) == 1:
            return entries[0], symbols[0].value, kind
        raise ExpressionError(
            f"{spell(replace(path, steps=()))} {why or 'has no address: it was optimised out'}"
        )

    def _spelled(self, entry: _Entry) -> str:
        return "::".join(
            (self._file(entry.unit).rpartition("/")[2], *(entry.scope if entry.local else ()), entry.name)
        )

    def _place(self, entry: _Entry) -> tuple[int | str, Any]:
        """(file address, type), or (why there is none, type); "" for a mere declaration."""
        try:
            die = self._sections.entry(self._sections.unit(entry.unit), entry.offset)
            kind = location = constant = None
            for _ in range(4):
                location = location or die.attributes.get("DW_AT_location")
                constant = constant or die.attributes.get("DW_AT_const_value")
                kind = kind or self._types.of(die)
                origin = (
                    "DW_AT_specification"
                    if "DW_AT_specification" in die.attributes
                    else "DW_AT_abstract_origin"
                )
                if origin not in die.attributes:
                    break
                die = self._types.reference(die, origin)
            if location is None:
                return "has no address: the compiler made it a constant" if constant is not None else "", kind
            return self._address(location, entry.unit), kind
        except Exception:  # broken DWARF: pyelftools raises what it meets
            return "has broken debug information", None

    def _address(self, location: Any, unit: int) -> int | str:
        if not isinstance(location.value, list):
            return "has no fixed address: it moves between registers and the stack"
        block = bytes(location.value)
        if block and block[-1] in (0xE0, 0x9B):  # DW_OP_GNU_push_tls_address, DW_OP_form_tls_address
            return "is thread-local: each thread has its own, which needs a live thread"
        if block[:1] == b"\x03" and len(block) in (9, 11, 12) and block[9:10] in (b"", b"\x23"):
            (address,) = struct.unpack_from("<Q", block, 1)
            return int(address) + (Reader(block, 10).uleb() if len(block) > 9 else 0)
        if block[:1] == b"\xa1":  # DW_OP_addrx
            index = Reader(block, 1).uleb()
            return int(self._sections.dwarf.get_addr(self._sections.unit(unit), index))
        if block[:1] == b"\x91":
            return "lives in a stack frame: it needs a live frame"
        if block and 0x50 <= block[0] <= 0x6F:
            return "lives in a register"
        return "has no fixed address" if block else "has no address: it was optimised out"

    def _file(self, unit: int) -> str:
        if unit not in self._files:
            try:
                self._files[unit] = text_of(self._sections.unit(unit).get_top_DIE())
            except Exception:  # broken DWARF: this unit has no name
                self._files[unit] = ""
        return self._files[unit]

    def _in_file(self, unit: int, wanted: str) -> bool:
        return f"/{self._file(unit)}".endswith(f"/{wanted.lstrip('/')}")

    def _units(self, name: str) -> Iterator[int]:
        """The units that may name it: by the string itself, or by its offset in .debug_str."""
        self._budget = Budget(LOOKUP_LIMIT)
        info, strings = self._sections["info"], self._sections["str"]
        raw = name.encode("utf-8", "surrogateescape") + b"\0"
        offsets = [match.start() for match in re.finditer(re.escape(raw), strings)]
        every = self._sections.units
        if len(offsets) > STRINGS_LIMIT or self._sections["str_offsets"]:
            return iter(every)
        needles = [raw, *(struct.pack("<I", offset) for offset in offsets if offset < 1 << 32)]
        units: dict[int, None] = {}
        for match in re.finditer(b"|".join(re.escape(n) for n in needles), info):
            if (unit := self._sections.unit_of(match.start())) is not None:
                units[unit] = None
        return iter(units)

    def _walk(self, unit: int) -> list[_Entry]:
        """Every variable of a unit with the functions and namespaces around it, kept."""
        if unit not in self._walked:
            try:
                self._budget.spend(self._sections.size_of(unit))
            except ValueError:
                return []
            entries: list[_Entry] = []
            self._walked[unit] = entries
            with suppress(Exception):  # broken DWARF: what was found before it stays
                self._collect(unit, entries)
        return self._walked[unit]

    def _collect(self, unit: int, entries: list[_Entry]) -> None:
        cu = self._sections.unit(unit)
        around: list[tuple[int, str, bool]] = []
        for depth, die in self._types.subtree(cu.get_top_DIE(), Budget.of(cu), _INTO):
            while around and around[-1][0] >= depth:
                around.pop()
            if die.tag in _SCOPES or die.tag == "DW_TAG_inlined_subroutine":
                around.append((depth, self._name(die), die.tag != "DW_TAG_namespace"))
            elif die.tag in ("DW_TAG_variable", "DW_TAG_formal_parameter") and (name := self._name(die)):
                scope = tuple(text for _, text, _ in around if text)
                local = any(function for _, _, function in around)
                entries.append(_Entry(name, scope, local, self._external(die), unit, die.offset))

    def _external(self, die: Any) -> bool:
        origin = (
            self._types.reference(die, "DW_AT_specification")
            if "DW_AT_external" not in die.attributes
            else die
        )
        return origin is not None and "DW_AT_external" in origin.attributes

    def _name(self, die: Any) -> str:
        for _ in range(4):
            if "DW_AT_name" in die.attributes:
                return text_of(die)
            origin = (
                "DW_AT_specification" if "DW_AT_specification" in die.attributes else "DW_AT_abstract_origin"
            )
            die = self._types.reference(die, origin)
            if die is None:
                break
        return ""

    def _named(self, name: str, tag: str) -> Any:
        for unit in self._units(name):
            cu = self._sections.unit(unit)
            for _, die in self._types.subtree(cu.get_top_DIE(), Budget.of(cu), ("DW_TAG_namespace",)):
                if die.tag == tag and text_of(die) == name and "DW_AT_declaration" not in die.attributes:
                    return die
        return None

    def _follow(self, path: Path, address: int, kind: Any, read: Read | None) -> Target:
        done: list[Step] = []
        size = self._types.size(self._types.complete(self._types.stripped(kind), self._named))
        for step in path.steps:
            here = spell(Path(path.scope, path.name, tuple(done)))
            plain = self._types.complete(self._types.stripped(kind), self._named)
            tag = plain.tag if plain is not None else ""
            if tag in POINTERS:
                kind = self._types.of(plain)
                if step and not isinstance(step, str):
                    self._sized(here, self._types.size(kind))
                address = _pointer(here, address, read)
                if isinstance(step, str):
                    plain = self._types.complete(self._types.stripped(kind), self._named)
                    tag = plain.tag if plain is not None else ""
                else:
                    size = self._types.size(self._types.complete(self._types.stripped(kind), self._named))
                    address += (step or 0) * self._sized(here, size)
                    done.append(step)
                    continue
            if isinstance(step, str):
                if tag not in RECORDS:
                    raise ExpressionError(f"{here} is {self._types.name(kind)}: it has no member {step}")
                member = self._types.member(plain, step)
                if member is None:
                    names = tuple(self._types.member_names(plain))
                    raise ExpressionError(
                        f"{here} has no member {step} (it has {', '.join(names[:8]) or 'none'})", names
                    )
                address, size, kind = address + member[0], member[1], member[2]
            elif tag == "DW_TAG_array_type":
                kind, size, skip = self._element(here, plain, step or 0)
                address += skip
            else:
                what = "an array" if step is not None else "a pointer"
                raise ExpressionError(f"{here} is {self._types.name(kind)}, not {what}")
            done.append(step)
        if path.offset is not None:
            size = size - path.offset if size is not None and path.offset < size else None
            return Target((address + path.offset) & ADDRESS_MASK, size, "data")
        return Target(address & ADDRESS_MASK, size or None, "data", self._types.name(kind))

    @staticmethod
    def _sized(here: str, size: int | None) -> int:
        if not size:
            raise ExpressionError(f"{here} points to something of unknown size")
        return size

    def _element(self, here: str, array: Any, index: int) -> tuple[Any, int | None, int]:
        """(type, size, offset) of an element. Of several dimensions the first is taken off."""
        kind = self._types.of(array)
        counts = self._types.counts(array)
        if index < 0 or (counts[0] is not None and counts[0] > 0 and index >= counts[0]):
            raise ExpressionError(f"{here} has {counts[0]} elements, from 0: no [{index}]")
        size = self._types.size(kind)
        for count in counts[1:]:
            size = None if size is None or count is None else size * count
        skip = index * self._sized(here, size) if index else 0
        return (kind if len(counts) == 1 else Rows(array, counts[1:])), size, skip

    def _descend(self, text: str, kind: Any, offset: int) -> tuple[str, int]:
        for _ in range(DEPTH_LIMIT):
            plain = self._types.complete(self._types.stripped(kind), self._named)
            if plain is not None and plain.tag in RECORDS:
                for member in self._types.members(plain):
                    if member.size and 0 <= offset - member.offset < member.size:
                        text += f".{member.name}" if member.name else ""
                        kind, offset = member.type, offset - member.offset
                        break
                else:
                    break
            elif plain is not None and plain.tag == "DW_TAG_array_type":
                _, size, _ = self._element(text, plain, 0)
                counts = self._types.counts(plain)
                if not size or (counts[0] is not None and offset // size >= counts[0]):
                    break
                kind, _, skip = self._element(text, plain, offset // size)
                text, offset = f"{text}[{offset // size}]", offset - skip
            else:
                break
        return text, offset


def _pointer(here: str, address: int, read: Read | None) -> int:
    if read is None:
        raise ExpressionError(
            f"{here} is a pointer: it can be followed only while the program's memory can be read"
        )
    try:
        data = read(address, 8)
    except Exception:  # whatever the reader's own error is
        data = b""
    if len(data) != 8:
        raise ExpressionError(f"{here} is a pointer at {address:#x}, which cannot be read")
    value = int.from_bytes(data, "little")
    if not value:
        raise ExpressionError(f"{here} is a null pointer")
    return value
