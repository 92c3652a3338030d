"""What `serve` was asked for: its own options first, then the command line of the app that it shows."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Final

from tui.text.words import CommandLineError

__all__ = ["app_line", "own_words"]

_SHOWN: Final = ("", "run", "attach", "demo", "tour")


def own_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Behind the word `serve`: its own options, and the rest, which is the app's."""
    at = 0
    while at < len(words):
        if words[at] == "--port":
            at += 2
        elif words[at] in ("-h", "--help") or words[at].startswith("--port="):
            at += 1
        else:
            break
    return list(words[:at]), list(words[at:])


def app_line(words: Sequence[str], program: Sequence[str] | None, parsed: SimpleNamespace) -> list[str]:
    """The app's command line, once it is known to be one; `parsed` is what argparse made of `words`.

    Raises CommandLineError for words that open no app, and for those that ask in a terminal.
    """
    if parsed.command not in _SHOWN or getattr(parsed, "list", False) or parsed.version:
        said = parsed.command or "--version"
        raise CommandLineError(
            f"{said} has no screen to serve: serve [run | attach | demo | tour] [OPTION]..."
        )
    if getattr(parsed, "sudo", False):
        raise CommandLineError("serve has no --sudo: a password is not to be typed into a page")
    return [*words, *(["--", *program] if program is not None else [])]
