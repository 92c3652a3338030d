"""The one table of commands, and how a line finds its command.

A word may be shortened as long as it stays unambiguous, as in gdb; aliases win.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from tui.session.commands import (
    assigning,
    changing,
    frames,
    info,
    kernel,
    looking,
    owners,
    places,
    running,
    stepping,
    tasks,
    watching,
    writers,
)
from tui.session.commands.table import Command, Group, answer
from tui.session.commands.words import symbols
from tui.session.escape import escape
from tui.session.result import Answer, UsageError
from tui.session.views import PLACED, VIEWS, find_view

if TYPE_CHECKING:
    from tui.session.session import Session

__all__ = ["COMMANDS", "GROUPS", "Command", "Group", "complete", "find"]

GROUPS: Final[dict[Group, str]] = {
    "watches": "Watches",
    "running": "Running",
    "looking": "Looking",
    "owners": "Owners of slots",
    "session": "Session",
}


def _help(_session: Session, text: str) -> Answer:
    if text.strip():
        command, _rest = find(text.strip())
        also = f"  (also {', '.join(command.aliases)})" if command.aliases else ""
        return answer(
            f"{command.grammar}{also}",
            *command.help.split("\n"),
            word=command.word,
            grammar=command.grammar,
            help=command.help,
        )
    lines = []
    for group, title in GROUPS.items():
        lines.append(title)
        lines += [f"  {each.grammar:<42} {each.summary}" for each in COMMANDS if each.group == group]
    return answer(*lines, commands=[each.word for each in COMMANDS])


def _help_words(_session: Session, _text: str) -> list[str]:
    return [command.word for command in COMMANDS]


def _view(session: Session, text: str) -> Answer:
    word, _, rest = text.strip().partition(" ")
    view = find_view(word)
    place: dict[str, Any] = {}
    if rest.strip() and view.name in PLACED:
        place["address"] = session.names.resolve(rest.strip()).address
    elif rest.strip():
        raise UsageError(f"the view {view.name} has no places", f"those that have: {', '.join(PLACED)}")
    return answer(f"{view.name} is a view of the app: there is no screen here", view=view.key, **place)


def _view_words(session: Session, text: str) -> Iterable[str]:
    word, blank, rest = text.partition(" ")
    return symbols(session, rest) if blank and word in PLACED else [view.name for view in VIEWS]


def _tour(_session: Session, _text: str) -> Answer:
    return answer("the tour is in the app: there is no screen here", tour=True)


def _quit(_session: Session, _text: str) -> Answer:
    return answer("bye", quit=True)


COMMANDS: Final = (
    *watching.COMMANDS,
    *changing.COMMANDS,
    *running.COMMANDS,
    *stepping.COMMANDS,
    *tasks.COMMANDS,
    *looking.COMMANDS,
    *assigning.COMMANDS,
    *info.COMMANDS,
    *writers.COMMANDS,
    *places.COMMANDS,
    *frames.COMMANDS,
    *owners.COMMANDS,
    *kernel.COMMANDS,
    Command(
        "help",
        "session",
        "help [WORD]",
        "what a command does",
        "Without a word, all commands. Example: help watch",
        _help,
        aliases=("h", "?"),
        key="f1",
        complete=_help_words,
    ),
    Command(
        "view",
        "session",
        "view NAME|NUMBER [EXPR]",
        "open one of the app's views",
        "`view code EXPR` and `view memory EXPR` go to a place.\n"
        f"Views: {', '.join(f'{view.key} {view.name}' for view in VIEWS)}. Scripts have no screen, and say so."
        "\nExample: view timeline   view code add_limit",
        _view,
        complete=_view_words,
    ),
    Command(
        "tour",
        "session",
        "tour",
        "the guided tour of the app: what to press, step by step",
        "On the built-in program. F3 goes to its next step, Esc leaves it. Example: tour",
        _tour,
    ),
    Command(
        "quit",
        "session",
        "quit",
        "leave; nothing stays behind",
        "Example: quit",
        _quit,
        aliases=("q", "exit"),
        key="q",
    ),
)

_BY_WORD: Final = {word: command for command in COMMANDS for word in (command.word, *command.aliases)}
_FIRST: Final = sorted({word.split()[0] for word in _BY_WORD})
_OFFERED: Final = sorted({command.word.split()[0] for command in COMMANDS})


def find(line: str) -> tuple[Command, str]:
    """The command of a line and its argument text. Raises UsageError, with near misses.

    `x/4xg cfg` is the command `x` with the argument `/4xg cfg`.
    """
    first, rest = _cut(line.strip())
    word = _expand(first, _FIRST, "command")
    seconds = sorted({each.split(maxsplit=1)[1] for each in _BY_WORD if each.startswith(f"{word} ")})
    if seconds:
        second, after = _cut(rest)
        alone = word in _BY_WORD
        if not second and not alone:
            raise UsageError(f"{word} what?", f"{word} {' | '.join(seconds)}")
        if second and not (alone and second not in seconds):
            if f"{word} {rest}" in _BY_WORD:
                return _BY_WORD[f"{word} {rest}"], ""
            return _BY_WORD[f"{word} {_expand(second, seconds, word)}"], after
    return _BY_WORD[word], rest


def complete(session: Session, line: str) -> list[str]:
    """The lines that `line` may become when its last word is completed. Aliases are known, but not offered."""
    start, space, last = line.rpartition(" ")
    before = start + space
    if not before.strip():
        return [f"{word} " for word in _OFFERED if word.startswith(last)]
    typed = " ".join(before.split())
    seconds = {each.word.split(maxsplit=1)[1] for each in COMMANDS if each.word.startswith(f"{typed} ")}
    found = [f"{before}{word} " for word in sorted(seconds) if word.startswith(last)]
    try:
        command, rest = find(line)
    except UsageError:
        return found
    if found and typed != command.word:
        return found
    return found + [before + word for word in command.complete(session, rest) if word.startswith(last)]


def _cut(text: str) -> tuple[str, str]:
    """The first word, which also ends at a slash, and the rest."""
    end = min((at for at in (text.find(" "), text.find("\t"), text.find("/")) if at > 0), default=len(text))
    return text[:end], text[end:].strip()


def _expand(word: str, words: list[str], what: str) -> str:
    if word in words:
        return word
    fits = [each for each in words if each.startswith(word)] if word else []
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise UsageError(f"'{escape(word)}' is ambiguous: {', '.join(fits)}")
    import difflib

    near = difflib.get_close_matches(word, [each for each in words if len(each) > 2], 3)
    remedy = f"did you mean {' or '.join(near)}?" if near else "`help` lists all"
    if not near and what != "command":
        remedy = f"there is {what} {', '.join(sorted(words))}"
    raise UsageError(f"unknown {what} '{escape(word)}'", remedy)
