"""What takes longer than half a second says so: what it is, for how long, how far it is, and what ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui.app.shown import shown

if TYPE_CHECKING:
    from tui.app.machine import Machine

__all__ = ["Waiting"]

_PATIENCE = 0.5


class Waiting:
    """Looks at the machine four times a second; `text` is "" while nothing takes long."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._what = ""
        self._since = 0.0
        self.text = ""

    def look(self, now: float, opening: bool) -> bool:
        """Take the time (seconds); whether the text has changed."""
        machine = self._machine
        what = "opening the machine" if opening else machine.working[0] if machine.working else ""
        if what != self._what:
            self._what, self._since = what, now
        before, took = self.text, now - self._since
        self.text = self._say(took) if what and took >= _PATIENCE else ""
        return self.text != before

    def _say(self, took: float) -> str:
        text = f"{shown(self._what)}: {took:.0f} s" if took >= 10 else f"{shown(self._what)}: {took:.1f} s"
        session = self._machine.scene.session
        if session is None:
            return f"{text}; q leaves"
        if session.progress is not None:
            done, wanted = session.progress
            return f"{text}, {done:,} of {wanted:,} ({100 * done // max(1, wanted)} %); Ctrl+C ends it"
        return f"{text}; Ctrl+C ends what is a wait"
