"""Watches that mean something and have no slots yet: armed by themselves, first come first, when as many are free.

One that needs more than there are does not hold back those behind it that fit.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from backends.base import HwbpError
from backends.planner import SLOTS
from tui.session.arming import Planned, arm, plan, way_to_free
from tui.session.escape import escape
from tui.session.result import Result
from tui.session.watches import ArmedWatch

if TYPE_CHECKING:
    from backends.model import MachineView
    from tui.session.session import Session

__all__ = ["IT_MAY_WAIT", "SlotQueue", "needed_text"]

IT_MAY_WAIT: Final = "with `pending` behind it, it waits"
"""What a refusal says of a request that could wait for slots."""

_ASK_AGAIN: Final = 1.0
"""Seconds until the kernel is asked again where nothing tells that a slot has come free: another process's may have."""


def needed_text(row: ArmedWatch) -> str:
    """`2 slots`."""
    return f"{len(row.windows)} slot{'s' * (len(row.windows) != 1)}"


class SlotQueue:
    """The watches of a session that wait for slots, in the order of their numbers."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._held = 0
        self._busy = False
        self._image = ""
        self._tried: dict[int, tuple[object, float]] = {}

    @property
    def is_held(self) -> bool:
        """Somebody changes several watches at once, and nothing is armed by itself."""
        return self._held > 0

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """What comes free meanwhile is not for them: somebody takes slots back to use them otherwise."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
            self._session.pending.follow()
            self.follow()

    def add(
        self, planned: Planned, why: HwbpError, stop: bool = False, index: int | None = None
    ) -> ArmedWatch:
        """Let a watch wait that was refused because of `why`. Raises it for a local variable, whose function will have returned."""
        if planned.frame is not None:
            raise why
        session = self._session
        row = ArmedWatch(
            index=session.watches.next_index if index is None else index,
            watch=planned.watch,
            label=planned.label,
            type=planned.type,
            address=planned.address,
            length=planned.length,
            windows=planned.windows,
            breakpoints=(),
            owner="perf",
            stop=stop,
            condition=planned.condition,
            per_thread=planned.per_thread,
            waits="slot",
        )
        self.put(row)
        self._tried[row.index] = self._books(), time.monotonic()
        return row

    @staticmethod
    def hint(error: HwbpError) -> HwbpError:
        """The refusal of a request that could wait; it says so."""
        error.remedy = "; ".join(filter(None, (error.remedy, IT_MAY_WAIT)))
        return error

    def put(self, row: ArmedWatch) -> None:
        """A row that waits; the session's next view may arm it."""
        self._image = _image(self._session.view)
        self._session.watches.queue(row)

    def said(self, row: ArmedWatch) -> tuple[str, ...]:
        """What is told of one that waits: what for, and what would help."""
        what = "x" if row.type == "x" else f"{row.type} {row.length} byte{'s' * (row.length != 1)}"
        way = way_to_free(self._session, max(1, len(row.windows) - self._free()))
        first = f"watch {row.index}: {row.label} waits for {needed_text(row)} to come free, {what} at {row.address:#x}"
        return (first, *([way] if way else []))

    def follow(self) -> None:
        """The session has a new view: a slot may have come free."""
        session = self._session
        if self._held or self._busy or not (rows := session.watches.waiting_for("slot")):
            return
        if session.view.state not in ("loaded", "running", "stopped"):
            return
        image = _image(session.view)
        if image and self._image and image != self._image:
            self._forget(rows)
            return
        self._busy = True
        try:
            for row in rows:
                if self._may_fit(row):
                    self._try(row)
        finally:
            self._busy = False

    def _forget(self, rows: tuple[ArmedWatch, ...]) -> None:
        for row in rows:
            self._session.watches.remove(row.index)
            text = f"watch {row.index}: {row.label} waits no more: the program executed another"
            self._session.happened(f"delete {row.index}", Result(True, "delete", (text,)))

    def _books(self) -> object:
        """What the machine says of its slots: as long as that is the same, nothing has come free."""
        view = self._session.view
        return frozenset((bp.id, bp.tid, bp.cpu) for bp in view.breakpoints), tuple(
            cpu.free for cpu in view.cpus
        )

    def _free(self) -> int:
        """Slots that a request could get by the books; all where they are closed."""
        from tui.session.proposal import rooms

        return min((room.free for room in rooms(self._session)), default=SLOTS)

    def _may_fit(self, row: ArmedWatch) -> bool:
        books, at = self._tried.get(row.index, (None, 0.0))
        if books == self._books() and time.monotonic() - at < _ASK_AGAIN:
            return False
        return len(row.windows) <= self._free()

    def _try(self, row: ArmedWatch) -> None:
        session = self._session
        try:
            planned = plan(session, row.watch, row.type)
        except HwbpError:  # its library is gone
            self._tried[row.index] = self._books(), time.monotonic()
            return
        try:
            (armed,) = arm(session, (planned,), stop=row.stop, numbers=(row.index,), again=True)
        except HwbpError as error:
            self._tried[row.index] = self._books(), time.monotonic()
            if error.errno == "ENOSPC":
                return
            session.watches.remove(row.index)
            refused = Result(
                False, "watch", errno=error.errno, error=escape(error.message), remedy=error.remedy
            )
            session.happened(f"watch {row.watch}", refused)
            return
        self._tried.pop(row.index, None)
        place = f"{armed.type} at {armed.address:#x}"
        text = f"watch {armed.index}: {armed.label} has its {needed_text(row)} now, {place}"
        session.happened(f"watch {row.watch}", Result(True, "watch", (text,)))


def _image(view: MachineView) -> str:
    """The file that is executed, "" where that cannot be seen now. (A live view keeps the name of what was begun.)"""
    first = next((row.path for row in view.mappings if row.path.startswith("/")), "")
    return first.removesuffix(" (deleted)")
