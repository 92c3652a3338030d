"""register_wide_hw_breakpoint: one CPU-bound event on every online CPU, all or none (kernel/events/hw_breakpoint.c)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from backends.base import HwbpError
from backends.emulated.kernel.attr import Attr
from backends.emulated.kernel.events import Hardware, PerfEvent, Regs, State
from backends.emulated.kernel.tasks import Task
from backends.model import Owner

if TYPE_CHECKING:
    from backends.emulated.kernel.core import Kernel

__all__ = ["register_wide", "unregister_wide"]


def register_wide(
    kernel: Kernel,
    attr: Attr,
    owner: Owner,
    caller: Task | None,
    handler: Callable[[PerfEvent, Regs, int], None],
    text: str = "",
) -> list[PerfEvent]:
    """One event for each CPU (ENOSPC, EINVAL, EPERM: `caller`'s CAP_SYS_ADMIN is asked for a kernel address)."""
    made: list[PerfEvent] = []
    try:
        for registers in kernel.cpus:
            event = PerfEvent(
                kernel.new_id(),
                attr,
                owner,
                Hardware(attr.bp_addr, 1, "w"),
                None,
                registers.cpu,
                State.OFF if attr.disabled else State.INACTIVE,
                handler=handler,
                period=attr.sample_period,
                last_period=attr.sample_period,
                period_left=attr.sample_period,
                text=text,
            )
            kernel.create(event, caller)
            made.append(event)
    except HwbpError:
        unregister_wide(kernel, made)
        raise
    return made


def unregister_wide(kernel: Kernel, events: list[PerfEvent]) -> None:
    """unregister_wide_hw_breakpoint."""
    for event in events:
        kernel.destroy(event)
    events.clear()
