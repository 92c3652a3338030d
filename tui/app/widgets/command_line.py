"""The command line: the session's own words, with history, completion, and a look at what a watch would take."""

from __future__ import annotations

from typing import ClassVar, Final

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input
from textual.widgets.input import Selection

from tui.app.command_history import CommandHistory
from tui.app.shown import without_del
from tui.session.escape import one_line

__all__ = ["CommandLine"]

_PLACEHOLDERS: Final = {
    "command": "type a command: watch NAME, info slots, help",
    "filter": "add_limit tid=44,45 value>0x10 !r changed",
    "find": "what to find: value=0, reset_one, tid=44",
}


class CommandLine(Input, inherit_bindings=False, inherit_css=False):
    """An input of one line, without Textual's ctrl-a and friends, which multiplexers own."""

    COMPONENT_CLASSES = Input.COMPONENT_CLASSES
    DEFAULT_CSS = """
    CommandLine {
        width: 1fr; height: 1; scrollbar-size-horizontal: 0; pointer: text;
        background: $background; color: $foreground;
    }
    CommandLine > .input--cursor {
        background: $input-cursor-background; color: $input-cursor-foreground; text-style: $input-cursor-text-style;
    }
    CommandLine > .input--selection {
        background: $input-selection-background; color: $input-selection-foreground;
    }
    CommandLine:nocolor > .input--selection { text-style: reverse; }
    CommandLine > .input--placeholder { color: $text-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "cursor_left", "left", show=False),
        Binding("right", "cursor_right", "right", show=False),
        Binding("ctrl+left", "cursor_left_word", "word left", show=False),
        Binding("ctrl+right", "cursor_right_word", "word right", show=False),
        Binding("home", "home", "start", show=False),
        Binding("end,ctrl+e", "end", "end", show=False),
        Binding("backspace", "delete_left", "delete left", show=False),
        Binding("delete,ctrl+d", "delete_right", "delete right", show=False),
        Binding("ctrl+w", "delete_left_word", "delete word", show=False),
        Binding("ctrl+u", "delete_left_all", "delete to the start", show=False),
        Binding("enter", "app.submit_command_line", "run", show=False),
        Binding("up", "history(-1)", "earlier", show=False),
        Binding("down", "history(1)", "later", show=False),
        Binding("tab", "complete(1)", "complete", show=False, priority=True),
        Binding("shift+tab", "complete(-1)", "complete back", show=False, priority=True),
        Binding("escape", "app.close_command_line", "close", show=False),
    ]
    help: ClassVar[
        str
    ] = """Commands are gdb's words where gdb has them: watch, awatch, hbreak, delete, continue,
stepi, x, print, info ...; `help` lists them all, `help WORD` explains one.

A place that was typed for you is marked: type another one over it, or /LEN and :TYPE behind it; End keeps it.

Tab completes, again Tab takes the next. Up and Down walk the lines that were run, also in earlier runs: those that begin
with what stands here. Esc closes."""

    def on_click(self) -> None:
        """Begin to type, where nobody does yet."""
        if not self.can_focus:
            self.app.call_later(self.app.run_action, "command_line")

    class Completing(Message):
        """Candidates are wanted for the text."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self, id: str, past: CommandHistory) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id, placeholder=_PLACEHOLDERS["command"], select_on_focus=False)
        self.cursor_blink = False
        self.can_focus = False  # Tab walks the panels; the colon and the keys that ask open this
        self.purpose = "command"
        """What it was opened for: a command, or what a panel asks for ("filter", "find")."""
        self._past = {"command": past}
        self._at: int | None = None
        self._draft = ""
        self._candidates: list[str] = []
        self._choice = -1
        self._offered = False

    @property
    def past(self) -> CommandHistory:
        """Lines that were entered for the same purpose; those of panels are kept in memory only."""
        return self._past.setdefault(self.purpose, CommandHistory())

    def remember(self, line: str) -> None:
        """A line that was run."""
        self.past.add(line)
        self._at = None

    def open(self, text: str = "", purpose: str = "command") -> None:
        """Begin with a text."""
        self.purpose = purpose
        self.placeholder = _PLACEHOLDERS.get(purpose, "")
        self.value = text = _plain(text)
        self.cursor_position = len(text)
        self._at = None
        self._candidates = []
        self._offered = False

    def offer_place(self, text: str) -> None:
        """Begin with a request whose place is only an offer: another one takes its seat, `/LEN`, `:TYPE` and what follows
        a blank are added to it."""
        self.open(text)
        words = 2 if text.startswith("edit ") else 1
        start = len(text) - len(text.split(" ", words)[-1])
        self.selection = Selection(start, len(text))
        self._offered = True

    def take(self, text: str) -> None:
        """What was typed or pasted, in the place of what is selected."""
        if self._offered and text[:1] in ("/", ":", " "):
            self.cursor_position = len(self.value)
        self._offered = False
        self.replace(_plain(text), *sorted(self.selection))

    def action_history(self, by: int) -> None:
        """Earlier and later lines that begin with what was typed; that comes back at the end."""
        lines = self.past.lines
        if self._at is None:
            self._at, self._draft = len(lines), self.value
        at = self._at + by
        while 0 <= at < len(lines) and not (lines[at].startswith(self._draft) and lines[at] != self.value):
            at += by
        if 0 <= at < len(lines):
            self._at = at
            self._put(lines[at])
        elif at >= len(lines):
            self._put(self._draft)
            self._at = None

    def action_complete(self, by: int) -> None:
        """Ask for candidates, or take the next one."""
        if self._candidates and self.value == self._candidates[self._choice]:
            self._choice = (self._choice + by) % len(self._candidates)
            self._put(self._candidates[self._choice])
            return
        self.post_message(self.Completing(self.value))

    def offer(self, text: str, candidates: list[str]) -> list[str]:
        """Candidates for a text, if it is still what stands here; returns those that are still open."""
        if text != self.value or not candidates:
            return []
        common = _common(candidates)
        if len(common) > len(text):
            self._candidates = []
            self._put(common)
            return candidates if len(candidates) > 1 else []
        self._candidates, self._choice = candidates, 0
        self._put(candidates[0])
        return candidates

    def _put(self, text: str) -> None:
        self.value = text = _plain(text)
        self.cursor_position = len(text)


def _plain(text: str) -> str:
    """What was pasted, or run before, may hold anything; a terminal would act on it."""
    return without_del(one_line(text))


def _common(texts: list[str]) -> str:
    """The longest beginning that all texts share: that of the first and the last in order."""
    first, last = min(texts), max(texts)
    return next((first[:n] for n, c in enumerate(first) if last[n : n + 1] != c), first)
