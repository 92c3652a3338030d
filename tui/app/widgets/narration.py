"""The narrator of a demo: what is about to happen, what was typed, and what came of it."""

from __future__ import annotations

from typing import ClassVar

from textual.events import Click
from textual.strip import Strip

from tui.app.line import Line, clip
from tui.app.panel import Panel
from tui.app.reply import Reply
from tui.app.widgets.message import wrap

__all__ = ["NarrationPanel", "narration_lines", "tour_lines"]


def narration_lines(height: int) -> int:
    """Lines that the narrator takes of a screen: a rule, two to four of speech, the command, and the rest for its answer."""
    return 7 if height < 30 else 8


def tour_lines(height: int) -> int:
    """The same for the tour: a rule, and what to press."""
    return 3 if height < 30 else 4


class NarrationPanel(Panel, can_focus=True, inherit_bindings=False):
    """A rule, what is said, the command, its answer."""

    title = "DEMO"
    where = "demo"
    help: ClassVar[
        str
    ] = """Each step says what happens, types a command, and shows its answer; the panels above are live.

Right or Enter goes on, r plays it again on a fresh machine, Esc leaves the demo and keeps the machine; F4 comes back to it.
Tab goes to the other panels, : types a command of your own: everything else works as always."""

    def __init__(self, id: str) -> None:  # noqa: A002 - Textual's word
        super().__init__(id)
        self.kind = "DEMO"
        self.hint = ""
        """What stands on the right of the rule; "" for the demo's keys."""
        self.titles: tuple[str, ...] = ("",)
        """What is played, in many words and in few: the first that fits is shown."""
        self.step = 0
        self.steps = 0
        self.say = ""
        self.command = ""
        self.reply = Reply()
        self.waiting = False

    def on_click(self, _event: Click) -> None:
        """Go on."""
        self.desk_app.do("tour" if self.hint else "demo_next")

    def lines(self, width: int, height: int) -> list[Strip]:
        """Always `height` lines: a narration that moves is hard to read."""
        ink, glyphs = self.ink, self.glyphs
        right = "Right or Enter: go on" if not self.waiting else "..."
        if self.step >= self.steps and not self.waiting:
            right = "the end: r plays it again, Esc keeps the machine"
        right = self.hint or right
        count = f"{min(self.step, self.steps)}/{self.steps}"
        room = (
            width - len(right) - len(count) - 8 - len(self.kind)
        )  # what to do is said before what it is called
        named = next((title for title in self.titles if len(title) <= room), self.titles[-1])
        head = self.line(width).add(glyphs.rule_focus, ink.rule_focus)
        title = f"{self.kind} {clip(named, room, glyphs.ellipsis)}".rstrip()
        head.add(f" {title} ", ink.title).add(f"{count} ", ink.muted)
        head.end(
            (f" {right} ", ink.accent),
            (glyphs.rule_focus, ink.rule_focus),
            fill=glyphs.rule_focus,
            style=ink.rule_focus,
        )
        out = [head.to(width, glyphs.rule_focus, ink.rule_focus).strip()]
        said = [self.line(width).add("  ").add(text, ink.strong) for text in wrap(self.say, width - 4)]
        if self.hint:
            return [*out, *(row.strip() for row in said[: height - 1])]
        command = self.line(width)
        if self.command:
            command.add("  : ", ink.accent).add(self.command, ink.strong)
        said = said[: height - 3]
        answer = self._reply(width, height - 2 - len(said))
        blank = min(
            2 - len(said), height - 2 - len(said) - len(answer)
        )  # the command stays where it was, if it can
        rows = [*said, *[self.line(width)] * blank, command, *answer]
        return [*out, *(row.strip() for row in rows)]

    def _reply(self, width: int, room: int) -> list[Line]:
        ink, glyphs = self.ink, self.glyphs
        ok = self.reply.ok
        lines = []
        for number, text in enumerate(self.reply.rows(width - 6, room) if self.reply.lines else ()):
            sign = (glyphs.cursor if ok else glyphs.refused) if number == 0 else " "
            line = self.line(width).add(f"  {sign} ", ink.good if ok else ink.error)
            lines.append(line.add(text, ink.base if ok else ink.error))
        return lines
