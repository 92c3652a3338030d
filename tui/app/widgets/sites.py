"""Which instructions hit what, with exact totals: every hit counts, also those that the ring has overwritten."""

from __future__ import annotations

from typing import ClassVar

from textual.events import Click
from textual.strip import Strip

from tui.app import numbers
from tui.app.panel import Panel

__all__ = ["SitesPanel"]


class SitesPanel(Panel):
    """The busiest instructions first."""

    title = "BY INSTRUCTION"
    help: ClassVar[str] = (
        "Exact hit counts by instruction and watch, the busiest first. 3 shows all of them, with their stacks."
    )

    def sampled(self) -> None:
        """Exact totals, counted where the hits are."""
        self.desk_app.machine.count_sites()

    def on_click(self, _event: Click) -> None:
        """The view of all of them."""
        self.desk_app.do("view('3')")

    def lines(self, width: int, height: int) -> list[Strip]:
        """As many as fit; the rest is counted in the rule."""
        ink, scene = self.ink, self.scene
        room = height - 1
        hidden = max(0, len(scene.sites) - room)
        out = [self.rule(width, self.title, right=f"{hidden} more: info sites" if hidden else "")]
        busiest = max((site.count for site in scene.sites), default=0)
        sites = scene.sites[:room]
        count = max([5, *(len(numbers.count(site.count)) for site in sites)]) + 1
        names = width - count - 10  # a blank, the bar, two more, and one at the end
        longest = max((len(scene.names.of(site.insn_ip).symbol) for site in sites), default=0)
        label = max((len(scene.label_of(site.breakpoint)) for site in sites), default=0)
        label = min(18, label, max(0, names - longest, names // 3))
        for site in sites:
            name = scene.names.of(site.insn_ip)
            bar = max(1, round(site.count / busiest * 6)) if busiest else 0
            line = self.line(width).add(numbers.count(site.count), ink.strong, count, right=True).add(" ")
            line.add(("█" if self.glyphs.ellipsis == "…" else "#") * bar, ink.accent, 6).add(" ")
            line.add(name.symbol, ink.symbol, names - label).add(" ")
            line.add_end(scene.label_of(site.breakpoint), ink.muted, label)
            out.append(line.strip())
        if not scene.sites:
            out.append(self.line(width).add("  nothing has hit yet", ink.muted).strip())
        return out
