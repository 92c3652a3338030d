"""What stands around the command line: the colon, and what a watch would take while it is being typed."""

from __future__ import annotations

from textual.events import Click
from textual.strip import Strip

from tui.app.panel import Panel

__all__ = ["Preview", "Prompt"]


class Prompt(Panel):
    """The colon; the slash of a filter."""

    def on_click(self, _event: Click) -> None:
        """Open the command line."""
        self.desk_app.do("command_line")

    def lines(self, width: int, height: int) -> list[Strip]:
        """Bright while something is typed."""
        style = self.ink.rule_focus if self.desk_app.where == "command" else self.ink.muted
        sign = {"filter": "/", "find": "F"}.get(self.desk_app.command_line.purpose, ":")
        return [self.line(width).add(f" {sign}", style).strip()]


class Preview(Panel):
    """A short text on the right."""

    text = ""

    def show(self, text: str) -> None:
        """Another text."""
        self.text = text
        self.redraw()

    def lines(self, width: int, height: int) -> list[Strip]:
        """Against the right edge."""
        line = self.line(width)
        if self.text:
            line.to(max(0, width - len(self.text) - 1)).add(self.text, self.ink.accent)
        return [line.strip()]
