"""The base of panels that are a list: rows under a rule, a cursor, and as many rows around it as fit."""

from __future__ import annotations

from rich.style import Style
from textual.events import Click
from textual.strip import Strip

from tui.app.line import Line
from tui.app.panel import Panel

__all__ = ["ListPanel"]

_UNCUT = 500
"""Cells that no row takes."""


class ListPanel(Panel, can_focus=True, inherit_bindings=False):
    """`cursor` is the number of the row that stands out, `top` that of the first one shown.

    A panel says how many rows there are (`count`), draws one (`row`), its rule (`heading`), and what it has to say
    between the two (`notes`).
    """

    cursor = 0
    top = 0
    columns = 1
    """Rows beside each other: the cursor goes down the first column, then the next."""
    _first_line = 1

    def count(self) -> int:
        """How many rows there are."""
        raise NotImplementedError

    def row(self, number: int, width: int) -> Line:
        """One row; the cursor is laid over it."""
        raise NotImplementedError

    def heading(self, width: int) -> Strip:
        """The rule."""
        return self.rule(width, self.title, right=self.span())

    def notes(self, width: int, height: int) -> list[Line]:
        """What has to be said above the rows: why there are none, what is not known."""
        return []

    def moved(self) -> None:
        """The cursor is on another row."""

    def span(self) -> str:
        """`12-30 of 400`, "" where all rows are on the screen."""
        total, room = self.count(), self.room
        if total <= room * self.columns:
            return ""
        return f"{self.top + 1}-{min(total, self.top + room)} of {total}"

    @property
    def room(self) -> int:
        """Lines for rows."""
        return max(1, self.size.height - self._first_line)

    def select(self, number: int) -> None:
        """Put the cursor on a row."""
        last = self.count() - 1
        self.cursor = max(0, min(number, last))
        self.moved()
        self.redraw()

    def row_text(self) -> str:
        """The row under the cursor, uncut."""
        if not 0 <= self.cursor < self.count():
            return ""
        text = self.row(self.cursor, _UNCUT).strip().text
        return " ".join(text.removeprefix(self.glyphs.cursor).split())

    def arrow(self, right: int, down: int) -> bool:
        """Up and down; to the sides where there are columns."""
        if right and self.columns == 1:
            return False
        per = -(-self.count() // self.columns) if self.columns > 1 else 0
        self.select(self.cursor + down + right * per)
        return True

    def page(self, by: int) -> bool:
        """A window up or down."""
        self.select(self.cursor + by * max(1, self.room - 1))
        return True

    def oldest(self) -> bool:
        """The first row."""
        self.select(0)
        return True

    def newest(self) -> bool:
        """The last row."""
        self.select(self.count() - 1)
        return True

    def on_click(self, event: Click) -> None:
        """Select the row under the mouse; once more is Enter."""
        line = event.y - self._first_line
        per = -(-self.count() // self.columns) if self.columns > 1 else 0
        number = (
            self.top + line + per * min(self.columns - 1, event.x * self.columns // max(1, self.size.width))
        )
        if line < 0 or not self.top <= number < self.count():
            return
        if number == self.cursor and event.chain > 1:
            self.open()
        else:
            self.select(number)

    def on_mouse_scroll_up(self) -> None:
        """Three rows."""
        self.select(self.cursor - 3)

    def on_mouse_scroll_down(self) -> None:
        """Three rows."""
        self.select(self.cursor + 3)

    def over(self) -> Style:
        """The cursor's style."""
        return self.ink.cursor if self.has_focus else self.ink.cursor_far

    def lines(self, width: int, height: int) -> list[Strip]:
        """Rule, notes, rows."""
        notes = self.notes(width, height)[: max(0, height - 1)]
        self._first_line = 1 + len(notes)
        total = self.count()
        self.cursor = max(0, min(self.cursor, total - 1))
        if self.columns > 1:
            rows = self._in_columns(width, total)
        else:
            room = max(1, height - self._first_line)
            self.top = max(0, min(self.top, total - room, self.cursor), self.cursor - room + 1)
            rows = [
                self.row(n, width).strip(self.over() if n == self.cursor else None)
                for n in range(self.top, min(total, self.top + room))
            ]
        return [self.heading(width), *(note.strip() for note in notes), *rows]

    def _in_columns(self, width: int, total: int) -> list[Strip]:
        self.top = 0
        per = -(-total // self.columns)
        cells = width // self.columns
        out = []
        for line in range(per):
            pieces = []
            for column in range(self.columns):
                number = line + column * per
                here = width - cells * (self.columns - 1) if column == self.columns - 1 else cells
                drawn = self.row(number, here) if number < total else self.line(here)
                pieces.append(drawn.strip(self.over() if number == self.cursor and number < total else None))
            out.append(Strip.join(pieces))
        return out
