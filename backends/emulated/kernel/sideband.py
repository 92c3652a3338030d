"""Records beside the samples: what became of the tasks that events follow (kernel/events/core.c perf_event_task, perf_event_comm)."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from backends.emulated.kernel.events import PerfEvent, State
from backends.emulated.kernel.exceptions import POLL_IN, io_signal
from backends.emulated.kernel.samples import Now, sample_id
from backends.emulated.kernel.tasks import Task

if TYPE_CHECKING:
    from backends.emulated.kernel.core import Kernel

__all__ = ["Sideband"]

_COMM, _EXIT, _FORK = 3, 4, 7  # PERF_RECORD_*
_COMM_EXEC: Final = 1 << 13
_COMM_LENGTH: Final = 15


class Sideband:
    """COMM, FORK and EXIT, into the rings of events that ask for them and are on: those of the CPU, and those of the task that it
    happens in.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def named(self, task: Task, *, exec_: bool = False) -> None:
        """The task has another name; `exec_`: since it runs another program."""
        comm = task.comm.encode("utf-8", "surrogateescape")[:_COMM_LENGTH] + b"\0"
        body = struct.pack("<II", task.tgid, task.tid) + comm + bytes(-len(comm) % 8)
        wanted = self._wanted(task, task.ctx.events, ("comm",))
        self._write(task, wanted, _COMM, _COMM_EXEC if exec_ else 0, body)

    def forked(self, parent: Task, child: Task) -> None:
        """A process or thread began."""
        wanted = self._wanted(parent, parent.ctx.events, ("comm", "task"))
        self._life(parent, wanted, _FORK, child, parent.tgid, parent.tid)

    def exited(self, task: Task) -> None:
        """A thread ends, while its events are still its own."""
        wanted = self._wanted(task, task.ctx.events, ("comm", "task"))
        self._life(task, wanted, _EXIT, task, task.parent, task.parent)

    def _wanted(self, current: Task, events: Iterable[PerfEvent], flags: tuple[str, ...]) -> list[PerfEvent]:
        """perf_iterate_sb: an inherited copy writes into its original's ring."""
        cpu = current.cpu or 0
        return [
            event
            for event in (*self._kernel.scheduler.contexts[cpu].events, *events)
            if (event.parent or event).ring is not None
            and event.state >= State.INACTIVE
            and event.cpu in (-1, cpu)
            and any(event.attr.flag(flag) for flag in flags)
        ]

    def _life(
        self, current: Task, wanted: list[PerfEvent], kind: int, task: Task, parent: int, parents_tid: int
    ) -> None:
        body = struct.pack("<IIIIQ", task.tgid, parent, task.tid, parents_tid, self._kernel.now())
        self._write(current, wanted, kind, 0, body)

    def _write(self, current: Task, wanted: list[PerfEvent], kind: int, misc: int, body: bytes) -> None:
        kernel = self._kernel
        for event in wanted:
            original = event.parent or event
            assert original.ring is not None
            now = Now(kernel.now(), current.tgid, current.tid, current.cpu or 0, kernel.perf.control.values)
            trailer = sample_id(event, now)
            header = struct.pack("<IHH", kind, misc, 8 + len(body) + len(trailer))
            fits, wakes = original.ring.output(
                header + body + trailer, original.id, sample_id(original, now), sample=False
            )
            original.lost += not fits
            if wakes:
                original.wake()
                self._tell(original)

    def _tell(self, event: PerfEvent) -> None:
        """perf_output_wakeup: a ring that is full enough is a reason to signal as well."""
        told = io_signal(self._kernel, event, POLL_IN)
        if told is not None:
            target, signal = told
            target.signals.append(signal)
            self._kernel.on_signal(target, signal)
