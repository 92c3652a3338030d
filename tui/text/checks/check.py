"""One thing that was looked at."""

from __future__ import annotations

from symbols.dataclass import dataclass

__all__ = ["Check", "read_text"]


@dataclass(frozen=True, slots=True)
class Check:
    """`ok` is None where it could not be told; `remedy` is the command that would change what was found."""

    name: str
    ok: bool | None
    found: str
    means: str
    remedy: str = ""


def read_text(path: str) -> str:
    """A small file of the kernel's, stripped. Raises OSError."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read(1 << 16).strip()
