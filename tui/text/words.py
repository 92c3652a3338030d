"""What can be told from the command line alone, and where its program begins."""

from __future__ import annotations

from typing import Final

__all__ = ["NOT_BUILT", "CommandLineError", "split"]

NOT_BUILT: Final = ("children", "kernel", "guard", "sudo")
"""Options of the contract that are understood, and not built yet."""


class CommandLineError(Exception):
    """A command line that asks for nothing that exists: exit code 2."""


def split(argv: list[str]) -> tuple[list[str], list[str] | None]:
    """What comes before `--`, and the program after it."""
    if "--" not in argv:
        return argv, None
    at = argv.index("--")
    return argv[:at], argv[at + 1 :]
