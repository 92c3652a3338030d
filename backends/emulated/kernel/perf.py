"""The perf owner: perf_event_open(2) with PERF_TYPE_BREAKPOINT, and what its descriptors do (kernel/events/core.c)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from backends.base import HwbpError
from backends.emulated.kernel.attr import FLAGS, SAMPLE, TYPE_BREAKPOINT, Attr, checked, copy_attr
from backends.emulated.kernel.events import Hardware, PerfEvent, State
from backends.emulated.kernel.tasks import CLONE_THREAD, Task
from backends.model import Owner

if TYPE_CHECKING:
    from backends.emulated.kernel.core import Kernel

__all__ = ["FD_CLOEXEC", "FD_NO_GROUP", "Perf"]

FD_NO_GROUP, _FD_OUTPUT, _PID_CGROUP, FD_CLOEXEC = 1, 2, 4, 8
_FIRST_FD: Final = 3
_MAX_FDS: Final = 1024
_TOP_BIT: Final = 1 << 63
_MASK64: Final = (1 << 64) - 1
_XMM: Final = ~((1 << 32) - 1) & _MASK64
_MAX_STACK: Final = 127
_NMI_SAFE_CLOCKS: Final = (1, 4)
_FROM_NEW: Final = ("bp_addr", "bp_type", "bp_len")


@dataclass(slots=True)
class _File:
    """A descriptor's file: shared by the descriptors that fork copied. The last close frees the event."""

    event: PerfEvent
    references: int
    cloexec: bool


def _no(errno: str, why: str, remedy: str = "") -> HwbpError:
    return HwbpError(f"perf_event_open: {why}", errno=errno, remedy=remedy)


class Perf:
    """Processes' perf descriptors. Every method takes the calling task, whose process owns the descriptor (EBADF)."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._files: dict[int, dict[int, _File]] = {}

    # -- perf_event_open

    def open(
        self,
        caller: Task,
        attr: Attr | bytes,
        pid: int,
        cpu: int,
        group_fd: int = -1,
        flags: int = 0,
        *,
        owner: Owner | None = None,
    ) -> int:
        """perf_event_open(2): a descriptor, or the first error in the kernel's order.

        `pid` 0 is the caller, -1 every task of CPU `cpu`; `cpu` -1 is every CPU. `owner` says who is shown as the
        holder where that is not the caller. Errors: EINVAL, E2BIG, EACCES, EBADF, ESRCH, ENOSPC, EOPNOTSUPP, EPERM, EOVERFLOW,
        ENODEV, EMFILE.
        """
        kernel = self._kernel
        if flags & ~0xF:
            raise _no("EINVAL", f"flags {flags:#x} has unknown bits")
        attr = copy_attr(attr, _MAX_STACK) if isinstance(attr, bytes) else checked(attr, _MAX_STACK)
        self._may(caller, attr, pid, cpu, flags)
        fd = self._unused_fd(caller)
        leader = None
        if group_fd != -1:
            leader = self._file(caller, group_fd).event
            if kernel.config.version >= (6, 15, 0) and leader.state <= State.EXIT:
                raise _no("ENODEV", f"the task of descriptor {group_fd}'s event has ended")
            if flags & FD_NO_GROUP:
                leader = None
        target: Task | None = None
        if pid != -1:
            target = caller if pid == 0 else kernel.tasks.get(pid)
            if target is None:
                raise _no("ESRCH", f"no task {pid}")
        if target is not None and leader is not None and leader.attr.flag("inherit") != attr.flag("inherit"):
            raise _no("EINVAL", "the group's leader differs in inherit")
        whose = owner or Owner("perf", caller.tgid, caller.comm)
        event = self._alloc(caller, attr, target, cpu, Owner("perf", whose.pid, whose.comm, fd))
        try:
            self._admit(caller, event, leader)
        except HwbpError:
            kernel.layer.destroy(event)
            raise
        kernel.scheduler.add(event)
        self._table(caller)[fd] = _File(event, 1, bool(flags & FD_CLOEXEC))
        return fd

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
        elif attr.sample_period & _TOP_BIT:
            raise _no("EINVAL", "a period of 2^63 or more")
        if attr.sample_type & SAMPLE["phys_addr"]:
            self._allow_kernel(caller)
        if flags & _PID_CGROUP:
            if pid == -1 or cpu == -1:
                raise _no("EINVAL", "a cgroup needs its descriptor as pid, and a CPU")
            raise _no("EBADF", f"{pid} is no descriptor of a cgroup: this machine has none")

    def _allow_kernel(self, caller: Task) -> None:
        """perf_allow_kernel."""
        if self._kernel.config.paranoid > 1 and not caller.perfmon_capable:
            raise _no(
                "EACCES",
                f"perf_event_paranoid is {self._kernel.config.paranoid}: the kernel may not be watched without CAP_PERFMON",
                "set exclude_kernel",
            )

    def _alloc(self, caller: Task, attr: Attr, target: Task | None, cpu: int, owner: Owner) -> PerfEvent:
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
        kernel.layer.register(event, caller)
        try:
            if (attr.sample_regs_user | attr.sample_regs_intr) & _XMM:
                raise _no("EOPNOTSUPP", "breakpoints do not sample XMM registers")
            if attr.flag("aux_output"):
                raise _no("EOPNOTSUPP", "breakpoints have no AUX output")
            if attr.sample_type & SAMPLE["callchain"] and attr.sample_max_stack > _MAX_STACK:
                raise _no("EOVERFLOW", f"sample_max_stack above perf_event_max_stack ({_MAX_STACK})")
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
        event.group_leader = leader

    # -- descriptors

    def _table(self, caller: Task) -> dict[int, _File]:
        return self._files.setdefault(caller.tgid, {})

    def _unused_fd(self, caller: Task) -> int:
        table = self._table(caller)
        fd = _FIRST_FD
        while fd in table:
            fd += 1
        if fd >= _MAX_FDS:
            raise _no("EMFILE", f"more than {_MAX_FDS} descriptors")
        return fd

    def _file(self, caller: Task, fd: int) -> _File:
        file = self._table(caller).get(fd)
        if file is None:
            raise HwbpError(f"{fd} is no perf event's descriptor", errno="EBADF")
        return file

    def event(self, caller: Task, fd: int) -> PerfEvent:
        """The event behind a descriptor (EBADF)."""
        return self._file(caller, fd).event

    def descriptors(self, caller: Task) -> tuple[int, ...]:
        """The process's open ones."""
        return tuple(self._table(caller))

    def close(self, caller: Task, fd: int) -> None:
        """close(2). The last one of an event frees it, its inherited copies and their slots."""
        file = self._file(caller, fd)
        del self._table(caller)[fd]
        file.references -= 1
        if not file.references:
            self._free(file.event)

    def _free(self, event: PerfEvent) -> None:
        for child in event.children:
            self._kernel.destroy(child)
        event.children.clear()
        self._kernel.destroy(event)

    def close_all(self, tgid: int) -> None:
        """The process has ended."""
        for file in self._files.pop(tgid, {}).values():
            file.references -= 1
            if not file.references:
                self._free(file.event)

    def forked(self, parent: Task, child: Task, flags: int) -> None:
        """fork copies the descriptors; a thread shares them."""
        if flags & CLONE_THREAD or parent.tgid not in self._files:
            return
        table = self._files[child.tgid] = dict(self._files[parent.tgid])
        for file in table.values():
            file.references += 1

    # -- ioctl and read

    def _each(self, event: PerfEvent, call: Callable[[PerfEvent], None]) -> None:
        """perf_event_for_each_child: the event and its inherited copies."""
        call(event)
        for child in tuple(event.children):
            call(child)

    def enable(self, caller: Task, fd: int) -> None:
        """PERF_EVENT_IOC_ENABLE. Nothing happens to an event whose task has ended."""
        self._each(self.event(caller, fd), self._kernel.scheduler.enable)

    def disable(self, caller: Task, fd: int) -> None:
        """PERF_EVENT_IOC_DISABLE. The slot stays taken."""
        self._each(self.event(caller, fd), self._kernel.scheduler.disable)

    def refresh(self, caller: Task, fd: int, count: int) -> None:
        """PERF_EVENT_IOC_REFRESH: enable for `count` more overflows (EINVAL: inherited, or it does not sample)."""
        event = self.event(caller, fd)
        if event.attr.flag("inherit") or not event.attr.sampling:
            raise HwbpError("refresh needs a sampling event that is not inherited", errno="EINVAL")
        event.limit += count
        self._kernel.scheduler.enable(event)
        self._attention(event)

    def reset(self, caller: Task, fd: int) -> None:
        """PERF_EVENT_IOC_RESET: the count of the event and of its living copies; of dead ones it stays."""

        def zero(event: PerfEvent) -> None:
            event.count = 0

        self._each(self.event(caller, fd), zero)

    def period(self, caller: Task, fd: int, value: int) -> None:
        """PERF_EVENT_IOC_PERIOD: the next hit overflows, then the new period counts (EINVAL)."""
        event = self.event(caller, fd)
        limit = self._kernel.config.max_sample_rate if event.attr.flag("freq") else _TOP_BIT - 1
        if not event.attr.sampling or not 0 < value <= limit:
            raise HwbpError(f"period {value}: the event does not sample, or it is no period", errno="EINVAL")
        event.attr = event.attr.changed(sample_period=value)
        if not event.attr.flag("freq"):
            event.period = value
        event.period_left = 0

    def modify(self, caller: Task, fd: int, attr: Attr | bytes) -> None:
        """PERF_EVENT_IOC_MODIFY_ATTRIBUTES: address, length, type and disabled; sig_data is taken over first, even
        where the rest fails. The event is on afterwards only if attr.disabled (the new one, or on failure the old one) is 0.

        EINVAL for any other change, and the errors of validation.
        """
        event = self.event(caller, fd)
        attr = copy_attr(attr, _MAX_STACK) if isinstance(attr, bytes) else checked(attr, _MAX_STACK)
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

    def read(self, caller: Task, fd: int) -> int:
        """read(2) with read_format 0: the count, its inherited copies' included. EOF is 0 bytes: HwbpError without errno
        for a pinned event in ERROR state."""
        event = self.event(caller, fd)
        if event.state is State.ERROR:
            raise HwbpError("the event could not be scheduled: read gives 0 bytes")
        return event.total

    def set_signal(self, caller: Task, fd: int, number: int, tid: int) -> None:
        """fcntl O_ASYNC, F_SETSIG and F_SETOWN: send this signal to that task at each overflow; 0 for no more."""
        event = self.event(caller, fd)
        event.fasync = (number, tid) if number else None
        self._attention(event)

    def _attention(self, event: PerfEvent) -> None:
        """The machine must look anew at which hits it may collect."""
        for registers in self._kernel.cpus:
            if registers.slot_of(event) is not None:
                registers.on_change(registers)

    # -- exec and exit

    def executed(self, task: Task) -> None:
        """perf_event_exec: enable_on_exec first, then remove_on_exec; descriptors with CLOEXEC are closed."""
        scheduler = self._kernel.scheduler
        bit = 1 << FLAGS["enable_on_exec"]
        for event in tuple(task.ctx.events):
            if event.attr.flags & bit:
                event.attr = event.attr.changed(flags=event.attr.flags & ~bit)
                scheduler.enable_on_exec(event)
        for event in tuple(task.ctx.events):
            if event.attr.flag("remove_on_exec"):
                self._exit_event(event)
        for fd, file in tuple(self._table(task).items()):
            if file.cloexec:
                self.close(task, fd)

    def exited(self, task: Task) -> None:
        """perf_event_exit_task: inherited copies fold into their originals and free their slots; the others keep theirs."""
        task.ctx.dead = True
        for event in tuple(task.ctx.events):
            self._exit_event(event)

    def _exit_event(self, event: PerfEvent) -> None:
        """perf_event_exit_event."""
        parent = event.parent
        if parent is None:
            self._kernel.scheduler.remove(event, State.EXIT)
            return
        parent.child_count += event.count
        parent.overflows += event.overflows
        parent.children.remove(event)
        self._kernel.destroy(event)
