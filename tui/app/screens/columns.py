"""Which columns the list of hits has: a small page to tick them off."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Click
from textual.screen import ModalScreen
from textual.strip import Strip

from tui.app.hit_columns import COLUMNS
from tui.app.panel import Panel

if TYPE_CHECKING:
    from tui.app.widgets.history import HistoryPanel

__all__ = ["ColumnChooser"]


class _Choices(Panel, can_focus=True, inherit_bindings=False):
    """One line a column; what is ticked is shown at once in the list behind."""

    title = "COLUMNS"
    help: ClassVar[str] = "Space ticks a column or takes it away, a lets the width decide again."

    def __init__(self, history: HistoryPanel) -> None:
        super().__init__("choices")
        self._history = history
        self.at = 0

    def ticked(self) -> tuple[str, ...]:
        """What is shown now."""
        return self._history.columns

    def move(self, by: int) -> None:
        """The cursor up or down."""
        self.at = max(0, min(len(COLUMNS) - 1, self.at + by))
        self.redraw()

    def toggle(self) -> None:
        """Show the column under the cursor, or do not; the last one stays."""
        ticked, name = self.ticked(), list(COLUMNS)[self.at]
        chosen = tuple(each for each in COLUMNS if (each in ticked) != (each == name))
        if chosen:
            self.choose(chosen)

    def choose(self, chosen: tuple[str, ...]) -> None:
        """Other columns; none: those that fit."""
        self._history.chosen = chosen
        self._history.redraw()
        self.redraw()

    def on_click(self, event: Click) -> None:
        """The column under the mouse."""
        if 0 < event.y <= len(COLUMNS):
            self.at = event.y - 1
            self.toggle()

    def lines(self, width: int, height: int) -> list[Strip]:
        """A rule, the columns, a rule."""
        ink, glyphs, ticked = self.ink, self.glyphs, self.ticked()
        out = [self.rule(width, self.title, right="" if self._history.chosen else "by the width")]
        for number, column in enumerate(COLUMNS.values()):
            line = self.line(width).add(glyphs.cursor if number == self.at else " ", ink.rule_focus)
            line.add(" [x] " if column.name in ticked else " [ ] ", ink.strong)
            line.add(column.title, ink.strong, 13).add(column.about, ink.muted)
            out.append(line.strip(ink.cursor if number == self.at else None))
        end = self.line(width).add(glyphs.rule_focus, ink.rule_focus)
        end.add(" Space ticks, a by the width, Esc closes ", ink.muted)
        return [*out, end.to(width, glyphs.rule_focus, ink.rule_focus).strip()]


class ColumnChooser(ModalScreen[None], inherit_bindings=False):
    """Any of the usual keys closes it."""

    DEFAULT_CSS = """
    ColumnChooser { align: right middle; background: transparent; }
    ColumnChooser > _Choices { width: 52; max-width: 100%; background: $background; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,c", "close_columns", "close", show=False),
        Binding("down,j", "move_column(1)", "down", show=False),
        Binding("up,k", "move_column(-1)", "up", show=False),
        Binding("space,x", "tick_column", "tick", show=False),
        Binding("a", "automatic_columns", "by the width", show=False),
    ]

    def __init__(self, history: HistoryPanel) -> None:
        super().__init__()
        self._choices = _Choices(history)

    def compose(self) -> ComposeResult:
        """One panel."""
        yield self._choices

    def on_mount(self) -> None:
        """As high as the list of columns."""
        self._choices.styles.height = min(len(COLUMNS) + 2, max(1, self.app.size.height))

    def action_move_column(self, by: int) -> None:
        """Up or down."""
        self._choices.move(by)

    def action_tick_column(self) -> None:
        """Show it or not."""
        self._choices.toggle()

    def action_automatic_columns(self) -> None:
        """Those that fit."""
        self._choices.choose(())

    def action_close_columns(self) -> None:
        """Close, if it is still there."""
        if self.app.screen is self:
            self.dismiss(None)
