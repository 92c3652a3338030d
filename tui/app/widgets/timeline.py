"""Who sat in DR0 to DR3 of each CPU when: a chart that scrolls and zooms, lettered and coloured by owner."""

from __future__ import annotations

from typing import ClassVar, Final

from textual.binding import BindingType
from textual.strip import Strip

from backends.model import Journal, Mark
from tui.app import numbers
from tui.app.keymap import bindings
from tui.app.panel import Panel
from tui.session.letters import owner_letter

__all__ = ["TimelinePanel"]

_LEFT: Final = 10
_FINEST: Final = 1
_COARSEST: Final = 1 << 40
_MARKS: Final = {
    "nmi": "N", "kgdb stop": "K", "guest entry": "V", "fork": "f", "exec": "e", "exit": "x",
}  # fmt: skip
"""What is marked in a CPU's upper line besides switches."""


class TimelinePanel(Panel, can_focus=True, inherit_bindings=False):
    """Columns are spans of the machine's time; `scale` is how long one is, `end` where the right edge lies."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("timeline")
    title = "TIMELINE"
    where = "timeline"
    help: ClassVar[str] = "Which breakpoint sat in which register from when to when."
    following = True
    scale = 1000
    end = 0
    journal: Journal | None = None
    top = 0
    _asking = False
    _fitted = False

    def sampled(self) -> None:
        """Ask for the rows of the time that is shown, one question at a time."""
        view = self.scene.view
        if self._asking or view is None or not self.size.width:
            return
        if not self._fitted and view.time_ns:
            self.fit()
        self._asking = self.desk_app.machine.journal(*self.span(), self._take)

    def _take(self, journal: Journal | None) -> None:
        self._asking = False
        if journal is not None:
            self.journal = journal
            self.redraw()

    def arrow(self, right: int, down: int) -> bool:
        """Earlier or later; up and down show other CPUs."""
        if down:
            self.down(down)
        if right:
            self._fitted = True
            self.scroll(right)
            self.sampled()
        return True

    def newest(self) -> bool:
        """The newest moment, and follow it."""
        self.following = True
        self.redraw()
        return True

    def toggle_follow(self) -> bool:
        """Follow the newest moment, or stay."""
        _, end = self.span()
        self.following, self.end = not self.following, end
        self.redraw()
        return True

    def span(self) -> tuple[int, int]:
        """The time that is shown, as (start, end)."""
        columns = max(1, self.size.width - _LEFT)
        view = self.scene.view
        end = view.time_ns if self.following and view else self.end
        end = max(end, columns * self.scale)
        return end - columns * self.scale, end

    def scroll(self, by: int) -> None:
        """Half a window to earlier or later; at the newest moment it follows again."""
        start, end = self.span()
        view = self.scene.view
        now = view.time_ns if view else end
        self.end = max(end - start, min(now, end + by * (end - start) // 2))
        self.following = self.end >= now
        self.redraw()

    def zoom(self, by: int) -> bool:
        """Finer (negative) or coarser, around the right edge; 0: the whole time."""
        self._fitted = True
        if not by:
            self.fit()
            return True
        _, end = self.span()
        self.end = end
        self.scale = max(_FINEST, min(_COARSEST, self.scale >> 1 if by < 0 else self.scale << 1))
        self.sampled()
        self.redraw()
        return True

    def fit(self) -> None:
        """The whole time of the machine in one window."""
        now = self.scene.view.time_ns if self.scene.view else 0
        self._fitted = now > 0
        self.scale = max(_FINEST, -(-now // max(1, self.size.width - _LEFT)))
        self.following = True
        self.redraw()

    def down(self, by: int) -> None:
        """Other CPUs."""
        self.top = max(0, self.top + by)
        self.redraw()

    def lines(self, width: int, height: int) -> list[Strip]:
        """The rule, then five lines for each CPU that fits: its tasks, and its four registers."""
        view = self.scene.view
        start, end = self.span()
        what = f"{numbers.count(self.scale)} ns a column"
        if self.journal is not None and (kinds := sorted({row.owner for row in self.journal.occupancies})):
            what += "  " + " ".join(f"{owner_letter(kind)} {kind}" for kind in kinds)
        edge = "now" if self.following else f"{end:,} ns"
        out = [self.rule(width, self.title, after=what, right=f"{start:,} to {edge}")]
        cpus = view.cpus if view else ()
        fit = max(1, (height - 1) // 5)
        self.top = min(self.top, max(0, len(cpus) - fit))
        for cpu in cpus[self.top : self.top + fit]:
            out += self._cpu(cpu.cpu, width, start)
        return out

    def _cpu(self, cpu: int, width: int, start: int) -> list[Strip]:
        columns = max(1, width - _LEFT)
        journal = self.journal
        rows = [[""] * columns for _ in range(4)]
        if journal is not None:
            self._fill(journal, cpu, rows, start)
        out = [self._tasks(cpu, width, columns, start)]
        unknown = (
            0 if journal is None else self._column(journal.first_ns, start) if journal.first_ns > start else 0
        )
        now = columns if journal is None else self._column(journal.now_ns, start) + 1
        for slot in range(4):
            line = self.line(width).add(f"  DR{slot}", self.ink.muted, _LEFT)
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
        line = self.line(width).add(f" CPU {cpu}", ink.strong, _LEFT)
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
