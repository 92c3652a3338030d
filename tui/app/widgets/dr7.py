"""DR7 and DR6 bit by bit: what each bit is called, what it is now, and what the last write changed."""

from __future__ import annotations

from typing import ClassVar

from rich.style import Style
from textual.events import Click
from textual.strip import Strip

from backends import dr
from tui.app.line import Line
from tui.app.panel import Panel

__all__ = ["Dr6Panel", "Dr7Panel"]

_NAMES: dict[int, str] = {}
for _field in dr.dr7_fields():
    for _bit in range(_field.width):
        _NAMES[_field.shift + _bit] = _field.name if _field.width == 1 else f"{_field.name}.{_bit}"
_RESERVED = {10: "reads 1", 12: "reserved", 14: "reserved", 15: "reserved"}
_MEANINGS = {
    "L": "local enable of DR#",
    "G": "global enable of DR#",
    "LE": "local exact, ignored today",
    "GE": "global exact, ignored today",
    "RTM": "debugging in transactions",
    "GD": "trap accesses to the registers",
    "RW": "what DR# watches",
    "LEN": "how many bytes DR# covers",
}
_GROUP_ENDS = (28, 24, 20, 16, 8)
_TYPES = {"x": "exec", "w": "write", "io": "I/O", "rw": "r/w"}


class Dr7Panel(Panel, can_focus=True, inherit_bindings=False):
    """The bits in the order of the manual, highest first. The cursor walks single bits."""

    where = "bits"
    title = "DR7"
    help: ClassVar[str] = """The control register of the four slots, as the hardware holds it.

L0 G0 .. L3 G3   local and global enable of each slot; either is enough
RWn              00 execute, 01 write, 10 I/O (needs CR4.DE), 11 read or write
LENn             00 1 byte, 01 2 bytes, 10 8 bytes, 11 4 bytes
GE LE            exact; ignored by modern CPUs, Linux sets GE with any slot
GD               a move to or from a debug register raises #DB
RTM              debugging inside transactions; this CPU has none
bit 10           reads 1

* marks what the last write changed. The kernel's copy (cpu_dr7) is without bit 10.
Arrows move, Space toggles the bit in the emulated CPU, past everybody's books."""

    bit = 1

    def __init__(self, id: str) -> None:  # noqa: A002 - Textual's word
        super().__init__(id)
        self._spans: list[tuple[int, int, int]] = []

    def on_click(self, event: Click) -> None:
        """The bit under the mouse; a click on the one that is chosen turns it."""
        found = next((bit for start, end, bit in self._spans if start <= event.x < end), None)
        if event.y == 0 or found is None or found not in _NAMES:
            return
        if event.chain > 1 and found == self.bit:
            self.desk_app.do("toggle_bit")
        self.bit = found
        self.redraw()

    def arrow(self, right: int, down: int) -> bool:
        """Along the bits, which stand from 31 to 0."""
        self.move(-right)
        return True

    def move(self, by: int) -> None:
        """To the next bit to the left (positive) or right that can be named."""
        bits = sorted(_NAMES)
        self.bit = bits[max(0, min(len(bits) - 1, bits.index(self.bit) + by))]
        self.redraw()

    @property
    def bit_name(self) -> str:
        """`G1`, `RW0.1`."""
        return _NAMES[self.bit]

    @property
    def toggles(self) -> str:
        """What `dr7 toggle` calls this bit: by name, or by number within a field of two."""
        return str(self.bit) if "." in self.bit_name else self.bit_name

    def _heading(self, width: int) -> Strip:
        cpu = self.scene.cpu
        if cpu is None:
            live = self.scene.view is not None and not self.scene.view.can.reads_dr
            closed = "not known: the kernel's books are closed here (as root, or --sudo)"
            return self.rule(width, self.title, after=closed if live else "")
        if not cpu.readable:
            after = f"kernel's copy {cpu.cpu_dr7:08x}, the register itself is not readable live"
            return self.rule(
                width, self.title, after=after, right=self._about(width) if self.has_focus else ""
            )
        after = f"{cpu.dr7:08x}"
        if self.scene.view is None or self.scene.view.debug_exceptions is None:  # else there is no kernel
            after += f"  kernel's copy {cpu.cpu_dr7:08x}"
        ink = self.ink
        if cpu.cpu_dr7 | dr.DR7_BASE != cpu.dr7:
            after += f" {self.glyphs.refused} differs"
        if self.has_focus:
            return self.rule(width, self.title, after=after, right=f"{self._about(width)}   Space toggles")
        right = f"{self.glyphs.changed} changed by {cpu.changed_by}" if cpu.changed_dr7 else ""
        return self.rule(width, self.title, after=after, right=right, right_style=ink.changed)

    def _about(self, width: int) -> str:
        name = self.bit_name
        about = f"bit {self.bit}, {name.partition('.')[0]}"
        meaning = _MEANINGS[name[:3] if name[:3] in _MEANINGS else name.rstrip("0123456789.")]
        meaning = meaning.replace("#", name.partition(".")[0][-1])
        return f"{about}: {meaning}" if width >= 100 else about

    def lines(self, width: int, height: int) -> list[Strip]:
        """Five lines with all 32 bits, or three with the fields."""
        if height >= 5:
            return self._all_bits(width)
        return self._fields(width)

    def _style(self, bit: int, value: int, changed: int) -> Style:
        ink = self.ink
        if changed >> bit & 1:
            return ink.changed
        return ink.strong if value >> bit & 1 else ink.muted

    def _fields(self, width: int) -> list[Strip]:
        ink, cpu = self.ink, self.scene.cpu
        names, values = self.line(width).add(" "), self.line(width).add(" ")
        value, changed = (cpu.dr7, cpu.changed_dr7) if cpu else (0, 0)
        spread = 1 if width >= 98 else 0
        self._spans = []
        for field in dr.dr7_fields():
            cell = (len(field.name) if field.width == 2 else max(len(field.name) + 1, 3)) + spread
            gap = " " if field.width == 2 else ""
            names.add(field.name, ink.muted, cell, right=True).add(gap)
            mark = changed >> field.shift & (1 << field.width) - 1
            digits = Line(cell, ink.base)
            digits.to(cell - field.width - 1).add(self.glyphs.changed if mark else " ", ink.changed)
            for bit in range(field.shift + field.width - 1, field.shift - 1, -1):
                style = self._style(bit, value, changed)
                if self.has_focus and bit == self.bit:
                    style = ink.reverse
                digits.add(str(value >> bit & 1) if cpu else self.glyphs.unknown, style)
            for segment in digits.strip():
                values.add(segment.text, segment.style)
            for bit in range(
                field.width
            ):  # the last digit is the lowest bit, and a name is as good as a digit
                start = values.at - 1 - bit if bit < field.width - 1 else values.at - cell
                self._spans.append((start, values.at - bit, field.shift + bit))
            values.add(gap)
        return [self._heading(width), names.strip(), values.strip()]

    def _all_bits(self, width: int) -> list[Strip]:
        ink, cpu = self.ink, self.scene.cpu
        value, changed = (cpu.dr7, cpu.changed_dr7) if cpu else (0, 0)
        head = self.line(width).add("  bit   ", ink.muted)
        row = self.line(width).add("  value ", ink.muted)
        below = self.line(width).add("        ", ink.muted)
        meaning = self.line(width).add("        ", ink.muted)
        self._spans = []
        for bit in range(31, -1, -1):
            gap = " " if bit in _GROUP_ENDS else ""
            self._spans.append((row.at, row.at + 3, bit))
            at = self.has_focus and bit == self.bit
            head.add(f"{bit:>3}", ink.strong if at else ink.muted).add(gap)
            row.add(" ").add(self.glyphs.changed if changed >> bit & 1 else " ", ink.changed)
            row.add(
                str(value >> bit & 1) if cpu else self.glyphs.unknown,
                ink.reverse if at else self._style(bit, value, changed),
            ).add(gap)
        for slot in range(3, -1, -1):
            below.add(f"LEN{slot}", ink.muted, 6, right=True).add(f"RW{slot}", ink.muted, 6, right=True).add(
                " "
            )
            on = ink.base if dr.enabled(value, slot) else ink.muted
            meaning.add(f"{dr.slot_length(value, slot)}" if cpu else "", on, 6, right=True)
            meaning.add(_TYPES[dr.slot_type(value, slot)] if cpu else "", on, 6, right=True).add(" ")
        for bit in range(15, -1, -1):
            name = _NAMES.get(
                bit, "1" if bit == 10 else "- "
            )  # set off from a name of three letters beside it
            below.add(name, ink.muted, 3, right=True)
            below.add(" " if bit in _GROUP_ENDS else "")
        meaning.to(below.at - 24)
        for slot in range(3, -1, -1):
            active = dr.enabled(value, slot)
            word = "" if cpu is None else "on" if active else "off"
            local = value >> 2 * slot & 1 or not active  # under the bit that does it
            meaning.add("" if local else word, ink.good, 3, right=True)
            meaning.add(word if local else "", ink.good if active else ink.muted, 3, right=True)
        return [self._heading(width), head.strip(), row.strip(), below.strip(), meaning.strip()]


class Dr6Panel(Panel, can_focus=True, inherit_bindings=False):
    """DR6 at the last #DB."""

    where = "bits"
    title = "DR6"
    help: ClassVar[
        str
    ] = """What the last #DB was about. The CPU sets bits and never clears them; the handler must.

B0 .. B3   the condition of that slot was met (also of one that is not enabled)
BD         a debug register was accessed while DR7.GD was set
BS         single step
BT         task switch with the T bit
BLD, RTM   active low: 0 means it happened (bus lock; inside a transaction)

virtual    what PTRACE_PEEKUSER gives the debugger of the task. Space toggles the bit."""

    at = 0

    def __init__(self, id: str) -> None:  # noqa: A002 - Textual's word
        super().__init__(id)
        self._ends: list[int] = []

    def on_click(self, event: Click) -> None:
        """The field under the mouse; a second click turns it."""
        found = next((n for n, end in enumerate(self._ends) if event.x < end), None)
        if found is None:
            return
        if event.chain > 1 and found == self.at:
            self.desk_app.do("toggle_bit")
        self.at = found
        self.redraw()

    def arrow(self, right: int, down: int) -> bool:
        """Along the bits."""
        self.move(right)
        return True

    def move(self, by: int) -> None:
        """To another field."""
        self.at = max(0, min(len(dr.dr6_fields()) - 1, self.at + by))
        self.redraw()

    @property
    def bit_name(self) -> str:
        """`B0`, `BS`."""
        return dr.dr6_fields()[self.at].name

    def lines(self, width: int, height: int) -> list[Strip]:
        """One line, or a rule and a line."""
        ink, cpu, view = self.ink, self.scene.cpu, self.scene.view
        live = view is not None and not view.can.reads_dr
        if live or (cpu is not None and not cpu.readable):
            return self._unreadable(width, height)
        value = f"{cpu.dr6:08x}" if cpu else ""
        virtual = ""
        task = view.current if view is not None else None
        if task is not None and task.virtual_dr6 is not None:
            virtual = f"virtual (task {task.tid}) {task.virtual_dr6:x}"
        line = self.line(width)
        if height < 2:
            line.add(
                self.glyphs.rule_focus if self.has_focus else self.glyphs.rule,
                ink.rule_focus if self.has_focus else ink.rule,
            )
            line.add(" DR6 ", ink.title).add(f"{value} ", ink.muted)
            self._bits(line, notes=False)
            if cpu:
                line.end((f"{cpu.last_db} " if cpu.last_db else "no #DB yet ", ink.muted))
            return [line.strip()]
        line.add("  ")
        self._bits(line, notes=True)
        if cpu:
            last = f"last: {cpu.last_db}   {cpu.db_count:,} #DB" if cpu.last_db else "no #DB yet"
            line.end((f"{last}, {cpu.dr_writes:,} writes to DRs ", ink.muted))
        return [self.rule(width, self.title, after=value, right=virtual), line.strip()]

    def _unreadable(self, width: int, height: int) -> list[Strip]:
        """Nobody in user space can read a live CPU's DR6, and nothing stands in for it."""
        why = "not readable live: DR6 is the #DB handler's alone"
        if height < 2:
            rule, style = self.glyphs.rule, self.ink.rule
            return [
                self.line(width)
                .add(rule, style)
                .add(" DR6 ", self.ink.title)
                .add(why, self.ink.muted)
                .strip()
            ]
        return [self.rule(width, self.title), self.line(width).add("  ").add(why, self.ink.muted).strip()]

    def _bits(self, line: Line, *, notes: bool) -> None:
        ink, cpu = self.ink, self.scene.cpu
        self._ends = []
        for number, field in enumerate(dr.dr6_fields()):
            low = field.name in ("BLD", "RTM")
            bit = field.of(cpu.dr6) if cpu else 0
            happened = bool(cpu) and bit != low
            at = self.has_focus and number == self.at
            name = ink.reverse if at else ink.changed if happened else ink.muted
            line.add(field.name, name)
            line.add(" set" if happened else f" {self.glyphs.dot}", ink.changed if happened else ink.muted)
            if low and notes:
                line.add(" (1: no)" if bit else " (0: yes)", ink.muted)
            line.add("  " if notes else " ")
            self._ends.append(line.at)
