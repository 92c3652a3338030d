"""The view of hits: all the ring has, or what a filter lets through, in the columns that were chosen; or counted in groups.

Following, the newest hit is the last row. Staying, the list is frozen with the hits that are being read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Final

from textual.events import Click
from textual.strip import Strip

from backends.base import HwbpError
from tui.app import numbers, records
from tui.app.hit_filter import FIELDS, FIELDS_WITH_VALUES, Filter, parse
from tui.app.hit_list import ORDERS, HitList
from tui.app.panel import Panel
from tui.app.records import Record
from tui.app.widgets.groups import GroupTable
from tui.app.widgets.hit_table import HitTable, state_text
from tui.session.escape import one_line

__all__ = ["HistoryPanel"]

_FRAME: Final = 0.004
_SLICE: Final = 0.008
"""Seconds of looking through hits at a time; between two the keys are answered."""


class HistoryPanel(Panel, can_focus=True, inherit_bindings=False):
    """Draws a `HitList` as a `HitTable`, or a `GroupTable` of the same filter."""

    title = "HITS"
    where = "history"
    help: ClassVar[str] = (
        """Every hit that the ring keeps. Up, Down and f stay: the list is frozen with its newest 32,768 hits, so that
nothing goes away while it is read; f or G follows again.

/ filters while you type; words are joined by "and", values after a comma by "or", ! turns a word round:
   add_limit tid=44,45 value>0x10 !r
A word without = < > is looked for in names, sources, watches and threads; a number also among the values.

"""
        + "\n".join(f"{name:<11} {about}" for name, about in FIELDS.items())
        + """

F finds the next hit without hiding the others, ] and [ go on. m marks a hit, ' goes from mark to mark, and the rule
says how far the mark is. b counts by instruction, task, value, stack or CPU; Enter on a group shows its hits.
o sorts a frozen list; c chooses columns. Esc takes away the grouping, then the filter."""
    )

    def __init__(self, id: str) -> None:  # noqa: A002 - Textual's word
        super().__init__(id)
        self.chosen: tuple[str, ...] = ()
        """The columns, where somebody chose; else those that fit."""
        self.groups: GroupTable | None = None
        self._list: HitList | None = None
        self._table = HitTable()
        self._finding: Iterator[int | None] | None = None
        self._searched: Filter | None = None
        self._before = ""
        self._more = False
        self._ordering = ""

    @property
    def hits(self) -> HitList:
        """What is shown."""
        if self._list is None:
            self._list = HitList(self.scene)
        return self._list

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are shown."""
        return self.chosen or self._table.fitting(self.size.width)

    @property
    def rows(self) -> int:
        """How many hits fit."""
        return max(1, self.size.height - 2)

    @property
    def following(self) -> bool:
        """The newest hit is the last row."""
        return self.hits.following

    # What time brings

    def advance(self) -> None:
        """A frame: a few milliseconds of looking through new hits, then the picture."""
        self._work(_FRAME)
        self.redraw()

    def sampled(self) -> None:
        """Names that came may let other hits through."""
        self._work(_FRAME)
        self.redraw()

    def _work(self, seconds: float) -> None:
        ring = self.scene.ring
        self.hits.advance(seconds)
        done = self.hits.done
        if self.groups is not None and ring is not None:
            done &= self.groups.work(ring, seconds)
        if not done and not self._more and self.shown:
            self._more = True
            self.call_later(self._go_on)

    def _go_on(self) -> None:
        self._more = False
        if self.shown:
            self._work(_SLICE)
            if not self._more:  # until then a frame shows how far it is
                self.redraw()

    # Keys

    def arrow(self, right: int, down: int) -> bool:
        """Up and down."""
        if down:
            self._walk(down)
        return bool(down)

    def page(self, by: int) -> bool:
        """By windows."""
        self._walk(by * max(1, self.rows - 1))
        return True

    def _walk(self, by: int) -> None:
        if self.groups is not None:
            self.groups.move(by)
            self._moved()
        elif self.hits.following and by > 0:
            return
        else:
            self.hits.move(by, self.rows)
            self._moved()

    def oldest(self) -> bool:
        """The first row."""
        if self.groups is not None:
            self.groups.move(-len(self.groups))
            self._moved()
        else:
            self.hits.to(0, self.rows)
            self._moved()
        return True

    def newest(self) -> bool:
        """The last row, and follow."""
        if self.groups is not None:
            self.groups.move(len(self.groups))
        else:
            self.hits.follow()
            self.hits.advance()
        self._moved()
        return True

    def toggle_follow(self) -> bool:
        """Follow, or freeze."""
        if self.hits.following:
            self.hits.freeze(self.rows)
        else:
            self.hits.follow()
            self.hits.advance()
        self._moved()
        return True

    def open(self) -> bool:
        """The whole hit as a page; of a group, its hits."""
        if self.groups is None:
            self.desk_app.open_hit(self.selected_hit())
        elif (narrower := self.groups.narrower()) is not None:
            self.groups = None
            wanted = self.hits.filter
            self.filter(" ".join(filter(None, (wanted.text if wanted else "", narrower))))
        return True

    def leave(self) -> bool:
        """Escape: the grouping goes, then the filter."""
        if self.groups is not None:
            self.groups = None
        elif self.hits.filter is not None:
            self.filter("")
        else:
            return False
        self.redraw()
        return True

    def selected_hit(self) -> Record | None:
        """The hit under the cursor; the last one of a group."""
        if self.groups is None:
            return self.hits.selected()
        group, ring = self.groups.chosen(), self.scene.ring
        found = records.read(ring, group.last, 1) if group is not None and ring is not None else []
        return found[0] if found and group is not None and found[0].seq == group.last else None

    def select(self, number: int) -> None:
        """Stay at a hit, by its number from 0."""
        self.groups = None
        self.hits.advance()
        self.hits.select(number, self.rows)
        self._moved()

    def mark(self) -> None:
        """Mark this hit, or take the mark away."""
        self.hits.mark()
        self.redraw()

    def next_mark(self) -> str:
        """To the next marked hit."""
        if not self.hits.next_mark(self.rows):
            return "no hit is marked: m marks one"
        self._moved()
        return ""

    def group_by(self) -> None:
        """The next way of grouping, and after the last none."""
        by = self.groups.next_by() if self.groups is not None else GroupTable.first_by()
        self.groups = GroupTable(by, self.hits.filter, self.hits.texts, self.scene) if by else None
        self.advance()

    def order(self) -> None:
        """The next order, of the groups or of the frozen list."""
        if self.groups is not None:
            self.groups.next_order()
            self.redraw()
            return
        names = tuple(ORDERS)
        self.hits.freeze(self.rows)
        order = names[(names.index(self._ordering) + 1) % len(names)] if self.hits.order else names[1]
        job = self.hits.sort_job(order)
        if job is None:
            return
        self._ordering = order
        self.desk_app.machine.desk.ask(job, lambda sorted_numbers: self._ordered(order, sorted_numbers))

    def _ordered(self, order: str, sorted_numbers: object) -> None:
        if order == self._ordering:
            self.hits.take_order(order, sorted_numbers)  # type: ignore[arg-type]
            self._moved()

    def _moved(self) -> None:
        self.redraw()
        self.post_message(self.Moved())

    # Filtering and finding

    def line_typed(self, purpose: str, text: str) -> str:
        """A filter while it is typed: it acts at once; what is wrong with it is returned."""
        done, _, last = text.rpartition(" ")
        if last.lstrip("!") in FIELDS_WITH_VALUES:
            last = ""  # a field whose value comes next: not a word to look for
        problem = ""
        try:
            wanted = parse(f"{done} {last}")
        except HwbpError as error:
            problem = error.message
            try:
                wanted = parse(done)
            except HwbpError:
                return problem
        if purpose == "filter":
            self._take(wanted if wanted.terms else None)
        return problem

    def line_done(self, purpose: str, text: str | None) -> str:
        """Enter, or (None) Escape: then the filter that was there before is there again."""
        if text is None:
            if purpose == "filter":
                self.filter(self._before)
            return ""
        try:
            wanted = parse(text) if text.strip() else None
        except HwbpError as error:
            return error.message
        if purpose == "filter":
            self._take(wanted)
            self._before = text.strip()
            return ""
        self._searched = wanted
        return self.find(1)

    def line_text(self, purpose: str) -> str:
        """What the line begins with."""
        wanted = self.hits.filter if purpose == "filter" else self._searched
        if purpose == "filter":
            self._before = wanted.text if wanted else ""
        return wanted.text if wanted else ""

    def complete(self, text: str) -> list[str]:
        """Fields that begin as the last word does."""
        start, _, word = text.rpartition(" ")
        begun = word.lstrip("!")
        lead = (start + " " if start else "") + word[: len(word) - len(begun)]
        return [lead + name for name in FIELDS if name.startswith(begun)] if begun else []

    def filter(self, text: str) -> None:
        """Another filter, known to be one; empty for none."""
        self.groups = None
        self._before = text
        self._take(parse(text) if text else None)

    def _take(self, wanted: Filter | None) -> None:
        if wanted != self.hits.filter:
            self.hits.filter_by(wanted)
            if self.groups is not None:
                self.groups = GroupTable(self.groups.by, wanted, self.hits.texts, self.scene)
            self._work(_SLICE)
        self._moved()

    def find(self, by: int) -> str:
        """Go to the next hit (or the one before) that was searched for; what is in the way is returned."""
        if self._searched is None:
            return "nothing was searched for yet: F"
        self.groups = None
        self.hits.freeze(self.rows)
        if self.hits.following:
            return "there is no hit yet"
        self._finding = self.hits.find(self._searched, by, _SLICE)
        self._find_on()
        return ""

    def _find_on(self) -> None:
        if self._finding is None or self._searched is None:
            return
        try:
            position = next(self._finding)
        except StopIteration:
            self._finding = None
            self.desk_app.say(f"no further hit meets {one_line(self._searched.text)}")
            return
        if position is None:
            self.call_later(self._find_on)
        else:
            self._finding = None
            self.hits.to(position, self.rows)
            self._moved()

    # Mouse

    def on_click(self, event: Click) -> None:
        """The row under the mouse."""
        row = event.y - 2
        if row < 0:
            return
        if self.groups is not None:
            self.groups.click(row)
            self._moved()
            return
        if row < min(self.rows, self.hits.count):
            top = max(0, self.hits.count - self.rows) if self.hits.following else self.hits.top
            self.hits.to(top + row, self.rows)
            self._moved()

    def on_mouse_scroll_up(self) -> None:
        """Three rows."""
        self._walk(-3)

    def on_mouse_scroll_down(self) -> None:
        """Three rows."""
        self._walk(3)

    # The picture

    def lines(self, width: int, height: int) -> list[Strip]:
        """The rule, the heading, the rows."""
        if self.groups is not None:
            head = self.rule(
                width, f"HITS by {self.groups.by}", after=self._after(), right=self.groups.right()
            )
            return [head, *self.groups.lines(self, width, height - 1)]
        style = None if self.hits.following else self.ink.warn
        right = state_text(self.hits, self.scene)
        head = self.rule(width, self.title, after=self._after(), right=right, right_style=style)
        return [head, *self._table.lines(self, self.hits, self.chosen, width, height - 1)]

    def _after(self) -> str:
        hits, ring = self.hits, self.scene.ring
        if ring is None:
            return ""
        total = ring.head
        text = numbers.count(total)
        if hits.filter is not None:
            kept = hits.looked_at if hits.following else total
            text = f"{numbers.count(hits.count)} of {numbers.count(kept)}  / {one_line(hits.filter.text)}"
        elif total > ring.capacity:
            text += f" (the last {numbers.count(ring.capacity)} kept)"
        if lost := ring.word("lost"):
            text += f"  lost {numbers.count(lost)}"
        return text
