"""`hwbp-tui trace`: one line a hit, without a screen (docs/cli.md)."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final

from backends.base import HwbpError
from backends.model import MachineView
from tui.session.escape import escape
from tui.session.hit_lines import HitLines, JsonLines, TextLines
from tui.session.session import Session
from tui.session.slot_queue import needed_text
from tui.text.output import ClosedOutputError, Output, ProgramOutput, note

__all__ = ["Interrupt", "TraceOptions", "trace"]

_ROWS_A_TURN: Final = 8192
_SHORTEST_PAUSE: Final = 0.0005
_LONGEST_PAUSE: Final = 0.02
_ASK_EVERY: Final = 0.25
_KERNEL_START: Final = 1 << 63
_LIBRARY_PAUSE: Final = 0.002
"""Seconds between two looks while a watch waits for a library: the program may stand still meanwhile."""


@dataclass(frozen=True, slots=True)
class TraceOptions:
    """What `trace` was asked. `limit` counts printed hits, `duration` is in seconds; None for no end."""

    json: bool = False
    stack: bool = False
    limit: int | None = None
    duration: float | None = None
    output: str | None = None


class Interrupt:
    """Notes SIGINT instead of letting it tear the work apart; a second one ends the program as ever."""

    def __init__(self) -> None:
        self.seen = False

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.seen = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """While this lasts."""
        before = signal.signal(signal.SIGINT, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def trace(options: TraceOptions, open_session: Callable[[], Session]) -> int:
    """Run a program and print its hits; returns the exit code. Raises HwbpError where it could not be done.

    The session is opened here and closed here, whatever happens.
    """
    interrupt = Interrupt()
    output = Output(options.output)
    with interrupt.noted():
        try:
            with contextlib.closing(open_session()) as session:
                return _Trace(options, session, output, interrupt).run()
        except ClosedOutputError:
            return 0
        finally:
            output.close()


class _Trace:
    """One run of `trace`."""

    def __init__(self, options: TraceOptions, session: Session, output: Output, interrupt: Interrupt) -> None:
        self.options = options
        self.session = session
        self.output = output
        self.interrupt = interrupt
        self.program = ProgramOutput(session.backend, session.ring, keep=options.output is not None)
        self.lines: HitLines = (JsonLines if options.json else TextLines)(session, options.stack)
        self.hits = 0
        self._told: set[int] = set()

    def run(self) -> int:
        """Everything after the opening; returns the exit code."""
        session = self.session
        if (header := self.lines.header()) is not None:
            self.output.line(header)
        began = time.monotonic()
        if self.options.limit is not None:
            session.ring.set_limit(session.ring.consumed + self.options.limit)
        if session.view.notice:
            note(session.view.notice)
        for address in _unmapped(session.view):
            note(f"nothing is mapped at {address:#x} now; the watch is armed all the same")
        for row in session.watches.armed:
            if row.caution:
                note(row.caution)
        if session.watches.waiting_for("library") and session.pending.late:
            note(session.pending.late)
        self._tell_who_waits()
        if session.view.state in ("loaded", "stopped"):
            session.backend.resume()
        self._follow(None if self.options.duration is None else began + self.options.duration)
        view = session.took(session.backend.release()) if session.ring.state == "running" else session.look()
        self._rest()
        self.output.flush()
        self.program.pump()
        for row in session.watches.waiting_for("library"):
            note(f"watch {row.index}: no library that knows {row.label} was seen")
        for row in session.watches.waiting_for("slot"):
            note(f"watch {row.index}: {row.label} was never armed, {needed_text(row)} did not come free")
        facts: dict[str, Any] = {
            "hits": self.hits,
            "lost": view.lost,
            "duration_s": round(time.monotonic() - began, 6),
            "exit_status": view.exit_status,
            "clock": view.clock,
        }
        if any(watch.watch.condition or watch.watch.ignore for watch in session.watches.all):
            facts["filtered"] = view.filtered
        if view.blind_ns:
            facts["blind_s"] = round(view.blind_ns / 1e9, 3)
        if view.instructions is not None:
            facts["instructions"] = view.instructions
        self.output.line(self.lines.summary(facts))
        self.output.flush()
        if view.state == "failed":
            raise HwbpError(escape(view.stop.text) or "the machine cannot go on")
        return 0

    def _tell_who_waits(self) -> None:
        """Whatever they would have hit is not in the output."""
        for row in self.session.watches.waiting_for("slot"):
            if row.index not in self._told:
                self._told.add(row.index)
                note(self.session.queue.said(row)[0])

    def _rest(self) -> None:
        """Hits that were on their way when the watching ended."""
        limit = self.options.limit
        while len(rows := self.session.ring.consume(_ROWS_A_TURN)):
            if self.hits != limit:
                self._print(rows, limit)

    def _follow(self, deadline: float | None) -> None:
        """Print hits until the program ends, or the limit, the duration or SIGINT comes first."""
        pause, asked = _SHORTEST_PAUSE, time.monotonic()
        ring, limit = self.session.ring, self.options.limit
        while not self.interrupt.seen:
            state = ring.state
            rows = ring.consume(_ROWS_A_TURN)
            if len(rows):
                pause = _SHORTEST_PAUSE
                if not self._print(rows, limit):
                    return
            if self.program.pending:
                self.output.flush()  # what was hit before the program spoke is read before it
                self.program.pump()
            now = time.monotonic()
            if deadline is not None and now >= deadline:
                return
            if self.session.watches.waiting:
                pause = min(pause, _LIBRARY_PAUSE)
                self.session.refresh()  # arms what has come, and lets a program go on that stands still for that
                self.session.queue.follow()  # another process may have given its slot back, which moves nothing of ours
                self._tell_who_waits()
                if self.session.pending.refused is not None:
                    raise self.session.pending.refused
                if state == "stopped":
                    continue
            if len(rows):
                continue
            if state != "running":
                return
            self.output.flush()
            if self.output.abandoned():
                raise ClosedOutputError
            if now - asked > _ASK_EVERY:  # notices a machine that is gone
                self.session.refresh(counters=True)
                asked = now
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _print(self, rows: Any, limit: int | None) -> bool:
        """Print rows; False when the limit is reached."""
        line, write = self.lines.line, self.output.line
        number = self.hits
        for row in rows.tolist():
            if number == limit:
                break
            number += 1
            write(line(row, number))
        self.hits = number
        return number != limit


def _unmapped(view: MachineView) -> list[int]:
    """Watched addresses at which a live process that runs already has no memory. One that begins has yet to map most of its."""
    if view.backend != "perf" or view.state != "running" or not view.mappings:
        return []
    return [
        bp.address
        for bp in view.breakpoints
        if bp.watch >= 0
        and bp.address < _KERNEL_START
        and not any(mapping.start <= bp.address < mapping.end for mapping in view.mappings)
    ]
