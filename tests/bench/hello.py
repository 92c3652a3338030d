"""The peer of the first picture: the smallest app that Textual makes."""

from __future__ import annotations

from textual.app import App, ComposeResult
from textual.widgets import Static


class Hello(App[None]):
    """One line of text."""

    def compose(self) -> ComposeResult:
        """It."""
        yield Static("Hello, World")


if __name__ == "__main__":
    Hello().run()
