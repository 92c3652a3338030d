"""The last line: the keys that work here and now, taken from the key table, as many as fit."""

from __future__ import annotations

from textual.strip import Strip

from tui.app.keymap import KeyEntry, entries, key_name
from tui.app.line import Line
from tui.app.panel import Panel

__all__ = ["KeyFooter"]

_FOR_A_PANEL = (("Enter", "keep it"), ("Tab", "complete"), ("Up Down", "earlier ones"), ("Esc", "as it was"))
_TYPING = (("Enter", "run"), ("Tab", "complete"), ("Up Down", "history"), ("Esc", "close"))


class KeyFooter(Panel):
    """Ranked: what matters most here is never cut."""

    def lines(self, width: int, height: int) -> list[Strip]:
        """One line."""
        ink = self.ink
        line = Line(width, ink.bar, self.glyphs.ellipsis).add(" ", ink.bar)
        for key, label in self._hints():
            if len(key) + len(label) + 3 > line.room:
                continue
            line.add(key, ink.key).add(f" {label}  ", ink.bar)
        return [line.strip()]

    def _hints(self) -> list[tuple[str, str]]:
        app = self.desk_app
        if not app.keyed:
            return []
        where = app.where
        if where == "command":
            return list(_TYPING if app.command_line.purpose == "command" else _FOR_A_PANEL)
        taken: set[str] = set()
        chosen: list[KeyEntry] = []
        for entry in sorted(
            entries(), key=lambda each: each.where == "app"
        ):  # what has the focus comes first
            if entry.action == "follow" and not hasattr(app.main_panel, "following"):
                continue
            if entry.where in ("app", where) and entry.rank is not None and entry.keys[0] not in taken:
                taken.update(entry.keys)
                chosen.append(entry)
        ranked = sorted(chosen, key=lambda each: (each.where != "demo", each.rank))
        return [(key_name(e.keys[0]), self._label(e)) for e in ranked]

    def _label(self, entry: KeyEntry) -> str:
        if entry.action == "run_or_stop":
            return "stop" if self.scene.running else "run"
        if entry.action == "follow":
            return "stay" if getattr(self.desk_app.main_panel, "following", False) else "follow"
        return entry.label
