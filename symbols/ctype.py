"""Types of C, C++ and Rust objects as plain data, whatever described them: DWARF, BTF, or the language itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Literal

__all__ = [
    "BUILTIN",
    "DEPTH_LIMIT",
    "RECORDS",
    "VOID",
    "Kind",
    "Member",
    "Type",
    "Variants",
    "basic",
    "pointer_to",
]

Kind = Literal[
    "void", "int", "char", "bool", "float", "enum", "pointer", "reference", "struct", "union", "class", "array",
    "function", "typedef", "const", "volatile", "restrict", "atomic", "unknown",
]  # fmt: skip
RECORDS: Final = ("struct", "union", "class")
DEPTH_LIMIT: Final = 32
_QUALIFIERS: Final = {"const": "const ", "volatile": "volatile ", "restrict": "", "atomic": "_Atomic "}
_TRANSPARENT: Final = (*_QUALIFIERS, "typedef")


@dataclass(frozen=True, slots=True)
class Member:
    """One member: `offset` in bytes from its record. A bit-field also has (first bit, bits), counted from the record.

    An anonymous or inherited member has an empty name; `base` tells the latter.
    """

    name: str
    offset: int
    type: Type
    bits: tuple[int, int] | None = None
    base: bool = False

    @property
    def size(self) -> int | None:
        """Bytes; for a bit-field those that hold it."""
        if self.bits is not None:
            return (self.bits[0] % 8 + self.bits[1] + 7) // 8
        return self.type.size


@dataclass(frozen=True, slots=True)
class Variants:
    """Rust's enums: the member that tells which case holds, and for each case (its values or None, its member)."""

    tag: Member | None
    cases: tuple[tuple[tuple[int, ...] | None, Member], ...]


@dataclass(eq=False, repr=False)
class Type:
    """One type. What it refers to is found when it is asked for, since types refer to each other in circles.

    `bytes` is what the description says, None where it says nothing. `counts` are the elements in each dimension of an
    array, None where unknown. `encoding` of "int" is whether it is signed.
    """

    kind: Kind
    name: str = ""
    bytes: int | None = None
    signed: bool = False
    counts: tuple[int | None, ...] = ()
    declared: bool = False
    refers: Callable[[], Type] | None = None
    holds: Callable[[], tuple[Member, ...]] | None = None
    lists: Callable[[], tuple[tuple[str, int], ...]] | None = None
    chooses: Callable[[], Variants | None] | None = None
    completed: Callable[[], Type | None] | None = field(default=None, repr=False)

    @cached_property
    def target(self) -> Type:
        """What a pointer points to, an array consists of, a name stands for, a function returns."""
        return self.refers() if self.refers is not None else VOID

    @cached_property
    def members(self) -> tuple[Member, ...]:
        """The members of a record."""
        return self.holds() if self.holds is not None else ()

    @cached_property
    def enumerators(self) -> tuple[tuple[str, int], ...]:
        """The names of an enumeration's values."""
        return self.lists() if self.lists is not None else ()

    @cached_property
    def variants(self) -> Variants | None:
        """The cases of a Rust enum, None for every other type."""
        return self.chooses() if self.chooses is not None else None

    @cached_property
    def plain(self) -> Type:
        """Without typedefs and qualifiers; the whole record where this one is only declared."""
        found = self
        for _ in range(DEPTH_LIMIT):
            if found.kind not in _TRANSPARENT:
                if found.declared and found.completed is not None:
                    return found.completed() or found
                return found
            found = found.target
        return UNKNOWN

    @cached_property
    def size(self) -> int | None:
        """Bytes, None where it cannot be known."""
        return self._size(0)

    def _size(self, depth: int) -> int | None:
        plain = self.plain
        if depth > DEPTH_LIMIT:
            return None
        if plain.bytes is not None:
            return plain.bytes
        if plain.kind in ("pointer", "reference"):
            return 8
        if plain.kind == "array":
            size = plain.target._size(depth + 1)
            for count in plain.counts:
                size = None if size is None or count is None else size * count
            return size
        return plain.target._size(depth + 1) if plain.kind == "enum" and plain.refers is not None else None

    @property
    def element(self) -> Type:
        """What an array holds; of several dimensions the first is taken off."""
        if len(self.counts) <= 1:
            return self.target
        return Type("array", counts=self.counts[1:], refers=lambda: self.target)

    def find(self, name: str, depth: int = 0) -> tuple[int, Member] | None:
        """(offset of what holds it, member) by name, also of one in an anonymous member or a base class."""
        for member in self.members if depth < DEPTH_LIMIT else ():
            if member.name == name:
                return 0, member
        for member in self.members if depth < DEPTH_LIMIT else ():
            inner = member.type.plain
            if not member.name and inner.kind in RECORDS and (found := inner.find(name, depth + 1)):
                return member.offset + found[0], found[1]
        for _, member in self.variants.cases if self.variants is not None else ():
            if member.name == name:
                return 0, member
        return None

    def member_names(self, depth: int = 0) -> Iterator[str]:
        """The names of all members, those in anonymous members too."""
        for member in self.members if depth < DEPTH_LIMIT else ():
            inner = member.type.plain
            if member.name:
                yield member.name
            elif inner.kind in RECORDS:
                yield from inner.member_names(depth + 1)
        for _, member in self.variants.cases if self.variants is not None else ():
            yield member.name

    def __repr__(self) -> str:
        return f"<Type {self}>"

    def __str__(self) -> str:
        """As C writes it, arrays with their dimensions behind."""
        return self._text(0)

    def _text(self, depth: int) -> str:
        if depth > DEPTH_LIMIT:
            return "..."
        if self.kind in (*RECORDS, "enum"):
            return f"{self.kind} {self.name or '{...}'}"
        if self.kind == "void":
            return "void"
        if self.name:
            return self.name
        if self.kind == "unknown":
            return "?"
        inner = self.target._text(depth + 1)
        if self.kind == "array":
            return inner + "".join(f"[{'' if count is None else count}]" for count in self.counts)
        if self.kind in ("pointer", "reference"):
            mark = "*" if self.kind == "pointer" else "&"
            return f"{inner}{'' if inner.endswith('*') else ' '}{mark}"
        if self.kind == "function":
            return f"{inner} ()"
        word = _QUALIFIERS.get(self.kind, "")
        return inner + word.strip() if inner.endswith("*") else word + inner


VOID: Final = Type("void")
UNKNOWN: Final = Type("unknown")


def basic(kind: Kind, name: str, size: int, signed: bool = False) -> Type:
    """A type that refers to no other."""
    return Type(kind, name, size, signed)


def pointer_to(target: Type) -> Type:
    """A pointer to a type."""
    return Type("pointer", bytes=8, refers=lambda: target)


def _builtin() -> dict[str, Type]:
    found = {"void": VOID, "bool": basic("bool", "bool", 1), "_Bool": basic("bool", "_Bool", 1)}
    found |= {"float": basic("float", "float", 4), "double": basic("float", "double", 8)}
    found["long double"] = basic("float", "long double", 16)
    found["char"] = basic("char", "char", 1, True)
    found["signed char"] = basic("char", "signed char", 1, True)
    found["unsigned char"] = basic("char", "unsigned char", 1)
    for name, size in (("short", 2), ("int", 4), ("long", 8), ("long long", 8)):
        found[name] = basic("int", name, size, True)
        found[f"unsigned {name}"] = basic("int", f"unsigned {name}", size)
    found["__int128"] = basic("int", "__int128", 16, True)
    found["unsigned __int128"] = basic("int", "unsigned __int128", 16)
    for bits in (8, 16, 32, 64):
        for name, signed in (
            (f"u{bits}", False),
            (f"s{bits}", True),
            (f"uint{bits}_t", False),
            (f"int{bits}_t", True),
        ):
            found[name] = basic("int", name, bits // 8, signed)
    for name in ("size_t", "uintptr_t"):
        found[name] = basic("int", name, 8)
    for name in ("ssize_t", "intptr_t", "ptrdiff_t"):
        found[name] = basic("int", name, 8, True)
    return found


BUILTIN: Final = _builtin()
"""C's own types for x86-64 (psABI 3.1.2), and the usual names of fixed widths; a program's own come before these."""
