"""The peer of the front end: the smallest app that Textual makes; with an argument, one with a line to type in."""

from __future__ import annotations

import sys

from textual.app import App, ComposeResult
from textual.widgets import Static


class Hello(App[None]):
    """One line of text."""

    def compose(self) -> ComposeResult:
        """It."""
        yield Static("Hello, World")
        if sys.argv[1:]:
            from textual.widgets import Input

            yield Input()


if __name__ == "__main__":
    Hello().run()
