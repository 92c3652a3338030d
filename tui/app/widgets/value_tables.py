"""Beside the chart of a watched object: how its values are distributed, and its last changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.strip import Strip

from tui.app import numbers
from tui.app.hit_columns import delta_text
from tui.app.line import Line
from tui.app.panel import Panel
from tui.app.records import Record

if TYPE_CHECKING:
    from tui.app.value_series import ValueKind
    from tui.app.widgets.values import ChartPanel

__all__ = ["ChangesPanel", "SpreadPanel"]


class SpreadPanel(Panel):
    """How often each value came in the time that the chart shows."""

    title = "HOW OFTEN"

    def __init__(self, id: str, chart: ChartPanel) -> None:  # noqa: A002 - Textual's word
        super().__init__(id)
        self._chart = chart

    def lines(self, width: int, height: int) -> list[Strip]:
        """The rule, a line of figures, and bars: the fullest ones where not all fit."""
        chart, ink = self._chart, self.ink
        found, kind = chart.spread, chart.kind
        after = numbers.counted(chart.values, "value")
        if chart.unknown:
            after += f", {numbers.count(chart.unknown)} unknown"
        out = [self.rule(width, self.title, after=after)]
        if found is None:
            return [*out, self.line(width).add("  none yet", ink.muted).strip()]
        figures = f" {numbers.count(found.distinct)} different"
        if kind.kind not in ("enum", "bool", "pointer"):
            figures += f", mean {found.mean:.4g}, median {kind.number_text(found.median)}"
        out.append(self.line(width).add(figures, ink.muted).strip())
        room = height - 2
        bins = found.bins
        if len(bins) > room:
            rest = sorted(bins, key=lambda each: -each.times)[: room - 1]
            bins = tuple(each for each in bins if each in rest)
        most = max((each.times for each in bins), default=1)
        names = [self._range(each.low, each.high, kind) for each in bins]
        name = min(max(map(len, names), default=0), max(8, width - 22))
        for each, text in zip(bins, names, strict=True):
            line = self.line(width).add(" ").add(text, ink.value, name, right=True).add(" ")
            line.add(numbers.count(each.times), ink.strong, 9, right=True).add(" ")
            bar = max(1, round(each.times / most * max(1, line.room - 1))) if each.times else 0
            out.append(line.add(self.glyphs.bars[-1] * bar, ink.accent).strip())
        if len(bins) < len(found.bins):
            hidden = sum(each.times for each in found.bins) - sum(each.times for each in bins)
            text = f" {len(found.bins) - len(bins)} more, {numbers.counted(hidden, 'value')}"
            out.append(self.line(width).add(text, ink.muted).strip())
        return out

    @staticmethod
    def _range(low: float, high: float, kind: ValueKind) -> str:
        if low == high:
            return kind.number_text(low)
        if isinstance(low, int):
            ends = (numbers.value(end) if end >= 0 else str(end) for end in (low, int(high)))
            return " to ".join(ends)
        return f"{low:.5g} to {high:.5g}"


class ChangesPanel(Panel):
    """The last changes in that time, by type: members of a structure by name."""

    title = "LAST CHANGES"

    def __init__(self, id: str, chart: ChartPanel) -> None:  # noqa: A002 - Textual's word
        super().__init__(id)
        self._chart = chart
        self._told: dict[tuple[int, int, int | None], str] = {}
        """What was answered, empty where there is nothing to say."""
        self._asking = False

    def lines(self, width: int, height: int) -> list[Strip]:
        """The rule, then the newest first."""
        chart, ink, scene = self._chart, self.ink, self.scene
        out = [self.rule(width, self.title)]
        shown = chart.last[: height - 1]
        if chart.kind.kind == "raw":
            self._ask(shown)
        now = chart.now
        for record in shown:
            line = self.line(width).add(f"{record.seq + 1}", ink.base, 10, right=True)
            line.add(delta_text(max(0, now - record.time), chart.clock), ink.muted, 10, right=True).add(
                " ago  ", ink.muted
            )
            self._change(line, record)
            name = scene.names.of(record.place)
            by = f"{name.symbol}  {name.source}".rstrip()
            if len(by) + 3 <= line.room:
                line.end((f"  {by} ", ink.symbol))
            out.append(line.strip())
        if not shown:
            out.append(self.line(width).add("  none in this time", ink.muted).strip())
        return out

    def _change(self, line: Line, record: Record) -> None:
        ink, kind = self.ink, self._chart.kind
        pair = record.value, record.old if record.old_from else None
        told = self._told.get((record.breakpoint, *pair)) if record.value_from else None
        if told:
            line.add(told.replace("->", self.glyphs.arrow), ink.value)
            return
        if record.access_text != "r":
            line.add(kind.text(record.old) if record.old_from else self.glyphs.unknown, ink.base)
            line.add(f" {self.glyphs.arrow} ", ink.muted)
        line.add(kind.text(record.value) if record.value_from else self.glyphs.unknown, ink.value)

    def _ask(self, shown: list[Record]) -> None:
        wanted = {
            (r.value, r.old if r.old_from else None)
            for r in shown
            if r.value_from and (r.breakpoint, r.value, r.old if r.old_from else None) not in self._told
        }
        chosen = self._chart.chosen
        if not wanted or self._asking or chosen is None:
            return
        self._asking = True
        id_, pairs = chosen.id, tuple(wanted)

        def take(told: dict[tuple[int, int | None], str]) -> None:
            self._asking = False
            if len(self._told) > 4096:
                self._told.clear()
            for pair in pairs:
                self._told[id_, *pair] = told.get(pair, "")  # empty: the numbers say it as well
            self.redraw()

        from tui.app.value_kinds import changes

        if not self.desk_app.machine.look(lambda session: changes(session, id_, pairs), take):
            self._asking = False
