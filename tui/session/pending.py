"""Watches that mean nothing yet, and wait for a library that the program loads later.

The program stops for a moment whenever its dynamic loader has mapped more code, before any of that runs; what has a
meaning then is armed, and the program goes on. Where it cannot be stopped for that, they are armed when the news comes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from backends.base import HwbpError
from backends.model import Mapping
from tui.session.arming import Planned, arm, plan
from tui.session.escape import escape
from tui.session.loader import loader_call
from tui.session.names import ExpressionRefused
from tui.session.result import Result

if TYPE_CHECKING:
    from tui.session.session import Session
    from tui.session.watch import Watch
    from tui.session.watches import ArmedWatch

__all__ = ["Pending"]


class Pending:
    """The waiting watches of a session. `late` says why their first hits may be missed, "" where none is.

    `refused` is why one could not be armed when its library came, None where that has not happened.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._busy = False
        self._gate: int | None = None
        self.late = ""
        self.refused: HwbpError | None = None

    def add(self, watch: Watch, why: HwbpError, stop: bool = False) -> ArmedWatch:
        """Let a watch wait. Raises HwbpError (`why`, with the reason) where no library will ever come."""
        self._need(why)
        row = self._session.watches.reserve(watch, escape(watch.expr), stop)
        self._open_gate()
        return row

    def begin(self, reasons: list[HwbpError]) -> None:
        """Watches have been reserved, because of these errors. Raises HwbpError as `add` does."""
        for why in reasons:
            self._need(why)
        if reasons:
            self._open_gate()

    def _need(self, why: HwbpError) -> None:
        session = self._session
        if not session.view.can.maps_later:
            raise HwbpError(
                f"{why.message}; only libraries of a live program are waited for",
                errno="EOPNOTSUPP",
                remedy="--backend perf, or a process that runs",
            )
        if self._call() is None:
            raise HwbpError(f"{why.message}; and this program has no dynamic loader: nothing more will come")

    def hint(self, error: HwbpError) -> HwbpError:
        """The refusal of a name that means nothing; it says so where a library could still bring it."""
        later = self._session.view.can.maps_later
        if isinstance(error, ExpressionRefused) and not error.remedy and later and self._call():
            error.remedy = "with `pending` behind it, it waits for a library that is loaded later"
        return error

    def _call(self) -> int | None:
        session = self._session
        try:
            view = session.view
            return loader_call(session.backend.read, view.mappings, view.program, view.bits)
        except HwbpError:
            return None

    def follow(self) -> None:
        """The session has a new view: something may have been mapped, or the program may stand still for that."""
        session = self._session
        if self._busy or session.queue.is_held or not (session.watches.waiting_for("library") or self._gate):
            return
        self._busy = True
        try:
            self._arm()
            if not session.watches.waiting_for("library"):
                self._close_gate()
            if session.view.state == "stopped" and session.view.stop.reason == "mapped":
                session.backend.resume()
                session.look()
        finally:
            self._busy = False

    def _forget(self) -> None:
        """The program has executed another: where its loader called is no more."""
        for row in self._session.watches.waiting_for("library"):
            self._session.watches.remove(row.index)
            text = f"watch {row.index}: {row.label} has ended: the program executed another"
            self._session.happened(f"delete {row.index}", Result(True, "delete", (text,)))
        self._gate = None

    def removed(self) -> None:
        """One is not wanted any more."""
        if not self._session.watches.waiting_for("library"):
            self._close_gate()

    # Arming what has come

    def _arm(self) -> None:
        session = self._session
        if session.view.state not in ("loaded", "running", "stopped"):
            return
        if self._gate and not _mapped(session.view.mappings, self._gate):
            self._forget()
            return
        for row in session.watches.waiting_for("library"):
            try:
                planned = plan(session, row.watch)
            except HwbpError:
                continue
            try:
                self._arm_one(planned, row)
            except HwbpError as error:
                if error.errno == "ENOSPC" and planned.frame is None:
                    waits = session.queue.add(planned, error, row.stop, row.index)
                    session.happened(f"watch {row.watch}", Result(True, "watch", session.queue.said(waits)))
                    continue
                session.watches.remove(row.index)
                self.refused = error
                session.happened(
                    f"watch {row.watch}",
                    Result(
                        False,
                        "watch",
                        errno=error.errno,
                        error=escape(error.message),
                        holders=tuple(escape(holder) for holder in error.holders),
                    ),
                )

    def _arm_one(self, planned: Planned, row: ArmedWatch) -> None:
        session = self._session
        try:
            (armed,) = arm(session, (planned,), stop=row.stop, numbers=(row.index,))
        except HwbpError as error:
            if error.errno != "ENOSPC" or not self._gate:
                raise
            self._close_gate()  # its slot may be the one that is missing
            (armed,) = arm(session, (planned,), stop=row.stop, numbers=(row.index,))
            if session.watches.waiting_for("library"):
                self._open_gate()
        module = session.names.place(armed.address).module or ""
        place = f"{armed.type} at {armed.address:#x}"
        text = f"watch {armed.index}: {armed.label} has come with {escape(os.path.basename(module))}, {place}"
        session.happened(f"watch {row.watch}", Result(True, "watch", (text,)))

    # Stopping where the loader calls

    def _open_gate(self) -> None:
        if self._gate:
            return
        address = self._call()
        if address is None:
            return
        self.late = ""
        try:
            self._session.backend.stop_at_mappings(address)
            self._gate = address
        except HwbpError as error:
            self.late = f"armed only when the news of its library comes: {escape(error.message)}"

    def _close_gate(self) -> None:
        if self._gate:
            self._gate = None
            self._session.backend.stop_at_mappings(None)


def _mapped(mappings: tuple[Mapping, ...], address: int) -> bool:
    return any(row.start <= address < row.end for row in mappings)
