"""From an event to who holds it: the process and descriptor behind it, the tracer, or the part of the kernel."""

from __future__ import annotations

from backends.kernelview.books import Holding, Target
from backends.kernelview.events import KERNEL, Event, Events
from backends.kernelview.handlers import Handlers
from backends.kernelview.tasks import Task, Tasks
from backends.model import Owner, OwnerKind

__all__ = ["Ownership"]


class Ownership:
    """Describes events. What it says of tasks is as old as what `Tasks` has read."""

    def __init__(self, events: Events, tasks: Tasks, handlers: Handlers) -> None:
        self._events = events
        self._tasks = tasks
        self._handlers = handlers

    def describe(self, event: Event, others: dict[int, Event], *, everybody: bool = True) -> Holding | None:
        """The holding behind an event, None if it was taken away meanwhile. `others` are events by their address.

        What is not among its maker's descriptors is looked for in those of `everybody`.
        """
        target = self._tasks.at(event.target) if event.target else None
        if event.target and target is None:
            return None
        index = None
        if target is not None and event.owner == KERNEL and event.address in target.breakpoints:
            index = target.breakpoints.index(event.address)
        owner, orphan = self._owner(event, target, index, others, everybody)
        return Holding(
            slot=None,
            address=event.watched,
            length=event.length,
            type=event.type,
            enabled=event.enabled,
            owner=owner,
            target=None if target is None else Target(target.pid, target.tid, target.comm),
            cpu=event.cpu,
            index=index,
            hits=event.hits,
            orphan=orphan,
            event=event.address,
            task=event.target,
        )

    def _owner(
        self,
        event: Event,
        target: Task | None,
        index: int | None,
        others: dict[int, Event],
        everybody: bool,
    ) -> tuple[Owner, bool]:
        """Who holds an event, and whether nobody does any more."""
        kind: OwnerKind
        if event.owner == KERNEL:
            kind, name = self._made_by_kernel(event.handler) if index is None else ("ptrace", "")
            if kind != "ptrace":
                return Owner(kind, comm=name or None), False
            tracer = self._tasks.at(target.tracer) if target is not None and target.tracer else None
            if tracer is None:
                return Owner("ptrace"), True
            return Owner("ptrace", tracer.pid, self._tasks.leader_of(tracer).comm), False
        top = others.get(event.parent) or (self._events.at(event.parent) if event.parent else None) or event
        maker = self._tasks.at(top.owner) if top.owner else None
        fd = self._tasks.descriptor(maker, top.address) if maker is not None else None
        if fd is None and everybody and (holder := self._tasks.holder_of(top.address)) is not None:
            maker, fd = holder  # it was handed on
        if maker is None:
            return Owner("perf"), True
        return Owner("perf", maker.pid, self._tasks.leader_of(maker).comm, fd), False

    def _made_by_kernel(self, handler: int) -> tuple[OwnerKind, str]:
        """The kind of an event's maker in the kernel, by the function that handles its hits, and a name to show."""
        function, module = self._handlers.name(handler)
        if function == "ptrace_triggered":
            return "ptrace", ""
        if function.startswith("kgdb"):
            return "kgdb", ""
        if function.startswith(("wprobe", "ksym")):
            return "ftrace", function
        return ("module", module) if module else ("unknown", function)
