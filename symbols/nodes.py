"""The parts of an expression, as `symbols.expression` reads them: plain data, in C's terms (C11 6.5) and gdb's.

`span` is where in the text a part stands; two parts that differ in it only are equal.
"""

from __future__ import annotations

from dataclasses import field

from symbols.dataclass import dataclass
from symbols.target import Span

__all__ = [
    "Binary", "Cast", "Index", "Member", "Name", "Node", "Number", "Parsed", "Register", "Repeat", "SizeOf",
    "SourceLine", "TypeName", "Unary",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Number:
    """A constant."""

    value: int | float
    span: Span = field(default=(0, 0), compare=False)


@dataclass(frozen=True, slots=True)
class Name:
    """A named object or function. `scope` is what stands before each `::`; `quoted`: the name is meant letter by letter."""

    scope: tuple[str, ...]
    name: str
    quoted: bool = False
    span: Span = field(default=(0, 0), compare=False)


@dataclass(frozen=True, slots=True)
class Register:
    """`$rip`."""

    name: str
    span: Span = field(default=(0, 0), compare=False)


@dataclass(frozen=True, slots=True)
class Unary:
    """One of `- + ~ ! & *` before its operand."""

    operator: str
    of: Node
    span: Span = field(default=(0, 0), compare=False)


@dataclass(frozen=True, slots=True)
class Binary:
    """C's arithmetic, comparisons and logic."""

    operator: str
    left: Node
    right: Node
    span: Span = field(default=(0, 0), compare=False)


@dataclass(frozen=True, slots=True)
class Index:
    """`of[index]`."""

    of: Node
    index: Node
    span: Span = field(default=(0, 0), compare=False)


@dataclass(frozen=True, slots=True)
class Member:
    """`of.name`, or `of->name` with `arrow`."""

    of: Node
    name: str
    arrow: bool
    span: Span = field(default=(0, 0), compare=False)


@dataclass(frozen=True, slots=True)
class TypeName:
    """A type as C writes it: its words, and how many stars and elements follow."""

    words: tuple[str, ...]
    stars: int = 0
    counts: tuple[int, ...] = ()
    span: Span = field(default=(0, 0), compare=False)


@dataclass(frozen=True, slots=True)
class Cast:
    """`(type) of`."""

    type: TypeName
    of: Node
    span: Span = field(default=(0, 0), compare=False)


@dataclass(frozen=True, slots=True)
class SizeOf:
    """`sizeof (type)` or `sizeof expression`."""

    of: Node | TypeName
    span: Span = field(default=(0, 0), compare=False)


@dataclass(frozen=True, slots=True)
class Repeat:
    """gdb's `of@count`: so many of them, one behind the other."""

    of: Node
    count: Node
    span: Span = field(default=(0, 0), compare=False)


@dataclass(frozen=True, slots=True)
class SourceLine:
    """`file.c:42`, or `function:42` for line 42 of the file that the function is in."""

    place: str
    line: int


Node = Number | Name | Register | Unary | Binary | Index | Member | Cast | SizeOf | Repeat
Parsed = Node | SourceLine
