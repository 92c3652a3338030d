"""gdb's words for running: continue, stop, stepi, nexti, finish; and wait, for scripts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from backends.base import HwbpError
from tui.session.commands.table import Command, answer
from tui.session.commands.words import count, ended, none
from tui.session.escape import escape
from tui.session.goal import Goal
from tui.session.result import Answer, UsageError

if TYPE_CHECKING:
    from tui.session.session import Session

__all__ = ["COMMANDS", "stands", "state_answer"]


def state_answer(session: Session) -> Answer:
    """Where the machine stands."""
    view = session.view
    pc = view.current.pc if view.current else None
    where = f" at {session.describe(pc)} ({pc:#x})" if pc is not None and view.state != "exited" else ""
    source = session.source(pc) if where and pc is not None else None
    text = f"{view.state}{where}{f', {source}' if source else ''}"
    why = escape(view.stop.text)
    if view.stop.reason == "hit" and (unnamed := re.match(r"0x([0-9a-f]+) ", why)):  # ptrace knows no names
        why = f"{session.names.describe_data(int(unnamed[1], 16))} {why[unnamed.end() :]}"
    if why and view.state != "running":
        text += f": {why}"
    return answer(
        text,
        f"{view.hits} hit{'s' * (view.hits != 1)}"
        + (f", {view.instructions} instructions" if view.instructions is not None else ""),
        state=view.state,
        reason=view.stop.reason,
        stop=why,
        hit=view.stop.hit,
        pc=pc,
        symbol=session.describe(pc) if pc is not None else None,
        source=source,
        hits=view.hits,
        instructions=view.instructions,
        exit_status=view.exit_status,
    )


def stands(session: Session) -> None:
    """Refuse what needs a machine that stands still. Raises HwbpError."""
    ended(session)
    session.refresh()
    if session.view.state == "running":
        remedy = "`wait` for it, or `stop` it first" if session.patient else "`stop` it first"
        raise HwbpError("the machine is running", errno="EBUSY", remedy=remedy)


def _can_hit(session: Session) -> None:
    """Refuse to wait for hits where nothing could hit. A bare program sets its own registers."""
    view = session.view
    if view.debug_exceptions is None and not any(bp.enabled for bp in view.breakpoints):
        raise HwbpError(
            "no watch is armed and enabled, so there would never be a hit",
            errno="EINVAL",
            remedy="watch something first, or `continue` without a number",
        )


def _continue(session: Session, text: str) -> Answer:
    background = text.rstrip().endswith("&")
    text = text.rstrip().removesuffix("&").strip()
    wait = session.patient and not background
    goal = Goal(hits=session.ring.head + count(text, "continue [N] [&]")) if text else None
    stands(session)
    if goal is not None:
        _can_hit(session)
    session.resume(goal, wait=wait)
    while wait and goal and session.view.stop.reason == "hit" and not goal.hits_seen(session.ring):
        session.resume(goal, wait=True)
    if session.view.state == "running":
        return answer("running", state="running")
    return state_answer(session)


def _stop(session: Session, text: str) -> Answer:
    none(text, "stop")
    if session.view.state == "running" or session.ring.state == "running":
        session.took(session.backend.stop())
    session.look()
    return state_answer(session)


def _detach(session: Session, text: str) -> Answer:
    none(text, "detach")
    ended(session)
    if not session.view.can.detaches:
        raise HwbpError("the program lives in this machine, and cannot go on without it", errno="EOPNOTSUPP")
    session.took(session.backend.release())
    session.look()
    return state_answer(session)


def _stepi(session: Session, text: str) -> Answer:
    stands(session)
    session.step(count(text, "stepi [N]"))
    return state_answer(session)


def _nexti(session: Session, text: str) -> Answer:
    stands(session)
    session.step(count(text, "nexti [N]"), over_calls=True)
    return state_answer(session)


def _finish(session: Session, text: str) -> Answer:
    none(text, "finish")
    stands(session)
    session.took(session.backend.finish())
    session.settle()
    return state_answer(session)


def _wait(session: Session, text: str) -> Answer:
    goal = Goal.parse(text, session.ring.head)
    if not session.patient:
        return answer("the app never waits: it follows by itself", waited=False)
    session.wait(goal)
    view = session.view
    if goal.exit and view.state not in ("exited", "failed", "detached"):
        why = f" ({escape(view.stop.text)})" if view.stop.text else ""
        raise HwbpError(
            f"the program stands still{why}, so it would never end",
            errno="EDEADLK",
            remedy="`continue &` lets it run, and then `wait exit`",
        )
    return state_answer(session)


def _expect(session: Session, text: str) -> Answer:
    if not text:
        raise UsageError("expect what?", "expect TEXT: the answer to the command before must have TEXT in it")
    before = next((row for row in reversed(session.journal) if row.result.command != "expect"), None)
    if before is None:
        raise HwbpError("there is no command before this one", errno="EINVAL")
    line, result = before.line, before.result
    said = (*result.lines, result.error, *result.holders)
    found = next((row for row in said if text in row), None)
    if found is None:
        raise HwbpError(
            f"'{escape(text)}' is not in the answer to `{escape(line)}`",
            errno="EINVAL",
            remedy=f"it was: {'; '.join(row.strip() for row in said[:3] if row)}",
        )
    return answer(found.strip(), found=found.strip())


COMMANDS = (
    Command(
        "continue",
        "running",
        "continue [N] [&]",
        "let the program run",
        "Runs until a watch that stops, an exit, or `stop`; with N until N more hits were recorded, and then stops.\n"
        "N is exact where the watches stop; else the program stops soon after its N-th hit.\n"
        "A script waits until the machine stands still; with `&` it goes on at once, see `wait`.\n"
        "Example: continue 3   continue &",
        _continue,
        aliases=("c", "cont", "fg"),
        key="space",
    ),
    Command(
        "stop",
        "running",
        "stop",
        "stop the program at its next instruction",
        "Example: stop",
        _stop,
        aliases=("interrupt",),
        key="space",
    ),
    Command(
        "detach",
        "running",
        "detach",
        "let a live program go on by itself, unwatched",
        "Removes every watch and leaves the program as it was found. Example: detach",
        _detach,
    ),
    Command(
        "stepi",
        "running",
        "stepi [N]",
        "run one instruction, or N",
        "An execute watch on the first instruction does not hit (RF). Example: stepi 10",
        _stepi,
        aliases=("si",),
        key="s",
    ),
    Command(
        "nexti",
        "running",
        "nexti [N]",
        "run one instruction, calls included",
        "Like stepi, but a call runs until it has returned. Example: nexti",
        _nexti,
        aliases=("ni",),
        key="n",
    ),
    Command(
        "finish",
        "running",
        "finish",
        "run until this function has returned",
        "Refused where the return address is not known exactly. Example: finish",
        _finish,
        aliases=("fin",),
    ),
    Command(
        "wait",
        "running",
        "wait [N hits | exit | stop | SECONDS]",
        "in a script: wait for the machine",
        "Waits until the machine stands still (`stop`, the default), the program has ended, N more hits were recorded\n"
        "or SECONDS have passed, and changes nothing. A wait for hits also ends when the machine stands still.\n"
        "Example: wait 3 hits",
        _wait,
    ),
    Command(
        "expect",
        "running",
        "expect TEXT",
        "in a script: what the last answer must have in it",
        "Fails, and so ends a script, unless the answer to the command before has TEXT in one of its lines. More than one\n"
        "may follow a command. Example: expect 3 hits",
        _expect,
    ),
)
