"""A list of hits as a table: heading, rows, the cursor and the marks; drawn by the panel that owns it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.strip import Strip

from tui.app import numbers
from tui.app.hit_columns import HitColumns, change_width, delta_text, fitting
from tui.app.hit_list import ORDERS

if TYPE_CHECKING:
    from tui.app.hit_list import HitList
    from tui.app.panel import Panel
    from tui.app.records import Record
    from tui.app.scene import Scene

__all__ = ["HitTable", "state_text"]


class HitTable:
    """Keeps how wide values have been, so that their column does not become narrow again."""

    def __init__(self) -> None:
        self._widest = 0

    def fitting(self, width: int) -> tuple[str, ...]:
        """The columns that a width allows with the values that were seen."""
        return fitting(width, self._widest)

    def lines(
        self, panel: Panel, hits: HitList, chosen: tuple[str, ...], width: int, height: int
    ) -> list[Strip]:
        """The heading and the rows, in the chosen columns or those that fit. A frozen list that would leave rows empty moves up."""
        ink, glyphs, scene = panel.ink, panel.glyphs, panel.scene
        room = max(1, height - 1)
        if not hits.following and hits.top + room > hits.count:
            hits.top = max(0, hits.count - room)
        found = hits.tail(room + 1) if hits.following else hits.window(max(0, hits.top - 1), room + 1)
        above = len(found) > room if hits.following else hits.top > 0
        self._widest = max(
            self._widest, *(change_width(r, scene, glyphs) for _n, r in found if r is not None), 0
        )
        columns = HitColumns(
            width,
            chosen or self.fitting(width),
            _clock(scene),
            self._widest,
            scene.ring.head if scene.ring else 0,
            scene.longest_label,
        )
        out = [columns.heading(panel.line(width), ink, glyphs).strip()]
        before = found[0][1].time if above and found[0][1] is not None else None
        cursor = len(found) - 1 if hits.following else hits.cursor - hits.top + above
        for at in range(int(above), len(found)):
            number, record = found[at]
            line = panel.line(width)
            marked = number in hits.marks
            line.add(
                glyphs.cursor if at == cursor else glyphs.changed if marked else " ",
                ink.changed if marked else ink.rule_focus,
            )
            if record is None:
                line.add(f"{number + 1:>10}  overwritten: the ring has gone round since", ink.muted)
            else:
                columns.row(line, record, before, scene, ink, glyphs)
            before = record.time if record is not None else None
            over = ink.cursor if panel.has_focus else ink.cursor_far
            out.append(line.strip(over if at == cursor else None))
        if not found:
            out.append(panel.line(width).add("  ").add(_nothing(scene, hits), ink.muted).strip())
        return out


def state_text(hits: HitList, scene: Scene) -> str:
    """Whether the list follows; else where it is frozen, and how far the nearest mark is or how many hits came since."""
    if hits.following:
        return "following" if hits.done else "following, looking back"
    record = hits.selected()
    text = f"frozen at {numbers.count(record.seq + 1)}" if record is not None else "frozen"
    if hits.order:
        text += f", by {ORDERS[hits.order]}"
    if record is not None and (far := _from_mark(record, hits, _clock(scene))):
        text += f", {far}"
    elif hits.newer:
        text += f", {numbers.count(hits.newer)} newer: f follows"
    return text


def _clock(scene: Scene) -> str:
    return scene.view.clock if scene.view else "instructions"


def _from_mark(record: Record, hits: HitList, clock: str) -> str:
    marks = [number for number in hits.marks if number != record.seq]
    if not marks:
        return ""
    nearest = hits.marks[min(marks, key=lambda number: abs(number - record.seq))]
    apart = delta_text(abs(record.time - nearest.time), clock)
    unit = " insns" if clock == "instructions" else ""
    side = "after" if record.seq > nearest.seq else "before"
    between = numbers.count(abs(record.seq - nearest.seq))
    return f"{between} hits, {apart}{unit} {side} mark {numbers.count(nearest.seq + 1)}"


def _nothing(scene: Scene, hits: HitList) -> str:
    view = scene.view
    if view is None:
        return "starting the machine"
    if hits.filter is not None and scene.hits:
        return "nothing meets the filter: / changes it, Esc takes it away" if hits.done else "looking"
    if not view.breakpoints:
        return "nothing is watched yet: w watches a variable"
    return "no hit yet" if scene.running else "no hit yet: Space lets the program run"
