"""Text of the watched program on its way to the screen."""

from __future__ import annotations

from tui.session.escape import escape

__all__ = ["shown"]


def shown(text: str) -> str:
    """Escaped as everywhere, and DEL too: a terminal acts on it."""
    return escape(text).replace("\x7f", "\\x7f")
