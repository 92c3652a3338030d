"""gdb's words for names and places: list, info line, info symbol, info locals."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from backends.base import HwbpError
from tui.session.code import source_text
from tui.session.commands.table import Command, answer
from tui.session.commands.words import symbols
from tui.session.escape import escape
from tui.session.result import Answer
from tui.session.standing import local_values, standing

if TYPE_CHECKING:
    from tui.session.session import Session

__all__ = ["COMMANDS"]

_AROUND: Final = 11
"""Lines that `list` shows."""


def _address(session: Session, text: str) -> int:
    """The place that is asked about: without words, where the program stands."""
    address = session.names.resolve(text.strip() or "$rip").address
    session.locate(address)
    return address


def _line(session: Session, text: str) -> Answer:
    address = _address(session, text)
    frames = session.names.frames(address)
    if not frames:
        raise _no_line(session, address)
    lines, rows = [], []
    for depth, frame in enumerate(frames):
        place = escape(f"{frame.file}:{frame.line}" + (f":{frame.column}" if frame.column else ""))
        function = escape(frame.function) or "?"
        how = f"{address:#x} <{session.describe(address)}> is" if not depth else "  inlined into"
        lines.append(f"{how} {function} at {place}")
        rows.append(
            {
                "function": escape(frame.function),
                "file": escape(frame.file),
                "line": frame.line,
                "column": frame.column,
                "inlined": frame.inlined,
            }
        )
    return answer(*lines, address=address, frames=rows)


def _symbol(session: Session, text: str) -> Answer:
    address = _address(session, text)
    place = session.names.place(address)
    if place.symbol is None:
        where = f" of {escape(place.module)}" if place.module else ""
        raise HwbpError(f"no symbol covers {address:#x}{where}")
    offset = f" + {place.symbol_offset}" if place.symbol_offset else ""
    data = session.names.space.data_name(address)
    member = (
        f" ({escape(data)})"
        if data and data != place.symbol and not data.startswith(f"{place.symbol}+")
        else ""
    )
    return answer(
        f"{escape(place.symbol)}{offset}{member} in {escape(place.module or '?')}",
        address=address,
        symbol=escape(place.symbol),
        offset=place.symbol_offset,
        module=escape(place.module or ""),
        data=escape(data) if data else None,
    )


def _locals(session: Session, _text: str) -> Answer:
    found = local_values(session)
    return answer(
        *([f"{each.name} = {each.text}" for each in found] or ["no locals here"]),
        locals=[{"name": each.name, "value": each.text, "address": each.address} for each in found],
    )


def _frames(session: Session, _text: str) -> Answer:
    where = standing(session)
    if where.problem:
        raise HwbpError(where.problem, errno="EBUSY" if session.view.state == "running" else "ESRCH")
    lines = [
        f"#{number:<2} {frame.ip:#x} {frame.text}{f' at {frame.source}' if frame.source else ''}{'  ?' * frame.guessed}"
        for number, frame in enumerate(where.frames)
    ]
    rows = [frame._asdict() for frame in where.frames]
    return answer(*(lines or ["no frame is known"]), task=where.tid, frames=rows)


def _no_line(session: Session, address: int) -> HwbpError:
    name = session.describe(address)
    where = f"{address:#x}" if name == f"{address:#x}" else f"{address:#x} <{name}>"
    return HwbpError(f"{where} has no line", remedy="compile the program with -g")


def _here(session: Session) -> int:
    """A place in the file that a bare line number means: where the program stands, else main."""
    address = _address(session, "")
    if session.names.source_file(address) is None:
        return _address(session, "main")
    return address


def _list(session: Session, text: str) -> Answer:
    number = text.strip()
    of_file = number.isascii() and number.isdecimal()
    address = _here(session) if of_file else _address(session, text)
    found = session.names.source_file(address)
    if found is None:
        raise _no_line(session, address)
    source, line = found
    if of_file:
        line = int(number)
    name = escape(source.name)
    if not source.path:
        raise HwbpError(
            f"{name}:{line}: the file was not found; looked for {'; '.join(map(escape, source.looked)) or 'nothing'}",
            errno="ENOENT",
            remedy="`directory DIR` says where sources are",
        )
    first = max(1, line - _AROUND // 2)
    numbered = ((n, source_text(source, n)) for n in range(first, first + _AROUND))
    rows = [(n, text) for n, text in numbered if text is not None]
    if not rows:
        other = "" if of_file else f"{escape(source.path)} is another version of it"
        raise HwbpError(f"{name} has no line {line}", remedy=other)
    lines = [f"{'=>' if n == line else '  '} {n:>5}  {shown}".rstrip() for n, shown in rows]
    if source.newer:
        lines.append(f"{name} is newer than the program: these may not be the lines that were compiled")
    return answer(*lines, file=name, path=escape(source.path), line=line, address=address, newer=source.newer)


def _directory(session: Session, text: str) -> Answer:
    wanted = text.strip()
    if wanted and not os.path.isdir(os.path.expanduser(wanted)):
        raise HwbpError(f"{escape(wanted)} is not a directory", errno="ENOTDIR")
    sources = session.names.sources
    sources.search(*([os.path.expanduser(wanted)] if wanted else []))
    shown = [escape(each) for each in sources.directories]
    return answer(
        f"sources are looked for in {', '.join(shown)} first"
        if shown
        else "sources are looked for where the program says",
        directories=shown,
    )


COMMANDS = (
    Command(
        "info line",
        "looking",
        "info line [EXPR | FILE:LINE]",
        "the source line of a place, and what was inlined there",
        "Innermost call first. Example: info line add_limit   info line $rip   info line counter.c:42",
        _line,
        complete=symbols,
    ),
    Command(
        "info symbol",
        "looking",
        "info symbol [EXPR]",
        "the symbol and the variable at an address",
        "Example: info symbol $rip   info symbol &cfg.limits[3]",
        _symbol,
        complete=symbols,
    ),
    Command(
        "info locals",
        "looking",
        "info locals",
        "the parameters and variables of the stopped function",
        "Optimised-out ones say so. Example: info locals",
        _locals,
    ),
    Command(
        "info frames",
        "looking",
        "info frames",
        "the call stack where the stopped task stands",
        "`?` marks a frame that no unwind rule led to. `info stack` has the stack of a hit. Example: info frames",
        _frames,
    ),
    Command(
        "list",
        "looking",
        "list [LINE | EXPR | FILE:LINE]",
        "the source lines around a place",
        "Without words, where the program stands; a line number is one of the file there. Example: list add_limit   list 42   list counter.c:42",
        _list,
        aliases=("l",),
        complete=symbols,
    ),
    Command(
        "directory",
        "looking",
        "directory [DIR]",
        "where source files are looked for first",
        "Without a directory, only where the program says. Example: directory src",
        _directory,
        aliases=("dir",),
    ),
)
