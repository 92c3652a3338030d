"""Whether a screen can be drawn here: on a terminal, and on one that can move its cursor."""

from __future__ import annotations

import os
import sys
from typing import Final

__all__ = ["require_terminal"]

_PLAIN: Final = ("dumb", "unknown")
_KNOWN: Final = (
    "xterm",
    "screen",
    "tmux",
    "rxvt",
    "linux",
    "alacritty",
    "foot",
    "kitty",
    "wezterm",
    "ghostty",
    "konsole",
    "st-",
)
"""Beginnings of names that stay true where this machine's terminfo has not heard of them (over SSH)."""


def require_terminal(word: str) -> None:
    """Raise HwbpError where `word` ("" is the app) cannot draw its screen."""
    for name, stream in (("input", sys.stdin), ("output", sys.stdout)):
        if stream is None or not stream.isatty():
            lacking = f"a terminal, and standard {name} is not one"
            remedy = "without one: hwbp-tui trace, hwbp-tui script"
            break
    else:
        if (why := _why_not(os.environ.get("TERM", ""))) is None:
            return
        lacking = f"a terminal that can move its cursor: {why}"
        remedy = (
            "set TERM, for example TERM=xterm-256color; without a screen: hwbp-tui trace, hwbp-tui script"
        )
    from backends.base import HwbpError  # here: a start that is not refused has its machine to start first

    raise HwbpError(f"{word or 'the app'} needs {lacking}", remedy=remedy)


def _why_not(term: str) -> str | None:
    """Why no screen can be drawn, None where it can: by name, else by terminfo's `cup` (terminfo(5))."""
    if not term:
        return "TERM is not set"
    if term in _PLAIN:
        return f"TERM is {term}"
    if term.startswith(_KNOWN):
        return None
    import curses

    try:
        curses.setupterm(term, 1)
    except curses.error:
        return f"terminfo does not know {term}, which TERM names"
    return None if curses.tigetstr("cup") else f"TERM is {term}, which cannot"
