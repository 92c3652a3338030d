"""gdb's `set`: a variable or a register of a program that stands still gets another value."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Final

from backends.base import HwbpError
from tui.session.commands.table import Command, answer
from tui.session.commands.words import ended, symbols
from tui.session.escape import escape
from tui.session.frames import chosen_frame
from tui.session.result import Answer, UsageError

if TYPE_CHECKING:
    from tui.session.session import Session
    from tui.session.typed import Looked

__all__ = ["COMMANDS"]

_GRAMMAR: Final = "set [var] PLACE = VALUE | set $REGISTER = VALUE"
_ASSIGNED: Final = re.compile(
    r"(?:var(?:iable)?\s+)?(?P<left>.*?[^<>=!\s])\s*=(?!=)\s*(?P<right>\S.*)", re.DOTALL
)
_REGISTER: Final = re.compile(r"\$(?P<name>[a-z]\w*)")
_NAMES: Final = {"pc": "rip", "sp": "rsp", "fp": "rbp"}
_FLOATS: Final = {4: "<f", 8: "<d"}


def _set(session: Session, text: str) -> Answer:
    from tui.session.typed import look

    match = _ASSIGNED.fullmatch(text.strip())
    if match is None:
        raise UsageError("what should have which value?", f"usage: {_GRAMMAR}")
    ended(session)
    if session.view.state == "running":
        raise HwbpError("the program is running", errno="EBUSY", remedy="`stop` it first")
    left = match["left"].strip()
    value = look(session, match["right"]).number
    if value is None:
        raise HwbpError(f"{escape(match['right'])}: only a number can be stored", errno="EINVAL")
    if (register := _REGISTER.fullmatch(left)) is not None:
        return _set_register(session, f"set {text}", _NAMES.get(register["name"], register["name"]), value)
    place = look(session, left)
    if place.address is None or place.code:
        raise HwbpError(f"{escape(left)} has no place in memory that could be written", errno="EINVAL")
    data = _bytes(session, place, value)
    before = session.backend.read(place.address, len(data))
    session.backend.write(place.address, data)
    session.changes.stored(f"set {text}", place.address, before, data)
    session.look()
    now = look(session, left)
    number = now.number
    if number is None:  # a symbol without a type
        number = int.from_bytes(session.backend.read(place.address, len(data)), "little")
    return answer(f"{now.expr} = {number}", expr=now.expr, address=place.address, value=number)


def _set_register(session: Session, line: str, name: str, value: float) -> Answer:
    if (frame := chosen_frame(session)) is not None:
        raise HwbpError(
            f"frame {frame.number} is a caller's: only the innermost frame's registers can be written",
            errno="EINVAL",
            remedy="`frame 0`",
        )
    if not isinstance(value, int) or not -(1 << 63) <= value < 1 << 64:
        raise HwbpError(f"{value} does not fit a register of 64 bits", errno="EINVAL")
    before = _register(session, name)
    session.backend.set_register(None, name, value & (1 << 64) - 1)
    session.look()
    now = _register(session, name)
    if before is not None and now is not None and session.view.current is not None:
        task = session.view.current.tid
        session.changes.stored(line, name, before.to_bytes(8, "little"), now.to_bytes(8, "little"), task)
    return answer(f"${name} = {now or 0:#x}", register=name, value=now)


def _register(session: Session, name: str) -> int | None:
    """Its value; what is no register is the machine's to refuse."""
    return next((each.value for each in session.backend.registers(None) if each.name == name), None)


def _bytes(session: Session, place: Looked, value: float) -> bytes:
    """The value as the place holds it."""
    kind = place.type.plain if place.type is not None else None
    size = place.length
    if size is None or (kind is not None and kind.kind in ("struct", "union", "class", "array")):
        raise HwbpError(
            f"{place.expr}: only a number or a pointer can be stored, in its own place", errno="EINVAL"
        )
    if kind is not None and kind.kind == "float":
        if size not in _FLOATS:
            raise HwbpError(f"{place.expr}: a float of {size} bytes cannot be stored", errno="EOPNOTSUPP")
        return struct.pack(_FLOATS[size], value)
    if size > 8:
        raise HwbpError(f"{place.expr}: {size} bytes are no number", errno="EINVAL")
    if not isinstance(value, int):
        value = int(value)
    first, bits = place.bits or (0, 8 * size)
    if not -(1 << bits - 1) <= value < 1 << bits:
        raise HwbpError(f"{place.expr}: {value} does not fit {bits} bits", errno="ERANGE")
    mask = (1 << bits) - 1 << first
    assert place.address is not None
    before = int.from_bytes(session.backend.read(place.address, size), "little") if place.bits else 0
    return (before & ~mask | value << first & mask).to_bytes(size, "little")


COMMANDS = (
    Command(
        "set",
        "looking",
        _GRAMMAR,
        "store a value in a variable or a register",
        "gdb's `set var`, for a program that stands still. The place has the type that the expression has. The store is ours, not the\n"
        "program's: it makes no hit, and the next hit that can tell says that the value was changed unseen. `undo` takes it back.\n"
        "Example: set var cfg.limits[3] = 7   set $rax = -1",
        _set,
        complete=symbols,
    ),
)
