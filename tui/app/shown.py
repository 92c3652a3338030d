"""Text of the watched program on its way to the screen."""

from __future__ import annotations

from tui.session.escape import escape

__all__ = ["shown", "without_del"]


def shown(text: str) -> str:
    """Escaped as everywhere, and DEL too: a terminal acts on it."""
    return without_del(escape(text))


def without_del(text: str) -> str:
    """Text that is escaped already, but for DEL."""
    return text.replace("\x7f", "\\x7f")
