"""The history of hits, straight out of the ring: a window over up to a million rows that never holds more than it shows.

Following, the newest hit is the last row. Staying, the window is fixed by sequence numbers: whatever comes in,
nothing moves under the reader's eye, and what the ring has overwritten says so.
"""

from __future__ import annotations

from typing import ClassVar

from textual.binding import BindingType
from textual.events import Click
from textual.message import Message
from textual.strip import Strip

from tui.app import numbers, records
from tui.app.glyphs import Glyphs
from tui.app.keymap import bindings
from tui.app.line import Line
from tui.app.panel import Panel
from tui.app.records import Record
from tui.app.themes import Ink

__all__ = ["HitsPanel", "put_change"]


class HitsPanel(Panel, can_focus=True, inherit_bindings=False):
    """`cursor` is a sequence number (from 0); the screen counts from 1, as `trace` does."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("hits")
    title = "HITS"
    where = "hits"
    help: ClassVar[str] = """Every time a slot matched, in order.

#           number of the hit, from 1
{clock}
DR          the slot; tid is the task (and CPU, comm where there is room)
acc         x executed, r read, w written (a read-modify-write is w)
old, new    the watched bytes before and after; ? where that cannot be known
done by     the instruction that did it, not the one that the CPU reports after it
source      file and line, from DWARF

Walking away from the newest hit stays there: nothing moves until f or G follows again.
"lost" counts hits that never reached the ring; overwritten ones are older than the ring keeps."""

    class Moved(Message):
        """The cursor is on another hit."""

    following = True
    _head = 0
    _top = 0
    _cursor = 0
    _first_row = 0
    _widest = 0
    """Cells of the widest pair of values so far: columns grow, and never jump back under the reader's eye."""

    @property
    def rows(self) -> int:
        """How many hits fit."""
        return max(1, self.size.height - 2)

    @property
    def cursor(self) -> int:
        """The selected hit's sequence number; -1 while there is none."""
        return self._head - 1 if self.following else self._cursor

    def advance(self) -> None:
        """Look at the ring again: between two ticks every panel shows the same moment."""
        self._head = self.scene.hits
        self.redraw()

    def selected_hit(self) -> Record | None:
        """The selected hit, if the ring still has it."""
        ring, cursor = self.scene.ring, self.cursor
        if ring is None or cursor < 0:
            return None
        found = records.read(ring, cursor, 1)
        return found[0] if found and found[0].seq == cursor else None

    def move(self, by: int) -> None:
        """Walk; the first step away from the end stays."""
        self.select(self.cursor + by)

    def arrow(self, right: int, down: int) -> bool:
        """Up and down."""
        if down:
            self.move(down)
        return bool(down)

    def page(self, by: int) -> bool:
        """Walk by windows."""
        self.select(self.cursor + by * max(1, self.rows - 1))
        return True

    def select(self, seq: int) -> None:
        """Stay at a hit."""
        ring = self.scene.ring
        if ring is None or ring.head == 0:
            return
        if self.following:
            self._top = max(0, self._first_row)
            self.following = False
        self._cursor = max(min(seq, ring.head - 1), ring.first)
        if self._cursor < self._top:
            self._top = self._cursor
        elif self._cursor >= self._top + self.rows:
            self._top = self._cursor - self.rows + 1
        self._changed()

    def oldest(self) -> bool:
        """To the oldest hit that the ring still has."""
        if self.scene.ring is not None:
            self.select(self.scene.ring.first)
        return True

    def newest(self) -> bool:
        """To the newest hit, and follow."""
        self.following = True
        self._changed()
        return True

    def toggle_follow(self) -> bool:
        """Follow, or stay where we are."""
        if self.following:
            self.select(self.cursor)
        else:
            self.newest()
        return True

    def open(self) -> bool:
        """The whole hit, as a page."""
        self.desk_app.open_hit(self.selected_hit())
        return True

    def on_click(self, event: Click) -> None:
        """Select the row under the mouse."""
        if 2 <= event.y < 2 + min(self.rows, self._head - self._first_row):
            self.select(self._first_row + event.y - 2)

    def on_mouse_scroll_up(self) -> None:
        """Three rows."""
        self.move(-3)

    def on_mouse_scroll_down(self) -> None:
        """Three rows; following, there is nothing further down."""
        if not self.following:
            self.move(3)

    def _changed(self) -> None:
        self.advance()
        self.post_message(self.Moved())

    def lines(self, width: int, height: int) -> list[Strip]:
        """Rule, heading, rows."""
        scene, ink = self.scene, self.ink
        ring, count = scene.ring, max(1, height - 2)
        head = self._head
        if not self.following and self._top + count > head:
            self._top = max(0, head - count)  # the window has grown: no empty rows while there are older hits
        first = max(0, head - count) if self.following else self._top
        self._first_row = first
        cursor = head - 1 if self.following else self._cursor
        found = {r.seq: r for r in records.read(ring, first - 1, count + 1)} if ring else {}
        self._widest = max(self._widest, *(change_width(r, self.glyphs) for r in found.values()), 0)
        columns = _Columns(width, scene.view.clock if scene.view else "instructions", self._widest)
        out = [self._heading(width, head), columns.heading(self.line(width), ink, self.glyphs).strip()]
        for seq in range(first, min(first + count, head)):
            line = self.line(width)
            at = seq == cursor
            line.add(self.glyphs.cursor if at else " ", ink.rule_focus)
            if seq in found:
                before = found.get(seq - 1)
                self._row(line, found[seq], before.time if before else None, columns)
            else:
                line.add(f"{seq + 1:>10}", ink.muted).add(
                    "  overwritten: older than the ring keeps", ink.muted
                )
            out.append(line.strip((ink.cursor if self.has_focus else ink.cursor_far) if at else None))
        if not head:
            out.append(self._nothing(width))
        return out

    def _heading(self, width: int, head: int) -> Strip:
        scene = self.scene
        after = numbers.count(head)
        if scene.ring is not None and head > scene.ring.capacity and (self.following or width > 110):
            after += f" (the last {numbers.count(scene.ring.capacity)} kept)"
        lost = scene.ring.word("lost") if scene.ring else 0
        if lost:
            after += f"  lost {numbers.count(lost)}"
        if self.following:
            return self.rule(width, self.title, after=after, right="following")
        newer = head - 1 - self._cursor
        right = f"staying at {numbers.count(self._cursor + 1)}"
        if newer > 0:
            right += f", {numbers.count(newer)} newer: f follows"
        return self.rule(width, self.title, after=after, right=right, right_style=self.ink.warn)

    def _nothing(self, width: int) -> Strip:
        view = self.scene.view
        line = self.line(width).add("  ")
        if view is None:
            return line.add("starting the machine", self.ink.muted).strip()
        if not view.breakpoints:
            return line.add("nothing is watched yet: w watches a variable", self.ink.muted).strip()
        if self.scene.running:
            return line.add("no hit yet", self.ink.muted).strip()
        return line.add("no hit yet: Space lets the program run", self.ink.muted).strip()

    def _row(self, line: Line, record: Record, before: int | None, columns: _Columns) -> None:
        ink, scene = self.ink, self.scene
        line.add(f"{record.seq + 1}", ink.base, columns.number, right=True)
        if columns.time:
            line.add(_time(record.time, columns.clock), ink.muted, columns.time, right=True)
        delta = f"+{_delta(record.time - before, columns.clock)}" if before is not None else ""
        line.add(delta, ink.muted, columns.delta, right=True).add("  ")
        if columns.cpu:
            line.add(f"{record.cpu}", ink.base, 4)
        line.add(f"{record.slot_text}", ink.strong, 2)
        line.add(f"{record.tid}", ink.base, 6, right=True).add(" ")
        if columns.comm:
            line.add(scene.comm(record.comm), ink.base, columns.comm).add(" ")
        if columns.label:
            line.add(scene.label_of(record.breakpoint), ink.symbol, columns.label).add(" ")
        line.add(record.access_text, ink.base, 3).add(" ")
        start = line.at
        if record.access_text != "x":
            change = Line(columns.change, ink.base, self.glyphs.ellipsis)
            put_change(change, record, self.glyphs, ink)
            for segment in change.strip():
                line.add(segment.text, segment.style)
        line.to(start + columns.change).add(" ")
        name = scene.names.of(record.place)
        line.add(name.symbol, ink.symbol, columns.by).add(" ")
        line.add(name.source, ink.muted)


class _Columns:
    """Which columns there are, and how wide, for a width."""

    def __init__(self, width: int, clock: str, values: int) -> None:
        self.clock = clock
        self.number = 8 if width < 100 else 11
        self.delta = 10
        self.time = 15 if width >= 112 else 0
        self.cpu = 4 if width >= 100 else 0
        self.comm = 12 if width >= 128 else 0
        self.label = 18 if width >= 106 else 0
        fixed = 1 + self.number + self.delta + 2 + self.time + self.cpu + 2 + 6 + 1 + 3 + 1 + 1
        fixed += (self.comm + 1 if self.comm else 0) + (self.label + 1 if self.label else 0)
        left = width - fixed
        # What the narrowest place and source leave is for the values: two of 64 bits where there is room for them.
        self.change = max(15, min(max(values, 26 if left >= 70 else 15), left - 28))
        self.by = max(14, min(40, (left - self.change) * 56 // 100))
        if left - self.change - self.by - 2 < 12:
            self.by = max(14, left - self.change - 14)

    def heading(self, line: Line, ink: Ink, glyphs: Glyphs) -> Line:
        style = ink.muted
        line.add(" ").add("#", style, self.number, right=True)
        insns = self.clock == "instructions"
        if self.time:
            line.add("instruction" if insns else "time", style, self.time, right=True)
        line.add("+insns" if insns else "+time", style, self.delta, right=True).add("  ")
        if self.cpu:
            line.add("CPU", style, 4)
        line.add("DR", style, 2).add("tid", style, 6, right=True).add(" ")
        if self.comm:
            line.add("comm", style, self.comm).add(" ")
        if self.label:
            line.add("watch", style, self.label).add(" ")
        line.add("acc", style, 3).add(" ")
        line.add(f"old {glyphs.arrow} new", style, self.change).add(" ")
        return line.add("done by", style, self.by).add(" ").add("source", style)


def _delta(ticks: int, clock: str) -> str:
    """At most seven signs: exact below a million instructions, then in millions."""
    if clock != "instructions":
        return _nanoseconds(ticks)
    if ticks < 1_000_000:
        return f"{ticks:,}"
    return f"{ticks / 1e6:,.2f}M" if ticks < 100_000_000 else f"{ticks / 1e9:,.2f}G"


def _time(ticks: int, clock: str) -> str:
    """Instructions exactly; nanoseconds in the unit that leaves a few digits."""
    return f"{ticks:,}" if clock == "instructions" else _nanoseconds(ticks)


def _nanoseconds(ticks: int) -> str:
    for size, unit in ((1e4, "ns"), (1e7, "us"), (1e10, "ms")):
        if ticks < size:
            return f"{ticks / (size / 1e4):.0f}{unit}"
    return f"{ticks / 1e9:,.1f}s"


def change_width(record: Record, glyphs: Glyphs) -> int:
    """Cells that `put_change` needs to show both values."""
    if record.access_text in ("x", "r"):
        return 0
    shown = (numbers.value(record.old), numbers.value(record.value))
    return sum(map(len, shown)) + 2 + len(glyphs.arrow)


def put_change(line: Line, record: Record, glyphs: Glyphs, ink: Ink) -> None:
    """`17 -> 18`; `?` for what is not known; one value for a read, and where there is no room for two."""
    old = numbers.value(record.old) if record.old_from else glyphs.unknown
    new = numbers.value(record.value) if record.value_from else glyphs.unknown
    if record.access_text == "r":
        line.add(new, ink.value)
        return
    if len(old) + len(new) + 2 + len(glyphs.arrow) > line.room:
        line.add(f"{glyphs.arrow} ", ink.muted).add(new, ink.value)
        return
    line.add(old, ink.base).add(f" {glyphs.arrow} ", ink.muted).add(new, ink.value)
