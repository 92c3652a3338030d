"""Text to read above the main screen: help, and answers of many lines."""

from __future__ import annotations

import textwrap
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Click
from textual.screen import ModalScreen
from textual.strip import Strip

from tui.app.panel import Panel

__all__ = ["HEADING", "PARAGRAPH", "Reader"]

HEADING = "\t"
"""Marks a heading; no text that was escaped can hold it."""
PARAGRAPH = "\v"
"""Marks running text, whose lines all begin at the edge."""


_WIDEST = 116
_NARROWEST = 20
"""Cells of text. On a narrower screen lines are cut: broken into single letters nobody could read them."""


def _broken(text: str, width: int) -> list[str]:
    """A line as it is if it fits, else broken at blanks, what follows indented like its second column."""
    if text.startswith(PARAGRAPH):
        return textwrap.wrap(text[1:], width, break_on_hyphens=False)
    if len(text) <= width:
        return [text]
    column = text.find("  ", 1)
    while 0 <= column < len(text) and text[column] == " ":
        column += 1
    indent = " " * (column if 0 < column < width // 2 else 4)
    first, *rest = textwrap.wrap(text, width, subsequent_indent=indent, break_on_hyphens=False) or [""]
    return [first, *rest]


class _Pages(Panel, can_focus=True, inherit_bindings=False):
    """Lines that scroll by whole lines; those that begin with `HEADING` are headings, long ones are wrapped."""

    def __init__(self, title: str, text: tuple[str, ...]) -> None:
        super().__init__("pages")
        self.title_text = title
        self.source = text
        self.text: list[str] = []
        self.first = 0

    def wrap(self, width: int) -> int:
        """Break the long lines for a width; returns how many there are."""
        self.text = [part for line in self.source for part in _broken(line, width)]
        return len(self.text)

    def scroll(self, by: int) -> None:
        """Move, and stop at the ends."""
        room = max(1, self.size.height - 2)
        self.first = max(0, min(self.first + by, len(self.text) - room))
        self.redraw()

    def on_mouse_scroll_up(self) -> None:
        """Three lines."""
        self.scroll(-3)

    def on_mouse_scroll_down(self) -> None:
        """Three lines."""
        self.scroll(3)

    def lines(self, width: int, height: int) -> list[Strip]:
        """A frame of rules, the text between."""
        room = height - 2
        ink = self.ink
        last = min(len(self.text), self.first + room)
        right = "" if len(self.text) <= room else f"{self.first + 1}-{last} of {len(self.text)}"
        out = [self.rule(width, self.title_text, right=right)]
        for text in self.text[self.first : last]:
            heading = text.startswith(HEADING)
            out.append(
                self.line(width)
                .add("  ")
                .add(text[1:] if heading else text, ink.accent if heading else None)
                .strip()
            )
        blank = self.line(width).strip()
        out += [blank] * (height - 1 - len(out))
        end = self.line(width).add(self.glyphs.rule_focus, ink.rule_focus)
        end.add(" j k PgUp PgDn scroll, Esc closes ", ink.muted)
        out.append(end.to(width, self.glyphs.rule_focus, ink.rule_focus).strip())
        return out


class Reader(ModalScreen[None], inherit_bindings=False):
    """Any of the usual keys closes it."""

    DEFAULT_CSS = """
    Reader { align: center middle; background: $background 60%; }
    Reader > _Pages { width: 90%; max-width: 116; background: $background; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,f1,question_mark", "dismiss_reader", "close", show=False),
        Binding("j,down", "scroll_by(1)", "down", show=False),
        Binding("k,up", "scroll_by(-1)", "up", show=False),
        Binding("pagedown,space", "scroll_by(15)", "page down", show=False),
        Binding("pageup", "scroll_by(-15)", "page up", show=False),
        Binding("g,home", "scroll_by(-100000)", "start", show=False),
        Binding("G,end", "scroll_by(100000)", "end", show=False),
        Binding("colon", "app.command_line", "command", show=False),
    ]

    def __init__(self, title: str, text: tuple[str, ...]) -> None:
        super().__init__()
        self.title_text = title
        self._pages = _Pages(title, text)

    def compose(self) -> ComposeResult:
        """One panel."""
        yield self._pages

    def on_mount(self) -> None:
        """As high as the text, as far as the screen goes."""
        self._fit()

    def on_resize(self) -> None:
        """The same after a resize."""
        self._fit()

    def _fit(self) -> None:
        width, height = self.app.size
        lines = self._pages.wrap(max(_NARROWEST, min(_WIDEST, width * 9 // 10) - 4))
        self._pages.styles.height = max(3, min(lines + 2, height - 2))

    def on_click(self, event: Click) -> None:
        """Outside of it, or on its last line, which says so: close it."""
        region = self._pages.region
        if not region.contains(event.screen_x, event.screen_y) or event.screen_y == region.bottom - 1:
            self.action_dismiss_reader()

    def action_scroll_by(self, by: int) -> None:
        """Scroll."""
        self._pages.scroll(by)

    def action_dismiss_reader(self) -> None:
        """Close, if it is still there."""
        if self.app.screen is self:
            self.dismiss(None)
