"""When an event sits in a register: perf's contexts as breakpoints see them (kernel/events/core.c).

CPU-bound events are in their CPU's context, task-bound ones in their task's. On a CPU the order is: CPU pinned, task
pinned, CPU flexible, task flexible, each oldest first; each takes the first free register. Enabling an event
reschedules what comes after it, so that a neighbour may move to another register.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from backends.emulated.kernel.events import PerfEvent, State
from backends.emulated.kernel.frequency import tick
from backends.emulated.kernel.registers import CpuRegisters
from backends.emulated.kernel.tasks import Context, Task

__all__ = ["Scheduler", "overflows"]


def _set_period(event: PerfEvent) -> int:
    """perf_swevent_set_period: how many periods have passed; the next one begins."""
    period, event.last_period = event.last_period, event.period
    left = event.period_left
    if left < 0:
        return 0
    number = (period + left) // period
    event.period_left = left - number * period
    return number


def overflows(event: PerfEvent, hits: int, now: int = 0) -> int:
    """perf_swevent_event: count `hits` one by one; how many overflows that makes.

    `now` in nanoseconds matters to attr.freq only, whose hits come one by one.
    """
    event.count += hits
    if not event.period:
        return 0
    if event.frequency is not None:
        tick(event, now)
    if event.overflows_always or (event.period == 1 and not event.by_frequency):
        return hits
    made = 0
    left = hits
    while left:
        step = max(1, min(left, -event.period_left))
        event.period_left += step
        left -= step
        if event.period_left >= 0:
            made += _set_period(event)
    return made


class Scheduler:
    """The contexts of all CPUs. `current[cpu]` is the task that runs there, None for the idle task. `now` gives the time in
    nanoseconds."""

    def __init__(self, cpus: tuple[CpuRegisters, ...], now: Callable[[], int]) -> None:
        self.cpus = cpus
        self.now = now
        self.contexts = tuple(Context(None, registers.cpu) for registers in cpus)
        self.current: list[Task | None] = [None] * len(cpus)

    # -- time

    def take_time(self, event: PerfEvent) -> None:
        """perf_event_update_time: what has passed on its context's clock counts as enabled, and in a register as running."""
        context = event.ctx
        if context is None:
            return
        stamp = context.time(self.now)
        passed, event.stamp = stamp - event.stamp, stamp
        leader = event.group_leader
        if event.state >= State.INACTIVE and (leader is None or leader.state >= State.INACTIVE):
            event.enabled_ns += passed
            if event.state is State.ACTIVE:
                event.running_ns += passed

    def _become(self, event: PerfEvent, state: State) -> None:
        """perf_event_set_state."""
        self.take_time(event)
        for sibling in event.siblings:
            self.take_time(sibling)
        event.state = state

    # -- one event in and out of a register

    def _in(self, registers: CpuRegisters, event: PerfEvent) -> None:
        """event_sched_in, hw_breakpoint_add."""
        self._become(event, State.ACTIVE)
        if event.period:
            event.last_period = event.period
            _set_period(event)
        if not registers.install(event):
            self._become(event, State.ERROR if event.attr.pinned else State.INACTIVE)

    def _out(self, registers: CpuRegisters, event: PerfEvent, state: State = State.INACTIVE) -> None:
        """event_sched_out, hw_breakpoint_del."""
        registers.uninstall(event)
        self._become(event, state)

    def _group_out(self, registers: CpuRegisters, leader: PerfEvent) -> None:
        """group_sched_out: the leader, then its siblings."""
        self._out(registers, leader)
        for sibling in leader.siblings:
            if sibling.state is State.ACTIVE:
                self._out(registers, sibling)

    def _group_in(self, registers: CpuRegisters, leader: PerfEvent) -> None:
        """group_sched_in: the leader, then those of its siblings that are on."""
        self._in(registers, leader)
        if leader.state is State.ACTIVE:
            for sibling in leader.siblings:
                if sibling.state is State.INACTIVE:
                    self._in(registers, sibling)

    def _where(self, event: PerfEvent) -> CpuRegisters | None:
        """The CPU in whose register an ACTIVE event sits."""
        if event.state is not State.ACTIVE:
            return None
        return next((each for each in self.cpus if each.slot_of(event) is not None), None)

    # -- contexts

    def _fits(self, event: PerfEvent, cpu: int) -> bool:
        """event_filter_match."""
        return event.cpu in (-1, cpu)

    def _sched_out(self, registers: CpuRegisters, context: Context, *, pinned: bool, flexible: bool) -> None:
        """ctx_sched_out: the ACTIVE ones, pinned first."""
        active = [e for e in context.events if e.state is State.ACTIVE and e.group_leader is None]
        for wanted, group in ((pinned, True), (flexible, False)):
            if wanted:
                for event in active:
                    if event.attr.pinned is group:
                        self._group_out(registers, event)

    def _sched_in(self, registers: CpuRegisters, context: Context, *, pinned: bool) -> None:
        """ctx_sched_in: those that are on and whose CPU this is."""
        for event in context.events:
            if (
                event.state is State.INACTIVE
                and event.attr.pinned is pinned
                and event.group_leader is None
                and self._fits(event, registers.cpu)
            ):
                self._group_in(registers, event)

    def _all_in(self, registers: CpuRegisters, task: Context | None) -> None:
        """perf_event_sched_in."""
        own = self.contexts[registers.cpu]
        for pinned in (True, False):
            self._sched_in(registers, own, pinned=pinned)
            if task is not None:
                self._sched_in(registers, task, pinned=pinned)

    def _context_on(self, cpu: int) -> Context | None:
        task = self.current[cpu]
        return task.ctx if task is not None and not task.ctx.dead else None

    def _resched(self, registers: CpuRegisters, event: PerfEvent) -> None:
        """ctx_resched after this event came or was enabled: what yields to it goes out, then everything comes in."""
        task = self._context_on(registers.cpu)
        pinned, of_cpu = event.attr.pinned, event.target is None
        if task is not None:
            self._sched_out(registers, task, pinned=pinned, flexible=True)
        own = self.contexts[registers.cpu]
        if of_cpu:
            self._sched_out(registers, own, pinned=pinned, flexible=True)
        elif pinned:
            self._sched_out(registers, own, pinned=False, flexible=True)
        self._all_in(registers, task)

    def _running_on(self, event: PerfEvent) -> CpuRegisters | None:
        """The CPU where the event's context is active now, whether the event fits that CPU or not."""
        context = event.ctx
        if context is None:
            return None
        if context.task is None:
            return self.cpus[context.cpu]
        cpu = context.task.cpu
        return None if cpu is None else self.cpus[cpu]

    # -- what happens to events

    def add(self, event: PerfEvent) -> None:
        """perf_install_in_context: into its context, and into a register where it is on and its context runs."""
        context = self.contexts[event.cpu] if event.target is None else event.target.ctx
        context.unclone()
        self.join(event, context)
        registers = self._running_on(event)
        if registers is not None and event.state >= State.INACTIVE:
            self._resched(registers, event)

    def join(self, event: PerfEvent, context: Context) -> None:
        """list_add_event."""
        if context.task is not None and context.task.cpu is not None:
            context.start(self.now)
        event.ctx = context
        event.stamp = context.time(self.now)
        context.events.append(event)
        context.generation += 1

    def remove(self, event: PerfEvent, state: State = State.DEAD) -> None:
        """perf_remove_from_context: out of its register and its context."""
        registers = self._where(event)
        if registers is not None:
            self._out(registers, event)
        if event.ctx is not None:
            self._become(event, min(event.state, state))
            event.ctx.events.remove(event)
            event.ctx.generation += 1
            event.ctx = None
        event.state = min(event.state, state)

    def enable(self, event: PerfEvent) -> None:
        """_perf_event_enable: nothing for one that is on, has ended, or never comes back."""
        if event.state >= State.INACTIVE or event.state < State.ERROR:
            return
        self._become(event, State.INACTIVE)
        registers = self._running_on(event)
        leader = event.group_leader
        if registers is not None and self._fits(event, registers.cpu):
            if leader is not None and leader.state is not State.ACTIVE:
                return  # it comes in with its leader
            self._resched(registers, leader or event)

    def disable(self, event: PerfEvent) -> None:
        """_perf_event_disable: out of its register; it keeps its slot."""
        if event.state <= State.OFF:
            return
        registers = self._where(event)
        if registers is not None:
            self._group_out(registers, event)
        self._become(event, State.OFF)

    # -- what happens to tasks

    def switch_free(self, cpu: int, following: Task | None) -> bool:
        """A switch between two tasks without events, which is nothing but that; False, and nothing done, where one has some."""
        leaving = self.current[cpu]
        if leaving is following:
            return True
        if leaving is not None:
            if leaving.ctx.events or leaving.ctx.since_ns is not None:
                return False
            if following is not None and following.ctx.events:
                return False
            leaving.cpu = None
        elif following is not None and following.ctx.events:
            return False
        self.current[cpu] = following
        if following is not None:
            following.cpu = cpu
        return True

    def switch(self, cpu: int, following: Task | None) -> None:
        """perf_event_task_sched_out and _in: nothing is written where neither task has an event for this CPU."""
        registers = self.cpus[cpu]
        leaving = self.current[cpu]
        if leaving is following:
            return
        if leaving is not None:
            leaving.cpu = None
            if leaving.ctx.since_ns is not None:
                leaving.ctx.stop(self.now)
        self.current[cpu] = following
        if following is not None:
            following.cpu = cpu
            if following.ctx.events:
                following.ctx.start(self.now)
        old = leaving.ctx if leaving is not None else None
        new = following.ctx if following is not None else None
        if (
            old is not None
            and new is not None
            and old.events
            and old.equivalent(new)
            and self._swap(old, new)
        ):
            return
        if old is not None and old.events:
            self._sched_out(registers, old, pinned=True, flexible=True)
        if new is None or not new.events or new.dead:
            return
        if any(event.attr.pinned for event in new.events):
            self._sched_out(registers, self.contexts[cpu], pinned=False, flexible=True)
        self._all_in(registers, new)

    def _swap(self, old: Context, new: Context) -> bool:
        """The contexts change tasks instead of registers; not while a SIGTRAP is still to be delivered."""
        if any(event.pending_sigtrap for context in (old, new) for event in context.events):
            return False
        leaving, following = old.task, new.task
        assert leaving is not None
        assert following is not None
        old.task, new.task = following, leaving
        leaving.ctx, following.ctx = new, old
        new.stop(self.now)
        old.start(self.now)
        return True

    def state_after_fork(self, parent_state: State) -> State:
        """inherit_event: the child's state follows the parent's, not attr.disabled."""
        return State.INACTIVE if parent_state >= State.INACTIVE else State.OFF

    def enable_on_exec(self, event: PerfEvent) -> None:
        """event_enable_on_exec: one that is off comes on, whatever turned it off."""
        if event.state < State.INACTIVE:
            if event.ctx is not None:
                event.ctx.unclone()
            self._become(event, State.OFF)
            self.enable(event)

    def active(self, cpu: int) -> Iterable[PerfEvent]:
        """The events in this CPU's registers, by register."""
        return (event for event in self.cpus[cpu].bp_per_reg if event is not None)
