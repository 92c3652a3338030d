"""Where a stopped program stands: registers, call stack, the words on its stack and its locals."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

from backends.base import HwbpError
from symbols.dataclass import dataclass
from tui.session.escape import escape
from tui.session.frames import OF_A_THREAD, StandingFrame, chosen_frame, stack_frames

if TYPE_CHECKING:
    from tui.session.session import Session

__all__ = [
    "Local",
    "StackWord",
    "Standing",
    "StandingFrame",
    "StandingRegister",
    "flags",
    "local_values",
    "standing",
]

WORDS: Final = 256
"""Words of the stack, from rsp up."""
_FLAGS: Final = (
    (0, "CF"), (2, "PF"), (4, "AF"), (6, "ZF"), (7, "SF"), (8, "TF"), (9, "IF"), (10, "DF"), (11, "OF"), (16, "RF"), (18, "AC"),
)  # fmt: skip
"""Bits of RFLAGS that a program or a debugger meets (SDM 1 3.4.3)."""


class StandingRegister(NamedTuple):
    """A register; `about` is what its value points to, or its flags by name (escaped, "" where nothing)."""

    name: str
    value: int
    about: str


class StackWord(NamedTuple):
    """Eight bytes of the stack; `about` is what they point to, `returns` the number of the frame they return to."""

    address: int
    value: int
    about: str
    returns: int | None


class Local(NamedTuple):
    """A parameter or variable of the function. `address` is None where it is in no memory."""

    name: str
    text: str
    address: int | None


@dataclass(frozen=True, slots=True)
class Standing:
    """`tid` is the task that is looked at. Where nothing is known `problem` says why, and the rest is empty.

    `registers` and `locals` are those of frame `frame`; `lost` are the registers that are not known in it.
    """

    tid: int | None
    pc: int | None
    registers: tuple[StandingRegister, ...] = ()
    frames: tuple[StandingFrame, ...] = ()
    words: tuple[StackWord, ...] = ()
    locals: tuple[Local, ...] = ()
    problem: str = ""
    frame: int = 0
    lost: tuple[str, ...] = ()


def flags(value: int) -> str:
    """`ZF PF IF`: the bits of RFLAGS that are set."""
    return " ".join(name for bit, name in _FLAGS if value >> bit & 1)


def standing(session: Session) -> Standing:
    """Where the task that is looked at stands. Never raises HwbpError."""
    view = session.view
    task = view.current
    if task is None:
        ended = view.state == "exited"
        return Standing(None, None, problem="the program has ended" if ended else "no task is left")
    if view.state == "running":
        return Standing(
            task.tid, None, problem="the program runs: its registers change with every instruction"
        )
    if view.state == "detached":
        return Standing(task.tid, None, problem="the program goes on by itself, unwatched: it is not stopped")
    try:
        rows = session.backend.registers(None)
    except HwbpError as error:
        return Standing(task.tid, None, problem=error.message)
    values = {row.name: row.value for row in rows}
    frames = tuple(frame for frame, _registers in stack_frames(session, values))
    lost: tuple[str, ...] = ()
    here = values
    if (chosen := chosen_frame(session)) is not None:
        here = {
            name: chosen.registers.get(name, value)
            for name, value in values.items()
            if name in chosen.registers or name in OF_A_THREAD
        }
        lost = tuple(name for name in values if name not in here)
    registers = tuple(
        StandingRegister(name, value, _about_register(session, name, value)) for name, value in here.items()
    )
    return Standing(
        task.tid,
        values.get("rip"),
        registers,
        frames,
        _words(session, values.get("rsp"), frames),
        local_values(session),
        frame=chosen.number if chosen is not None else 0,
        lost=lost,
    )


def _about_register(session: Session, name: str, value: int) -> str:
    return flags(value) if name == "eflags" else _points(session, value)


def _points(session: Session, value: int, sp: int | None = None) -> str:
    """What a number points to, "" where nothing is known there; near `sp` by its distance."""
    if value < 1 << 12 or not any(m.start <= value < m.end for m in session.view.mappings):
        return ""
    found = session.names.space.data_name(value)
    if found is not None:
        return f"&{escape(found)}"
    place = session.names.place(value)
    if place.symbol is not None:
        return session.names.describe(value)
    mapping = next(m for m in session.view.mappings if m.start <= value < m.end)
    if sp is not None and mapping.start <= sp < mapping.end:
        return f"rsp{value - sp:+#x}".replace("0x", "")
    if mapping.path.startswith("["):
        return escape(mapping.path.strip("[]"))
    if not mapping.path:
        return "anonymous memory"
    return f"file {escape(os.path.basename(mapping.path))}+{value - mapping.start + mapping.offset:#x}"


def _words(session: Session, sp: int | None, frames: tuple[StandingFrame, ...]) -> tuple[StackWord, ...]:
    """The stack upwards from rsp. A word returns to a frame where it holds that frame's address, in their order."""
    if sp is None:
        return ()
    data = session.names.code(sp, 8 * WORDS)
    words = []
    callers = [n for n in range(1, len(frames)) if not frames[n - 1].inlined]
    for at in range(0, len(data) - 7, 8):
        value = int.from_bytes(data[at : at + 8], "little")
        returns = None
        if callers and value == frames[callers[0]].ip:
            returns = callers.pop(0)
        words.append(StackWord(sp + at, value, _points(session, value, sp), returns))
    return tuple(words)


def local_values(session: Session) -> tuple[Local, ...]:
    """The parameters and variables of the stopped function, by their types."""
    from symbols.values import spell_value
    from tui.session.typed import look, style

    found = []
    for name in session.names.locals():
        try:
            value = look(session, name)
        except HwbpError as error:
            found.append(Local(escape(name), f"<{error.message}>", None))
            continue
        text = "<no value>"
        if value.data is not None and value.type is not None:
            text = spell_value(value.data, value.type, style(session), value.bits)
        found.append(Local(escape(name), text, value.address))
    return tuple(found)
