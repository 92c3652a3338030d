"""What is done to perf events that exist: ioctls, read(2), and what exec and exit do to them (kernel/events/core.c)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from backends.base import HwbpError
from backends.emulated.kernel.attr import FLAGS, FORMAT, Attr, checked, copy_attr
from backends.emulated.kernel.events import Async, PerfEvent, State
from backends.emulated.kernel.opening import MAX_STACK, TOP_BIT
from backends.emulated.kernel.tasks import Task

if TYPE_CHECKING:
    from backends.emulated.kernel.core import Kernel

__all__ = ["EventControl"]

_FROM_NEW: Final = ("bp_addr", "bp_type", "bp_len")


class EventControl:
    """Everything that whoever has an event's descriptor may ask of it."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def free(self, event: PerfEvent) -> None:
        """perf_release: the last descriptor is closed; the event, its inherited copies and their slots go."""
        for child in event.children:
            self._kernel.destroy(child)
        event.children.clear()
        self._kernel.destroy(event)

    # -- ioctl

    def _each(self, event: PerfEvent, call: Callable[[PerfEvent], None], *, group: bool = False) -> None:
        """perf_event_for_each_child: the event and its inherited copies; with `group` (PERF_IOC_FLAG_GROUP) those of its
        leader and all siblings."""
        self._kernel.settle()
        leader = event.group_leader or event
        for one in (leader, *leader.siblings) if group else (event,):
            call(one)
            for child in tuple(one.children):
                call(child)

    def enable(self, event: PerfEvent, *, group: bool = False) -> None:
        """PERF_EVENT_IOC_ENABLE. Nothing happens to an event whose task has ended."""
        self._each(event, self._kernel.scheduler.enable, group=group)

    def disable(self, event: PerfEvent, *, group: bool = False) -> None:
        """PERF_EVENT_IOC_DISABLE. The slot stays taken."""
        self._each(event, self._kernel.scheduler.disable, group=group)

    def refresh(self, event: PerfEvent, count: int) -> None:
        """PERF_EVENT_IOC_REFRESH: enable for `count` more overflows (EINVAL: inherited, or it does not sample)."""
        if event.attr.flag("inherit") or not event.attr.sampling:
            raise HwbpError("refresh needs a sampling event that is not inherited", errno="EINVAL")
        event.limit += count
        self._kernel.scheduler.enable(event)
        self.attention(event)

    def reset(self, event: PerfEvent, *, group: bool = False) -> None:
        """PERF_EVENT_IOC_RESET: the count of the event and of its living copies; of dead ones it stays."""

        def zero(event: PerfEvent) -> None:
            event.count = 0

        self._each(event, zero, group=group)

    def period(self, event: PerfEvent, value: int) -> None:
        """PERF_EVENT_IOC_PERIOD: the next hit overflows, then the new period counts (EINVAL)."""
        self._kernel.settle()
        limit = self._kernel.config.max_sample_rate if event.attr.flag("freq") else TOP_BIT - 1
        if not event.attr.sampling or not 0 < value <= limit:
            raise HwbpError(f"period {value}: the event does not sample, or it is no period", errno="EINVAL")
        if event.target is not None and event.target.exiting:
            return  # event_function_call finds nobody to call: it succeeds, and nothing changes
        event.attr = event.attr.changed(sample_period=value)
        if not event.attr.flag("freq"):
            event.period = value
        event.period_left = 0
        if event.state is State.ACTIVE:
            event.stopped = False  # pmu->stop and pmu->start around it
            self.attention(event)

    def modify(self, event: PerfEvent, attr: Attr | bytes, caller: Task) -> None:
        """PERF_EVENT_IOC_MODIFY_ATTRIBUTES: address, length, type and disabled; sig_data is taken over first, even
        where the rest fails. The event is on afterwards only if attr.disabled (the new one, or on failure the old one) is 0.

        EINVAL for any other change, and the errors of validation, where `caller` is the calling task.
        """
        attr = copy_attr(attr, MAX_STACK) if isinstance(attr, bytes) else checked(attr, MAX_STACK)
        if attr.type != event.attr.type:
            raise HwbpError("an event's type cannot be modified", errno="EINVAL")
        for each in (event, *event.children):
            each.attr = each.attr.changed(sig_data=attr.sig_data)
            self.modify_breakpoint(each, attr, caller, check=True)

    def modify_breakpoint(self, event: PerfEvent, attr: Attr, caller: Task | None, *, check: bool) -> None:
        """modify_user_hw_breakpoint: off, change, and on again unless attr.disabled."""
        kernel = self._kernel
        kernel.scheduler.disable(event)
        try:
            hardware = kernel.layer.parse(attr, caller)
            merged = event.attr.changed(
                flags=event.attr.flags & ~1 | attr.flags & 1,
                **{name: getattr(attr, name) for name in _FROM_NEW},
            )
            if check and merged != attr:
                raise HwbpError(
                    "only bp_addr, bp_type, bp_len, disabled and sig_data can be modified", errno="EINVAL"
                )
            event.attr, event.hardware = merged, hardware
        finally:
            if not event.attr.disabled:
                kernel.scheduler.enable(event)

    def set_async(self, event: PerfEvent, fasync: Async | None) -> None:
        """fcntl O_ASYNC, F_SETSIG and F_SETOWN: who is signalled at each overflow; None for nobody."""
        event.fasync = fasync
        self.attention(event)

    def attention(self, event: PerfEvent) -> None:
        """The machine must look anew at which hits it may collect."""
        for registers in self._kernel.cpus:
            if any(registers.slot_of(each) is not None for each in (event, *event.children)):
                registers.on_change(registers)

    # -- read

    def count(self, event: PerfEvent) -> int:
        """read(2) with read_format 0: the count, its inherited copies' included. EOF is 0 bytes: HwbpError without errno
        for a pinned event in ERROR state."""
        self._kernel.settle()
        if event.state is State.ERROR:
            raise HwbpError("the event could not be scheduled: read gives 0 bytes")
        return event.total

    def values(self, event: PerfEvent) -> bytes:
        """What read(2) gives in the event's read_format, and PERF_SAMPLE_READ in a record (perf_read_one, perf_read_group)."""
        self._kernel.settle()
        how = event.attr.read_format
        leader = (event.group_leader or event) if how & FORMAT["group"] else event
        enabled, running = self._times(leader)
        times = [
            value
            for name, value in (("total_time_enabled", enabled), ("total_time_running", running))
            if how & FORMAT[name]
        ]
        if not how & FORMAT["group"]:
            words = [event.total, *times, *self._marks(event, how)]
        else:
            members = (leader, *leader.siblings)
            words = [len(members), *times]
            for member in members:
                words += [member.total, *self._marks(member, how)]
        return struct.pack(f"<{len(words)}Q", *words)

    def _marks(self, event: PerfEvent, how: int) -> list[int]:
        rows = (("id", (event.parent or event).id), ("lost", event.lost))
        return [value for name, value in rows if how & FORMAT[name]]

    def _times(self, event: PerfEvent) -> tuple[int, int]:
        """time_enabled and time_running, in nanoseconds, of the event and its inherited copies, the dead ones included."""
        scheduler = self._kernel.scheduler
        for each in (event, *event.children):
            scheduler.take_time(each)
        return (
            event.enabled_ns + event.child_enabled_ns + sum(child.enabled_ns for child in event.children),
            event.running_ns + event.child_running_ns + sum(child.running_ns for child in event.children),
        )

    # -- exec and exit

    def executed(self, task: Task) -> None:
        """perf_event_exec: enable_on_exec first, then remove_on_exec."""
        self._kernel.settle()
        scheduler = self._kernel.scheduler
        bit = 1 << FLAGS["enable_on_exec"]
        for event in tuple(task.ctx.events):
            if event.attr.flags & bit:
                event.attr = event.attr.changed(flags=event.attr.flags & ~bit)
                scheduler.enable_on_exec(event)
        for event in tuple(task.ctx.events):
            if event.attr.flag("remove_on_exec"):
                event.owned = False  # perf_remove_from_owner
                self._exit_event(event)

    def exited(self, task: Task) -> None:
        """perf_event_exit_task: inherited copies fold into their originals and free their slots; the others keep theirs."""
        self._kernel.settle()
        task.ctx.dead = True
        for event in tuple(task.ctx.events):
            self._exit_event(event)

    def _exit_event(self, event: PerfEvent) -> None:
        """perf_event_exit_event."""
        parent = event.parent
        if parent is None:
            self._kernel.scheduler.remove(event, State.EXIT)
            event.wake()
            return
        self._kernel.scheduler.take_time(event)
        parent.child_count += event.count
        parent.child_enabled_ns += event.enabled_ns
        parent.child_running_ns += event.running_ns
        parent.overflows += event.overflows
        parent.children.remove(event)
        self._kernel.destroy(event)
