"""Where a stopped program stands: registers, call stack, the words on its stack and its locals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, cast

from backends.base import HwbpError
from symbols.dataclass import dataclass
from tui.session.escape import escape

if TYPE_CHECKING:
    from symbols.space import AddressSpace
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

DEEPEST: Final = 64
"""Frames."""
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


class StandingFrame(NamedTuple):
    """A line of the call stack, innermost first: a function, or a call that was inlined into the next line's.

    `ip` is where it goes on, `place` the instruction that it is in. `guessed` where no unwind rule led to it.
    """

    ip: int
    place: int
    symbol: str
    source: str
    inlined: bool
    guessed: bool

    @property
    def text(self) -> str:
        """The function, and whether it is inlined."""
        return f"{self.symbol} (inlined)" if self.inlined else self.symbol


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
    """`tid` is the task that is looked at. Where nothing is known `problem` says why, and the rest is empty."""

    tid: int | None
    pc: int | None
    registers: tuple[StandingRegister, ...] = ()
    frames: tuple[StandingFrame, ...] = ()
    words: tuple[StackWord, ...] = ()
    locals: tuple[Local, ...] = ()
    problem: str = ""


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
    registers = tuple(
        StandingRegister(r.name, r.value, _about_register(session, r.name, r.value)) for r in rows
    )
    pc = values.get("rip")
    frames = _frames(session, values)
    return Standing(
        task.tid, pc, registers, frames, _words(session, values.get("rsp"), frames), local_values(session)
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
    return session.names.describe(value) if mapping.path else "anonymous memory"


def _frames(session: Session, values: dict[str, int]) -> tuple[StandingFrame, ...]:
    from symbols.frames import Unwinder

    pc, sp, bp = (values.get(name) for name in ("rip", "rsp", "rbp"))
    if pc is None or sp is None or bp is None:
        return ()
    walker = Unwinder(cast("AddressSpace", session.names.space), session.backend.read)
    found = []
    for number, (ip, guessed) in enumerate(walker.walk(pc, sp, bp, DEEPEST, lambda name: values[name])):
        place = ip if number == 0 else ip - 1
        for level in session.levels(place):
            found.append(StandingFrame(ip, place, level.symbol, level.source or "", level.inlined, guessed))
    return tuple(found)


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
