"""The last answer: what was done, or why it was refused, who holds the slots, and what would help."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple

from rich.cells import cell_len
from rich.style import Style
from textual.events import Click
from textual.strip import Strip

from tui.app.panel import Panel
from tui.app.shown import shown, without_del

if TYPE_CHECKING:
    from tui.session.result import Result

__all__ = ["MOST", "MessagePanel", "Note", "brief_holder", "note_of", "wrap"]

MOST: Final = 5
"""Lines that a message takes at most."""

_PARENTHESES: Final = re.compile(r" \(0x[0-9a-f]+\)")


class Note(NamedTuple):
    """What the message line says. `kind` is "idle", "answer", "refusal", "busy" (a command takes its time) or
    "trouble" (the machine itself failed)."""

    kind: str
    head: str
    holders: tuple[str, ...] = ()
    remedy: str = ""
    more: int = 0
    pointer: tuple[str, ...] = ()


def note_of(line: str, result: Result) -> Note:
    """The note for a command's result; answers of many lines are shown elsewhere."""
    if result.ok:
        lines = [text for text in result.lines if text]
        return Note("answer", lines[0] if lines else "done", tuple(lines[1:3]), more=max(0, len(lines) - 3))
    errno = f"{result.errno}: " if result.errno and not result.error.startswith(result.errno) else ""
    return Note(
        "refusal",
        f"{shown(line.strip())}: {errno}{without_del(result.error)}",
        result.holders,
        result.remedy,
        pointer=tuple(without_del(text) for text in result.pointer),
    )


class MessagePanel(Panel):
    """As many lines as the arrangement gives it: what `wanted` asks for, up to `MOST`.

    Where that is too little holders are named without their addresses first, and what is to be done next goes last.
    """

    help: ClassVar[str] = "The last answer. Esc closes it."
    note = Note("idle", "")

    def on_click(self, _event: Click) -> None:
        """Close it."""
        self.desk_app.do("dismiss_message")

    def wanted(self, width: int) -> int:
        """Lines that the note needs."""
        return max(1, len(self._wrapped(width, MOST)[0]))

    def show(self, note: Note) -> None:
        """Another note."""
        self.note = note
        self.redraw()

    def _hint(self) -> str:
        """What to do next, for somebody who sees this for the first time."""
        scene = self.scene
        state = scene.state
        if scene.view is None or state == "running":
            return ""
        if state == "exited":
            return "the program has ended; its hits stay, q leaves"
        keys = self.desk_app.keys
        if keys is None:
            return ""
        run, step, watch = (keys.key_for(action) for action in ("run-or-stop", "stepi", "watch"))
        said = [f"{run} lets the program run"] if run else []
        if not scene.view.breakpoints:
            said = [f"{watch} watches a variable ({watch}, then the name)", *said] if watch else said
        elif step:
            said.append(f"{step} runs one instruction")
        return ", ".join(said)

    def _pieces(self, brief: bool) -> list[tuple[str, Style, str]]:
        ink, note = self.ink, self.note
        refused = note.kind in ("refusal", "trouble")
        sign = self.glyphs.refused if refused else self.glyphs.cursor
        if note.kind == "idle":
            return [(note.head or self._hint(), ink.muted, " ")]
        pieces = [(note.head, ink.error if refused else ink.base, sign)]
        if refused and note.holders:
            holders = map(brief_holder, note.holders) if brief else note.holders
            pieces.append(("held by " + "; ".join(holders), ink.base, " "))
        else:
            pieces += [(text, ink.base, " ") for text in note.holders]
        if note.remedy:
            pieces.append((note.remedy, ink.accent, " "))
        return pieces

    def _wrapped(self, width: int, room: int) -> tuple[list[tuple[str, Style, str]], int]:
        """Rows, with fewer words where there is little room; and how many of them at the end are the remedy."""
        rows = self._rows(width, brief=False)
        return rows if len(rows[0]) <= room else self._rows(width, brief=True)

    def _rows(self, width: int, brief: bool) -> tuple[list[tuple[str, Style, str]], int]:
        out, rest = [], 0
        for place, (text, style, sign) in enumerate(self._pieces(brief)):
            parts = wrap(text, max(20, width - 4))
            out += [(part, style, sign if number == 0 else " ") for number, part in enumerate(parts)]
            rest = len(parts)
            if not place:  # not wrapped: the carets stand under the word at fault
                out += [(line[: max(20, width - 4)], self.ink.accent, " ") for line in self.note.pointer]
        return out, rest if self.note.remedy else 0

    def lines(self, width: int, height: int) -> list[Strip]:
        """Sign and text; what does not fit is cut with an ellipsis, before the remedy where that fits."""
        wrapped, remedy = self._wrapped(width, height)
        cut = height - 1
        if len(wrapped) > height > remedy + 1:
            cut -= remedy
            wrapped = [*wrapped[: cut + 1], *wrapped[len(wrapped) - remedy :], *wrapped[cut + 1 :]]
        out = []
        for number, (text, style, sign) in enumerate(wrapped[:height]):
            line = self.line(width).add(f" {sign} ", style)
            if number == cut and len(wrapped) > height:
                end = self._where_all_is()
                line.add(f"{text} {self.glyphs.ellipsis}", style, line.room - len(end))
                line.add(end, self.ink.muted)
            else:
                line.add(text, style)
            out.append(line.strip())
        return out

    def _where_all_is(self) -> str:
        """The key of the log, which holds whole answers."""
        key = self.desk_app.keys.key_for("view 0") if self.desk_app.keys else ""
        return f"  {key} shows all" if key else ""


def brief_holder(holder: str) -> str:
    """A holder by name, and whether it is off: `watch 1: total (0x403048), perf fd 4, task 1000, disabled` is on the screen besides."""
    name, *rest = _PARENTHESES.sub("", holder).split(", ")
    return f"{name}, disabled" if "disabled" in rest else name


def wrap(text: str, width: int) -> list[str]:
    """Break at blanks; a word that is longer than a line is cut by the line's end."""
    lines: list[str] = []
    current = ""
    for word in text.split(" "):
        if current and cell_len(current) + 1 + cell_len(word) > width:
            lines.append(current)
            current = word
        else:
            current = f"{current} {word}" if current else word
    return [*lines, current] if current or not lines else lines
