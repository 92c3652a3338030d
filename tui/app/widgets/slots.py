"""The four debug registers: cards where there is room, a table where there is not."""

from __future__ import annotations

from typing import ClassVar

from rich.cells import cell_len
from rich.style import Style
from textual.events import Click
from textual.strip import Strip

from tui.app import numbers
from tui.app.hit_columns import put_change
from tui.app.line import Line, clip, without_offset
from tui.app.panel import Panel
from tui.app.rates import HISTORY, bars
from tui.app.scene import SlotRow, owner_text
from tui.session.escape import one_line

__all__ = ["SlotsPanel"]

_CARD_HEIGHT = 7
_LAST = 22
_OFF = "off: "
_USER_END = 1 << 48


class SlotsPanel(Panel, can_focus=True, inherit_bindings=False):
    """A cursor chooses the slot that `d`, `e` and Enter act on."""

    title = "SLOTS"
    where = "slots"
    help: ClassVar[str] = """The four debug registers of the CPU as the hardware has them.

DR          the register; DR0 to DR3 hold an address each
watch       the number of the watch, which `delete` takes, and what lies there: a variable, a function, or the address
typ         x execute, w write, rw read or write (x86 cannot watch reads alone)
ln          1, 2, 4 or 8 bytes, aligned; always 1 for x
en          L (local) or G (global) enable bit of DR7; Linux sets G; "-" is off
waits       live: armed, and put into the register when a task of the watch runs
owner       who reserved it; NOBODY: enabled, but no books know it (written by hand)
hits, rate  exact, and measured over the last second; {flash} hit within the last quarter of a second
-99         in the place of the rate: so many of the next hits are ignored (`ignore`)

On the rule: what the books count as used. A disabled breakpoint keeps its slot."""

    selected = 0

    def arrow(self, right: int, down: int) -> bool:
        """To the next or the last slot."""
        self.move(right + down)
        return True

    def open(self) -> bool:
        """The newest hit of the slot."""
        self.desk_app.show_slots_hit()
        return True

    def move(self, by: int) -> None:
        """Move the cursor."""
        self.selected = max(0, min(3, self.selected + by))
        self.redraw()

    def on_click(self, event: Click) -> None:
        """Select the slot under the mouse."""
        cards = self.size.height >= _CARD_HEIGHT
        number = event.x * 4 // max(1, self.size.width) if cards else event.y - 2
        if 0 <= number < 4:
            self.selected = number
            self.redraw()

    @property
    def chosen(self) -> SlotRow | None:
        """The slot under the cursor."""
        rows = self.scene.slots()
        return rows[self.selected] if self.selected < len(rows) else None

    def lines(self, width: int, height: int) -> list[Strip]:
        """Cards from seven lines on."""
        rows = self.scene.slots()
        return self._cards(rows, width) if height >= _CARD_HEIGHT else self._table(rows, width)

    def _reserved(self) -> str:
        view, cpu = self.scene.view, self.scene.cpu
        if view is None or cpu is None:
            return ""
        waiting = sum(1 for b in view.breakpoints if b.slot is None and b.cpu in (None, cpu.cpu))
        text = f"{4 - cpu.free} used, {cpu.free} free"
        text += f", {waiting} in no register" if waiting else ""
        later = len(self.scene.waiting)
        return text + f", {later} wait{'s' * (later == 1)}" if later else text

    def _table(self, rows: list[SlotRow], width: int) -> list[Strip]:
        cpu = self.scene.cpu
        after = f"CPU {cpu.cpu}" + (f", task {cpu.tid}" if cpu.tid is not None else "") if cpu else ""
        wide = width >= 100
        label = 14 if not wide else 24
        low = all(row.slot.address < _USER_END for row in rows)
        digits = 12 if low and not wide else 16  # the kernel's addresses need all sixteen
        owner = 16 if wide else 13 + 16 - digits
        out = [self.rule(width, self.title, after=after, right=self._reserved())]
        head = self.line(width).add(" DR ", self.ink.muted).add("address", self.ink.muted, digits + 1)
        head.add("watch", self.ink.muted, label + 4).add("typ ln en ", self.ink.muted)
        head.add("owner", self.ink.muted, owner + 1).add("hits", self.ink.muted, 9, right=True)
        head.add("rate", self.ink.muted, 6, right=True)
        if head.room >= _LAST:
            head.add("   last change", self.ink.muted)
        out.append(head.strip())
        for number in range(4):
            row = rows[number] if number < len(rows) else None
            line = self.line(width)
            chosen = number == self.selected
            line.add(self.glyphs.cursor if chosen and self.has_focus else " ", self.ink.rule_focus)
            if row is None:
                line.add(f"{number}", self.ink.muted)
            else:
                self._row(line, row, label, owner, digits)
            out.append(line.strip(self.ink.cursor if chosen and self.has_focus else None))
        return out

    def _row(self, line: Line, row: SlotRow, label: int, owner: int, digits: int) -> None:
        ink, slot = self.ink, row.slot
        line.add(f"{slot.index if row.known else '?'} ", ink.muted if row.free else ink.strong)
        line.add(f" {slot.address:0{digits}x} ", ink.muted if row.free else ink.base)
        if row.free:
            line.add("free" if not slot.address else "free (the address is left over)", ink.muted)
            return
        line.add(self._number(row), ink.strong, 2).add(" ").add(row.label, ink.symbol, label).add(" ")
        line.add(f"{slot.type:<3} {slot.length:<2} ", ink.base)
        line.add(f"{row.bits:<2} ", ink.good if row.enabled else ink.warn)
        text, style = self._owner(row)
        if row.breakpoint is not None and not row.breakpoint.enabled and len(text) > owner:
            text = text.removeprefix(_OFF)  # `en` says it too
        line.add(text, style, owner).add(" ")
        line.add(numbers.count(row.hits) if row.breakpoint else "?", ink.strong, 9, right=True)
        if row.breakpoint is not None and row.breakpoint.ignore and row.enabled:
            many = row.breakpoint.ignore
            line.add(f"-{many if many < 10_000 else numbers.rate(many)}", ink.warn, 6, right=True)
        else:
            line.add(numbers.rate(row.rate) if row.breakpoint else "", ink.base, 6, right=True)
        line.add(f" {self.glyphs.flash}" if row.flash else "  ", ink.changed)
        if line.room >= _LAST:
            line.add(" ")
            self._last(line, row)

    @property
    def _readable(self) -> bool:
        """What is shown is the register itself. Live it is the kernel's copy, and a watch is in it while its task runs."""
        return self.scene.cpu is None or self.scene.cpu.readable

    @property
    def _guest(self) -> str:
        """The virtual CPU whose registers these are, "" where they are the host's."""
        return self.scene.cpu.guest if self.scene.cpu is not None else ""

    def _number(self, row: SlotRow) -> str:
        """The watch's number, "" for what is no watch of ours."""
        number = self.scene.watches.get(row.breakpoint.id) if row.breakpoint else None
        return "" if number is None else str(number)

    def _owner(self, row: SlotRow) -> tuple[str, Style]:
        view = self.scene.view
        if row.breakpoint is None and view is not None and view.debug_exceptions is not None:
            return f"program: port {row.slot.address & 0xFFFF:#x}", self.ink.owner("program")  # an I/O slot
        if row.breakpoint is None and self._guest:
            return f"kvm {one_line(self._guest)}", self.ink.owner("kvm")
        if row.breakpoint is None:
            return f"{self.glyphs.refused}NOBODY", self.ink.error
        text = owner_text(row.breakpoint.owner)
        if not row.breakpoint.enabled:
            text = f"{_OFF}{text}"
        return text, self.ink.owner(row.breakpoint.owner.kind)

    def _last(self, line: Line, row: SlotRow) -> None:
        ink = self.ink
        newest = self.scene.newest(row.breakpoint.id) if row.breakpoint else None
        if newest is None:
            line.add("not hit yet" if row.breakpoint and not row.hits else "", ink.muted)
            return
        if newest.access_text == "x":
            line.add("reached ", ink.muted)
        else:
            signed = self.scene.signed(newest.breakpoint, newest.address)
            put_change(line, newest, self.glyphs, ink, signed)
            line.add("  ")
        line.add(without_offset(self.scene.names.of(newest.place).symbol, line.room), ink.symbol)

    def _cards(self, rows: list[SlotRow], width: int) -> list[Strip]:
        each, left = divmod(width, 4)
        columns = [self._card(n, rows, each + (n < left)) for n in range(4)]
        return [Strip.join(column[y] for column in columns) for y in range(_CARD_HEIGHT)]

    def _card(self, number: int, rows: list[SlotRow], width: int) -> list[Strip]:
        ink, glyphs = self.ink, self.glyphs
        focused = self.has_focus and number == self.selected
        corners, side, rule = (
            (glyphs.corners_focus, glyphs.side_focus, glyphs.rule_focus)
            if focused
            else (glyphs.corners, glyphs.side, glyphs.rule)
        )
        edge = ink.rule_focus if focused else ink.rule
        row = rows[number] if number < len(rows) else None
        in_words = width >= 34
        name = f" DR{number} " if row is None or row.known else " DR? "
        top = self.line(width).add(corners[0] + rule, edge).add(name, ink.title)
        if row and not row.free:
            text, style = self._owner(row)
            in_words = width >= 34 and cell_len(text) <= width - 17
            top.add(f"{clip(text, width - 13, glyphs.ellipsis)} ", style)
        flash = f" {glyphs.flash}{' HIT' if in_words else ''} " if row and row.flash else ""
        top.end((flash, ink.changed), (rule + corners[1], edge), fill=rule, style=edge)
        inner = width - 4
        body = self._card_body(row, inner)
        bottom = self.line(width).add(corners[2], edge).to(width - 1, rule, edge).add(corners[3], edge)
        return [
            top.strip(),
            *(
                Strip.join(
                    (
                        self.line(2).add(f"{side} ", edge).strip(),
                        line.strip(),
                        self.line(2).add(f" {side}", edge).strip(),
                    )
                )
                for line in body
            ),
            bottom.strip(),
        ]

    def _card_body(self, row: SlotRow | None, width: int) -> list[Line]:
        ink = self.ink
        lines = [self.line(width) for _ in range(_CARD_HEIGHT - 2)]
        if row is None:
            return lines
        slot = row.slot
        if row.free:
            lines[0].add("free", ink.muted)
            if slot.address:
                lines[1].add(f"{numbers.address(slot.address)} left over", ink.muted)
            return lines
        if number := self._number(row):
            lines[0].add(f"watch {number} ", ink.strong)
        lines[0].add(row.label, ink.symbol + Style(bold=True))
        lines[1].add(f"{slot.address:#x}").add(f"  {slot.type} {slot.length}", ink.strong)
        enable = ink.good if row.enabled else ink.warn
        on = [f"{letter}{slot.index}" for letter, bit in (("L", slot.local), ("G", slot.global_)) if bit]
        waits = row.breakpoint is not None and row.breakpoint.enabled and not self._readable
        bits = f"{' '.join(on)} on" if on else "waits" if waits else "off"
        lines[1].end((bits if lines[1].room > len(bits) else f" {row.bits}", enable))
        if row.breakpoint is None:
            if self._guest:
                lines[2].add(f"of a guest: {one_line(self._guest)}", ink.owner("kvm"))
            else:
                lines[2].add("enabled, in nobody's books", ink.error)
            return lines
        lines[2].add(f"{numbers.count(row.hits)}", ink.strong).add(f" hit{'s' * (row.hits != 1)}", ink.muted)
        if row.breakpoint.ignore and row.enabled:
            lines[2].end((f"ignores {numbers.count(row.breakpoint.ignore)}", ink.warn))
        else:
            lines[2].end((f"{numbers.rate(row.rate)}/s", ink.base))
        spark = width - 4
        lines[3].add(bars(list(row.history), spark, self.glyphs.bars), ink.accent).end(
            (f"{min(HISTORY, spark) // 4}s", ink.muted)
        )
        self._last(lines[4], row)
        return lines
