"""The first line: what is open, whether it runs and why not, and how much comes in."""

from __future__ import annotations

import os.path

from rich.style import Style
from textual.events import Click
from textual.strip import Strip

from tui.app import records
from tui.app.line import Line
from tui.app.numbers import count, rate
from tui.app.panel import Panel
from tui.app.shown import shown

__all__ = ["TitleBar"]

_WORDS = {
    "loaded": "LOADED",
    "stopped": "STOPPED",
    "exited": "EXITED",
    "failed": "FAILED",
    "detached": "DETACHED",
    "starting": "STARTING",
}


class TitleBar(Panel):
    """Program and state on the left, figures on the right; figures keep their columns."""

    def lines(self, width: int, height: int) -> list[Strip]:
        """One line. Where the state needs the room, the backend's name goes, then a count of no losses."""
        state, style = self._state()
        for least in range(3):
            line, figures = self._around(width, least)
            room = line.room - len(figures) - 2
            if room >= len(state):
                break
        line.add(state, style, min(room, len(state)) if room > 0 else 0)
        line.end((figures + " ", self.ink.bar), style=self.ink.bar)
        return [line.strip()]

    def on_click(self, _event: Click) -> None:
        """Let the program run, or stop it."""
        self.desk_app.do("run_or_stop")

    def _around(self, width: int, least: int) -> tuple[Line, str]:
        """What stands before the state, and the figures behind it."""
        ink, scene, view = self.ink, self.scene, self.scene.view
        line = Line(width, ink.bar, self.glyphs.ellipsis)
        line.add(" hwbp-tui ", ink.reverse).add(" ", ink.bar)
        if view is not None:
            if least < 1:
                line.add(f"{view.backend}  ", ink.bar_muted)
            line.add(shown(os.path.basename(view.program)), ink.bar_strong, None)
            if view.current is not None:
                line.add(f" {view.current.tid}", ink.bar)
                if len(view.tasks) > 1:
                    line.add(f" of {len(view.tasks)} tasks", ink.bar_muted)
            line.add("  ", ink.bar)
        figures = f"{rate(scene.total_rate()):>5} hits/s"
        if least < 2 or view is None or view.lost != 0:
            figures += f"   lost {count(view.lost) if view else '?'}"
        if view is not None and view.blind_ns:
            figures = f"{view.blind_ns / 1e9:.1f} s unwatched   {figures}"
        return line, figures + (f"   {scene.fps} fps" if width >= 100 else "")

    def _state(self) -> tuple[str, Style]:
        ink, glyphs, scene = self.ink, self.glyphs, self.scene
        if scene.problem:
            return f"{glyphs.refused} {scene.problem}", ink.bar_error
        state, view = scene.state, scene.view
        if state == "running":
            news = f"  {shown(view.stop.text)}" if view and view.state == state and view.stop.text else ""
            return f"{glyphs.running} RUNNING{news}", ink.bar_good
        words = f"{glyphs.stopped} {_WORDS.get(state, state.upper())}"
        if view is not None and view.state == state:
            if state == "exited" and view.exit_status is not None:
                died = view.exit_status < 0
                words += (
                    f"  killed by signal {-view.exit_status}" if died else f" with status {view.exit_status}"
                )
            elif view.stop.text:
                text = self._at_hit() or shown(view.stop.text)
                told = text.lower().startswith(state)  # `stopped by request` after STOPPED says it twice
                words += text[len(state) :] if told else f"  {text}"
        return words, ink.bar_error if state == "failed" else ink.bar_warn

    def _at_hit(self) -> str:
        """`hit 12 of cfg.limits[3]`, where a hit stopped the machine and the ring still has it."""
        view, ring = self.scene.view, self.scene.ring
        if view is None or ring is None or view.stop.hit is None:
            return ""
        found = records.read(ring, view.stop.hit, 1)
        if not found or found[0].seq != view.stop.hit:
            return ""
        return (
            f"at hit {found[0].seq + 1:,} of {self.scene.label_of_hit(found[0].breakpoint, found[0].address)}"
        )
