"""gdb's words for the frames of a stopped task: which one is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui.session.commands.table import Command, answer
from tui.session.escape import escape
from tui.session.frames import StandingFrame, choose_frame, chosen_frame
from tui.session.result import Answer, UsageError

if TYPE_CHECKING:
    from tui.session.session import Session

__all__ = ["COMMANDS"]


def _count(text: str, default: int, usage: str) -> int:
    word = text.strip()
    if not word:
        return default
    if not (word.isascii() and word.isdigit() and len(word) < 6):
        raise UsageError(f"which frame: {word} is no number", f"usage: {usage}")
    return int(word)


def _show(session: Session, number: int) -> Answer:
    frame = choose_frame(session, number)
    column = _column(session, frame)
    at = f" at {frame.source}{f':{column}' if column else ''}" if frame.source else ""
    guessed = "  ? (guessed)" if frame.guessed else ""
    return answer(
        f"#{number} {frame.ip:#x} {frame.text}{at}{guessed}", number=number, column=column, **frame._asdict()
    )


def _column(session: Session, frame: StandingFrame) -> int | None:
    """The column of its call, where the line table has one."""
    for found in session.names.frames(frame.place):
        if frame.source == escape(f"{found.file}:{found.line}"):
            return found.column or None
    return None


def _here(session: Session) -> int:
    chosen = chosen_frame(session)
    return 0 if chosen is None else chosen.number


def _frame(session: Session, text: str) -> Answer:
    return _show(session, _count(text, _here(session), "frame [N]"))


def _up(session: Session, text: str) -> Answer:
    return _show(session, _here(session) + _count(text, 1, "up [N]"))


def _down(session: Session, text: str) -> Answer:
    return _show(session, _here(session) - _count(text, 1, "down [N]"))


_ABOUT = (
    "`print`, `x`, `info locals`, `info registers`, `list` and watches of locals then mean that frame, until the program runs or another task\n"
    "is looked at. Of a caller only the registers are known that the functions it called have kept or saved.\n"
)

COMMANDS = (
    Command(
        "frame",
        "looking",
        "frame [N]",
        "look at a frame of the call stack; 0 is the innermost",
        f"`info frames` numbers them. {_ABOUT}Example: frame 2",
        _frame,
        aliases=("f",),
    ),
    Command(
        "up",
        "looking",
        "up [N]",
        "look at the caller, or N callers up",
        f"{_ABOUT}Example: up",
        _up,
    ),
    Command(
        "down",
        "looking",
        "down [N]",
        "look at the function that was called, or N calls down",
        f"{_ABOUT}Example: down",
        _down,
    ),
)
