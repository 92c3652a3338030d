"""The log: every command that was run, by whomever, and what it answered."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple

from textual.strip import Strip

from tui.app.line import Line
from tui.app.listing import ListPanel
from tui.app.shown import shown, without_del
from tui.app.widgets.message import wrap
from tui.session.escape import one_line

if TYPE_CHECKING:
    from tui.session.session import Entry, Session

__all__ = ["LogPanel"]

_INDENT: Final = 12
"""Cells before a command's text: cursor, time, sign."""


class _Row(NamedTuple):
    """One line of the log. `kind` is "command", "answer", "error" or "remedy"; `entry` is its command's number."""

    kind: str
    text: str
    entry: int


class LogPanel(ListPanel, inherit_bindings=False):
    """Follows the newest command until somebody walks away from the end."""

    where = "log"
    title = "LOG"
    help: ClassVar[
        str
    ] = """Every command with its answer: typed, by key, by a demo, and what the program did to watches by itself
(a local variable's watch goes when its function has returned).

!           refused, with the reason, who holds the slots, and what would help
/           only the commands whose text or answer holds what is typed, while it is typed; Esc shows all again
Enter       puts the command under the cursor into the command line again"""

    following = True
    wanted = ""

    def __init__(self, id: str) -> None:  # noqa: A002 - Textual's word
        super().__init__(id)
        self._entries: tuple[Entry, ...] = ()
        self._rows: tuple[_Row, ...] = ()
        self._found = 0
        self._before = ""
        self._width = 80
        self._key: tuple[int, int] | None = None
        self._asking = False

    def advance(self) -> None:
        """The machine moved, or a command was run."""
        view, machine = self.scene.view, self.desk_app.machine
        key = machine.executed, view.generation if view else -1
        if self._asking or key == self._key:
            return
        self._key = key

        def take(entries: tuple[Entry, ...]) -> None:
            self._asking = False
            self._entries = entries
            self._flatten()
            self.redraw()

        def fail(_error: Exception) -> None:
            self._asking = False

        self._asking = machine.ask(_entries, take, fail)

    def sampled(self) -> None:
        """A command may have changed nothing."""
        self.advance()

    def line_text(self, purpose: str) -> str:
        """What is searched for now."""
        self._before = self.wanted
        return self.wanted

    def line_typed(self, purpose: str, text: str) -> str:
        """It acts while it is typed."""
        self._search(text)
        return "" if self._rows or not self._entries else "nothing holds that"

    def line_done(self, purpose: str, text: str | None) -> str:
        """Enter, or (None) Escape: then what was there before is there again."""
        self._search(self._before if text is None else text)
        return ""

    def leave(self) -> bool:
        """Escape: all of it again."""
        if not self.wanted:
            return False
        self._search("")
        return True

    def _search(self, text: str) -> None:
        """Show only what holds a text, whatever the case; "" shows all."""
        if text.strip() != self.wanted:
            self.wanted = text.strip()
            self.following = True
            self._flatten()
            self.redraw()

    def _flatten(self) -> None:
        rows: list[_Row] = []
        self._found = 0
        room = max(20, self._width - _INDENT - 2)
        for number, entry in enumerate(self._entries):
            mine = _rows(entry, number)
            if not self.wanted or any(self.wanted.lower() in row.text.lower() for row in mine):
                rows += (row._replace(text=part) for row in mine for part in wrap(row.text, room))
                self._found += 1
        self._rows = tuple(rows)
        if self.following:
            self.cursor = max(0, len(rows) - 1)

    def count(self) -> int:
        """Lines."""
        return len(self._rows)

    def moved(self) -> None:
        """At the end it follows."""
        self.following = self.cursor >= len(self._rows) - 1

    def toggle_follow(self) -> bool:
        """To the end, or stay."""
        self.following = not self.following
        if self.following:
            self.newest()
        self.redraw()
        return True

    def heading(self, width: int) -> Strip:
        """How many commands, and which are shown."""
        total = len(self._entries)
        after = f"{total:,} command{'s' * (total != 1)}" if total else ""
        if self.wanted:
            after = f"{self._found:,} of {total:,} hold '{shown(self.wanted)}'"
        return self.rule(width, self.title, after=after, right=self.span() or ("following" if total else ""))

    def notes(self, width: int, height: int) -> list[Line]:
        """An empty log."""
        if self._rows:
            return []
        text = "nothing was run yet: each command and its answer will stand here"
        if self.wanted and self._entries:
            text = "no command and no answer holds that; Esc shows all"
        elif self.scene.session is None:
            text = "the machine is being opened"
        return [self.line(width).add(f"  {text}", self.ink.muted)]

    def lines(self, width: int, height: int) -> list[Strip]:
        """What is longer than a line goes on in the next."""
        if width != self._width:
            self._width = width
            self._flatten()
        return super().lines(width, height)

    def row(self, number: int, width: int) -> Line:
        """A command with its time, or a line of an answer."""
        row, ink = self._rows[number], self.ink
        line = self.line(width).add(self.glyphs.cursor if number == self.cursor else " ", ink.rule_focus)
        first = number == 0 or self._rows[number - 1].entry != row.entry
        if row.kind == "command" and first:
            entry = self._entries[row.entry]
            line.add(f"{_clock(entry.at)} ", ink.muted)
            line.add("  " if entry.result.ok else f"{self.glyphs.refused} ", ink.error)
            return self._marked(line, row.text, "strong")
        style = {"error": "error", "remedy": "accent", "command": "strong"}.get(row.kind, "base")
        return self._marked(line.add("", None, _INDENT - 1 + 2 * (row.kind != "command")), row.text, style)

    def _marked(self, line: Line, text: str, style: str) -> Line:
        """The text, with what was searched for underlined."""
        ink = getattr(self.ink, style)
        at = text.lower().find(self.wanted.lower()) if self.wanted else -1
        if at < 0 or len(text.lower()) != len(text):
            return line.add(text, ink)
        end = at + len(self.wanted)
        return line.add(text[:at], ink).add(text[at:end], self.ink.reverse).add(text[end:], ink)

    def open(self) -> bool:
        """The command again, to be changed and run."""
        if self._rows:
            row = self._rows[min(self.cursor, len(self._rows) - 1)]
            self.desk_app.open_command_line(self._entries[row.entry].line.strip())
        return True


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))


def _entries(session: Session) -> tuple[Entry, ...]:
    """Without the moves between views: those are no commands to the machine."""
    return tuple(entry for entry in session.journal if entry.result.command != "view" or not entry.result.ok)


def _rows(entry: Entry, number: int) -> list[_Row]:
    result = entry.result
    rows = [_Row("command", shown(entry.line.strip()), number)]
    rows += [_Row("answer", without_del(line), number) for line in result.lines]
    if not result.ok:
        errno = f"{result.errno}: " if result.errno and not result.error.startswith(result.errno) else ""
        rows.append(_Row("error", without_del(errno + one_line(result.error)), number))
        rows += [_Row("answer", f"held by {without_del(holder)}", number) for holder in result.holders]
        if result.remedy:
            rows.append(_Row("remedy", without_del(result.remedy), number))
    return rows
