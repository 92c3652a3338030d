"""What a command answers."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from backends.base import HwbpError
from symbols.dataclass import dataclass
from tui.session.escape import escape

__all__ = ["Answer", "Result", "UsageError", "pointer"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command that worked has to say: lines for people, and the same as plain data for JSON."""

    lines: tuple[str, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """The answer to one command line. `errno` is an errno's name, `holders` says who holds the slots."""

    ok: bool
    command: str
    lines: tuple[str, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)
    errno: str | None = None
    error: str = ""
    holders: tuple[str, ...] = ()
    remedy: str = ""
    pointer: tuple[str, ...] = ()
    """The line as it was given, and a line with carets under the part that is at fault; () where that is not known."""


def pointer(error: HwbpError, line: str) -> tuple[str, ...]:
    """The two lines that show which word of a command is at fault, where the error knows."""
    expr, span = getattr(error, "expr", None), getattr(error, "span", None)
    text = escape(line.strip())
    if not isinstance(expr, str) or not expr.strip() or span is None:
        return ()
    at = text.find(escape(expr))
    if at < 0:
        return ()
    before, fault = escape(expr[: span[0]]), escape(expr[span[0] : span[1]])
    return text, " " * (at + len(before)) + "^" * max(1, len(fault))


class UsageError(HwbpError):
    """A command line that is not one: an unknown word, a missing or a meaningless argument."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message, errno="EINVAL", remedy=remedy)
