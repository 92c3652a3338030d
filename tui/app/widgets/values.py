"""A watched object over time, by its type: the chart that the view of values is about."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Final

from textual.strip import Strip

from backends.model import Breakpoint
from tui.app.panel import Panel
from tui.app.records import Record
from tui.app.time_span import TimeSpan, span_text
from tui.app.widgets.time_axis import TimeAxisPanel

if TYPE_CHECKING:
    from tui.app.value_series import Series, Spread, ValueKind

__all__ = ["ChartPanel"]

_LEFT: Final = 15
_FIELDS: Final = ("time", "value", "old", "value_from", "old_from", "breakpoint", "seq")


class ChartPanel(TimeAxisPanel, inherit_bindings=False):
    """One watch at a time. The two other panels of the view show the same span of it."""

    title = "VALUES"
    where = "values"
    help: ClassVar[
        str
    ] = """The watched object over time, by its type: a column is a span of time. A thin line holds the value that
was written last; where a column has several writes, the bar reaches from the lowest to the highest, and the heavy sign
is the last. Reads count too: they tell the value as well.

Up and Down choose the watch, Left and Right go through time, + and - zoom, z shows all that is kept, f follows the
newest moment, Enter shows the hits of this watch and time. Below: the last changes, and how often each value came in the
time that is shown (equal spans of values, where there are too many)."""

    @property
    def left(self) -> int:
        """Cells for the values at the axis."""
        return _LEFT

    def __init__(self, id: str) -> None:  # noqa: A002 - Textual's word
        super().__init__(id)
        self._picked: int | None = None
        self.series: Series | None = None
        self.spread: Spread | None = None
        self.total = 0
        """Hits of all watches in the span."""
        self.every = 1
        self.values = 0
        """Hits of this watch that were looked at and tell a value."""
        self.unknown = 0
        self.last: list[Record] = []
        self.followers: tuple[Panel, ...] = ()
        self._kinds: dict[int, ValueKind] = {}
        self._asked: set[int] = set()
        self._looked: tuple[int, ...] = ()
        self._ring: object = None

    def watched(self) -> list[Breakpoint]:
        """What has values: everything but execute breakpoints."""
        view = self.scene.view
        return [each for each in view.breakpoints if each.type != "x"] if view else []

    @property
    def at(self) -> int:
        """Which of them is shown: the one that was picked, else the first that has hit."""
        found = self.watched()
        if self._picked is not None:
            return min(self._picked, max(0, len(found) - 1))
        return next((number for number, each in enumerate(found) if each.hits), 0)

    @property
    def chosen(self) -> Breakpoint | None:
        """The breakpoint that is shown."""
        found = self.watched()
        return found[self.at] if found else None

    @property
    def kind(self) -> ValueKind:
        """Its type; raw bytes while that is being looked up."""
        from tui.app.value_series import RAW

        chosen = self.chosen
        if chosen is None:
            return RAW
        return self._kinds.get(chosen.id, RAW._replace(size=chosen.length))

    @property
    def now(self) -> int:
        """The newest moment: of the machine, or of the newest hit."""
        newest = self.scene.view.time_ns if self.scene.view else 0
        ring = self.scene.ring
        if ring is not None and ring.head:
            from tui.app import records

            found = records.read(ring, ring.head - 1, 1)
            newest = max(newest, found[0].time + 1 if found else 0)
        return newest

    # What time brings

    def sampled(self) -> None:
        """Four times a second: look at the hits of the span, if anything moved."""
        ring, chosen = self.scene.ring, self.chosen
        if ring is not self._ring:
            self._ring, self.time = ring, TimeSpan()
            self._kinds.clear()
            self._asked.clear()
        self._look_up()
        if ring is None or not ring.head or not self.size.width:
            return
        if not self.time.fitted:
            self.fit()
        start, end = self.span()
        key = (ring.head, start, end, self.columns, chosen.id if chosen else -1, len(self._kinds))
        if key != self._looked:
            self._looked = key
            self._look(start, end)
        self.redraw()
        for panel in self.followers:
            panel.redraw()

    def _look_up(self) -> None:
        chosen = self.chosen
        if chosen is None or chosen.id in self._asked:
            return
        self._asked.add(chosen.id)
        id_, length = chosen.id, chosen.length

        def take(kind: ValueKind) -> None:
            self._kinds[id_] = kind
            self.sampled()

        from tui.app.value_kinds import value_kind

        self.desk_app.machine.look(lambda session: value_kind(session, id_, length), take)

    def _look(self, start: int, end: int) -> None:
        import numpy as np

        from tui.app.hit_times import MOST, read_window
        from tui.app.value_series import decode, series, spread

        ring, chosen, kind = self.scene.ring, self.chosen, self.kind
        if ring is None or chosen is None:
            self.series = self.spread = None
            self.last = []
            return
        most = MOST // 4 if self.scene.running else MOST  # four times a second, and keys wait for it
        window = read_window(ring, start, end, _FIELDS, most)
        self.total, self.every = window.total, window.every
        found = window.columns
        ours = found["breakpoint"] == chosen.id
        known = ours & (found["value_from"] != 0)
        self.values, self.unknown = int(known.sum()), int(ours.sum() - known.sum())
        values, times = decode(found["value"][known], kind), found["time"][known]
        if values.dtype == np.float64 and not (finite := np.isfinite(values)).all():
            self.unknown += int((~finite).sum())
            self.values -= int((~finite).sum())
            values, times = values[finite], times[finite]
        before = math.nan
        first = np.flatnonzero(ours)[:1]
        if len(first) and found["old_from"][first[0]]:
            before = float(decode(found["old"][first], kind)[0])
            before = before if math.isfinite(before) else math.nan
        self.series = series(times, values, before, start, self.time.scale, self.columns)
        self.spread = spread(values, max(4, self.followers[0].size.height - 2) if self.followers else 12)
        newest = found["seq"][ours][-64:].astype(np.int64)
        self.last = [Record._make(row) for row in ring.gather(newest).tolist()][::-1]

    def moved(self) -> None:
        """Look at the hits of another span, or another watch."""
        self.sampled()
        self.redraw()

    # Keys

    def arrow(self, right: int, down: int) -> bool:
        """Another watch; earlier or later."""
        if down:
            self._picked = max(0, min(self.at + down, len(self.watched()) - 1))
        self.scroll_time(right)
        self.moved()
        return True

    def fit(self) -> None:
        """From the oldest hit that is kept until now."""
        from tui.app.hit_times import first_time

        ring = self.scene.ring
        if ring is not None and ring.head:
            self.time.fit(self.columns, first_time(ring), self.now)

    def open(self) -> bool:
        """The hits of this watch and time."""
        start, end = self.span()
        if (chosen := self.chosen) is not None:
            self.desk_app.show_hits_later(f"bp={chosen.id} time>={start} time<{end}")
        return True

    # The picture

    def lines(self, width: int, height: int) -> list[Strip]:
        """The rule, the watches, the chart, the axis of time."""
        watched, chosen, kind = self.watched(), self.chosen, self.kind
        if chosen is None:
            text = "no watch of data: w watches a variable" if self.scene.view else "starting the machine"
            return [self.rule(width, self.title), self.line(width).add(f"  {text}", self.ink.muted).strip()]
        after = self.scene.label(chosen) + (
            f".{kind.path}" if kind.path and not kind.path.startswith("[") else ""
        )
        if kind.type_name:
            after += f"  {kind.type_name}"
        right = f"{span_text(self.time.scale, self.clock)} a column"
        if self.every > 1:
            right = f"1 hit in {self.every}  {right}"
        out = [self.rule(width, self.title, after=after, right=right), self._choice(width, watched)]
        return [*out, *self._chart(width, max(1, height - 3)), self._axis(width)]

    def _choice(self, width: int, watched: list[Breakpoint]) -> Strip:
        line, ink = self.line(width).add(" "), self.ink
        for number, each in enumerate(watched):
            here = number == self.at
            sign = self.glyphs.cursor if here else " "
            line.add(f"{sign} {self.scene.label(each)} ", ink.title if here else ink.muted).add(" ")
        return line.strip()

    def _chart(self, width: int, height: int) -> list[Strip]:
        ink, kind, data = self.ink, self.kind, self.series
        known = [v for part in (data.low, data.high) for v in part if not math.isnan(v)] if data else []
        if data is None or not known:
            text = "no hit told a value of it in this time" if self.values == 0 else ""
            if text and len(self.watched()) > 1:
                text += "; Up and Down choose another watch"
            blank = [self.line(width).strip() for _ in range(height - 1)]
            return [self.line(width).add("  " + text, ink.muted).strip(), *blank]
        if not math.isnan(data.before):
            known.append(data.before)
        lowest, highest = min(known), max(known)
        extent = highest / 2 - lowest / 2  # halves: two floats may be further apart than the largest one

        def row(value: float) -> int:
            return (
                height - 1 - round((value / 2 - lowest / 2) / extent * (height - 1))
                if extent
                else height // 2
            )

        start, _ = self.span()
        until = (self.now - start) // self.time.scale
        cells = [[(" ", ink.base)] * self.columns for _ in range(height)]
        held = data.before
        for column in range(min(self.columns, len(data.last), until + 1)):  # fewer just after a resize
            if math.isnan(data.last[column]):
                if not math.isnan(held):
                    cells[row(held)][column] = ("─", ink.muted)
                continue
            top, bottom = row(data.high[column]), row(data.low[column])
            for between in range(top, bottom + 1):
                cells[between][column] = ("│", ink.accent)
            held = data.last[column]
            cells[row(held)][column] = ("━", ink.value)
        labels = {row(highest): kind.number_text(highest), row(lowest): kind.number_text(lowest)}
        if extent and height >= 7:
            middle = 2 * (lowest / 2 + extent * (height - 1 - height // 2) / (height - 1))
            labels.setdefault(height // 2, kind.number_text(middle))
        out = []
        for number in range(height):
            line = self.line(width).add(labels.get(number, ""), ink.muted, _LEFT - 2, right=True).add("  ")
            out.append(line.cells(cells[number]).strip())
        return out

    def _axis(self, width: int) -> Strip:
        start, end = self.span()
        ink, clock = self.ink, self.clock
        line = self.line(width).add("", ink.muted, _LEFT)
        if clock == "instructions":
            line.add(f"{start:,}", ink.muted)
        else:
            line.add(f"{span_text(max(0, self.now - start), clock)} ago", ink.muted)
        ago = max(0, self.now - end)
        edge = (
            "now"
            if self.time.following
            else f"{end:,}"
            if clock == "instructions"
            else f"{span_text(ago, clock)} ago"
        )
        return line.end((edge, ink.muted)).strip()
