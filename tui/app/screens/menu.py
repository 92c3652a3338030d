"""The menu *from here*: what can be done with what is under the cursor, each by one letter."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Click
from textual.screen import ModalScreen
from textual.strip import Strip

from tui.app.panel import Panel
from tui.app.places import Choice

__all__ = ["Menu"]


class _Choices(Panel, can_focus=True, inherit_bindings=False):
    """The lines, in a frame of rules."""

    def __init__(self, what: str, choices: list[Choice]) -> None:
        super().__init__("choices")
        self.what = what
        self.choices = choices
        self.cursor = 0

    def lines(self, width: int, height: int) -> list[Strip]:
        """One line a choice: its letter, and what it does."""
        ink, side = self.ink, self.glyphs.side_focus
        out = [self.rule(width, self.what)]
        for number, choice in enumerate(self.choices):
            line = self.line(width).add(f"{side} ", ink.rule_focus)
            line.add(self.glyphs.cursor if number == self.cursor else " ", ink.rule_focus)
            line.add(f" {choice.key} ", ink.accent).add(f" {choice.text}")
            if choice.does == "type" and len(str(choice.argument)) + 4 < line.room:
                line.end((f"{choice.argument} ", ink.muted), (side, ink.rule_focus))
            elif line.room > 1:
                line.to(width - 1).add(side, ink.rule_focus)
            out.append(line.strip(ink.cursor if number == self.cursor else None))
        if not self.choices:
            out.append(self.line(width).add(f"{side}  nothing can be done with this", ink.muted).strip())
        end = self.line(width).add(self.glyphs.rule_focus, ink.rule_focus)
        end.add(" a letter or Enter does it, Esc closes ", ink.muted)
        out.append(end.to(width, self.glyphs.rule_focus, ink.rule_focus).strip())
        return out

    def on_click(self, event: Click) -> None:
        """Do what was clicked."""
        if 0 < event.y <= len(self.choices):
            self.screen.dismiss(self.choices[event.y - 1])


class Menu(ModalScreen["Choice | None"], inherit_bindings=False):
    """Ends with what was chosen, or None."""

    DEFAULT_CSS = """
    Menu { align: center middle; background: $background 60%; }
    Menu > _Choices { width: 90%; max-width: 84; background: $background; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,full_stop", "leave", "close", show=False),
        Binding("down,j", "step(1)", "down", show=False),
        Binding("up,k", "step(-1)", "up", show=False),
        Binding("enter", "choose", "do it", show=False),
        Binding("colon", "app.command_line", "command", show=False),
    ]

    def __init__(self, what: str, choices: list[Choice]) -> None:
        super().__init__()
        self._panel = _Choices(what, choices)
        for choice in choices:
            self._bindings.bind(choice.key, f"letter('{choice.key}')", show=False)

    def compose(self) -> ComposeResult:
        """One panel."""
        yield self._panel

    def on_mount(self) -> None:
        """As high as the choices."""
        self._panel.styles.height = max(3, len(self._panel.choices) + 2)

    def action_step(self, by: int) -> None:
        """Another line."""
        self._panel.cursor = (self._panel.cursor + by) % max(1, len(self._panel.choices))
        self._panel.redraw()

    def action_choose(self) -> None:
        """Do what the cursor is on."""
        choices = self._panel.choices
        self._end(choices[self._panel.cursor] if choices else None)

    def action_letter(self, key: str) -> None:
        """Do what the letter says."""
        self._end(next((choice for choice in self._panel.choices if choice.key == key), None))

    def action_leave(self) -> None:
        """Do nothing."""
        self._end(None)

    def _end(self, choice: Choice | None) -> None:
        if self.app.screen is self:  # a second key may already be on its way
            self.dismiss(choice)

    def on_resize(self, _event: events.Resize) -> None:
        """The same after a resize."""
        self._panel.redraw()
