"""The perf owner: events as perf_event_open makes them (kernel/events/core.c)."""

from __future__ import annotations

from collections.abc import Iterable

from backends.base import HwbpError
from backends.emulated.kernel.slots import HwBreakpointLayer, PerfEvent
from backends.model import BreakpointRequest, Owner

__all__ = ["PerfOwner"]

_FIRST_FD = 3


class PerfOwner:
    """Opens and closes events. `comm` is who opens them; descriptors are numbered like a process's."""

    def __init__(self, layer: HwBreakpointLayer, comm: str = "hwbp-tui") -> None:
        self._layer = layer
        self._comm = comm

    def _next_fd(self) -> int:
        used = {event.owner.fd for event in self._layer.events if event.owner.kind == "perf"}
        fd = _FIRST_FD
        while fd in used:
            fd += 1
        return fd

    def open(self, request: BreakpointRequest, id_: int, tid: int) -> PerfEvent:
        """perf_event_open on one task, all CPUs (or one). ENOSPC, EINVAL, EOPNOTSUPP, ESRCH."""
        if request.tid not in (None, tid):
            raise HwbpError(f"no task {request.tid}", errno="ESRCH")
        if request.cpu is not None and request.cpu not in range(len(self._layer.cpus)):
            raise HwbpError(f"no CPU {request.cpu}", errno="EINVAL")
        event = PerfEvent(
            id_,
            request.address,
            request.length,
            request.type,
            Owner("perf", comm=self._comm, fd=self._next_fd()),
            tid,
            request.cpu,
            request.enabled,
            None,
            request.watch,
            request.window,
            request.text,
            request.stop,
        )
        self._layer.register(event)
        return event

    def close(self, events: Iterable[PerfEvent]) -> None:
        """The last close of each: the slot is free again."""
        for event in tuple(events):
            self._layer.unregister(event)
