"""The columns of a list of hits: which there are, which fit a width, and how a row looks in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from backends.ring import FLAG_KERNEL
from tui.app import numbers
from tui.app.line import Line, without_offset

if TYPE_CHECKING:
    from tui.app.glyphs import Glyphs
    from tui.app.records import Record
    from tui.app.scene import Scene
    from tui.app.themes import Ink

__all__ = [
    "COLUMNS",
    "Column",
    "HitColumns",
    "change_width",
    "delta_text",
    "fitting",
    "put_change",
    "time_text",
]


class Column(NamedTuple):
    """`width` in cells; 0 for those that share what is left. `gap` blanks follow."""

    name: str
    title: str
    width: int
    about: str
    right: bool = False
    gap: int = 0


COLUMNS: Final = {
    column.name: column
    for column in (
        Column("number", "#", 11, "number of the hit, from 1", right=True),
        Column("time", "time", 15, "the machine's clock", right=True),
        Column("delta", "+time", 9, "since the row above", right=True),
        Column("cpu", "CPU", 4, "the CPU"),
        Column("dr", "DR", 2, "the debug register"),
        Column("pid", "pid", 8, "the process", right=True, gap=1),
        Column("tid", "tid", 7, "the task", right=True, gap=1),
        Column("comm", "comm", 12, "the thread's name", gap=1),
        Column("watch", "watch", 18, "what is watched", gap=1),
        Column("mode", "mode", 6, "user or kernel", gap=1),
        Column("acc", "acc", 3, "x, r, w or rw", gap=1),
        Column("change", "old, new", 0, "the value before and after", gap=1),
        Column("stack", "stack", 6, "number of the call stack", right=True, gap=1),
        Column("ip", "reported ip", 16, "what the CPU reported", gap=1),
        Column("by", "done by", 0, "the instruction that did it", gap=1),
        Column("source", "source", 0, "file and line", gap=1),
    )
}


def fitting(width: int, values: int) -> tuple[str, ...]:
    """The columns for a width, where nobody chose any; `values` as in `HitColumns`.

    Where it is narrow, both of two long values and the name of the instruction are worth more than the time between hits.
    """
    least = {
        "time": 112,
        "delta": 100 if values > 15 else 0,
        "cpu": 100,
        "comm": 128,
        "watch": 106,
        "pid": 999,
        "mode": 999,
        "stack": 999,
        "ip": 999,
    }
    return tuple(name for name in COLUMNS if width >= least.get(name, 0))


class HitColumns:
    """Widths for a list of `width` cells; `values` is how many cells the widest pair of values took so far, `last` the
    greatest number of a hit, `label` the length of the longest watch's name."""

    def __init__(
        self, width: int, chosen: tuple[str, ...], clock: str, values: int, last: int, label: int = 18
    ) -> None:
        self.clock = clock
        self.columns = [COLUMNS[name] for name in COLUMNS if name in chosen]
        self.widths = {column.name: column.width for column in self.columns}
        if "number" in self.widths:
            self.widths["number"] = max(5 if width < 100 else 7, len(str(last))) + 1
        if "watch" in self.widths:
            self.widths["watch"] = min(self.widths["watch"], max(9, label))
        fixed = 1 + sum(self.widths[c.name] + c.gap for c in self.columns if c.width)
        fixed += 2 * any(self._two_blanks(n) for n in range(len(self.columns)))
        left = width - fixed - ("change" in self.widths)
        shares = [name for name in ("change", "by", "source") if name in self.widths]
        if "change" in shares:
            # What the narrowest place and source leave is for the values: two of 64 bits where there is room for them.
            others = 14 * ("by" in shares) + 14 * ("source" in shares)
            least = 26 if left >= 70 else 15 if left >= 44 else 12
            change = max(12, min(max(values, least), left - others))
            self.widths["change"] = change
            left -= change
        if "by" in shares:
            by = max(14, min(40, left * 56 // 100)) if "source" in shares else max(14, left - 1)
            if left - by - 2 < 12 and "source" in shares:
                by = max(14, left - 14)
            self.widths["by"] = by
            left -= by
        if "source" in shares:
            self.widths["source"] = max(0, left)

    def _two_blanks(self, number: int) -> bool:
        """Between figures on the right of their column and what begins on the left of the next."""
        column = self.columns[number]
        following = self.columns[number + 1] if number + 1 < len(self.columns) else None
        return column.right and not column.gap and following is not None and not following.right

    def heading(self, line: Line, ink: Ink, glyphs: Glyphs) -> Line:
        """The titles."""
        insns = self.clock == "instructions"
        titles = {"change": f"old {glyphs.arrow} new"}
        if insns:
            titles |= {"time": "instruction", "delta": "+insns"}
        line.add(" ")
        for number, column in enumerate(self.columns):
            title = titles.get(column.name, column.title)
            last = number + 1 == len(self.columns)
            line.add(title, ink.muted, None if last else self.widths[column.name], right=column.right)
            if not last:
                line.add(" " * (2 if self._two_blanks(number) else column.gap))
        return line

    def row(
        self, line: Line, record: Record, before: int | None, scene: Scene, ink: Ink, glyphs: Glyphs
    ) -> None:
        """One hit, behind the sign at the left; `before` is the time of the row above, if it is known."""
        name = scene.names.of(record.place)
        for number, column in enumerate(self.columns):
            width = self.widths[column.name]
            match column.name:
                case "number":
                    line.add(f"{record.seq + 1}", ink.base, width, right=True)
                case "time":
                    line.add(time_text(record.time, self.clock), ink.muted, width, right=True)
                case "delta":
                    known = before is not None and before <= record.time
                    text = (
                        f"+{delta_text(record.time - before, self.clock)}"
                        if known and before is not None
                        else ""
                    )
                    line.add(text, ink.muted, width, right=True)
                case "cpu":
                    line.add(f"{record.cpu}", ink.base, width)
                case "dr":
                    line.add(record.slot_text, ink.strong, width)
                case "pid" | "tid" | "stack":
                    line.add(f"{getattr(record, column.name)}", ink.base, width, right=True)
                case "comm":
                    line.add(scene.comm(record.comm), ink.base, width)
                case "watch":
                    line.add_end(scene.label_of_hit(record.breakpoint, record.address), ink.symbol, width)
                case "mode":
                    line.add("kernel" if record.flags & FLAG_KERNEL else "user", ink.base, width)
                case "acc":
                    line.add(record.access_text, ink.base, width)
                case "change":
                    signed = scene.signed(record.breakpoint, record.address)
                    _change(line, record, width, glyphs, ink, signed)
                case "ip":
                    line.add(numbers.address(record.ip), ink.muted, width)
                case "by":
                    line.add(without_offset(name.symbol, width), ink.symbol, width)
                case "source":
                    line.add_end(name.source, ink.muted, width)
            line.add(" " * (2 if self._two_blanks(number) else column.gap))


def _change(line: Line, record: Record, width: int, glyphs: Glyphs, ink: Ink, signed: int) -> None:
    start = line.at
    if record.access_text != "x":
        change = Line(min(width, line.room), ink.base, glyphs.ellipsis)
        put_change(change, record, glyphs, ink, signed)
        for segment in change.strip():
            line.add(segment.text, segment.style)
    line.to(start + width)


def delta_text(ticks: int, clock: str) -> str:
    """At most seven signs: exact below a million instructions, then in millions."""
    if clock != "instructions":
        return _nanoseconds(ticks)
    if ticks < 1_000_000:
        return f"{ticks:,}"
    return f"{ticks / 1e6:,.2f}M" if ticks < 100_000_000 else f"{ticks / 1e9:,.2f}G"


def time_text(ticks: int, clock: str) -> str:
    """Instructions exactly; nanoseconds in the unit that leaves a few digits."""
    return f"{ticks:,}" if clock == "instructions" else _nanoseconds(ticks)


def _nanoseconds(ticks: int) -> str:
    for size, unit in ((1e4, "ns"), (1e7, "us"), (1e10, "ms")):
        if ticks < size:
            return f"{ticks / (size / 1e4):.0f}{unit}"
    return f"{ticks / 1e9:,.1f}s"


def change_width(record: Record, scene: Scene, glyphs: Glyphs) -> int:
    """Cells that `put_change` needs to show both values."""
    if record.access_text in ("x", "r"):
        return 0
    signed = scene.signed(record.breakpoint, record.address)
    shown = (numbers.value(record.old, signed), numbers.value(record.value, signed))
    return sum(map(len, shown)) + 2 + len(glyphs.arrow) + record.unseen


def put_change(line: Line, record: Record, glyphs: Glyphs, ink: Ink, signed: int) -> None:
    """`17 -> 18`, of a signed integer of so many bits (0: of anything else); `?` for what is not known; one value for a read, and where there is no room for two. `!` before them: since
    the hit before, something that made no hit had changed the window."""
    if record.unseen:
        line.add(glyphs.refused, ink.warn)
    old = numbers.value(record.old, signed) if record.old_from else glyphs.unknown
    new = numbers.value(record.value, signed) if record.value_from else glyphs.unknown
    if record.access_text == "r":
        line.add(new, ink.value)
        return
    if len(old) + len(new) + 2 + len(glyphs.arrow) > line.room:
        line.add(f"{glyphs.arrow} ", ink.muted).add(new, ink.value)
        return
    line.add(old, ink.base).add(f" {glyphs.arrow} ", ink.muted).add(new, ink.value)
