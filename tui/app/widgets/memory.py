"""Memory: units of a window in hexadecimal or as numbers, armed and changed bytes marked."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar, Final

from rich.style import Style
from textual.events import Click
from textual.strip import Strip

from tui.app.memory_forms import FORMS, KINDS, Form, spell
from tui.app.panel import Panel
from tui.app.places import Spot
from tui.app.shown import shown, without_del
from tui.session.escape import one_line
from tui.session.memory import MemoryPage, ObjectAt, memory_page, object_at

if TYPE_CHECKING:
    from backends.model import Breakpoint
    from tui.app.widgets.object import ObjectPanel
    from tui.session.session import Session

__all__ = ["MemoryPanel"]

_MASK: Final = (1 << 64) - 1
_KEPT: Final = 8
"""Samples (two seconds) for which a byte of a running program counts as changed."""


class MemoryPanel(Panel, can_focus=True, inherit_bindings=False):
    """A window over memory that is read again four times a second while the program runs, and at every stop."""

    where = "memory"
    title = "MEMORY"
    help: ClassVar[str] = """Memory around an address, as the program has it. Reading it hits no slot.

[ ]         bytes that a data watch covers
*           changed: since the last stop, or in a running program in the last two seconds
??          nothing is mapped there, or it cannot be read

v           other numbers: hexadecimal, signed, floating point
+ -         larger and smaller units
w           watch what is under the cursor; Enter or . shows what else can be done from here
o           go to an address or a name; Backspace goes back"""

    cursor: int | None = None
    form = FORMS[0]

    def __init__(self, id: str) -> None:  # noqa: A002 - Textual's word
        super().__init__(id)
        self.top = 0
        self.window: MemoryPage | None = None
        self.object: ObjectAt | None = None
        self.beside: ObjectPanel | None = None
        self._before: MemoryPage | None = None
        self._age = 0
        self._was_running = False
        self._asking = False
        self._kept = False
        """What is shown was read before the program or the machine went."""
        self._read_for: tuple[int, int] = (-1, -1)
        self._back: list[int] = []
        self._layout = (16, 0, 0)

    # Where it is

    def go(self, address: int) -> None:
        """Put the cursor on an address."""
        if self.cursor is not None and self.cursor != address:
            self._back = [*self._back[-50:], self.cursor]
        self._to(address & _MASK)

    def back(self) -> bool:
        """Where it was before."""
        if self._back:
            self._to(self._back.pop())
        return True

    def _to(self, address: int) -> None:
        per, rows = self.per_row, self.rows
        self.cursor = address
        if not self.top <= address < self.top + per * rows:
            self.top = max(0, (address & -per) - per * (rows // 3))
        self._read()
        self.redraw()
        self._moved()

    def _moved(self) -> None:
        if self.beside is not None:
            self.beside.follow()

    @property
    def rows(self) -> int:
        """Lines of memory that fit."""
        return max(1, self.size.height - 1)

    @property
    def per_row(self) -> int:
        """Bytes of a line: as many as fit, a power of two."""
        width, size = self.size.width, self.form.size
        fits = [per for per in (64, 32, 16, 8) if self._cells(per) + per <= width]
        if (not fits or fits[0] < 16) and self._cells(16) <= width:
            fits = [16]  # rather without the characters
        return max(fits[0] if fits else 8, size)

    @property
    def digits(self) -> int:
        """Digits of an address: those of the kernel's take all sixteen."""
        return 16 if self.top >= 1 << 47 else 12

    def _cells(self, per: int) -> int:
        return 3 + self.digits + (self.form.cells + 1) * per // self.form.size

    # Reading

    def advance(self) -> None:
        """The machine moved: what is shown may have changed."""
        running = self.scene.running
        if running and not self._was_running:
            self._before = self.window  # what changes from here on is marked at the next stop
            self._age = 0
        self._was_running = running
        if self.cursor is None:
            self._begin()
        elif not running and self._stale():
            self._read()

    def sampled(self) -> None:
        """Four times a second."""
        self.advance()
        if self.scene.running:
            self._age += 1
            if self._age >= _KEPT:
                self._before, self._age = self.window, 0
            self._read()

    def _stale(self) -> bool:
        view = self.scene.view
        return view is not None and (view.generation, self.desk_app.machine.executed) != self._read_for

    def _begin(self) -> None:
        """At the selected hit's bytes, else the first watch's, else the program's data."""
        view = self.scene.view
        if view is None:
            return
        hit = self.desk_app.hits.selected_hit()
        armed = next((b for b in view.breakpoints if b.type != "x"), None)
        if hit is not None and hit.access_text != "x":
            self._to(hit.address)
        elif armed is not None:
            self._to(armed.address)
        else:
            own = [m for m in view.mappings if "w" in m.perms and m.path == view.program]
            rest = [m for m in view.mappings if "w" in m.perms]
            mapping = next(iter((*own, *rest, *view.mappings)), None)
            if mapping is not None:
                self._to(mapping.start)

    def _read(self) -> None:
        if self._asking or self.cursor is None or self.size.height < 2:
            return
        start, size, cursor = self.top, self.per_row * self.rows, self.cursor
        view, machine = self.scene.view, self.desk_app.machine
        self._read_for = (view.generation if view else -1, machine.executed)
        wanted = (start, size, cursor)

        def job(session: Session) -> tuple[MemoryPage, ObjectAt]:
            return memory_page(session, start, size), object_at(session, cursor)

        def take(answer: tuple[MemoryPage, ObjectAt]) -> None:
            self._asking = False
            ended = bool(self.scene.problem) or self.scene.state in ("exited", "failed")
            self._kept = (
                ended and not answer[0].pieces and self.window is not None and bool(self.window.pieces)
            )
            if self._kept:
                self.redraw()
                return  # the machine or the program is gone: what was read stays
            self.window, self.object = answer
            if self._before is None:
                self._before = self.window
            self.redraw()
            self._moved()
            if self.cursor is not None and (self.top, self.per_row * self.rows, self.cursor) != wanted:
                self._read()

        def fail(error: Exception) -> None:
            self._asking = False
            self.window = MemoryPage(start, size, (), one_line(str(error)))
            self.redraw()

        self._asking = machine.ask(job, take, fail)

    # Keys

    def arrow(self, right: int, down: int) -> bool:
        """A unit to the side, a line up or down."""
        if self.cursor is not None:
            self._walk(right * self.form.size + down * self.per_row)
        return True

    def page(self, by: int) -> bool:
        """A window up or down."""
        step = by * self.per_row * max(1, self.rows - 1)
        if self.cursor is not None:
            self.top = max(0, min(self.top + step, _MASK + 1 - self.per_row * self.rows))
            self._walk(step)
        return True

    def _walk(self, by: int) -> None:
        assert self.cursor is not None
        per = self.per_row
        cursor = max(0, min(self.cursor + by, _MASK))
        self.cursor = cursor - cursor % self.form.size
        if self.cursor < self.top:
            self.top = self.cursor & -per
        elif self.cursor >= self.top + per * self.rows:
            self.top = (self.cursor & -per) - per * (self.rows - 1)
        self._read()
        self.redraw()
        self._moved()

    def oldest(self) -> bool:
        """The start of the mapping."""
        return self._edge(False)

    def newest(self) -> bool:
        """The end of the mapping."""
        return self._edge(True)

    def _edge(self, end: bool) -> bool:
        view, cursor = self.scene.view, self.cursor
        mapping = next((m for m in view.mappings if m.start <= (cursor or 0) < m.end), None) if view else None
        if mapping is not None:
            self.go(mapping.end - self.form.size if end else mapping.start)
        return True

    def zoom(self, by: int) -> bool:
        """Larger units (negative) or smaller ones."""
        same = [form for form in FORMS if form.kind == self.form.kind]
        self._form(same[max(0, min(same.index(self.form) - by, len(same) - 1))])
        return True

    def other(self) -> bool:
        """Other numbers of the same size."""
        order = KINDS[KINDS.index(self.form.kind) + 1 :] + KINDS
        found = next(
            f for kind in order for f in FORMS if f.kind == kind and f.size >= min(self.form.size, 8)
        )
        self._form(found)
        return True

    def _form(self, form: Form) -> None:
        self.form = form
        if self.cursor is not None:
            self._to(self.cursor - self.cursor % form.size)
            self.top -= self.top % self.per_row
            self._read()
        self.redraw()

    def open(self) -> bool:
        """What can be done from here."""
        self.desk_app.action_from_here()
        return True

    def spot(self) -> Spot | None:
        """The unit under the cursor, or the member that is exactly there."""
        if self.cursor is None:
            return None
        found = self.object if self.object is not None and self.object.address == self.cursor else None
        part = None
        if found is not None:
            part = next((p for p in found.parts if p.address == self.cursor), None)
        if part is not None and part.length in (1, 2, 4, 8):
            return Spot(without_del(part.expr), part.expr, self.cursor, part.length)
        name = without_del(found.expr) if found is not None and found.expr else f"{self.cursor:#x}"
        inside = (
            (p for p in found.parts if p.address <= self.cursor < p.address + p.length)
            if found is not None
            else ()
        )
        whole = next((p.expr for p in inside if "\\" not in p.expr), "")
        return Spot(name, "", self.cursor, self.form.size, whole=whole)

    def on_click(self, event: Click) -> None:
        """Put the cursor on the unit under the mouse."""
        per, first, ascii_at = self._layout
        if event.y < 1:
            return
        size = self.form.size
        if ascii_at and event.x >= ascii_at:
            unit = min(event.x - ascii_at, per - 1) // size
        else:
            unit = max(0, min((event.x - first) // (self.form.cells + 1), per // size - 1))
        address = self.top + (event.y - 1) * per + unit * size
        if address == self.cursor and event.chain > 1:
            self.open()
        else:
            self._walk(address - (self.cursor or 0))

    def on_mouse_scroll_up(self) -> None:
        """Three lines."""
        self.arrow(0, -3)

    def on_mouse_scroll_down(self) -> None:
        """Three lines."""
        self.arrow(0, 3)

    # The picture

    def lines(self, width: int, height: int) -> list[Strip]:
        """The rule and the lines of memory; what cannot be read is ??."""
        ink = self.ink
        out = [self._heading(width)]
        if self.cursor is None:
            text = "reading" if self.scene.session is not None else "the machine is being opened"
            return [*out, self.line(width).add(f"  {text}", ink.muted).strip()]
        view = self.scene.view
        per = self.per_row
        window = self.window
        armed = [b for b in view.breakpoints if b.type != "x"] if view else []
        for row in range(height - 1):
            start = self.top + row * per
            if start > _MASK:
                break
            here = [b for b in armed if b.address < start + per and start < b.address + b.length]
            out.append(self._row(width, start, per, window, here))
        if window is None:
            out[1:] = [self.line(width).add("  reading", ink.muted).strip()]
        elif window.problem and not window.pieces and height > 2:
            out[1:2] = [self.line(width).add(f"  {without_del(one_line(window.problem))}", ink.warn).strip()]
        return out

    def _heading(self, width: int) -> Strip:
        window, ink = self.window, self.ink
        after = ""
        if self.cursor is not None:
            after = f"{self.cursor:#x}"
            if self.object is not None and self.object.address == self.cursor:
                name = self.object.expr or self.object.problem
                after += f"  {without_del(name)}" if name else ""
        right, style = self.form.name, None
        if self.scene.problem:
            right, style = f"{self.scene.problem}: as it was", ink.warn
        elif self._kept:
            right, style = "the program has ended: as it was last read", ink.warn
        elif self.scene.running:
            right = f"{right}, runs: read 4/s"
        mapping = window.mapping if window is not None else None
        if mapping is not None and width >= 100:
            right = f"{mapping.perms} {shown(os.path.basename(mapping.path)) or 'anonymous'}  {right}"
        return self.rule(width, self.title, after=after, right=right, right_style=style)

    def _row(
        self, width: int, start: int, per: int, window: MemoryPage | None, armed: list[Breakpoint]
    ) -> Strip:
        ink, form = self.ink, self.form
        assert self.cursor is not None
        in_row = start <= self.cursor < start + per
        line = self.line(width).add(self.glyphs.cursor if in_row else " ", ink.rule_focus)
        line.add(f"{start:0{self.digits}x}", ink.muted).add(" ")
        first = line.at
        edge = ""
        for at in range(start, start + per, form.size):
            opens = any(b.address <= at < b.address + b.length for b in armed)
            data = window.at(at, form.size) if window is not None else None
            changed = data is not None and self._changed(at, data)
            begins = opens and any(at <= b.address < at + form.size for b in armed)
            mark = "[" if begins else "*" if changed else edge or " "
            edge = "]" if any(at < b.address + b.length <= at + form.size for b in armed) else ""
            mark_style = ink.warn if mark in "[]" else ink.changed
            line.add(mark, mark_style)
            read = window is not None and window.start <= at < window.start + window.size
            text = spell(data, form) if data is not None else "??" if read else self.glyphs.dot * 2
            style = self._style(changed, opens, data)
            if at <= self.cursor < at + form.size:
                style = style + (ink.cursor if self.has_focus else ink.cursor_far)
            line.add(text, style, form.cells, right=True)
        line.add(edge or " ", ink.warn)
        if line.room > per:
            line.add(" ")
        ascii_at = 0
        if line.room >= per:
            ascii_at = line.at
            for at in range(start, start + per):
                one = window.at(at, 1) if window is not None else None
                text = " " if one is None else chr(one[0]) if 32 <= one[0] < 127 else self.glyphs.dot
                line.add(text, ink.muted if one is None or not 32 <= one[0] < 127 else ink.base)
        self._layout = (per, first, ascii_at)
        return line.strip()

    def _style(self, changed: bool, armed: bool, data: bytes | None) -> Style:
        ink = self.ink
        if changed:
            return ink.changed
        if armed:
            return ink.owner("perf") + Style(bold=True)
        return ink.muted if data is None or not any(data) else ink.base

    def _changed(self, address: int, data: bytes) -> bool:
        before = self._before.at(address, len(data)) if self._before is not None else None
        return before is not None and before != data
