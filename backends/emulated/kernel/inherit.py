"""fork and clone: which events the child gets (kernel/events/core.c perf_event_init_task)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backends.base import HwbpError
from backends.emulated.kernel.events import Frequency, PerfEvent, State
from backends.emulated.kernel.tasks import CLONE_CLEAR_SIGHAND, CLONE_THREAD, Task

if TYPE_CHECKING:
    from backends.emulated.kernel.core import Kernel

__all__ = ["follow_too", "inherit_events"]


def _inherits(event: PerfEvent, flags: int) -> bool:
    """inherit_task_group."""
    attr = event.attr
    return (
        attr.flag("inherit")
        and not (attr.flag("inherit_thread") and not flags & CLONE_THREAD)
        and not (attr.flag("sigtrap") and flags & CLONE_CLEAR_SIGHAND)
    )


def inherit_events(kernel: Kernel, parent: Task, child: Task, flags: int) -> None:
    """Copy what the child inherits, or fail with nothing copied (the errors of perf_event_alloc).

    Copies belong to the original event, never to a copy of it. Where everything was inherited, the child's context
    is a clone of its parent's.
    """
    context = parent.ctx
    if not context.events:
        return
    everything = True
    try:
        ordered = sorted(context.events, key=lambda event: not event.attr.pinned)
        for event in ordered:
            if event.group_leader is not None:
                continue  # with its leader
            if _inherits(event, flags):
                _inherit(kernel, event, parent, child)
            else:
                everything = False
    except HwbpError:
        for copy in list(child.ctx.events):
            assert copy.parent is not None
            copy.parent.children.remove(copy)
            kernel.destroy(copy)
        raise
    if everything and child.ctx.events:
        origin = context.parent
        child.ctx.parent = origin if origin is not None else context
        child.ctx.parent_generation = context.parent_generation if origin is not None else context.generation


def _inherit(kernel: Kernel, event: PerfEvent, parent: Task, child: Task) -> None:
    """inherit_group: the leader, and its siblings behind it."""
    copy = _copied(kernel, event, parent, child)
    if copy is None:
        return
    kernel.scheduler.join(copy, child.ctx)
    for sibling in event.siblings:
        behind = _copied(kernel, sibling, parent, child)
        if behind is not None:
            copy.add_sibling(behind)
            kernel.scheduler.join(behind, child.ctx)


def follow_too(kernel: Kernel, event: PerfEvent, thread: Task) -> None:
    """Let an event follow a thread that was there before it, as if that had inherited it (ENOSPC).

    What perf does for a process that has threads already, with an event for each; here they belong to the one.
    """
    assert event.target is not None
    copy = _copied(kernel, event, event.target, thread)
    if copy is not None:
        kernel.scheduler.add(copy)


def _copied(kernel: Kernel, event: PerfEvent, parent: Task, child: Task) -> PerfEvent | None:
    original = event.parent or event
    if original.state is State.DEAD:
        return None
    copy = PerfEvent(
        kernel.new_id(),
        original.attr,
        original.owner,
        original.hardware,
        child,
        original.cpu,
        kernel.scheduler.state_after_fork(event.state),
        parent=original,
        handler=original.handler,
        period=original.period,
        last_period=original.period,
        period_left=original.period,
        watch=original.watch,
        window=original.window,
        text=original.text,
        stop=original.stop,
        frequency=Frequency(original.frequency.tick_ns) if original.frequency is not None else None,
    )
    kernel.layer.register(copy, parent)
    original.children.append(copy)
    return copy
