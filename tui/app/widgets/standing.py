"""Where the stopped task stands: its registers, its call stack, the words on its stack, its function's locals."""

from __future__ import annotations

from typing import ClassVar

from textual.strip import Strip

from tui.app.line import Line
from tui.app.listing import ListPanel
from tui.app.places import Spot
from tui.app.shown import without_del
from tui.app.standing_feed import StandingFeed
from tui.app.widgets.message import wrap
from tui.session.escape import one_line
from tui.session.standing import Standing, StandingRegister

__all__ = ["FramesPanel", "LocalsPanel", "RegistersPanel", "WordsPanel"]


class _StandingPanel(ListPanel, inherit_bindings=False):
    """All of them draw the same stop."""

    where = "standing"

    def __init__(self, id: str, feed: StandingFeed) -> None:  # noqa: A002 - Textual's word
        super().__init__(id)
        self.feed = feed

    def advance(self) -> None:
        """The machine moved."""
        self.feed.want(self.desk_app.machine, self.scene)

    def sampled(self) -> None:
        """Also when only a command was run."""
        self.advance()

    @property
    def now(self) -> Standing:
        """The last answer."""
        return self.feed.now or Standing(None, None)

    @property
    def known(self) -> bool:
        """There is something to show."""
        return self.feed.now is not None and not self.feed.now.problem

    def nothing(self) -> str:
        """What stands there where the stop is known and this part of it is empty."""
        return ""

    def notes(self, width: int, height: int) -> list[Line]:
        """Why nothing is known: in full where the registers are, elsewhere in a word."""
        if self.known:
            text = "" if self.count() else self.nothing()
        elif self.feed.now is None:
            text = "reading" if self.scene.session is not None else "the machine is being opened"
        else:
            text = self.problem()
        parts = wrap(without_del(one_line(text)), max(20, width - 4)) if text else []
        return [self.line(width).add(f"  {part}", self.ink.muted) for part in parts]

    def problem(self) -> str:
        """Why nothing is known."""
        return "unknown"

    def open(self) -> bool:
        """What can be done from here."""
        self.desk_app.action_from_here()
        return True

    def _spot_of(self, what: str, value: int) -> Spot | None:
        """A number that may be an address: of code where something executable is mapped there."""
        view = self.scene.view
        mapping = next((m for m in view.mappings if m.start <= value < m.end), None) if view else None
        if mapping is None:
            return None
        if "x" in mapping.perms:
            return Spot(what, f"{value:#x}", code=value)
        return Spot(what, f"{value:#x}", data=value, length=8 if value % 8 == 0 else 1)


class RegistersPanel(_StandingPanel):
    """Two or three columns; * marks what changed since the last stop."""

    title = "REGISTERS"
    help: ClassVar[str] = """The registers of the task that is looked at (`task TID`), while it stands.

*           changed since the stop before
=           what the value points to; of eflags, the flags that are set

They are those of the frame that the cursor of the call stack is on. Of a caller only those are known that the functions it called have
kept or saved; the others are not shown. E stores another value in a register of the innermost frame; u takes that back.

A running program's registers change with every instruction, so none are shown: Space stops it."""

    def count(self) -> int:
        """Registers."""
        return len(self.now.registers)

    def heading(self, width: int) -> Strip:
        """Whose they are."""
        after = ""
        if self.now.tid is not None:
            task = (
                next((t for t in self.scene.view.tasks if t.tid == self.now.tid), None)
                if self.scene.view
                else None
            )
            after = f"task {self.now.tid}" + (f" {one_line(task.comm)}" if task is not None else "")
        if self.now.frame:
            after = f"frame {self.now.frame}, {after}"
            lost = len(self.now.lost)
            return self.rule(
                width, self.title, after=without_del(after), right=f"{lost} not known" if lost else ""
            )
        right = self.scene.problem or (
            "changed since the last stop: *" if self.feed.before and self.known else ""
        )
        return self.rule(width, self.title, after=without_del(after), right=right)

    def lines(self, width: int, height: int) -> list[Strip]:
        """As few columns as the height allows."""
        total = max(1, self.count())
        self.columns = max(1, min(-(-total // max(1, height - 1)), width // 24))
        if width >= 76 and self.columns == 1:
            self.columns = 2
        return super().lines(width, height)

    def row(self, number: int, width: int) -> Line:
        """Name, value, and what it points to."""
        row = self.now.registers[number]
        ink = self.ink
        changed = self._changed(row)
        line = self.line(width).add(self.glyphs.cursor if number == self.cursor else " ", ink.rule_focus)
        line.add(f"{row.name:<8}"[: 8 if width >= 45 else max(6, min(7, width - 19))], ink.accent)
        line.add("*" if changed else " ", ink.changed)
        line.add(f"{row.value:016x}", ink.changed if changed else ink.muted if not row.value else ink.base)
        about = without_del(row.about)
        if about and line.room > 5:
            line.add(f" {about}" if row.name == "eflags" else f" ={about}", ink.symbol)
        return line

    def _changed(self, row: StandingRegister) -> bool:
        if self.now.frame:  # the stop before was another frame's
            return False
        return row.name in self.feed.before and self.feed.before[row.name] != row.value

    def problem(self) -> str:
        """In full."""
        view = self.scene.view
        if view is not None and not view.can.stops and view.can.why_not:
            return f"unknown: {view.can.why_not}"
        stop = "; Space stops it" if self.scene.running else ""
        return f"unknown: {self.now.problem}{stop}"

    def spot(self) -> Spot | None:
        """What the register under the cursor points to."""
        if not self.known or not self.count():
            return None
        row = self.now.registers[min(self.cursor, self.count() - 1)]
        what = f"{row.name} {row.value:#x}"
        found = self._spot_of(what, row.value) or Spot(what)
        return found._replace(register="" if self.now.frame else row.name)


class FramesPanel(_StandingPanel):
    """Innermost first; ~ marks a guess."""

    _chosen = 0
    """The frame that the last answer was about."""
    title = "CALL STACK"
    help: ClassVar[str] = """How the stopped task came to where it stands, innermost first.

Registers and locals beside it are those of the frame under the cursor, as after gdb's up and down; print and info locals in the command line
mean it too (also `frame N`, `up`, `down`), until the program runs.
~ marks a frame that no unwind rule led to: it was found by frame pointer or by search. Enter shows its code."""

    def count(self) -> int:
        """Frames."""
        return len(self.now.frames)

    def heading(self, width: int) -> Strip:
        """Whether anything was guessed."""
        guessed = sum(frame.guessed for frame in self.now.frames)
        right = f"~ {guessed} guessed" if guessed else "exact" if self.now.frames else ""
        return self.rule(width, self.title, right=self.span() or right)

    def row(self, number: int, width: int) -> Line:
        """Number, function, source."""
        frame, ink = self.now.frames[number], self.ink
        line = self.line(width).add(self.glyphs.cursor if number == self.cursor else " ", ink.rule_focus)
        line.add("~" if frame.guessed else " ", ink.warn).add(f"{number:>2} ", ink.muted)
        line.add(without_del(frame.text), ink.symbol)
        source = without_del(frame.source)
        if len(source) + 2 > line.room:
            source = source.rpartition("/")[2]
        if len(source) + 2 <= line.room:
            line.end((f" {source} ", ink.muted))
        return line

    def moved(self) -> None:
        """The cursor chooses the frame."""
        self.feed.choose(self.desk_app.machine, self.scene, self.cursor)

    def sampled(self) -> None:
        """A frame that was chosen by command; behind a new stop the innermost again."""
        super().sampled()
        if self.now.frame != self._chosen:
            self._chosen = self.cursor = self.now.frame
            self.redraw()

    def nothing(self) -> str:
        """No frame."""
        return "no frame is known"

    def open(self) -> bool:
        """Its code."""
        if (found := self.spot()) is not None and found.code is not None:
            self.desk_app.call_later(self.desk_app.go_code, found.code)
        return True

    def spot(self) -> Spot | None:
        """The frame's instruction: of a caller, the call."""
        if not self.count():
            return None
        number = min(self.cursor, self.count() - 1)
        frame = self.now.frames[number]
        return Spot(without_del(frame.symbol), f"{frame.ip:#x}", code=frame.place)


class WordsPanel(_StandingPanel):
    """The stack upwards from rsp."""

    title = "STACK"
    help: ClassVar[str] = """The words on the stack, from rsp (the lowest address) upwards.

ret N       a return address, to frame N of the call stack
=           what the word points to
*           changed since the stop before. Enter or . watches a word, or goes where it points"""

    def count(self) -> int:
        """Words."""
        return len(self.now.words)

    def nothing(self) -> str:
        """No stack."""
        return "rsp points to no memory"

    def row(self, number: int, width: int) -> Line:
        """Address, value, what it points to."""
        word, ink = self.now.words[number], self.ink
        line = self.line(width).add(self.glyphs.cursor if number == self.cursor else " ", ink.rule_focus)
        if width >= 58:
            line.add(f"{word.address:012x}", ink.muted)
        offset = word.address - self.now.words[0].address
        line.add(f"+{offset:x}", ink.muted, 5, right=True)
        changed = self.feed.words.get(word.address, word.value) != word.value
        line.add("*" if changed else " ", ink.changed)
        value = f"{word.value:016x}" if width >= 45 else f"{word.value:12x}"  # room for what it points to
        line.add(value, ink.changed if changed else ink.muted if not word.value else ink.base)
        if word.returns is not None:
            line.add(f" ret {word.returns}", ink.accent)
        return line.add(f" ={without_del(word.about)}", ink.symbol) if word.about else line

    def spot(self) -> Spot | None:
        """The word under the cursor, and the code it returns to."""
        if not self.count():
            return None
        word = self.now.words[min(self.cursor, self.count() - 1)]
        target = self._spot_of("", word.value)
        code = target.code if target is not None else None
        return Spot(f"stack word {word.address:#x}", "", word.address, 8, code)


class LocalsPanel(_StandingPanel):
    """By their types from DWARF."""

    title = "LOCALS"

    def heading(self, width: int) -> Strip:
        """Whose they are."""
        after = f"frame {self.now.frame}" if self.now.frame else ""
        return self.rule(width, self.title, after=after, right=self.span())

    help: ClassVar[
        str
    ] = """The parameters and variables of the stopped function, or of the frame that the call stack's cursor is on, by their types.
E stores another value in one.

Those that the compiler keeps in registers have no address and cannot be watched; one that it optimised away has no value here."""

    def count(self) -> int:
        """Locals."""
        return len(self.now.locals)

    def nothing(self) -> str:
        """None, or no DWARF."""
        known = bool(self.now.frames and self.now.frames[0].source)
        return "this function has none" if known else "none known here (compiled without -g?)"

    def row(self, number: int, width: int) -> Line:
        """Name and value."""
        local, ink = self.now.locals[number], self.ink
        line = self.line(width).add(self.glyphs.cursor if number == self.cursor else " ", ink.rule_focus)
        cells = max(8, min(max(len(each.name) for each in self.now.locals) + 1, width // 3))
        line.add(without_del(local.name), ink.strong, cells).add(" ").add(without_del(local.text), ink.value)
        return line if local.address is None else line.end((f" {local.address:#x} ", ink.muted))

    def spot(self) -> Spot | None:
        """The variable under the cursor, where it is in memory."""
        if not self.count():
            return None
        local = self.now.locals[min(self.cursor, self.count() - 1)]
        if local.address is None:
            return None
        return Spot(without_del(local.name), local.name, local.address, None)
