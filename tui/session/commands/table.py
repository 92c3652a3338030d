"""The shape of a command. Keys, palette, help, footer and completion are all drawn from these."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tui.session.result import Answer

if TYPE_CHECKING:
    from tui.session.session import Session

__all__ = ["Command", "Complete", "Group", "Run", "answer"]

Group = Literal["watches", "running", "looking", "owners", "session"]
Run = Callable[["Session", str], Answer]
Complete = Callable[["Session", str], Iterable[str]]


def _nothing(_session: Session, _text: str) -> Iterable[str]:
    return ()


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

    `word` is what is typed, of one or two words. `key` is the app's key for it (Textual's name); with `asks` the key
    opens the command line with the word in it, else it runs the command. `grammar` is one line, `summary` a few
    words, `help` what a person reads: an example stands in it. `complete` gives candidates for the argument's last
    word. `undoable` says that `undo` takes it back; "by hand" also the registers that it wrote.
    """

    word: str
    group: Group
    grammar: str
    summary: str
    help: str
    run: Run
    aliases: tuple[str, ...] = ()
    key: str | None = None
    asks: bool = False
    complete: Complete = _nothing
    undoable: bool | Literal["by hand"] = False


def answer(*lines: str, **data: Any) -> Answer:
    """An answer from its lines and its data."""
    return Answer(tuple(lines), data)
