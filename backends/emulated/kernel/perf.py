"""Perf descriptors of tasks that run no program: the session's own, and those of tests (kernel/events/core.c).

A program's descriptors are files among its others (`backends.emulated.linux.perf_events`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from backends.base import HwbpError
from backends.emulated.kernel.attr import Attr
from backends.emulated.kernel.control import EventControl
from backends.emulated.kernel.events import Async, PerfEvent
from backends.emulated.kernel.opening import FD_CLOEXEC, FD_NO_GROUP, Opening
from backends.emulated.kernel.tasks import CLONE_THREAD, Task
from backends.model import Owner

if TYPE_CHECKING:
    from backends.emulated.kernel.core import Kernel

__all__ = ["FD_CLOEXEC", "FD_NO_GROUP", "Perf"]

_FIRST_FD: Final = 3
_MAX_FDS: Final = 1024


@dataclass(slots=True)
class _File:
    """A descriptor's file: shared by the descriptors that fork copied. The last close frees the event."""

    event: PerfEvent
    references: int
    cloexec: bool


class Perf:
    """Processes' perf descriptors. Every method takes the calling task, whose process owns the descriptor (EBADF).

    `opening` makes events and `control` changes them, for whoever keeps descriptors of them.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.opening = Opening(kernel)
        self.control = EventControl(kernel)
        self._files: dict[int, dict[int, _File]] = {}

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
        """perf_event_open(2): a descriptor, or the first error in the kernel's order (see `Opening.open`; EBADF, EMFILE).

        `owner` says who is shown as the holder where that is not the caller.
        """
        fds: list[int] = []

        def leader() -> PerfEvent | None:
            fds.append(self._unused_fd(caller))
            return None if group_fd == -1 else self._file(caller, group_fd).event

        event = self.opening.open(caller, attr, pid, cpu, flags, leader, owner)
        (fd,) = fds
        event.owner = replace(event.owner, kind="perf", fd=fd)
        self._table(caller)[fd] = _File(event, 1, bool(flags & FD_CLOEXEC))
        return fd

    # -- descriptors

    def _table(self, caller: Task) -> dict[int, _File]:
        return self._files.setdefault(caller.tgid, {})

    def _unused_fd(self, caller: Task) -> int:
        table = self._table(caller)
        fd = _FIRST_FD
        while fd in table:
            fd += 1
        if fd >= _MAX_FDS:
            raise HwbpError(f"perf_event_open: more than {_MAX_FDS} descriptors", errno="EMFILE")
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
        self._let_go(file)

    def _let_go(self, file: _File) -> None:
        file.references -= 1
        if not file.references:
            self.control.free(file.event)

    def close_all(self, tgid: int) -> None:
        """The process has ended."""
        for file in self._files.pop(tgid, {}).values():
            self._let_go(file)

    def forked(self, parent: Task, child: Task, flags: int) -> None:
        """fork copies the descriptors; a thread shares them."""
        if flags & CLONE_THREAD or parent.tgid not in self._files:
            return
        table = self._files[child.tgid] = dict(self._files[parent.tgid])
        for file in table.values():
            file.references += 1

    def executed(self, task: Task) -> None:
        """perf_event_exec; descriptors with CLOEXEC are closed."""
        self.control.executed(task)
        for fd, file in tuple(self._table(task).items()):
            if file.cloexec:
                self.close(task, fd)

    # -- ioctl and read, by descriptor: see `EventControl`

    def enable(self, caller: Task, fd: int) -> None:
        """PERF_EVENT_IOC_ENABLE."""
        self.control.enable(self.event(caller, fd))

    def disable(self, caller: Task, fd: int) -> None:
        """PERF_EVENT_IOC_DISABLE."""
        self.control.disable(self.event(caller, fd))

    def refresh(self, caller: Task, fd: int, count: int) -> None:
        """PERF_EVENT_IOC_REFRESH."""
        self.control.refresh(self.event(caller, fd), count)

    def reset(self, caller: Task, fd: int) -> None:
        """PERF_EVENT_IOC_RESET."""
        self.control.reset(self.event(caller, fd))

    def period(self, caller: Task, fd: int, value: int) -> None:
        """PERF_EVENT_IOC_PERIOD."""
        self.control.period(self.event(caller, fd), value)

    def modify(self, caller: Task, fd: int, attr: Attr | bytes) -> None:
        """PERF_EVENT_IOC_MODIFY_ATTRIBUTES."""
        self.control.modify(self.event(caller, fd), attr, caller)

    def read(self, caller: Task, fd: int) -> int:
        """read(2) with read_format 0: see `EventControl.count`."""
        return self.control.count(self.event(caller, fd))

    def set_signal(self, caller: Task, fd: int, number: int, tid: int) -> None:
        """fcntl O_ASYNC, F_SETSIG and F_SETOWN_EX: this signal to that task at each overflow; 0 for no more."""
        self.control.set_async(self.event(caller, fd), Async(number, tid, fd) if number else None)
