"""The selected hit: the instruction that did it in its surroundings, the values, and how the program came there."""

from __future__ import annotations

from typing import ClassVar, Final

from textual.events import Click
from textual.strip import Strip

from backends.ring import FROM_CODES
from tui.app import numbers
from tui.app.hit_columns import put_change
from tui.app.inspection import CodeLine, Inspection
from tui.app.line import Line, clip_start
from tui.app.panel import Panel
from tui.app.records import Record

__all__ = ["DetailPanel", "StackPanel"]

_NARROW: Final = 60
_SHORT_DIGITS: Final = 6


class _HitPanel(Panel):
    """Both panels show the same hit."""

    record: Record | None = None
    inspection: Inspection | None = None

    def on_click(self, _event: Click) -> None:
        """The whole hit."""
        self.desk_app.open_hit(self.record)

    def show(self, record: Record | None, inspection: Inspection | None) -> None:
        """Another hit, or more about it."""
        self.record, self.inspection = record, inspection
        self.redraw()

    def frame_lines(self, width: int, room: int) -> list[Line]:
        """The call stack, innermost first; ~ marks a guess."""
        ink, inspection = self.ink, self.inspection
        if inspection is None or self.record is None:
            return []
        if not inspection.frames:
            return [self.line(width).add(" no stack was recorded", ink.muted)]
        out = []
        shown = inspection.frames if len(inspection.frames) <= room else inspection.frames[: room - 1]
        for frame in shown:
            line = self.line(width).add("~ " if frame.guessed else "  ", ink.warn)
            line.add(frame.symbol, ink.symbol)
            if len(frame.source) + 2 <= line.room:
                line.end((frame.source + " ", ink.muted))
            out.append(line)
        if len(shown) < len(inspection.frames):
            more = len(inspection.frames) - len(shown)
            out.append(self.line(width).add(f"  and {more} more: Enter", ink.muted))
        return out


class DetailPanel(_HitPanel):
    """One line, or a few instructions with the culprit marked; the stack beside it unless it has its own panel."""

    title = "HIT"
    help: ClassVar[
        str
    ] = """The instruction that did it (=>), and the one that the CPU reported (ip). Below them the values before and after, by
the members of what is watched where its type is known, and how they were read."""
    stack_beside = False
    typed = ""
    """What the hit changed, as the type of what is watched writes it; "" where numbers say it."""

    def lines(self, width: int, height: int) -> list[Strip]:
        """One line where there is no room for more."""
        if height < 3:
            return [self._one_line(width)]
        if not self.stack_beside or self.record is None:
            return self._code(width, height)
        left = max(50, width * 60 // 100)
        code = self._code(left, height, with_rule=False)
        stack = [line.strip() for line in self.frame_lines(width - left - 1, height - 1)]
        stack += [self.line(width - left - 1).strip()] * (height - 1 - len(stack))
        bar = self.line(1).add(self.glyphs.divider, self.ink.rule).strip()
        rows = [Strip.join((a, bar, b)) for a, b in zip(code, stack, strict=True)]
        return [self._rule(width), *rows]

    def _rule(self, width: int) -> Strip:
        record = self.record
        if record is None:
            return self.rule(width, self.title)
        what = self.scene.label_of_hit(record.breakpoint, record.address)
        access = {"x": "executes", "r": "reads", "w": "writes", "rw": "reads or writes"}[record.access_text]
        after = f"{numbers.count(record.seq + 1)}  {access} {what}"
        right = ""
        if record.insn_ip and record.insn_ip != record.ip:
            right = "trap: reported one later"
        elif record.access_text == "x":
            right = "fault: reported before it runs"
        return self.rule(width, self.title, after=after, right=right)

    def _culprit(self) -> CodeLine | None:
        code = self.inspection.code if self.inspection else ()
        return next((line for line in code if line.mark in ("culprit", "both")), None)

    def _one_line(self, width: int) -> Strip:
        ink, record, inspection = self.ink, self.record, self.inspection
        line = self.line(width)
        if record is None:
            return line.add(" no hit is selected", ink.muted).strip()
        line.add("=> ", ink.changed)
        culprit = self._culprit()
        where = f"{record.place:#x}" if record.place else self.scene.names.of(0).symbol
        line.add(culprit.text if culprit else where, ink.strong)
        if record.access_text != "x":
            line.add("  ")
            self._put_change(line, record)
        if inspection is not None and inspection.frames:
            names = [("~" if f.guessed else "") + f.symbol.split("+")[0] for f in inspection.frames]
            line.add("  ").add(self.glyphs.stack.join(names), ink.symbol)
        return line.strip()

    def _code(self, width: int, height: int, with_rule: bool = True) -> list[Strip]:
        ink, record, inspection = self.ink, self.record, self.inspection
        out = [self._rule(width)] if with_rule else []
        room = height - 1
        if record is None:
            out.append(self.line(width).add("  no hit is selected", ink.muted).strip())
        elif inspection is None:
            out.append(self.line(width).add("  looking", ink.muted).strip())
        elif not inspection.code:
            unread = (
                f"the code at {record.place:#x} cannot be read"
                if record.place
                else "no instruction of a program made it"
            )
            why = inspection.problem or unread
            out.append(self.line(width).add(f"  {why}", ink.muted).strip())
        else:
            window = self._window(inspection, room - 1)
            digits = max(len(f"{line.address:x}") for line in window)
            out += [self._instruction(width, line, digits).strip() for line in window]
        out = out[: height - 1 if with_rule else room - 1]
        target = height - 1 if with_rule else room - 1
        out += [self.line(width).strip()] * (target - len(out))
        out.append(self._values(width).strip())
        return out

    def _window(self, inspection: Inspection, room: int) -> tuple[CodeLine, ...]:
        """The culprit and what is around it, the instruction that was reported included."""
        at = next((n for n, c in enumerate(inspection.code) if c.mark in ("culprit", "both")), None)
        if at is None:
            at = next((n for n, c in enumerate(inspection.code) if c.mark == "ip"), 0)
        first = max(0, min(at - (room - 1) // 2, len(inspection.code) - room))
        return inspection.code[first : first + room]

    def _instruction(self, width: int, code: CodeLine, digits: int) -> Line:
        ink = self.ink
        sign = {"culprit": "=>", "both": "=>", "ip": "ip", "armed": "*"}.get(code.mark, "")
        line = self.line(width).add(f" {sign:<2} ", ink.changed if sign == "=>" else ink.accent)
        address = f"{code.address:{digits}x}"
        if (
            width < _NARROW and digits > _SHORT_DIGITS
        ):  # the instruction matters more; Enter shows all of both
            address = clip_start(address, _SHORT_DIGITS, self.glyphs.ellipsis)
        line.add(f"{address}  ", ink.muted)
        style = ink.strong if sign == "=>" else ink.base
        return line.add(code.text, style)

    def _put_change(self, line: Line, record: Record) -> None:
        if self.typed:
            line.add(self.typed.replace(" -> ", f" {self.glyphs.arrow} "), self.ink.value)
        else:
            signed = self.scene.signed(record.breakpoint, record.address)
            put_change(line, record, self.glyphs, self.ink, signed)

    def _values(self, width: int) -> Line:
        ink, record = self.ink, self.record
        line = self.line(width).add("    ")
        if record is None or self.inspection is None:
            return line
        if record.access_text != "x":
            self._put_change(line, record)
            source = FROM_CODES[record.value_from]
            line.add(f" ({source})" if source else " (unknown)", ink.muted)
            line.add("  changed unseen before" if record.unseen else "", ink.warn).add("  ")
        if record.place:
            line.add(self.scene.names.of(record.place).symbol, ink.symbol).add("  ")
        return line.add(clip_start(self.inspection.source, line.room, self.glyphs.ellipsis), ink.muted)


class StackPanel(_HitPanel):
    """The call stack in a panel of its own."""

    title = "STACK"
    help: ClassVar[str] = (
        "The call stack at the hit, innermost first. ~ marks a frame that had to be guessed."
    )

    def lines(self, width: int, height: int) -> list[Strip]:
        """Rule and frames."""
        frames = self.inspection.frames if self.inspection else ()
        guessed = sum(frame.guessed for frame in frames)
        right = f"~ {guessed} guessed" if guessed else "exact" if frames else ""
        head = self.rule(width, self.title, right=right, right_style=self.ink.warn if guessed else None)
        return [head, *(line.strip() for line in self.frame_lines(width, height - 1))]
