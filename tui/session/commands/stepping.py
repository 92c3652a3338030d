"""gdb's words for steps by source line, and for running to a place: step, next, advance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from backends.base import HwbpError
from tui.session.commands.running import stands, state_answer
from tui.session.commands.table import Command
from tui.session.commands.words import count, symbols
from tui.session.goal import Goal
from tui.session.result import Answer, UsageError

if TYPE_CHECKING:
    from tui.session.session import Session

__all__ = ["COMMANDS"]

_MOST: Final = 100_000
"""Instructions that one line may take before we say so and stop."""


_ENDBR64: Final = b"\xf3\x0f\x1e\xfa"
_OPENING: Final = (b"\x55\x48\x89\xe5", b"\x55\x48\x8b\xec")
"""push rbp; mov rbp, rsp: both encodings."""


class _Spot(NamedTuple):
    """Where a thread stands: its source line, whether the line begins right there, its stack pointer, its number,
    its instruction pointer."""

    line: str | None
    begins: bool
    stack: int
    tid: int | None
    pc: int


def _spot(session: Session) -> _Spot:
    task = session.view.current
    if task is None or task.pc is None:
        raise HwbpError("no thread is stopped", errno="ESRCH")
    session.locate(task.pc)
    return _Spot(session.source(task.pc), session.names.line_begins(task.pc), task.sp or 0, task.tid, task.pc)


def _stepped(session: Session) -> bool:
    return session.view.state == "stopped" and session.view.stop.reason == "step"


def _opens_frame(session: Session, address: int) -> bool:
    """Whether a function with a frame pointer begins here: its arguments are in their places one line further."""
    code = session.names.code(address, len(_ENDBR64) + len(_OPENING[0]))
    return session.names.begins_function(address) and code.removeprefix(_ENDBR64).startswith(_OPENING)


def _one_line(session: Session, over_calls: bool) -> bool:
    """Run to the beginning of another source line; False where anything else stopped the machine first."""
    start = _spot(session)
    if start.line is None:
        raise HwbpError(
            "no source line is known here", errno="ENODATA", remedy="`stepi`, `nexti` or `finish`"
        )
    before, passing = start, start.line
    for _ in range(_MOST):
        session.step(1, over_calls)
        if session.interrupted or not _stepped(session):
            return False
        here = _spot(session)
        if here.tid != start.tid:
            continue
        if here.line is None:
            if here.stack >= before.stack:
                return True
            try:
                session.took(session.backend.finish())
            except HwbpError:
                return True
            session.settle()
            if not _stepped(session):
                return False
            here = _spot(session)
        if here.line is not None and here.begins and here.line not in (start.line, passing):
            if not _opens_frame(session, here.pc):
                return True
            passing = here.line
        before = here
    raise HwbpError(
        f"{_MOST} instructions, and still no other line",
        errno="EAGAIN",
        remedy="again, or `finish`, or `advance PLACE`",
    )


def _lines(session: Session, text: str, grammar: str, over_calls: bool) -> Answer:
    wanted = count(text, grammar)
    stands(session)
    while wanted and _one_line(session, over_calls):
        wanted -= 1
    return state_answer(session)


def _step(session: Session, text: str) -> Answer:
    return _lines(session, text, "step [N]", over_calls=False)


def _next(session: Session, text: str) -> Answer:
    return _lines(session, text, "next [N]", over_calls=True)


def _advance(session: Session, text: str) -> Answer:
    if not text.strip():
        raise UsageError("to which place?", "usage: advance PLACE, as in advance main or advance prog.c:42")
    stands(session)
    target = session.names.resolve(text.strip(), typed=False)
    session.took(session.backend.run_to(target.address))
    if session.patient:
        session.wait(Goal())
    else:
        session.settle()
    return state_answer(session)


COMMANDS = (
    Command(
        "step",
        "running",
        "step [N]",
        "run to another source line, or N lines on",
        "Goes into functions whose source lines are known, and through those that have none. Example: step   step 3",
        _step,
        aliases=("s",),
    ),
    Command(
        "next",
        "running",
        "next [N]",
        "run to another source line, calls included",
        "Like step, but a call runs until it has returned. Example: next   next 5",
        _next,
        aliases=("n",),
    ),
    Command(
        "advance",
        "running",
        "advance PLACE",
        "run until the thread comes to a place",
        "PLACE is a function, file.c:42 or an address: as an execute watch that goes when it is reached. The program may\n"
        "stop or end before. Example: advance add_limit   advance counter.c:36",
        _advance,
        aliases=("until",),
        complete=symbols,
    ),
)
