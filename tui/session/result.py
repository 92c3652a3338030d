"""What a command answers."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from backends.base import HwbpError
from symbols.dataclass import dataclass

__all__ = ["Answer", "Result", "UsageError"]


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


class UsageError(HwbpError):
    """A command line that is not one: an unknown word, a missing or a meaningless argument."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message, errno="EINVAL", remedy=remedy)
