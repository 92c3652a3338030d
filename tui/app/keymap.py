"""What every key does, in one table: the session's commands that have a key, and what the app itself can do.

Footer, palette and help are all drawn from `entries()`. Multiplexers own ctrl-a, ctrl-b and ctrl-h/j/k/l:
nothing is bound to those.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from tui.session.views import VIEWS

if TYPE_CHECKING:
    from tui.session.commands.table import Command

__all__ = ["KeyEntry", "Where", "entries", "key_name", "key_of", "needs_argument"]

Where = Literal[
    "app",
    "hits",
    "slots",
    "bits",
    "command",
    "demo",
    "tasks",
    "timeline",
    "code",
    "memory",
    "object",
    "standing",
    "log",
    "history",
    "writers",
    "values",
]


class KeyEntry(NamedTuple):
    """One thing that a key does.

    `action` is a Textual action of the app. `label` is the footer's word, `summary` the palette's and the help's
    line. `rank` orders the footer, the lowest first; None keeps it out. `where` names what must have the focus.
    """

    keys: tuple[str, ...]
    action: str
    label: str
    summary: str
    where: Where = "app"
    rank: int | None = None

    @property
    def name(self) -> str:
        """What settings call it: `follow`, `switch-slot`, `view 5`, or a command's own word."""
        if self.action in _ACTION_NAMES:
            return _ACTION_NAMES[self.action]
        word, _, arguments = self.action.rstrip(")").partition("(")
        said = arguments.replace("'", "").strip()
        if word == "command":
            return said
        return f"{word.replace('_', '-')} {said}".strip()


_ACTION_NAMES: Final = {
    "move(-1, 0)": "left",
    "move(1, 0)": "right",
    "move(0, -1)": "up",
    "move(0, 1)": "down",
    "page(-1)": "page-up",
    "page(1)": "page-down",
    "zoom(-1)": "zoom-in",
    "zoom(1)": "zoom-out",
    "zoom(0)": "zoom-all",
    "delete_slot": "delete",
    "line('filter')": "filter",
    "line('find')": "find",
    "on_list('find', 1)": "find-next",
    "on_list('find', -1)": "find-previous",
    "on_list('group_by')": "group",
    "on_list('order')": "sort",
    "on_list('mark')": "mark",
    "on_list('next_mark')": "next-mark",
}

_APP: Final = (
    KeyEntry(("enter",), "open", "detail", "the whole hit: code, stack, values", "hits", 2),
    KeyEntry(("enter",), "open", "its hit", "go to the newest hit of this slot", "slots", 2),
    KeyEntry(("space",), "toggle_bit", "toggle", "toggle this bit in the CPU, past the books", "bits", 1),
    KeyEntry(
        ("enter",),
        "ask_bit",
        "ask for it",
        "the request that turns this bit by the kernel's rules",
        "bits",
        2,
    ),
    KeyEntry(("E",), "edit_slot", "edit", "change this watch: place, length or type", "slots", 3),
    KeyEntry(("f2",), "take_instead", "", "what would fit, in the place of what does not", "command"),
    KeyEntry(("left", "h"), "move(-1, 0)", "", "to the left"),
    KeyEntry(("right", "l"), "move(1, 0)", "", "to the right"),
    KeyEntry(("up", "k"), "move(0, -1)", "", "up; in the history: stay there"),
    KeyEntry(("down", "j"), "move(0, 1)", "", "down"),
    KeyEntry(("pageup",), "page(-1)", "", "a window up"),
    KeyEntry(("pagedown",), "page(1)", "", "a window down"),
    KeyEntry(("g", "home"), "oldest", "", "the oldest hit that is kept"),
    KeyEntry(("G", "end"), "newest", "", "the newest hit, and follow"),
    KeyEntry(("f",), "follow", "follow", "follow the newest hit, or stay", "app", 6),
    KeyEntry(("e",), "switch_slot", "on/off", "enable or disable the selected slot's watch", "app", 8),
    *(KeyEntry((view.key,), f"view('{view.key}')", view.name, view.summary) for view in VIEWS),
    KeyEntry(("semicolon",), "jump", "jump", "a letter on each panel: the letter goes there", "app", 9),
    KeyEntry(("enter",), "open", "detail", "the whole hit; of a group, its hits", "history", 2),
    KeyEntry(
        ("slash",),
        "line('filter')",
        "filter",
        "show only the hits that meet a filter, while you type it",
        "history",
        1,
    ),
    KeyEntry(
        ("F",), "line('find')", "find", "go to the next hit that meets a filter, hiding none", "history", 4
    ),
    KeyEntry(
        ("right_square_bracket",), "on_list('find', 1)", "", "the next hit that was searched for", "history"
    ),
    KeyEntry(("left_square_bracket",), "on_list('find', -1)", "", "the one before", "history"),
    KeyEntry(
        ("b",),
        "on_list('group_by')",
        "group",
        "count by instruction, task, value, stack, CPU; then the list again",
        "history",
        1,
    ),
    KeyEntry(
        ("o",), "on_list('order')", "sort", "another order, of the groups or of the frozen list", "history", 3
    ),
    KeyEntry(("m",), "on_list('mark')", "mark", "mark this hit, or take its mark away", "history", 3),
    KeyEntry(("apostrophe",), "on_list('next_mark')", "", "the next marked hit", "history"),
    KeyEntry(("c",), "columns", "columns", "choose the columns", "history", 4),
    KeyEntry(("enter",), "open", "its hits", "the hits of this site", "writers", 1),
    KeyEntry(("slash",), "line('filter')", "filter", "show only sites with these words", "writers", 2),
    KeyEntry(("o",), "other_order", "sort", "another order", "writers", 2),
    KeyEntry(("enter",), "open", "look at it", "look at this task: registers, stack", "tasks", 2),
    KeyEntry(("enter",), "open", "these hits", "the hits of this watch and time", "values", 2),
    KeyEntry(("plus", "equals_sign"), "zoom(-1)", "zoom", "finer", "values", 1),
    KeyEntry(("minus",), "zoom(1)", "", "coarser", "values"),
    KeyEntry(("z",), "zoom(0)", "all", "all that is kept", "values", 1),
    KeyEntry(("enter",), "open", "these hits", "the hits of the time that is shown", "timeline", 4),
    KeyEntry(("plus", "equals_sign"), "zoom(-1)", "zoom", "finer", "timeline", 1),
    KeyEntry(("minus",), "zoom(1)", "", "coarser", "timeline"),
    KeyEntry(("z",), "zoom(0)", "all", "the whole time", "timeline", 2),
    KeyEntry(
        ("y",),
        "copy",
        "copy",
        "copy a hit, a row, an address, a panel: to the clipboard or a file",
        "app",
        11,
    ),
    KeyEntry(("C",), "next_cpu", "", "show the next CPU's registers"),
    KeyEntry(("colon",), "command_line", "command", "open the command line", "app", 7),
    KeyEntry(("question_mark", "f1"), "help", "help", "help for what has the focus", "app", 0),
    KeyEntry(("ctrl+p",), "command_palette", "palette", "every command and key, searchable", "app", 12),
    KeyEntry(("f5",), "alone", "", "the focused panel alone, or all panels again"),
    KeyEntry(("f3",), "tour", "", "the guided tour: begin it, or go to its next step"),
    KeyEntry(("T",), "switch_theme", "", "the next theme: dark, light, high contrast, ansi"),
    KeyEntry(("ctrl+c",), "interrupt", "", "stop the program, as in gdb"),
    KeyEntry(("q", "ctrl+q"), "quit", "quit", "end the machine and leave", "app", 9),
    KeyEntry(("f4",), "demo_back", "", "go on with the demo that was left"),
    KeyEntry(("escape",), "dismiss_message", "", "close the message, leave the demo"),
)

_READING: Final = (
    KeyEntry(
        ("full_stop",), "from_here", "from here", "what can be done with what is under the cursor", "app", 5
    ),
    KeyEntry(("o",), "go_to", "go to", "go to an address or name: its code, or its memory", "app", 11),
    KeyEntry(("backspace",), "ask('back')", "", "back to where it was", "code"),
    KeyEntry(("enter",), "open", "from here", "what can be done with this instruction", "code", 2),
    KeyEntry(("left_square_bracket",), "ask('neighbour', -1)", "", "the function before", "code"),
    KeyEntry(("right_square_bracket",), "ask('neighbour', 1)", "", "the function after", "code"),
    KeyEntry(("enter",), "open", "from here", "what can be done with these bytes", "memory", 2),
    KeyEntry(("w",), "watch_here", "watch", "watch what is under the cursor", "memory", 3),
    KeyEntry(("backspace",), "ask('back')", "", "back to where it was", "memory"),
    KeyEntry(("v",), "ask('other')", "numbers", "hexadecimal, signed, floating point", "memory", 6),
    KeyEntry(("plus", "equals_sign"), "zoom(-1)", "units", "larger units", "memory", 7),
    KeyEntry(("minus",), "zoom(1)", "", "smaller units", "memory"),
    KeyEntry(("enter",), "open", "from here", "what can be done with this member", "object", 2),
    KeyEntry(("w",), "watch_here", "watch", "watch what is under the cursor", "object", 3),
    KeyEntry(
        ("E",), "set_here", "set", "store another value in it; the program must stand still", "memory", 6
    ),
    KeyEntry(("E",), "set_here", "set", "store another value in this member", "object", 6),
    KeyEntry(("E",), "set_here", "set", "store another value in it", "standing", 6),
    KeyEntry(
        ("enter",),
        "open",
        "from here",
        "what it points to, what can be done with it; of a frame its code",
        "standing",
        2,
    ),
    KeyEntry(("w",), "watch_here", "watch", "watch what is under the cursor", "standing", 3),
    KeyEntry(("w",), "watch_here", "watch", "watch the execution of this instruction", "code", 3),
    KeyEntry(("enter",), "open", "again", "put this command into the command line", "log", 2),
    KeyEntry(("slash",), "line('filter')", "search", "only the commands that hold what is typed", "log", 3),
    KeyEntry(("v",), "ask('other')", "source", "with source, without it, with bytes", "code", 6),
)

_DEMO: Final = (
    KeyEntry(("right", "enter"), "demo_next", "next step", "the next step of the demo", "demo", 0),
    KeyEntry(("r",), "demo_replay", "replay", "start the demo again on a fresh machine", "demo", 1),
    KeyEntry(("escape",), "demo_leave", "leave the demo", "leave the demo and keep the machine", "demo", 2),
)

_OURS: Final = ("stop", "help", "quit")
"""Commands whose key means the app's own version: Space is one key for two, help and quit know the screen."""

_RANKS: Final = {"watch": 3, "delete": 5, "continue": 1, "stepi": 4, "nexti": 10, "print": 11}
_LABELS: Final = {"stepi": "step", "nexti": "next", "dr7 toggle": "bit"}


@cache
def entries() -> tuple[KeyEntry, ...]:
    """The app's own keys and those of the command table; what the app needs for itself comes first."""
    from tui.session.commands import COMMANDS

    return (*_APP, *_from_commands(COMMANDS), *_READING, *_DEMO)


def _from_commands(commands: Iterable[Command]) -> Iterable[KeyEntry]:
    for command in commands:
        if command.key is None or command.word in _OURS:
            continue
        if command.key == "space":
            yield KeyEntry(("space",), "run_or_stop", "run/stop", "let the program run, or stop it", "app", 1)
            continue
        action = "delete_slot" if command.word == "delete" else f"command('{command.word}')"
        yield KeyEntry(
            (command.key,),
            action,
            _LABELS.get(command.word, command.word),
            command.summary,
            "app",
            _RANKS.get(command.word),
        )


_NAMES: Final = {
    "space": "Space",
    "enter": "Enter",
    "escape": "Esc",
    "colon": ":",
    "question_mark": "?",
    "pageup": "PgUp",
    "pagedown": "PgDn",
    "left": "Left",
    "right": "Right",
    "up": "Up",
    "down": "Down",
    "home": "Home",
    "end": "End",
    "f1": "F1",
    "slash": "/",
    "full_stop": ".",
    "backspace": "Backspace",
    "semicolon": ";",
    "apostrophe": "'",
    "plus": "+",
    "equals_sign": "=",
    "minus": "-",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
}


def key_of(text: str) -> str:
    """The key that a person writes: `:` for colon, `Ctrl+X` or `^x` for ctrl+x."""
    text = text.strip() or "space"
    if len(text) == 1:
        return next((key for key, sign in _NAMES.items() if sign == text), text)
    if text[0] == "^":
        return f"ctrl+{text[1:].lower()}"
    *modifiers, key = text.split("+") if not text.endswith("+") else (*text[:-1].split("+")[:-1], "plus")
    named = next((name for name, sign in _NAMES.items() if sign.lower() == key.lower()), key)
    key = named if len(named) == 1 and not modifiers else named.lower()
    return "+".join((*(each.lower() for each in modifiers), key))


def key_name(key: str) -> str:
    """How a key is written for people."""
    return _NAMES.get(key, key.replace("ctrl+", "^") if key.startswith("ctrl+") else key)


def needs_argument(command: Command) -> bool:
    """Whether its grammar has anything that may not be left out."""
    rest = command.grammar.split("|")[0].removeprefix(command.word)
    while (shorter := re.sub(r"\[[^\[\]]*\]", "", rest)) != rest:
        rest = shorter
    return bool(rest.strip(" /"))
