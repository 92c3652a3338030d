"""What an expression comes to: a place in memory, or an error that says where in the text."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Literal

from symbols.dataclass import dataclass

if TYPE_CHECKING:
    from symbols.ctype import Type

__all__ = ["ExpressionError", "Span", "Target"]

Span = tuple[int, int]
"""First and past-the-end character of a part of an expression."""


class ExpressionError(ValueError):
    """An expression that means nothing here; one line.

    `candidates` are expressions that would mean something, `span` the part of the text that is at fault.
    """

    def __init__(self, message: str, candidates: tuple[str, ...] = (), span: Span | None = None) -> None:
        super().__init__(message)
        self.candidates = candidates
        self.span = span


@dataclass(frozen=True, slots=True)
class Target:
    """A place in memory: `size` in bytes, None where the expression does not say; `type_name` as C writes it, or "".

    `kind` is "code" for functions and source lines. `bits` are (first bit from `address`, bits) of a bit-field.
    `per_thread`: a thread-local variable; `also` are its places in other threads. `frame` is the stack pointer below which its frame is dead.
    """

    address: int
    size: int | None
    kind: Literal["data", "code"]
    type_name: str = ""
    type: Type | None = field(default=None, compare=False, repr=False)
    bits: tuple[int, int] | None = None
    also: tuple[int, ...] = ()
    frame: int | None = None
    per_thread: bool = False
