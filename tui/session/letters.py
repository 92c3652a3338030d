"""One letter for each owner of a register, the same in commands and on every screen."""

from __future__ import annotations

from typing import Final

__all__ = ["LETTERS", "owner_letter"]

LETTERS: Final = {
    "perf": "P", "ptrace": "T", "kgdb": "G", "ftrace": "F", "kvm": "V", "module": "M", "hand": "H", "program": "B",
}  # fmt: skip


def owner_letter(kind: str) -> str:
    """`P` for perf; `?` for an owner that nobody knows."""
    return LETTERS.get(kind, "?")
