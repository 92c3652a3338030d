"""The watches of a live target: what is armed, moved, restricted and refused, and what is told of each."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from backends.base import HwbpError
from backends.condition import Condition
from backends.model import Breakpoint, BreakpointRequest, Refusal
from backends.perf.arming import Arming
from backends.perf.capture import Capture, Carrier
from backends.perf.flow import Flow
from backends.perf.looks import breakpoint_view

__all__ = ["Watches"]

_REFUSALS_KEPT: Final = 50


class Watches:
    """Our breakpoints on process `pid`. `refusals` are the last requests that were refused, `refused` counts all of them.

    `changed` is called when something is armed otherwise. Every change of a breakpoint takes its hits so far first.
    """

    def __init__(
        self, pid: int, arming: Arming, capture: Capture, flow: Flow, changed: Callable[[], None]
    ) -> None:
        self._pid = pid
        self._arming = arming
        self._capture = capture
        self._flow = flow
        self._changed = changed
        self.refusals: tuple[Refusal, ...] = ()
        self.refused = 0

    def arm(
        self, requests: tuple[BreakpointRequest, ...], watch_over: Callable[[], None]
    ) -> tuple[Breakpoint, ...]:
        """Arm all or none (HwbpError). `watch_over` is called first where a hit is to stop the program."""
        try:
            if any(request.stop for request in requests):
                watch_over()
            carriers = self._arming.arm(requests)
        except HwbpError as error:
            if requests[0].again:
                raise
            what = requests[0].text or f"{requests[0].address:#x}"
            self.refused += 1
            row = Refusal(
                f"perf: {what}", error.errno or "", error.message, error.holders, time.monotonic_ns()
            )
            self.refusals = (*self.refusals, row)[-_REFUSALS_KEPT:]
            self._changed()
            raise
        for carrier in carriers:
            self._flow.recorder.arm(carrier.id, carrier.request)
        self._arming.start(carriers)
        self._changed()
        return tuple(self.view(carrier) for carrier in carriers)

    def disarm(self, ids: tuple[int, ...], close_other: Callable[[int], None]) -> None:
        """Free the slots of ours; `close_other` is asked for those that are not."""
        own = {carrier.id for carrier in self._arming.carriers}
        for id_ in ids:
            if id_ not in own:
                close_other(id_)
        carriers = [self._arming.find(id_) for id_ in ids if id_ in own]
        for carrier in carriers:
            carrier.enable(False)
        self._drain()
        for carrier in carriers:
            self._arming.drop(carrier)
        self._changed()

    def enable(self, id_: int, on: bool) -> None:
        """Armed or not; its slot stays reserved (ENOENT)."""
        carrier = self._arming.find(id_)
        if on and not carrier.enabled:
            self._drain()
            self._capture.allow(carrier)
            self._flow.recorder.begin_anew(id_)
        carrier.enable(on)
        self._changed()

    def restrict(self, ids: tuple[int, ...], condition: Condition | None, limit: int | None) -> None:
        """What hits must be like from now on, and how many are wanted (ENOENT)."""
        carriers = [self._arming.find(id_) for id_ in ids]
        self._drain()
        for carrier in carriers:
            self._arming.restrict(carrier, condition, limit)
            self._flow.recorder.restrict(carrier.id, condition, limit)
        self._changed()

    def ignore(self, ids: tuple[int, ...], count: int) -> None:
        """Of the next hits, so many of all of these together are counted only (ENOENT)."""
        carriers = [self._arming.find(id_) for id_ in ids]
        self._drain()
        self._arming.ignore(carriers, count)
        self._flow.recorder.ignore(ids, count)
        self._changed()

    def move(self, ids: tuple[int, ...], requests: tuple[BreakpointRequest, ...]) -> tuple[Breakpoint, ...]:
        """Give them other windows, all or none (HwbpError)."""
        carriers = [self._arming.find(id_) for id_ in ids]
        enabled = [carrier for carrier in carriers if carrier.enabled]
        for carrier in enabled:
            carrier.enable(False)
        self._drain()
        try:
            self._arming.move(carriers, requests)
            for carrier in carriers:
                self._flow.recorder.move(carrier.id, carrier.request)
            self._flow.recorder.ignore(ids, max((each.ignore for each in requests), default=0))
        finally:
            for carrier in enabled:
                carrier.enable(True)
        self._changed()
        return tuple(self.view(carrier) for carrier in carriers)

    def look_for_limits(self) -> None:
        """Those that have had as many hits as were wanted: each further one would cost its trap for nothing."""
        for carrier in self._arming.carriers:
            if carrier.enabled and carrier.request.limit is not None and self._held(carrier)[1]:
                carrier.enable(False)
                self._changed()

    def view(self, carrier: Carrier, slot: int | None = None) -> Breakpoint:
        """One of them, `slot` being where it sits."""
        hits, (filtered, _) = self._flow.recorder.hits_of(carrier.id), self._held(carrier)
        held = self._capture.holds
        left = self._capture.ignoring(carrier) if held else self._flow.recorder.ignoring(carrier.id)
        return breakpoint_view(carrier, self._pid, hits, filtered, left, slot)

    def filtered(self) -> int:
        """Hits that did not meet their watch's condition or were ignored, since the beginning."""
        return self._arming.filtered(self._held)

    def _held(self, carrier: Carrier) -> tuple[int, bool]:
        """(hits that did not meet the condition, whether the limit is reached)."""
        if self._capture.holds:
            return self._capture.held(carrier)
        return self._flow.recorder.held_of(carrier.id)

    def _drain(self) -> None:
        self._flow.drain_all(self._arming.stops)
