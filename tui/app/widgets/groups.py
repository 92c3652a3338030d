"""Hits counted by what they have in common, as a table with a cursor; drawn by the panel that owns it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from textual.strip import Strip

from tui.app import numbers
from tui.app.hit_groups import GROUPS, MOST, Group, GroupCounter

if TYPE_CHECKING:
    from backends.ring_reader import RingReader
    from tui.app.hit_filter import Filter
    from tui.app.hit_index import SceneTexts
    from tui.app.panel import Panel
    from tui.app.scene import Scene

__all__ = ["GroupTable"]

_ORDERS: Final = {"count": "most hits first", "last": "latest first", "key": "in order"}
_FIELDS: Final = {"site": "at", "task": "tid", "value": "value", "stack": "stack", "CPU": "cpu"}
_BAR: Final = 10
_WIDE: Final = 100


class GroupTable:
    """`by` is a key of `GROUPS`. Enter narrows the filter to the group under the cursor."""

    def __init__(self, by: str, wanted: Filter | None, texts: SceneTexts, scene: Scene) -> None:
        self.by = by
        self.order = "count"
        self.cursor = 0
        self.top = 0
        self._scene = scene
        self._counter = GroupCounter(by, wanted, texts)
        self._rows = 1

    @staticmethod
    def first_by() -> str:
        """The first way of grouping."""
        return next(iter(GROUPS))

    def next_by(self) -> str:
        """The way after this one; empty after the last."""
        ways = [*GROUPS, ""]
        return ways[ways.index(self.by) + 1]

    def next_order(self) -> None:
        """Another order, from the top."""
        orders = tuple(_ORDERS)
        self.order = orders[(orders.index(self.order) + 1) % len(orders)]
        self.cursor = self.top = 0

    def __len__(self) -> int:
        return len(self._counter)

    def work(self, ring: RingReader, seconds: float) -> bool:
        """Count further. Whether nothing is left."""
        return self._counter.work(ring, seconds)

    def move(self, by: int) -> None:
        """The cursor up or down."""
        self.cursor = max(0, min(self.cursor + by, len(self) - 1))
        self.top = max(min(self.top, self.cursor), self.cursor - self._rows + 1)

    def click(self, row: int) -> None:
        """The cursor to a row of the picture."""
        self.move(self.top + row - self.cursor)

    def chosen(self) -> Group | None:
        """The group under the cursor."""
        return next(iter(self._counter.tally.top(self.order, 1, self.cursor)), None)

    def narrower(self) -> str | None:
        """The group under the cursor as a word of a filter."""
        found = self.chosen()
        if found is None:
            return None
        key = found.key
        return f"{_FIELDS[self.by]}={key:#x}" if self.by == "site" else f"{_FIELDS[self.by]}={key}"

    def right(self) -> str:
        """What stands on the right of the rule."""
        counter = self._counter
        text = f"{numbers.count(len(counter))} groups, {_ORDERS[self.order]}"
        if counter.missed:
            text += f", {numbers.count(counter.missed)} went by uncounted"
        return text

    def lines(self, panel: Panel, width: int, height: int) -> list[Strip]:
        """Heading, rows, and what did not get a group of its own."""
        ink, counter = panel.ink, self._counter
        others = counter.tally.others > 0
        self._rows = room = max(1, height - 1 - others)
        self.top = max(0, min(self.top, len(counter) - room))
        shown = counter.tally.top(self.order, room, self.top)
        most = max((group.hits for group in counter.tally.top("count", 1)), default=1)
        head = (
            panel.line(width)
            .add(" ")
            .add("hits", ink.muted, 13, right=True)
            .add("share", ink.muted, 8, right=True)
        )
        head.add(" " * (_BAR + 3))
        for title in ("first #", "last #")[width < _WIDE :]:
            head.add(title, ink.muted, 13, right=True)
        what = f"  {self.by}, of {numbers.counted(counter.tally.counted, 'hit')} since {numbers.count(counter.since + 1)}"
        out = [head.add(what, ink.muted).strip()]
        for number, group in enumerate(shown, self.top):
            out.append(self._row(panel, width, group, number == self.cursor, most))
        if others:
            line = (
                panel.line(width).add(" ").add(numbers.count(counter.tally.others), ink.muted, 13, right=True)
            )
            out.append(line.add(f"  hits beyond the first {MOST:,} groups", ink.muted).strip())
        if not shown:
            out.append(panel.line(width).add("  nothing to count yet", ink.muted).strip())
        return out

    def _row(self, panel: Panel, width: int, group: Group, here: bool, most: int) -> Strip:
        ink, glyphs = panel.ink, panel.glyphs
        line = panel.line(width).add(glyphs.cursor if here else " ", ink.rule_focus)
        line.add(numbers.count(group.hits), ink.strong, 13, right=True)
        line.add(
            f"{100 * group.hits / max(1, self._counter.tally.counted):.1f} %", ink.base, 8, right=True
        ).add("  ")
        bar = max(1, round(group.hits / most * _BAR))
        line.add(glyphs.bars[-1] * bar, ink.accent, _BAR).add(" ")
        if width >= _WIDE:
            line.add(numbers.count(group.first + 1), ink.muted, 13, right=True)
        line.add(numbers.count(group.last + 1), ink.muted, 13, right=True).add("  ")
        name, about = self._text(group.key)
        line.add(name, ink.symbol if self.by == "site" else ink.value)
        if about:
            line.add("  ").add(about, ink.muted)
        return line.strip((ink.cursor if panel.has_focus else ink.cursor_far) if here else None)

    def _text(self, key: int) -> tuple[str, str]:
        if self.by == "site":
            name = self._scene.names.of(key)
            return name.symbol, name.source
        if self.by == "task":
            view = self._scene.view
            found = next((task for task in view.tasks if task.tid == key), None) if view else None
            from tui.app.shown import shown

            return str(key), shown(found.comm) if found is not None else ""
        if self.by == "stack":
            return (
                (f"stack {key}", "Enter shows its hits, their detail shows the frames")
                if key
                else ("no stack", "")
            )
        if self.by == "CPU":
            return f"CPU {key}", ""
        return numbers.value(key), f"{key:#x}" if key >= 10 and key < 1_000_000_000 else ""
