"""Copying without a mouse: what is under the cursor, a hit, marked hits, a panel or the screen, as text or as JSON.

To the terminal's clipboard by OSC 52, which no terminal confirms and some refuse; so the same can go to a file.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rich.cells import cell_len

from tui.app.conversation import Conversation
from tui.app.panel import Panel
from tui.app.places import Choice
from tui.app.shown import shown
from tui.app.widgets.message import Note

if TYPE_CHECKING:
    from tui.app.records import Record
    from tui.session.session import Session

__all__ = ["Copying", "append_to_file"]

_MANY = 74_000
"""Bytes of text that all terminals take in one OSC 52; xterm and others drop more without a word."""


class Copying(Conversation, inherit_bindings=False):
    """The part of the app that copies."""

    def tell(self, note: Note) -> None:
        """Put something on the message line."""
        raise NotImplementedError

    def action_copy(self) -> None:
        """The menu of what can be copied: a letter to the clipboard, its capital to a file."""
        from tui.app.screens.copy_menu import CopyMenu

        offered = self._offered()

        def chosen(choice: Choice | None) -> None:
            if choice is not None:
                self.call_later(self._copy, choice)

        self.push_screen(CopyMenu(shown(self.settings.copy_file), offered), chosen)

    def _offered(self) -> list[Choice]:
        """`does` is "text" with the text itself, or "hits" or "json" with the numbers of hits."""
        out: list[Choice] = []
        record, spot, panel = self.selected_hit(), self.spot(), self._copied_panel()
        if record is not None:
            out += [
                Choice("h", f"hit {record.seq + 1:,} as a line, with its stack", "hits", f"{record.seq}"),
                Choice(
                    "o", f"hit {record.seq + 1:,} as JSON, as `trace --json` has it", "json", f"{record.seq}"
                ),
            ]
        if marked := self._marked():
            numbers = " ".join(map(str, marked))
            many = f"{len(marked)} marked hit{'s' * (len(marked) != 1)}"
            out += [
                Choice("m", f"the {many} as lines", "hits", numbers),
                Choice("l", f"the {many} as JSON, one a line", "json", numbers),
            ]
        if spot is not None and spot.data is not None:
            out.append(Choice("a", f"the address {spot.data:#x}", "text", f"{spot.data:#x}"))
            if spot.expr:
                out.append(Choice("n", f"the name {spot.expr}", "text", spot.expr))
        if spot is not None and spot.code is not None:
            out.append(
                Choice("i", f"the address of the instruction {spot.code:#x}", "text", f"{spot.code:#x}")
            )
        if panel is not None:
            if row := panel.row_text():
                out.append(Choice("r", f"this row: {row}", "text", row))
            out.append(
                Choice("p", f"the panel {panel.title or panel.id}, as it is shown", "text", panel.as_text())
            )
        out.append(Choice("s", "the whole screen, as it is shown", "text", self.screen_text()))
        return out

    def _copied_panel(self) -> Panel | None:
        return self.focused if isinstance(self.focused, Panel) else self.main_panel

    def _marked(self) -> list[int]:
        for panel in self.hearers():
            marks = getattr(getattr(panel, "hits", None), "marks", None)
            if marks:
                return sorted(marks)
        return []

    def screen_text(self) -> str:
        """What stands on the screen, line by line."""
        rows = [[" "] * self.size.width for _ in range(self.size.height)]
        for panel in self.shown_panels:
            place = self.places.get(panel.id or "")
            if place is None:
                continue
            for y, text in enumerate(panel.as_text().split("\n")):
                x = place.x
                for character in text:
                    if place.y + y < len(rows) and x < self.size.width:
                        rows[place.y + y][x] = character
                    for further in range(1, cell_len(character)):  # a wide character takes two cells
                        if x + further < self.size.width and place.y + y < len(rows):
                            rows[place.y + y][x + further] = ""
                    x += cell_len(character)
        return "\n".join("".join(row).rstrip() for row in rows).rstrip("\n")

    def _copy(self, choice: Choice) -> None:
        to_file = choice.key.isupper()
        if choice.does == "text":
            self._deliver(str(choice.argument), to_file)
            return
        numbers = [int(word) for word in str(choice.argument).split()]
        json = choice.does == "json"
        session = self.scene.session
        records = [r for r in (self._record(number) for number in numbers) if r is not None]
        if session is None or not records:
            self.tell(Note("refusal", "the ring no longer keeps that hit"))
            return
        self.machine.desk.ask(
            lambda: _lines(session, records, json),
            lambda lines: self._deliver("\n".join(lines), to_file),
            lambda error: self.tell(Note("refusal", f"cannot be copied: {shown(str(error))}")),
        )

    def _record(self, number: int) -> Record | None:
        from tui.app import records

        ring = self.scene.ring
        found = records.read(ring, number, 1) if ring is not None else []
        if found and found[0].seq == number:
            return found[0]
        for panel in self.hearers():
            kept = getattr(getattr(panel, "hits", None), "marks", {}).get(number)
            if kept is not None:
                return kept  # type: ignore[no-any-return]
        return None

    def _deliver(self, text: str, to_file: bool) -> None:
        lines = text.count("\n") + 1
        size = f"{lines} line{'s' * (lines != 1)}, {len(text.encode(errors='replace')):,} bytes"
        name = self.settings.copy_file
        if to_file:
            try:
                append_to_file(name, text)
            except OSError as error:
                self.tell(
                    Note(
                        "refusal",
                        f"{shown(name)}: {error.strerror}",
                        remedy="the setting copy_file names another",
                    )
                )
            else:
                self.tell(Note("answer", f"{size} added to {shown(os.path.abspath(name))}"))
            return
        self.copy_to_clipboard(text)
        hint = "terminals confirm nothing: if nothing is pasted, y and the capital letter write a file"
        if os.environ.get("TMUX"):
            hint = "in tmux only with `set -s set-clipboard on`; y and the capital letter write a file"
        elif len(text) > _MANY:
            hint = f"many terminals drop more than {_MANY:,} bytes; y and the capital letter write a file"
        self.tell(Note("answer", f"{size} sent to the terminal's clipboard (OSC 52)", remedy=hint))


def _lines(session: Session, records: list[Record], json: bool) -> list[str]:
    """At the desk: names and stacks are looked up."""
    from tui.session.hit_lines import JsonLines, TextLines

    maker = (JsonLines if json else TextLines)(session, True)
    lines = [maker.line(tuple(record), record.seq + 1) for record in records]
    header = maker.header()
    return lines if json or len(lines) == 1 or header is None else [header, *lines]


def append_to_file(name: str, text: str) -> None:
    """Add text to a file of one's own, never through a link. Raises OSError."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    fd = os.open(os.path.expanduser(name), flags, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(f"{text}\n".encode(errors="backslashreplace"))
