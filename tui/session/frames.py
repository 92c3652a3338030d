"""The call stack of the task that stands still, and which of its frames is looked at (gdb's `frame`, `up`, `down`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, cast

from backends.base import HwbpError

if TYPE_CHECKING:
    from symbols.space import AddressSpace
    from tui.session.session import Session

__all__ = [
    "DEEPEST",
    "OF_A_THREAD",
    "ChosenFrame",
    "StandingFrame",
    "choose_frame",
    "chosen_frame",
    "stack_frames",
]

DEEPEST: Final = 64
"""Frames."""


OF_A_THREAD: Final = frozenset({"cs", "ss", "ds", "es", "fs", "gs", "fs_base", "gs_base"})
"""Registers that are the same in all frames."""


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


class ChosenFrame(NamedTuple):
    """A caller that was chosen. `registers` are those that are known in it; `innermost` the task, pc and rsp that it belongs to:
    once the task has moved, it is not chosen any more."""

    number: int
    frame: StandingFrame
    registers: dict[str, int]
    innermost: tuple[int, int | None, int | None]


def stack_frames(
    session: Session, values: dict[str, int]
) -> tuple[tuple[StandingFrame, dict[str, int]], ...]:
    """The stack from the registers of the innermost frame, each frame with those of its own that are known."""
    from symbols.frames import Unwinder

    pc, sp, bp = (values.get(name) for name in ("rip", "rsp", "rbp"))
    if pc is None or sp is None or bp is None:
        return ()
    walker = Unwinder(cast("AddressSpace", session.names.space), session.backend.read)
    found = []
    walked = walker.walk_registers(pc, sp, bp, DEEPEST, lambda name: values[name])
    for number, (ip, guessed, registers) in enumerate(walked):
        place = ip if number == 0 else ip - 1
        for level in session.levels(place):
            frame = StandingFrame(ip, place, level.symbol, level.source or "", level.inlined, guessed)
            found.append((frame, registers if number else values))
    return tuple(found)


def choose_frame(session: Session, number: int) -> StandingFrame:
    """Look at a frame by its number in the stack, 0 the innermost. Raises HwbpError where there is none."""
    view = session.view
    if view.state == "running":
        raise HwbpError(
            "the program runs: its stack changes all the time", errno="EBUSY", remedy="`stop` it first"
        )
    if view.current is None:
        raise HwbpError("no task is left", errno="ESRCH")
    values = {row.name: row.value for row in session.backend.registers(None)}
    frames = stack_frames(session, values)
    if not frames:
        raise HwbpError("no frame is known", errno="ENOENT")
    if not 0 <= number < len(frames):
        what = "the innermost frame" if number < 0 else "the outermost frame that is known"
        raise HwbpError(f"this is {what}: frames 0 to {len(frames) - 1}", errno="ENOENT")
    frame, registers = frames[number]
    session.chosen = None
    if number:
        session.chosen = ChosenFrame(
            number, frame, registers, (view.current.tid, view.current.pc, view.current.sp)
        )
    return frame


def chosen_frame(session: Session) -> ChosenFrame | None:
    """The caller that is looked at, None for the innermost frame: also once the task has moved or another is looked at."""
    chosen, current = session.chosen, session.view.current
    if chosen is None:
        return None
    moved = current is None or chosen.innermost != (current.tid, current.pc, current.sp)
    if moved or session.view.state == "running":
        session.chosen = None
    return session.chosen
