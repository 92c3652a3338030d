"""Everything that is shown about one selected hit beyond its own record: looked up at the desk, drawn by the panels."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from backends.base import HwbpError
from tui.app.names import Name
from tui.app.records import Record
from tui.app.shown import shown, without_del

if TYPE_CHECKING:
    from tui.session.session import Session

__all__ = ["CodeLine", "FrameLine", "Inspection", "inspect", "key_of", "look_up", "typed_change"]

Key = tuple[int, int, int]

BEFORE, AFTER = 5, 8


class CodeLine(NamedTuple):
    """One instruction. `mark` is "culprit", "ip" or "both", or "armed" where only an execute watch is on it."""

    address: int
    text: str
    mark: str


class FrameLine(NamedTuple):
    """One frame of the call stack, named; `guessed` where no unwind rule led to it."""

    symbol: str
    source: str
    guessed: bool


class Inspection(NamedTuple):
    """`problem` says why the code could not be read, if so."""

    key: Key
    code: tuple[CodeLine, ...]
    frames: tuple[FrameLine, ...]
    source: str
    problem: str


def key_of(record: Record) -> Key:
    """Hits with the same key look the same but for their values."""
    return record.ip, record.insn_ip, record.stack


def inspect(session: Session, record: Record) -> Inspection:
    """Look at a hit (at the desk: reads memory, files and DWARF)."""
    place = record.place
    code: list[CodeLine] = []
    problem = ""
    armed = {each.address for each in session.view.breakpoints if each.type == "x" and each.enabled}
    try:
        for instruction in session.disassembly(place, BEFORE, AFTER):
            culprit, ip = instruction.address == record.insn_ip, instruction.address == record.ip
            mark = "both" if culprit and ip else "culprit" if culprit else "ip" if ip else ""
            if not mark and instruction.address in armed:
                mark = "armed"
            refers = session.names.refers(instruction)
            text = shown(instruction.text) + (f"  # {without_del(refers)}" if refers else "")
            code.append(CodeLine(instruction.address, text, mark))
    except HwbpError as error:
        problem = error.message
    frames = []
    stack = session.stack(record.stack) if record.stack else ()
    for number, frame in enumerate(stack):
        address = frame.ip if number == 0 else frame.ip - 1
        for level in session.levels(address):
            frames.append(FrameLine(without_del(level.text), _short(level.source), frame.guessed))
    source = without_del(session.source(place) or "")
    return Inspection(key_of(record), tuple(code), tuple(frames), source, shown(problem))


def typed_change(session: Session, record: Record) -> str:
    """What a hit changed, as the type of what is watched writes it; "" where plain numbers say as much (at the desk)."""
    from tui.session.typed import changed

    found = session.watches.find(record.breakpoint, record.seq)
    if found is None or not record.value_from:
        return ""
    old = record.old if record.old_from and record.access_text != "r" else None
    try:
        text = changed(*(session, found[0], found[1]), value=record.value, old=old)
    except HwbpError:
        return ""
    return "" if text is None else without_del(text)


def _short(source: str | None) -> str:
    """`counter.c:42` of the path that the compiler was given: columns are narrow."""
    return without_del((source or "").rpartition("/")[2])


def look_up(session: Session, addresses: tuple[int, ...]) -> dict[int, Name]:
    """Names for a batch of addresses (at the desk)."""
    return {a: Name(without_del(session.describe(a)), _short(session.source(a))) for a in addresses}
