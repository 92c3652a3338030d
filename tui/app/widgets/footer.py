"""The last line: the keys that work here and now, taken from the key table, as many as fit."""

from __future__ import annotations

from textual.events import Click
from textual.strip import Strip

from tui.app.keymap import KeyEntry, key_name
from tui.app.line import Line
from tui.app.panel import Panel

__all__ = ["KeyFooter"]

_TYPING = (
    ("Enter", "run", "submit_command_line"),
    ("Tab", "complete", "complete_command_line"),
    ("Up Down", "history", "earlier_command_line"),
    ("F2", "take what fits", "take_instead"),
    ("Esc", "close", "close_command_line"),
)
_FOR_A_PANEL = (
    ("Enter", "keep it", "submit_command_line"),
    ("Tab", "complete", "complete_command_line"),
    ("Up Down", "earlier ones", "earlier_command_line"),
    ("Esc", "as it was", "close_command_line"),
)
_FOR_THE_LIVING = (
    *("run_or_stop", "watch_here", "set_here"),
    *(f"command('{word}')" for word in ("watch", "continue", "step", "next", "stepi", "nexti", "finish")),
)
"""What a program that can run no further refuses."""
_FOR_A_MACHINE = (
    *_FOR_THE_LIVING,
    "delete_slot",
    "switch_slot",
    "edit_slot",
    "toggle_bit",
    "ask_bit",
    "command('print')",
)
"""What needs a machine that answers."""


class KeyFooter(Panel):
    """Ranked: what matters most here is never cut."""

    def __init__(self, id: str) -> None:  # noqa: A002 - Textual's word
        super().__init__(id)
        self._ends: list[tuple[int, str]] = []

    def lines(self, width: int, height: int) -> list[Strip]:
        """One line."""
        ink = self.ink
        line = Line(width, ink.bar, self.glyphs.ellipsis).add(" ", ink.bar)
        self._ends = []
        for key, label, action in self._hints():
            if len(key) + len(label) + 3 > line.room:
                continue
            line.add(key, ink.key).add(f" {label}  ", ink.bar)
            self._ends.append((line.at - 1, action))
        return [line.strip()]

    def on_click(self, event: Click) -> None:
        """Do what the key under the mouse does."""
        for end, action in self._ends:
            if event.x < end:
                self.desk_app.do(action)
                return

    def _hints(self) -> list[tuple[str, str, str]]:
        """Key, label, action."""
        app = self.desk_app
        if app.keys is None:
            return []
        where = app.where
        if where == "command":
            typing = _TYPING if app.command_line.purpose == "command" else _FOR_A_PANEL
            instead = app.proposal.instead
            return [
                (key, app.proposal.way_out if action == "take_instead" else label, action)
                for key, label, action in typing
                if action != "take_instead" or instead
            ]
        refused = _FOR_A_MACHINE if app.machine.broken else _FOR_THE_LIVING if self.scene.over else ()
        taken: set[str] = set()
        chosen: list[KeyEntry] = []
        for entry in sorted(
            app.keys.entries, key=lambda each: each.where == "app"
        ):  # what has the focus first
            if entry.action == "follow" and not hasattr(app.main_panel, "following"):
                continue
            if entry.action in refused:
                continue
            usable = entry.where in ("app", where) and entry.rank is not None and bool(entry.keys)
            if usable and entry.keys[0] not in taken:
                taken.update(entry.keys)
                chosen.append(entry)
        ranked = sorted(chosen, key=lambda each: (each.where != "demo", each.rank))
        hints: dict[str, tuple[str, str, str]] = {}  # of two keys with one label the first
        for entry in ranked:
            label = self._label(entry)
            hints.setdefault(label, (key_name(entry.keys[0]), label, entry.action))
        return list(hints.values())

    def _label(self, entry: KeyEntry) -> str:
        if entry.action == "run_or_stop":
            return "stop" if self.scene.running else "run"
        if entry.action == "follow":
            return "stay" if getattr(self.desk_app.main_panel, "following", False) else "follow"
        return entry.label
