"""The strip of views below the title: which there are, their keys, and which one is open."""

from __future__ import annotations

from typing import ClassVar

from textual.events import Click
from textual.strip import Strip

from tui.app.panel import Panel
from tui.app.views import VIEWS

__all__ = ["TabStrip"]


class TabStrip(Panel):
    """One line; a click opens a view. Where the width is short, labels are short and one blank is between them."""

    title: ClassVar[str] = "VIEWS"

    def __init__(self, id: str) -> None:  # noqa: A002 - Textual's word
        super().__init__(id)
        self._ends: list[tuple[int, str]] = []

    def lines(self, width: int, height: int) -> list[Strip]:
        """The open one stands in brackets as well as in colour."""
        ink, open_view = self.ink, self.desk_app.open_view
        labels = [view.label for view in VIEWS]
        wide = sum(len(label) + 5 for label in labels) <= width
        if not wide:
            labels = [view.short or view.label for view in VIEWS]
        line = self.line(width)
        self._ends = []
        closed = True
        for view, label in zip(VIEWS, labels, strict=True):
            here = view is open_view
            if wide or closed:  # else the bracket that closes the one before stands there
                line.add("[" if here else " ", ink.accent)
            closed = not here
            line.add(view.key, ink.accent).add(f" {label}", ink.title if here else ink.muted)
            if wide or here:
                line.add("]" if here else " ", ink.accent)
            self._ends.append((line.at, view.key))
            line.add(" " * wide)
        return [line.strip()]

    def on_click(self, event: Click) -> None:
        """Open the view under the mouse."""
        for end, key in self._ends:
            if event.x < end:
                self.desk_app.do(f"view('{key}')")
                return
