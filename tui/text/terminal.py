"""Whether a screen can be drawn on what TERM names."""

from __future__ import annotations

from typing import Final

__all__ = ["why_not"]

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


def why_not(term: str) -> str | None:
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
