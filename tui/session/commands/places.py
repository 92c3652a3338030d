"""gdb's words for names and places: info line, info symbol, info locals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backends.base import HwbpError
from tui.session.commands.table import Command, answer
from tui.session.commands.words import symbols
from tui.session.escape import escape
from tui.session.result import Answer

if TYPE_CHECKING:
    from tui.session.session import Session

__all__ = ["COMMANDS"]


def _address(session: Session, text: str) -> int:
    """The place that is asked about: without words, where the program stands."""
    address = session.names.resolve(text.strip() or "$rip").address
    session.locate(address)
    return address


def _line(session: Session, text: str) -> Answer:
    address = _address(session, text)
    frames = session.names.frames(address)
    if not frames:
        raise HwbpError(
            f"{address:#x} <{session.describe(address)}> has no line", remedy="compile the program with -g"
        )
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
    from symbols.values import spell_value
    from tui.session.typed import look, style

    lines: list[str] = []
    rows: list[dict[str, Any]] = []
    names = session.names.locals()
    for name in names:
        try:
            found = look(session, name)
            text = (
                spell_value(found.data, found.type, style(session), found.bits)
                if found.data is not None and found.type is not None
                else "<no value>"
            )
            address = found.address
        except HwbpError as error:
            text, address = f"<{error.message}>", None
        lines.append(f"{escape(name)} = {text}")
        rows.append({"name": escape(name), "value": text, "address": address})
    return answer(*(lines or ["no locals here"]), locals=rows)


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
)
