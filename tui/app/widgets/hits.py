"""The history of hits, straight out of the ring: a window over up to a million rows that never holds more than it shows.

Following, the newest hit is the last row. Staying, the window is fixed by sequence numbers: whatever comes in,
nothing moves under the reader's eye, and what the ring has overwritten says so.
"""

from __future__ import annotations

from typing import ClassVar

from textual.events import Click
from textual.strip import Strip

from tui.app import numbers, records
from tui.app.hit_columns import HitColumns, change_width, fitting
from tui.app.panel import Panel
from tui.app.records import Record

__all__ = ["HitsPanel"]


class HitsPanel(Panel, can_focus=True, inherit_bindings=False):
    """`cursor` is a sequence number (from 0); the screen counts from 1, as `trace` does."""

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
        self._widest = max(self._widest, *(change_width(r, scene, self.glyphs) for r in found.values()), 0)
        clock = scene.view.clock if scene.view else "instructions"
        columns = HitColumns(
            width, fitting(width, self._widest), clock, self._widest, head, scene.longest_label
        )
        out = [self._heading(width, head), columns.heading(self.line(width), ink, self.glyphs).strip()]
        for seq in range(first, min(first + count, head)):
            line = self.line(width)
            at = seq == cursor
            line.add(self.glyphs.cursor if at else " ", ink.rule_focus)
            if seq in found:
                before = found.get(seq - 1)
                columns.row(line, found[seq], before.time if before else None, scene, ink, self.glyphs)
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
