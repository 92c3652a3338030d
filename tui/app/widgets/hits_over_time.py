"""How many hits came when: all of them as a bar chart, and below it a line for each watch, in the timeline's columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.strip import Strip

from tui.app import numbers
from tui.app.panel import Panel
from tui.app.time_span import span_text

if TYPE_CHECKING:
    from backends.model import Breakpoint
    from tui.app.widgets.timeline import TimelinePanel

__all__ = ["HitsOverTimePanel"]


class HitsOverTimePanel(Panel):
    """Follows the span of the timeline below it."""

    title = "HITS OVER TIME"
    help: ClassVar[str] = """Hits in each column of the timeline below, in all and by watch.

The number is that of the fullest column; ? stands where the ring has overwritten what came then. Where there are too many hits to
look at each, the rows of the watches are drawn from every second, fourth ... hit, and the rule says so."""

    def __init__(self, id: str, timeline: TimelinePanel) -> None:  # noqa: A002 - Textual's word
        super().__init__(id)
        self._timeline = timeline
        timeline.above = self
        self._counts: list[int] = []
        self._by_watch: dict[int, list[int]] = {}
        self._every = 1
        self._looked: tuple[int, ...] = ()
        self._until = 0
        """The first column that lies in the future."""

    def sampled(self) -> None:
        """Count anew, if the span or the ring moved."""
        self.count()
        self.redraw()

    def count(self) -> None:
        """Hits in each column."""
        ring, columns = self.scene.ring, self._timeline.columns
        start, end = self._timeline.span()
        view = self.scene.view
        ids = tuple(b.id for b in view.breakpoints) if view else ()
        key = (ring.head if ring is not None else 0, start, end, columns, *ids)
        if key == self._looked or ring is None:
            return
        self._looked = key
        if not ring.head:
            self._counts, self._by_watch = [0] * columns, {}
            return
        import numpy as np

        from tui.app.hit_times import counts, read_window

        scale = self._timeline.scale
        self._counts = counts(ring, start, scale, columns).tolist()
        window = read_window(ring, start, end, ("time", "breakpoint"))
        self._every = window.every
        at = (window.columns["time"].astype(np.int64) - start) // scale
        self._by_watch = {}
        for number in ids:
            chosen = at[(window.columns["breakpoint"] == number) & (at >= 0) & (at < columns)]
            self._by_watch[number] = np.bincount(chosen, minlength=columns).tolist()

    def lines(self, width: int, height: int) -> list[Strip]:
        """The rule, bars, and as many watches as fit."""
        ink, timeline = self.ink, self._timeline
        left, columns = timeline.left, timeline.columns
        start, _ = timeline.span()
        self._until = min(columns, max(0, timeline.now - start) // timeline.scale + 1)
        known = [count for count in self._counts if count >= 0]
        most = max(known, default=0)
        clock = self.scene.view.clock if self.scene.view else "instructions"
        after = f"{numbers.counted(sum(known), 'hit')}, at most {numbers.count(most)} in {span_text(timeline.scale, clock)}"
        right = f"watches: 1 hit in {self._every}" if self._every > 1 else ""
        if any(count < 0 for count in self._counts):
            right = (right + "  " if right else "") + f"{self.glyphs.unknown} overwritten"
        out = [self.rule(width, self.title, after=after, right=right)]
        view = self.scene.view
        watches = view.breakpoints[: max(0, height - 3)] if view else ()
        bars = max(1, height - 1 - len(watches))
        levels = len(self.glyphs.bars) - 1
        for row in range(bars):
            line = self.line(width)
            label = numbers.count(most) if not row and most else ""
            line.add(label[: left - 1], ink.muted, left - 1, right=True).add(" ")
            base = (bars - 1 - row) * levels
            for column in range(columns):
                count = self._counts[column] if column < len(self._counts) else 0
                if count < 0:
                    line.add(self.glyphs.unknown if row == bars - 1 else " ", ink.muted)
                    continue
                full = max(1, round(count / most * bars * levels)) if count and most else 0
                line.add(self.glyphs.bars[max(0, min(levels, full - base))], ink.accent)
            out.append(line.strip())
        out += [self._watch(width, left, columns, each) for each in watches]
        return out

    def _watch(self, width: int, left: int, columns: int, bp: Breakpoint) -> Strip:
        ink = self.ink
        found = self._by_watch.get(bp.id, [])
        most, levels = max(found, default=0), len(self.glyphs.bars) - 1
        line = self.line(width).add(" ").add_end(self.scene.label(bp), ink.symbol, left - 2).add(" ")
        for column in range(columns):
            count = found[column] if column < len(found) else 0
            if not count and column >= self._until:
                line.add(" ")
                continue
            level = max(1, round(count / most * levels)) if count else 0
            line.add(
                self.glyphs.bars[level] if level else self.glyphs.dot,
                ink.owner(bp.owner.kind) if level else ink.muted,
            )
        return line.strip()
