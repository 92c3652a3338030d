"""Reading the arguments of commands, and candidates for completing them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from backends.base import HwbpError
from tui.session.arming import event_number
from tui.session.escape import escape
from tui.session.result import UsageError

if TYPE_CHECKING:
    from backends.model import Breakpoint
    from tui.session.session import Session
    from tui.session.watches import ArmedWatch

__all__ = [
    "count",
    "ended",
    "none",
    "number",
    "number_or_none",
    "perf_event",
    "symbols",
    "watch_numbers",
    "watch_of",
    "watches_of",
]

_LAST_NAME = re.compile(r"[^\W\d][\w$.]*(?:::[\w$~]*)*$|$")
_MEMBER = re.compile(r"(?P<of>.*[\w\])])(?P<dot>\.|->)(?P<part>\w*)$")


def none(text: str, grammar: str) -> None:
    """Refuse arguments where there are none."""
    if text.strip():
        raise UsageError(f"'{escape(text.strip())}' means nothing here", f"usage: {grammar}")


def number_or_none(text: str) -> int | None:
    """A decimal or 0x number, None for anything else."""
    text = text.strip()
    if re.fullmatch(r"-?(0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20})", text):
        return int(text, 16 if "x" in text.lower() else 10)
    return None


def number(text: str, what: str, grammar: str) -> int:
    """A number. Raises UsageError that names `what` was expected."""
    if (value := number_or_none(text)) is None:
        raise UsageError(f"{what} expected, not '{escape(text.strip())}'", f"usage: {grammar}")
    return value


def count(text: str, grammar: str, default: int = 1, most: int = 10**9) -> int:
    """A count from 1, `default` where none is given."""
    if not text.strip():
        return default
    value = number(text, "a count", grammar)
    if not 1 <= value <= most:
        raise UsageError(f"a count from 1 to {most} expected, not {value}", f"usage: {grammar}")
    return value


def ended(session: Session) -> None:
    """Refuse where the program can run no further."""
    if session.view.state == "exited":
        raise HwbpError(
            "the program has ended", remedy="it can still be looked at: info hits, info sites, info output"
        )
    if session.view.state == "detached":
        raise HwbpError(
            "the program runs on by itself, unwatched", remedy="attach to it again: hwbp-tui attach PID"
        )
    if session.view.state == "failed":
        raise HwbpError(f"the machine cannot go on: {escape(session.view.stop.text)}")


def watch_of(session: Session, text: str, grammar: str, *, waiting: bool = False) -> ArmedWatch:
    """The armed watch with a number (with `waiting` also one that is to be armed later), as `watch` and `info watchpoints` print it."""
    index = number(text, "a watch's number", grammar)
    watch = session.watches.get(index)
    if watch is None or watch.removed:
        armed = ", ".join(str(each.index) for each in session.watches.armed) or "none"
        why = "was removed" if watch else "does not exist"
        raise HwbpError(f"watch {index} {why}", errno="ENOENT", remedy=f"armed now: {armed}")
    if watch.waiting and not waiting:
        what = "a library" if watch.waits == "library" else "a free slot"
        raise HwbpError(f"watch {index} waits for {what}", errno="EAGAIN", remedy=f"delete {index}")
    return watch


def watches_of(session: Session, text: str, grammar: str, *, waiting: bool = False) -> tuple[ArmedWatch, ...]:
    """The armed watches that are named, with `waiting` also those that are to be armed later: numbers, ranges like 0-2, or `all`; in the order named, each once."""
    words = text.split()
    there = session.watches.armed + (session.watches.waiting if waiting else ())
    if words == ["all"]:
        if not there:
            raise HwbpError("no watch is armed", errno="ENOENT")
        return there
    if not words:
        raise UsageError("a watch's number expected, or all", f"usage: {grammar}")
    found: dict[int, ArmedWatch] = {}
    for word in words:
        first, dash, last = word.partition("-")
        if first and dash:
            low, high = number(first, "a watch's number", grammar), number(last, "a watch's number", grammar)
            named = [each for each in there if low <= each.index <= high]
            if not named:
                raise HwbpError(f"no watch from {low} to {high} is armed", errno="ENOENT")
        else:
            named = [watch_of(session, word, grammar, waiting=waiting)]
        found.update((each.index, each) for each in named)
    return tuple(found.values())


def perf_event(session: Session, text: str, grammar: str) -> Breakpoint:
    """The perf event with a descriptor, as `info slots` prints it."""
    wanted = number(text, "a perf event's descriptor", grammar)
    session.look()
    events = {event_number(bp): bp for bp in session.view.breakpoints if bp.owner.kind == "perf"}
    if wanted not in events:
        raise HwbpError(
            f"there is no perf event with fd {wanted}",
            errno="EBADF",
            remedy=f"there are: {', '.join(map(str, events)) or 'none'}",
        )
    return events[wanted]


def symbols(session: Session, text: str) -> Iterable[str]:
    """What the last word may become: symbols that begin like its last name, or the members of what stands before."""
    if not text.split() or text.endswith(" "):
        return ()
    word = text.split()[-1]
    if (match := _MEMBER.search(word)) and (names := session.names.members(match["of"].lstrip("*&("))):
        return [f"{match['of']}{match['dot']}{name}" for name in names if name.startswith(match["part"])]
    name = _LAST_NAME.search(word)
    start = name.start() if name else 0
    if start == len(word):
        return ()
    return [word[:start] + each for each in session.names.starting_with(word[start:])]


def watch_numbers(session: Session, _text: str) -> Iterable[str]:
    """The numbers of the armed watches."""
    return [str(watch.index) for watch in session.watches.armed]
