"""Who sat in DR0 to DR3 of each CPU when: a chart that scrolls and zooms, lettered and coloured by owner."""

from __future__ import annotations

from typing import ClassVar, Final

from textual.strip import Strip

from backends.model import Journal, Mark
from tui.app.panel import Panel
from tui.app.time_span import span_text
from tui.app.widgets.time_axis import TimeAxisPanel
from tui.session.letters import owner_letter

__all__ = ["TimelinePanel"]

_LEFT: Final = 10
"""Cells before the first column, at least."""
_MOST_LEFT: Final = 26
_NAMED: Final = 16
"""Watches that are looked at for it."""
_MARKS: Final = {
    "nmi": "N", "kgdb stop": "K", "guest entry": "V", "fork": "f", "exec": "e", "exit": "x",
}  # fmt: skip
"""What is marked in a CPU's upper line besides switches."""


class TimelinePanel(TimeAxisPanel, inherit_bindings=False):
    """Columns are spans of the machine's time; `scale` is how long one is."""

    title = "TIMELINE"
    where = "timeline"
    help: ClassVar[
        str
    ] = """Which breakpoint sat in which register from when to when, and how many hits came when.

Letters are owners, N an NMI, K a stop by kgdb, V an entry into a guest, f fork, e exec, x exit; the upper line of a CPU
says who ran. Left and Right go through time, + and - zoom, z shows all of it, f follows the newest moment, Up and Down
show other CPUs, Enter the hits of the time that is shown."""

    def __init__(self, id: str) -> None:  # noqa: A002 - Textual's word
        super().__init__(id)
        self.journal: Journal | None = None
        self.top = 0
        self.above: Panel | None = None
        """What shares the columns."""
        self._asking = False

    @property
    def left(self) -> int:
        """As many cells as the names take that stand before the hits over time, a fifth of the width at most."""
        shown = self.scene.view.breakpoints[:_NAMED] if self.scene.view else ()
        longest = max((len(self.scene.label(bp)) for bp in shown), default=0)
        return max(_LEFT, min(longest + 2, self.size.width // 5, _MOST_LEFT))

    @property
    def scale(self) -> int:
        """Ticks a column."""
        return self.time.scale

    @property
    def now(self) -> int:
        """The newest moment that is known."""
        return self.scene.view.time_ns if self.scene.view else 0

    def sampled(self) -> None:
        """Ask for the rows of the time that is shown, one question at a time."""
        if self._asking or self.scene.view is None or not self.size.width:
            return
        if not self.time.fitted and self.now:
            self.fit()
        self._asking = self.desk_app.machine.journal(*self.span(), self._take)

    def _take(self, journal: Journal | None) -> None:
        self._asking = False
        if journal is not None:
            self.journal = journal
            self.redraw()

    def moved(self) -> None:
        """Ask for other rows; the hits above share the span."""
        self.sampled()
        self.redraw()
        if self.above is not None:
            self.above.sampled()

    def arrow(self, right: int, down: int) -> bool:
        """Earlier or later; up and down show other CPUs."""
        self.top = max(0, self.top + down)
        self.scroll_time(right)
        self.moved()
        return True

    def fit(self) -> None:
        """All that is known in one window: from the first row of the journal, or the first hit where there is none."""
        self.time.fit(self.columns, self._first(), self.now)

    def _first(self) -> int:
        if self.scene.view is None or self.scene.view.clock == "instructions":
            return 0
        from tui.app.hit_times import first_time

        ring = self.scene.ring
        return first_time(ring) if ring is not None and ring.head else 0

    def open(self) -> bool:
        """The hits of this time."""
        start, end = self.span()
        self.desk_app.show_hits_later(f"time>={start} time<{end}")
        return True

    def lines(self, width: int, height: int) -> list[Strip]:
        """The rule, then five lines for each CPU that fits: its tasks, and its four registers."""
        view = self.scene.view
        start, end = self.span()
        clock = view.clock if view else "instructions"
        what = f"{span_text(self.scale, clock)} a column"
        if self.journal is not None and (kinds := sorted({row.owner for row in self.journal.occupancies})):
            what += "  " + " ".join(f"{owner_letter(kind)} {kind}" for kind in kinds)
        if self.journal is None:
            what += f"  {self.glyphs.unknown} who sat there is not known"
        if self.journal is not None and self.journal.first_ns > start:
            what += f"  {self.glyphs.unknown} no longer kept"
        right = f"{start:,} to {'now' if self.following else f'{end:,}'}"
        if start and clock != "instructions":  # a clock that began long before us
            edge = "now" if self.following else f"{span_text(self.now - end, clock)} ago"
            right = f"{span_text(end - start, clock)} until {edge}"
        out = [self.rule(width, self.title, after=what, right=right)]
        cpus = view.cpus if view else ()
        fit = max(1, (height - 1) // 5)
        self.top = min(self.top, max(0, len(cpus) - fit))
        for cpu in cpus[self.top : self.top + fit]:
            out += self._cpu(cpu.cpu, width, start)
        return out

    def _cpu(self, cpu: int, width: int, start: int) -> list[Strip]:
        left = self.left
        columns = max(1, width - left)
        journal = self.journal
        rows = [[""] * columns for _ in range(4)]
        if journal is not None:
            self._fill(journal, cpu, rows, start)
        out = [self._tasks(cpu, width, columns, start)]
        unknown = (
            0 if journal is None else self._column(journal.first_ns, start) if journal.first_ns > start else 0
        )
        now = columns if journal is None else self._column(journal.now_ns, start) + 1
        if journal is None:  # nobody has told who sat there
            unknown = columns
        for slot in range(4):
            line = self.line(width).add(f"  DR{slot}", self.ink.muted, left)
            for column in range(columns):
                kind = rows[slot][column]
                if column < unknown:
                    line.add(self.glyphs.unknown, self.ink.muted)
                elif column >= now:
                    line.add(" ")
                elif kind:
                    line.add(owner_letter(kind), self.ink.owner(kind))
                else:
                    line.add(self.glyphs.dot, self.ink.muted)
            out.append(line.strip())
        return out

    def _column(self, time: int, start: int) -> int:
        return max(0, time - start) // self.scale

    def _fill(self, journal: Journal, cpu: int, rows: list[list[str]], start: int) -> None:
        columns = len(rows[0])
        for row in journal.occupancies:
            if row.cpu != cpu:
                continue
            until = journal.now_ns if row.end_ns is None else row.end_ns
            if until < start:
                continue
            first, last = self._column(row.start_ns, start), self._column(until, start)
            for column in range(first, min(last + 1, columns)):
                rows[row.slot][column] = row.owner

    def _tasks(self, cpu: int, width: int, columns: int, start: int) -> Strip:
        """The upper line: who ran, with a bar at each switch."""
        ink = self.ink
        line = self.line(width).add(f" CPU {cpu}", ink.strong, self.left)
        cells = [" "] * columns
        if self.journal is not None:
            self._mark(self.journal, cpu, cells, start)
        text = "".join(cells)
        at = 0
        while at < columns:  # segments of one style: bars and marks, or names
            sign = text[at]
            stop = at + 1
            special = sign == self.glyphs.divider or sign in _MARKS.values()
            while (
                not special
                and stop < columns
                and text[stop] != self.glyphs.divider
                and text[stop] not in _MARKS.values()
            ):
                stop += 1
            line.add(text[at:stop], ink.accent if special else ink.muted)
            at = stop
        return line.strip()

    def _mark(self, journal: Journal, cpu: int, cells: list[str], start: int) -> None:
        columns = len(cells)
        switches: list[Mark] = []
        for mark in journal.marks:
            if mark.cpu != cpu:
                continue
            if mark.kind == "switch":
                switches.append(mark)
        for number, mark in enumerate(switches):
            column = self._column(mark.time_ns, start)
            if column >= columns:
                break
            following = switches[number + 1].time_ns if number + 1 < len(switches) else journal.now_ns
            room = min(self._column(following, start), columns) - column - 1
            cells[column] = self.glyphs.divider
            name = str(mark.tid) if mark.tid else "idle"
            if len(name) <= room:
                cells[column + 1 : column + 1 + len(name)] = list(name)
        for mark in journal.marks:
            if (
                mark.cpu == cpu
                and mark.kind in _MARKS
                and (column := self._column(mark.time_ns, start)) < columns
            ):
                cells[column] = _MARKS[mark.kind]
