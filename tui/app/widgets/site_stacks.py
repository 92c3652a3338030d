"""How a site is reached: the hottest call stack of the chosen site, its first one, and the tasks that were there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.strip import Strip

from tui.app import numbers
from tui.app.line import Line
from tui.app.panel import Panel
from tui.app.records import record_of_site
from tui.app.site_facts import SiteHits

if TYPE_CHECKING:
    from backends.model import Site
    from tui.app.widgets.writers import WritersPanel

__all__ = ["StacksPanel"]


class StacksPanel(Panel):
    """The site's tasks, its hottest stack and its first one, side by side where there is room."""

    title = "HOW IT COMES THERE"

    def __init__(self, id: str, writers: WritersPanel) -> None:  # noqa: A002 - Textual's word
        super().__init__(id)
        self._writers = writers
        writers.stacks = self

    def lines(self, width: int, height: int) -> list[Strip]:
        """The rule, then columns: stacks, and tasks where the width allows a third."""
        ink, facts = self.ink, self._writers.facts
        site, hits = self._writers.chosen(), self._writers.chosen_hits()
        after = f"{numbers.counted(facts.counted, 'hit')} looked at"
        if facts.since > 0 or facts.missed:
            after += f", those before {numbers.count(facts.since + 1)} were gone"
        out = [self.rule(width, self.title, after=after)]
        if site is None or not hits.stacks:
            text = "no site is there yet" if site is None else "no hit of it was kept"
            return [*out, self.line(width).add(f"  {text}", ink.muted).strip()]
        total = sum(group.hits for group in hits.stacks)
        hottest, first = hits.stacks[0], min(hits.stacks, key=lambda group: group.first)
        share = f"{100 * hottest.hits / total:.0f} % of {numbers.count(total)}"
        columns = [
            self._stack(
                f"hottest of {numbers.counted(len(hits.stacks), 'stack')}, {share}",
                site,
                hottest.key,
                height - 1,
            )
        ]
        if first.key != hottest.key:
            title = f"first, at hit {numbers.count(first.first + 1)}"
            columns.append(self._stack(title, site, first.key, height - 1))
        if len(columns) == 1 or width >= 150:
            columns.append(self._tasks(hits, total, height - 1))
        each = (width - len(columns) + 1) // len(columns)
        for row in range(height - 1):
            line = self.line(width)
            for number, column in enumerate(columns):
                start = number * (each + 1)
                if number:
                    line.to(start - 1).add(self.glyphs.divider, ink.rule)
                cells = Line(each if number + 1 < len(columns) else line.room, ink.base, self.glyphs.ellipsis)
                if row < len(column):
                    left, right = column[row]
                    cells.add(f" {left}", ink.muted if not row else ink.symbol)
                    cells.end((f"{right} ", ink.muted))
                for segment in cells.strip():
                    line.add(segment.text, segment.style)
            out.append(line.strip())
        return out

    def _stack(self, title: str, site: Site, stack: int, room: int) -> list[tuple[str, str]]:
        if not stack:
            return [(title, ""), ("no stack was recorded", "")]
        record = record_of_site(site)._replace(stack=stack)
        inspection = self.desk_app.machine.inspection(record, self.redraw)
        if inspection is None:
            return [(title, ""), ("looking", "")]
        frames = [
            (("~" if frame.guessed else "") + frame.symbol, frame.source) for frame in inspection.frames
        ]
        if len(frames) > room - 1:
            frames = [*frames[: room - 2], (f"and {len(frames) - room + 2} more", "")]
        return [(title, ""), *frames]

    def _tasks(self, hits: SiteHits, total: int, room: int) -> list[tuple[str, str]]:
        rows = [
            (
                f"{group.key} {self._writers.name_of(group)}" if number < room else "",
                f"{numbers.count(group.hits)}  {100 * group.hits / total:5.1f} %",
            )
            for number, group in enumerate(hits.tasks)
        ]
        if len(rows) > room - 1:
            rows = [*rows[: room - 2], (f"and {len(rows) - room + 2} more", "")]
        return [(numbers.counted(len(hits.tasks), "task"), ""), *rows]
