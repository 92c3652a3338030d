"""What is left of the screen in a terminal that is too small."""

from __future__ import annotations

from textual.strip import Strip

from tui.app.arrangement import MIN_HEIGHT, MIN_WIDTH
from tui.app.panel import Panel

__all__ = ["TooSmall"]


class TooSmall(Panel):
    """One clear line."""

    def lines(self, width: int, height: int) -> list[Strip]:
        """In the middle, as far as there is one."""
        screen = self.app.size
        text = f"needs {MIN_WIDTH}x{MIN_HEIGHT}, this is {screen.width}x{screen.height}"
        line = self.line(width).to(max(0, (width - len(text)) // 2)).add(text, self.ink.warn)
        blank = self.line(width).strip()
        return [*[blank] * ((height - 1) // 2), line.strip()]
