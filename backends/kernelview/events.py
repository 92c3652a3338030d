"""Breakpoint events as the kernel keeps them: found through every list that they are on, and read.

Structures may be freed while they are read (perf frees an event after an RCU grace period), so an event counts only if
the list it was found on still leads to it after it has been read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from backends.kernelview.layout import Layout, Record
from backends.kernelview.memory import Memory
from backends.kernelview.percpu import PerCpu
from backends.kernelview.readings import Readings
from backends.kernelview.tasks import Tasks
from symbols.dataclass import dataclass

__all__ = ["KERNEL", "Event", "Events"]

KERNEL: Final = (1 << 64) - 1
"""TASK_TOMBSTONE: the owner of events that the kernel made (kernel/events/core.c)."""

_PERF_TYPE_BREAKPOINT: Final = 5
_STATE_INACTIVE: Final = 0
_ATTEMPTS: Final = 4

# struct arch_hw_breakpoint (arch/x86/include/asm/hw_breakpoint.h): the codes of DR7, with 0x40 and 0x80 set.
_LENGTHS: Final = {0x40: 1, 0x44: 2, 0x48: 8, 0x4C: 4}
_TYPES: Final[dict[int, Literal["x", "w", "rw", "io"]]] = {0x80: "x", 0x81: "w", 0x82: "io", 0x83: "rw"}


@dataclass(frozen=True, slots=True)
class Event:
    """One `struct perf_event` of the breakpoint PMU.

    Address, length and type are those of `hw.info`: kgdb writes x86's own codes over the generic ones in `attr`. `target`,
    `owner` (KERNEL, or 0 for none) and `parent` are addresses. `reserves` is false for events that hold no slot: kgdb
    makes four for each CPU at boot and gives their slots back at once (`destroy` is then 0).
    """

    address: int
    pmu: int
    watched: int
    length: int
    type: Literal["x", "w", "rw", "io"]
    enabled: bool
    cpu: int | None
    target: int
    owner: int
    parent: int
    hits: int
    handler: int
    reserves: bool


class Events:
    """Finds and reads the events of the breakpoint PMU."""

    def __init__(self, layout: Layout, memory: Memory, per_cpu: PerCpu, tasks: Tasks) -> None:
        self._layout = layout
        self._memory = memory
        self._per_cpu = per_cpu
        self._tasks = tasks
        self._readings = Readings(layout.event, memory, decode)
        self._pmu = 0

    def forget(self) -> None:
        """What was read so far may have changed."""
        self._readings.forget()

    def all(self) -> list[Event]:
        """Every breakpoint event there is.

        Kernels that keep a list of each PMU's events (`pmu.events`) have them all on it, once any breakpoint event has
        told where that PMU is. Otherwise: those of each CPU's context, of each task's, and those that each task has made,
        which include events whose target has ended.
        """
        if self._pmu and self._layout.pmu_events is not None:
            return self._on_list(self._pmu + self._layout.pmu_events, "pmu_list")
        found = {event.address: event for event in self._through_tasks()}
        if self._pmu and self._layout.pmu_events is not None:
            found = {
                event.address: event for event in self.all()
            } | found  # in the list's order, as at the next scan
        return list(found.values())

    def at(self, address: int) -> Event | None:
        """The event at an address, None where there is none of ours."""
        return self._readings.at(address)

    def there(self, address: int) -> Event | None:
        """The same, None also where it is on no list (any more): it has been closed."""
        lists = ("event_entry", "owner_entry") if self._layout.pmu_events is None else ("pmu_list",)
        event = self.at(address)
        nodes = [address + self._layout.event.offset(member) for member in lists]
        return event if any(self._memory.linked(nodes)) else None

    def _through_tasks(self) -> Iterable[Event]:
        layout = self._layout
        contexts = set(self._tasks.contexts())
        if layout.cpu_context is not None:
            for cpu in self._per_cpu.bases:
                contexts.add(self._per_cpu.address("perf_cpu_context", cpu) + layout.cpu_context)
        event_list = layout.context.offset("event_list")
        for context in contexts:
            yield from self._on_list(context + event_list, "event_entry")
        for head in self._tasks.owner_lists():
            yield from self._on_list(head, "owner_entry")

    def _on_list(self, head: int, member: str) -> list[Event]:
        """The breakpoint events on a list whose nodes are that member of theirs."""
        offset = self._layout.event.offset(member)
        # The word beside each node is the type, which is never 0 for a breakpoint: so none is left out.
        nodes = self._memory.nodes(head, self._layout.event.offset("attr.type") - offset)
        wanted = [node for node, word in nodes if word & 0xFFFFFFFF == _PERF_TYPE_BREAKPOINT]
        events: list[Event] = []
        for _ in range(_ATTEMPTS):  # a neighbour that came or went makes a sound event look unsound: again
            read = self._readings.all([node - offset for node in wanted])
            linked = self._memory.linked(wanted)
            events += [event for event, here in zip(read, linked, strict=True) if here and event is not None]
            if all(linked):
                break
            wanted = [
                node
                for event, here, node in zip(read, linked, wanted, strict=True)
                if not here and event is not None
            ]
            if not wanted:
                break
        if events and not self._pmu:
            self._pmu = events[0].pmu
        return [event for event in events if event.pmu == self._pmu]


def decode(record: Record) -> Event | None:
    """A breakpoint event, None for what is none."""
    mask = record["hw.info.mask"]
    length = mask + 1 if mask else _LENGTHS.get(record["hw.info.len"])
    kind = _TYPES.get(record["hw.info.type"])
    if record["attr.type"] != _PERF_TYPE_BREAKPOINT or length is None or kind is None:
        return None
    cpu = record.signed("cpu")
    return Event(
        address=record.address,
        pmu=record["pmu"],
        watched=record["hw.info.address"],
        length=length,
        type=kind,
        enabled=record.signed("state") >= _STATE_INACTIVE,
        cpu=cpu if cpu >= 0 else None,
        target=record["hw.target"],
        owner=record["owner"],
        parent=record["parent"],
        hits=record["count"] + record["child_count"],
        handler=record["overflow_handler"],
        reserves=bool(record["destroy"]),
    )
