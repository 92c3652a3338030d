"""From an event to who holds it: the process and descriptor behind it, the tracer, or the part of the kernel."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from backends.kernelview.books import Holding, Target
from backends.kernelview.events import KERNEL, Event, Events
from backends.kernelview.handlers import Handlers
from backends.kernelview.tasks import Task, Tasks
from backends.model import Owner, OwnerKind
from symbols.dataclass import dataclass

__all__ = ["Ownership"]

_TOGETHER: Final = 256
"""Events that are compared at once with what they were."""


@dataclass(frozen=True, slots=True)
class _Described:
    """Holdings, and what they follow from: as long as that is as it was, so are they.

    `roots` are the tasks that lead to their owners: makers of the events that they were inherited from, and tracers.
    `lasting` is false where other things were looked at too.
    """

    events: list[Event]
    tops: list[Event | None]
    targets: list[Task | None]
    roots: set[int]
    lasting: bool
    holdings: dict[int, Holding]


class Ownership:
    """Describes events. What it says of tasks is as old as what `Tasks` has read."""

    def __init__(self, events: Events, tasks: Tasks, handlers: Handlers) -> None:
        self._events = events
        self._tasks = tasks
        self._handlers = handlers
        self._described: list[_Described] = []
        self._roots: dict[int, tuple[object, ...]] = {}

    def describe_all(
        self, events: dict[int, Event], searched: Collection[int]
    ) -> tuple[dict[int, Holding], set[int]]:
        """The holding behind each event that takes a slot, by the event's address, and those of them for which no
        descriptor is known. Those that were `searched` for are looked for in everybody's descriptors.

        Most are as they were at the scan before, and so are the tasks that they follow from: these are not described again.
        """
        tasks = self._tasks.fetch(event.target for event in events.values() if event.target)
        steady = self._steady_roots()
        known = {part.events[0].address: part for part in self._described}
        self._described = []
        found: dict[int, Holding] = {}
        every = list(events.values())
        for at in range(0, len(every), _TOGETHER):
            part = every[at : at + _TOGETHER]
            tops = [events.get(event.parent) if event.parent else event for event in part]
            targets = [tasks[event.target] if event.target else None for event in part]
            before = known.get(part[0].address)
            if (
                before is None
                or not before.lasting
                or not before.roots <= steady
                or before.events != part
                or before.targets != targets
                or before.tops != tops
            ):
                before = self._describe_part(part, tops, targets, events, searched)
            self._described.append(before)
            found |= before.holdings
        roots: set[int] = set().union(*(part.roots for part in self._described))
        for root in roots - self._roots.keys():
            self._roots[root] = self._tasks.as_owner(root)
        return found, {
            address
            for part in self._described
            if not part.lasting
            for address, holding in part.holdings.items()
            if holding.without_descriptor
        }

    def _describe_part(
        self,
        part: list[Event],
        tops: list[Event | None],
        targets: list[Task | None],
        events: dict[int, Event],
        searched: Collection[int],
    ) -> _Described:
        holdings: dict[int, Holding] = {}
        roots: set[int] = set()
        lasting = True
        for event, top, target in zip(part, tops, targets, strict=True):
            if not event.reserves:
                continue
            holding = self.describe(event, events, everybody=event.address in searched)
            root = self._root(event, top, target)
            if root:
                roots.add(root)
            lasting = lasting and holding is not None and root is not None
            if holding is not None:
                holdings[event.address] = holding
        return _Described(part, tops, targets, roots, lasting, holdings)

    def _root(self, event: Event, top: Event | None, target: Task | None) -> int | None:
        """The task that leads to an event's owner: 0 where none is needed, None where its owner is found otherwise."""
        if event.owner == KERNEL:
            return target.tracer if target is not None else 0
        maker = self._tasks.at(top.owner) if top is not None and top.owner else None
        if top is None or maker is None or self._tasks.descriptor(maker, top.address) is None:
            return None
        return top.owner

    def _steady_roots(self) -> set[int]:
        """The tasks that led to owners at the scan before, and of which all that is said of an owner is as it was."""
        before = self._roots
        self._roots = {root: self._tasks.as_owner(root) for root in before}
        return {root for root, facts in before.items() if facts and _identical(facts, self._roots[root])}

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


def _identical(some: tuple[object, ...], others: tuple[object, ...]) -> bool:
    return len(some) == len(others) and all(one is other for one, other in zip(some, others, strict=True))
