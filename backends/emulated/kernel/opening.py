"""perf_event_open(2) with PERF_TYPE_BREAKPOINT: its checks in the kernel's order (kernel/events/core.c)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from backends.base import HwbpError
from backends.emulated.kernel.attr import SAMPLE, TYPE_BREAKPOINT, Attr, checked, copy_attr
from backends.emulated.kernel.events import Frequency, Hardware, PerfEvent, State
from backends.emulated.kernel.tasks import Task
from backends.model import Owner

if TYPE_CHECKING:
    from backends.emulated.kernel.core import Kernel

__all__ = ["FD_CLOEXEC", "FD_NO_GROUP", "MAX_STACK", "TOP_BIT", "Opening"]

FD_NO_GROUP, _FD_OUTPUT, _PID_CGROUP, FD_CLOEXEC = 1, 2, 4, 8
TOP_BIT: Final = 1 << 63
MAX_STACK: Final = 127
"""/proc/sys/kernel/perf_event_max_stack."""
_MASK64: Final = (1 << 64) - 1
_XMM: Final = ~((1 << 32) - 1) & _MASK64
_AUX_START_PAUSED, _AUX_PAUSE, _AUX_RESUME = 1, 2, 4
_NMI_SAFE_CLOCKS: Final = (1, 4)


def _no(errno: str, why: str, remedy: str = "") -> HwbpError:
    return HwbpError(f"perf_event_open: {why}", errno=errno, remedy=remedy)


def _no_group() -> PerfEvent | None:
    return None


class Opening:
    """Makes events for callers of perf_event_open; who keeps their descriptors is somebody else's business."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def open(
        self,
        caller: Task,
        attr: Attr | bytes,
        pid: int,
        cpu: int,
        flags: int = 0,
        leader: Callable[[], PerfEvent | None] = _no_group,
        owner: Owner | None = None,
    ) -> PerfEvent:
        """The event, in its context, or the first error in the kernel's order.

        `pid` 0 is the caller, -1 every task of CPU `cpu`; `cpu` -1 is every CPU. `leader` finds the event of group_fd (None
        for no group), and is asked where the kernel looks: it may raise EMFILE and EBADF. `owner` is shown as the holder.
        Errors: EINVAL, E2BIG, EACCES, ESRCH, ENOSPC, EOPNOTSUPP, EPERM, EOVERFLOW, ENODEV, and those of `leader`.
        """
        kernel = self._kernel
        if flags & ~0xF:
            raise _no("EINVAL", f"flags {flags:#x} has unknown bits")
        attr = copy_attr(attr, MAX_STACK) if isinstance(attr, bytes) else checked(attr, MAX_STACK)
        self._may(caller, attr, pid, cpu, flags)
        group = leader()
        if group is not None:
            if kernel.config.version >= (6, 15, 0) and group.state <= State.EXIT:
                raise _no("ENODEV", "the task of the group's leader has ended")
            if flags & FD_NO_GROUP:
                group = None
        target: Task | None = None
        if pid != -1 and not flags & _PID_CGROUP:
            target = caller if pid == 0 else kernel.tasks.get(pid)
            if target is None:
                raise _no("ESRCH", f"no task {pid}")
        if target is not None and group is not None and group.attr.flag("inherit") != attr.flag("inherit"):
            raise _no("EINVAL", "the group's leader differs in inherit")
        cgroup = pid if flags & _PID_CGROUP else None
        owner = owner or Owner("perf", caller.tgid, caller.comm)
        event = self._alloc(caller, attr, target, cpu, cgroup, owner)
        try:
            self._admit(caller, event, group)
        except HwbpError:
            kernel.layer.destroy(event)
            raise
        kernel.scheduler.add(event)
        return event

    def _may(self, caller: Task, attr: Attr, pid: int, cpu: int, flags: int) -> None:
        """The checks before anything is looked up."""
        config = self._kernel.config
        if not attr.flag("exclude_kernel"):
            self._allow_kernel(caller)
        if attr.flag("namespaces") and not caller.perfmon_capable:
            raise _no("EACCES", "namespaces needs CAP_PERFMON")
        if attr.flag("freq"):
            if attr.sample_period > config.max_sample_rate:
                raise _no(
                    "EINVAL", f"a frequency above perf_event_max_sample_rate ({config.max_sample_rate})"
                )
        elif attr.sample_period & TOP_BIT:
            raise _no("EINVAL", "a period of 2^63 or more")
        if attr.sample_type & SAMPLE["phys_addr"]:
            self._allow_kernel(caller)
        if flags & _PID_CGROUP and (pid == -1 or cpu == -1):
            raise _no("EINVAL", "a cgroup needs its descriptor as pid, and a CPU")

    def _allow_kernel(self, caller: Task) -> None:
        """perf_allow_kernel."""
        if self._kernel.config.paranoid > 1 and not caller.perfmon_capable:
            raise _no(
                "EACCES",
                f"perf_event_paranoid is {self._kernel.config.paranoid}: the kernel may not be watched without CAP_PERFMON",
                "set exclude_kernel",
            )

    def _alloc(
        self, caller: Task, attr: Attr, target: Task | None, cpu: int, cgroup: int | None, owner: Owner
    ) -> PerfEvent:
        """perf_event_alloc, hw_breakpoint_event_init within it."""
        kernel = self._kernel
        if not 0 <= cpu < kernel.layer.accounting.possible and (target is None or cpu != -1):
            raise _no("EINVAL", f"no CPU {cpu}" if cpu != -1 else "neither a task nor a CPU")
        if attr.flag("sigtrap") and target is None:
            raise _no("EINVAL", "sigtrap needs a task")
        if (
            attr.flag("inherit")
            and attr.sample_type & SAMPLE["read"]
            and not attr.sample_type & SAMPLE["tid"]
        ):
            raise _no("EINVAL", "inherit with PERF_SAMPLE_READ needs PERF_SAMPLE_TID")
        if attr.type != TYPE_BREAKPOINT:
            raise _no(
                "ENOENT", f"type {attr.type} is not PERF_TYPE_BREAKPOINT (5), which is all this machine has"
            )
        if attr.sample_type & SAMPLE["branch_stack"]:
            raise _no("EOPNOTSUPP", "breakpoints have no branch stack")
        if attr.branch_sample_type:
            attr = attr.changed(branch_sample_type=0)
        event = PerfEvent(kernel.new_id(), attr, owner, Hardware(attr.bp_addr, 1, "w"), target, cpu)
        event.state = State.OFF if attr.disabled else State.INACTIVE
        event.period = 1 if attr.flag("freq") and attr.sample_period else attr.sample_period
        event.last_period = event.period_left = event.period
        event.frequency = (
            Frequency(10**9 // kernel.config.hz) if attr.flag("freq") and attr.sample_period else None
        )
        kernel.layer.register(event, caller)
        try:
            if (attr.sample_regs_user | attr.sample_regs_intr) & _XMM:
                raise _no("EOPNOTSUPP", "breakpoints do not sample XMM registers")
            if attr.flag("aux_output"):
                raise _no("EOPNOTSUPP", "breakpoints have no AUX output")
            if attr.aux_action & _AUX_PAUSE and attr.aux_action & _AUX_RESUME:
                raise _no("EINVAL", "AUX output can be paused or resumed, not both")
            if attr.aux_action & _AUX_START_PAUSED:
                raise _no("EOPNOTSUPP", "breakpoints have no AUX output to start paused")
            if cgroup is not None:
                raise _no("EBADF", f"{cgroup} is no descriptor of a cgroup: this machine has none")
            if attr.sample_type & SAMPLE["callchain"] and attr.sample_max_stack > MAX_STACK:
                raise _no("EOVERFLOW", f"sample_max_stack above perf_event_max_stack ({MAX_STACK})")
        except HwbpError:
            kernel.layer.destroy(event)
            raise
        return event

    def _admit(self, caller: Task, event: PerfEvent, leader: PerfEvent | None) -> None:
        """What perf_event_open checks once the event exists: by then its slot is taken, and ENOSPC came first."""
        attr, target = event.attr, event.target
        if attr.flag("use_clockid") and attr.clockid not in _NMI_SAFE_CLOCKS:
            raise _no("EINVAL", f"clock {attr.clockid} cannot be read in an NMI")
        if target is not None and not self._may_watch(caller, attr, target):
            raise _no("EACCES", f"task {target.tid} may not be traced by {caller.comm or caller.tid}")
        if target is None and self._kernel.config.paranoid > 0 and not caller.perfmon_capable:
            raise _no(
                "EACCES",
                f"perf_event_paranoid is {self._kernel.config.paranoid}: a CPU-wide event needs CAP_PERFMON",
            )
        if target is not None and target.exiting:
            raise _no("ESRCH", f"task {target.tid} has ended")
        if target is None and event.cpu >= len(self._kernel.cpus):
            raise _no("ENODEV", f"CPU {event.cpu} is offline")
        if leader is not None:
            self._join_group(event, leader)
        if attr.aux_sample_size or attr.aux_action & (_AUX_PAUSE | _AUX_RESUME):
            raise _no("EINVAL", "the group's leader has no AUX output")

    def _may_watch(self, caller: Task, attr: Attr, target: Task) -> bool:
        """perf_check_permission."""
        capable, attach = caller.perfmon_capable, False
        if attr.flag("sigtrap"):
            capable, attach = capable and caller.capable("kill"), True
        return capable or self._kernel.ptrace.may_access(caller, target, attach=attach)

    def _join_group(self, event: PerfEvent, leader: PerfEvent) -> None:
        same = leader.group_leader is None and leader.cpu == event.cpu and leader.target is event.target
        if not same or event.attr.pinned or event.attr.flag("exclusive"):
            raise _no(
                "EINVAL", "it cannot join that group: another CPU or task, or it is pinned or exclusive"
            )
        if leader.attr.flag("use_clockid") != event.attr.flag("use_clockid"):
            raise _no("EINVAL", "it cannot join that group: another clock")
        leader.add_sibling(event)
