"""Words for changing one's mind: edit, would, undo, redo, and asking for a bit of DR7."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from backends.base import HwbpError
from tui.session.commands.table import Command, answer
from tui.session.commands.watching import armed_answer
from tui.session.commands.words import none, symbols, watch_numbers, watch_of
from tui.session.editing import bit_request, edited, replace
from tui.session.escape import escape
from tui.session.result import Answer, UsageError

if TYPE_CHECKING:
    from tui.session.session import Session

__all__ = ["COMMANDS"]

_EDIT = "edit N EXPR[/LEN][:w|rw|x] | /LEN | :w|rw|x [stop]"


def _edit(session: Session, text: str) -> Answer:
    number, _, what = text.strip().partition(" ")
    old = watch_of(session, number, _EDIT)
    words = what.split()
    stop = len(words) > 1 and words[-1] == "stop"
    if stop:
        what = what.strip()[: -len("stop")]
    if not what.strip():
        raise UsageError(
            f"watch {old.index} is {escape(str(old.watch))}: what should it be?", f"usage: {_EDIT}"
        )
    armed, how = replace(session, old, edited(old, what), stop or old.stop)
    return armed_answer(
        session, armed, f"in the place of watch {old.index}: {escape(str(old.watch))}, which is gone", how
    )


def _edited_words(session: Session, text: str) -> Iterable[str]:
    number, space, what = text.lstrip().partition(" ")
    return symbols(session, what) if space else watch_numbers(session, number)


def _would(session: Session, text: str) -> Answer:
    from tui.session.proposal import proposal_lines, propose

    if not text.strip():
        raise UsageError("would what fit?", "usage: would watch EXPR[/LEN][:w|rw|x]")
    proposal = propose(session, text)
    if proposal is None:
        raise UsageError("only a request for slots can be tried: watch, awatch, hbreak, perf open, edit")
    if proposal.problem and proposal.address is None and proposal.errno != "ENOSPC":
        raise HwbpError(proposal.problem, errno=proposal.errno or None, remedy=proposal.remedy)
    return answer(
        *(line for _kind, line in proposal_lines(proposal)),
        fits=not proposal.problem,
        errno=proposal.errno or None,
        expr=proposal.label,
        type=proposal.type,
        address=proposal.address,
        length=proposal.length,
        windows=[{"address": address, "length": length} for address, length in proposal.windows],
        free=proposal.free,
        instead=proposal.instead or None,
    )


def _would_words(session: Session, text: str) -> Iterable[str]:
    from tui.session.commands import complete
    from tui.session.proposal import FORCED

    if not text.strip() or " " not in text.lstrip():
        return [*FORCED, "edit"]
    return [line.rpartition(" ")[2] for line in complete(session, text.lstrip())]


def _undo(session: Session, text: str) -> Answer:
    none(text, "undo")
    line, said = session.changes.undo(session)
    return answer(f"undone: {line}", *said, line=line, undone=said)


def _redo(session: Session, text: str) -> Answer:
    none(text, "redo")
    line, said = session.changes.redo(session)
    return answer(f"done again: {line}", *said, line=line, done=said)


def _ask(session: Session, text: str) -> Answer:
    if not text.strip():
        raise UsageError("which bit?", "usage: dr7 ask BIT")
    line = bit_request(session, text)
    return answer(f"the request for that: {line}", line=line)


def _bits(_session: Session, _text: str) -> Iterable[str]:
    return [f"{kind}{n}" for n in range(4) for kind in ("G", "RW", "LEN")]


COMMANDS = (
    Command(
        "edit",
        "watches",
        _EDIT,
        "change a watch: another place, length or type",
        "What is left out stays: `/4` changes the length alone, `:rw` the type alone. Its registers move where there are as many\n"
        "as are needed; else it is armed before the old one is given back, where there is room for both. Refused, the old one is\n"
        "armed again. It has a number of its own: the hits of the old one stay the old one's.\n"
        "Example: edit 0 :rw   edit 0 cfg.limits[2]/8:w",
        _edit,
        aliases=("move",),
        complete=_edited_words,
        undoable=True,
    ),
    Command(
        "would",
        "watches",
        "would watch WATCH | awatch WATCH | hbreak WATCH | edit N WATCH",
        "what a request would take, without making it",
        "Address, type and value now; the windows it is split into; on which CPUs slots are free and who holds the rest;\n"
        "and what would fit where it does not. The app shows the same while a request is typed.\n"
        "Example: would watch cfg.limits",
        _would,
        complete=_would_words,
    ),
    Command(
        "undo",
        "watches",
        "undo",
        "take back the last change to watches, registers or memory",
        "Armed, removed, edited, enabled and disabled watches, debug registers written by hand, and what `set` stored (while it is still there);\n"
        "a watch that comes back has a new number. Running cannot be taken back, nor what other owners did. Example: undo",
        _undo,
        key="u",
    ),
    Command(
        "redo",
        "watches",
        "redo",
        "do again what was undone",
        "Example: redo",
        _redo,
        key="U",
    ),
    Command(
        "dr7 ask",
        "owners",
        "dr7 ask BIT",
        "the request that would turn a bit of DR7",
        "Linux's own way to the same bit: enable and disable for G, edit for RW and LEN; or why nobody can ask for it.\n"
        "Example: dr7 ask G0",
        _ask,
        complete=_bits,
    ),
)
