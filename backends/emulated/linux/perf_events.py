"""perf_event_open(2) for programs: an event is a file among the process's others (kernel/events/core.c).

Ioctls, read, poll, fcntl's signals and the mapped ring are here; what an event does is the layer's business.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Hashable, Mapping
from dataclasses import replace

from backends.base import HwbpError
from backends.emulated.engine import WRITE, Unsupported
from backends.emulated.kernel.attr import ATTR_SIZE, SAMPLE, Attr
from backends.emulated.kernel.core import Kernel
from backends.emulated.kernel.events import Async, PerfEvent, State
from backends.emulated.kernel.opening import FD_CLOEXEC
from backends.emulated.kernel.ringbuffer import RingBuffer
from backends.emulated.kernel.samples import SUPPORTED
from backends.emulated.kernel.tasks import Task as Tracked
from backends.emulated.linux.descriptors import File
from backends.emulated.linux.paths import signed
from backends.emulated.linux.state import Handler, Task, fail
from backends.emulated.memory import AddressSpace
from backends.emulated.regions import PAGE, page_up
from backends.model import Owner

__all__ = ["HANDLERS", "PerfFile", "all_of_the_task"]

_FD_OUTPUT = 2
_SHARED, _FIXED = 1, 0x10_0010
_NONE = (1 << 64) - 1
_POLLERR, _POLLHUP = 8, 16
_VER0, _SIZE_AT = 64, 4
_MMAP_PAGES = 516 * 1024 // PAGE
"""perf_event_mlock_kb: pages of rings that a user without CAP_IPC_LOCK may map for each CPU."""
_NOT_WRITTEN = (
    "aux_output",
    "mmap",
    "mmap2",
    "mmap_data",
    "context_switch",
    "namespaces",
    "cgroup",
    "text_poke",
)


def _kernel(task: Task) -> Kernel:
    kernel = task.system.kernel
    if kernel is None:
        raise fail(errno.ENOSYS)
    return kernel


def _tracked(task: Task) -> Tracked:
    return _kernel(task).task(task.tid)


def _refused(task: Task, error: HwbpError, what: str) -> OSError:
    """A refusal, for the program as an errno and for people with its reason."""
    task.system.on_refusal(f"perf: {what}", error)
    code: int = getattr(errno, error.errno or "", errno.EINVAL)
    if code == errno.EACCES and "perfmon" not in task.allow and "CAP_PERFMON" in error.message:
        return task.refuse("perfmon", f"perf_event_open: {what}")
    return fail(code)


class _Mapping:
    """The pages of a ring, where the program has them."""

    copied_by_fork = False

    def __init__(
        self, file: PerfFile, space: AddressSpace, start: int, pages: int, events: list[PerfEvent]
    ) -> None:
        self.file = file
        self.space = space
        self.start = start
        self.pages = pages
        self.events = events

    def read(self, offset: int, size: int) -> bytes:
        return self.space.peek(self.start + offset, size)

    def write(self, offset: int, data: bytes) -> None:
        self.space.poke(self.start + offset, data)

    def unmapped(self, space: AddressSpace, start: int, end: int) -> None:
        """perf_mmap_close: the events have no ring any more."""
        for event in self.events:
            event.ring = None
            self.file.control.attention(event)
        self.file.mapping = None
        self.file.released()


class PerfFile(File):
    """A perf event's open file. The event lives while a descriptor or a mapping does."""

    path = "anon_inode:[perf_event]"
    flags = os.O_RDWR
    mode = stat.S_IRUSR | stat.S_IWUSR
    inode = 11

    def __init__(self, task: Task, event: PerfEvent) -> None:
        self.event = event
        self.kernel = _kernel(task)
        self.control = self.kernel.perf.control
        self.system = task.system
        self.mapping: _Mapping | None = None
        event.notify = lambda: self.system.wake(self._key)

    @property
    def _key(self) -> Hashable:
        return ("perf", self.event.id)

    def read(self, size: int) -> bytes:
        if self.event.state is State.ERROR:
            return b""
        data = self.control.values(self.event)
        if size < len(data):
            raise fail(errno.ENOSPC)
        return data

    def write(self, data: bytes) -> int:
        raise fail(errno.EINVAL)

    def waits_on(self) -> tuple[Hashable, ...]:
        return (self._key,)

    def ready(self) -> int:
        """perf_poll: what the ring has to say is said once."""
        event = self.event
        if event.state <= State.EXIT and not event.children:
            return _POLLHUP
        if event.state is State.ERROR and event.attr.pinned:
            return _POLLERR
        if event.ring is None:
            return _POLLHUP
        answer, event.ring.poll = event.ring.poll, 0
        return answer

    def set_async(self, fd: int) -> None:
        wanted = self.flags & self.O_ASYNC and self.owner
        fasync = Async(self.signal, self.owner, fd, self.owner_is_process) if wanted else None
        self.control.set_async(self.event, fasync)

    def close(self) -> None:
        self.control.set_async(self.event, None)
        self.released()

    def released(self) -> None:
        """A descriptor or the mapping went."""
        if not self.users and self.mapping is None:
            self.control.free(self.event)
            self.system.on_breakpoints()

    # -- ioctl

    def ioctl(self, task: Task, request: int, argument: int) -> int:
        try:
            result = self._ioctl(task, request, argument)
        except HwbpError as error:
            raise _refused(task, error, f"ioctl of event {self.event.owner.fd}") from error
        self.system.on_breakpoints()
        return result

    def _ioctl(self, task: Task, request: int, argument: int) -> int:
        control, event, group = self.control, self.event, bool(argument & 1)
        if event.state is State.DEAD:
            raise fail(errno.ENODEV)
        match request & 0xFFFF_FFFF:
            case 0x2400:  # ENABLE
                control.enable(event, group=group)
            case 0x2401:  # DISABLE
                control.disable(event, group=group)
            case 0x2403:  # RESET
                control.reset(event, group=group)
            case 0x2402:  # REFRESH
                control.refresh(event, signed(argument))
            case 0x4008_2404:  # PERIOD
                control.period(event, task.unpack("<Q", argument)[0])
            case 0x8008_2407:  # ID
                task.pack("<Q", argument, (event.parent or event).id)
            case 0x2405:  # SET_OUTPUT
                self._set_output(task, argument)
            case 0x4004_2409:  # PAUSE_OUTPUT
                if event.ring is None or not event.ring.size:
                    raise fail(errno.EINVAL)
                event.ring.paused = bool(argument)
            case 0x4008_240B:  # MODIFY_ATTRIBUTES
                control.modify(event, _attr(task, argument), _tracked(task))
            case 0x4008_2406:  # SET_FILTER: breakpoints have none, but the string is fetched first
                try:
                    task.space.text(argument)
                except OSError as error:
                    if error.errno == errno.EFAULT:
                        raise
                raise fail(errno.EINVAL)
            case 0xC008_240A:  # QUERY_BPF
                raise fail(errno.EINVAL if _tracked(task).perfmon_capable else errno.EPERM)
            case 0x4004_2408:  # SET_BPF: no descriptor here is a program's
                task.files[argument & 0xFFFF_FFFF]
                raise fail(errno.EINVAL)
            case _:
                raise fail(errno.ENOTTY)
        return 0

    def _set_output(self, task: Task, fd: int) -> None:
        """perf_event_set_output: records go into another event's ring; -1, in all 64 bits, for none."""
        if fd == _NONE:
            self._attach(None)
            return
        other = task.files[fd]
        if not isinstance(other, PerfFile):
            raise fail(errno.EBADF)
        self.redirect(other)

    def redirect(self, other: PerfFile) -> None:
        """EINVAL where the two events cannot share one ring."""
        event, theirs = self.event, other.event
        if (
            theirs is event
            or theirs.cpu != event.cpu
            or (theirs.cpu == -1 and theirs.target is not event.target)
            or theirs.attr.clockid != event.attr.clockid
            or theirs.attr.flag("write_backward") != event.attr.flag("write_backward")
            or self.mapping is not None
        ):
            raise fail(errno.EINVAL)
        if other.mapping is None:
            raise fail(errno.EINVAL)
        self._attach(other.mapping)

    def _attach(self, mapping: _Mapping | None) -> None:
        event = self.event
        if mapping is None:
            event.ring = None
        else:
            _writes_it_all(event.attr)
            event.ring = mapping.events[0].ring
            mapping.events.append(event)
        self.control.attention(event)

    # -- mmap

    def map(self, task: Task, address: int, size: int, prot: int, flags: int, offset: int) -> int:
        """perf_mmap: the control page, and a power of two of data pages behind it."""
        event, space = self.event, task.space
        if prot & 4:  # anonymous inodes are mounted noexec (mm/mmap.c do_mmap)
            raise fail(errno.EPERM)
        size = page_up(size)
        if (event.attr.flag("inherit") and event.cpu == -1) or not flags & _SHARED:
            raise fail(errno.EINVAL)
        pages = size // PAGE - 1
        if offset or pages & (pages - 1):
            raise fail(errno.EINVAL)
        if event.state is State.DEAD:
            raise fail(errno.ENODEV)
        if self.mapping is not None or event.ring is not None:
            if self.mapping is not None and self.mapping.pages != pages:
                raise fail(errno.EINVAL)
            raise Unsupported("a perf event's ring at two addresses")
        if pages + 1 > _MMAP_PAGES * len(self.kernel.cpus) and not _tracked(task).perfmon_capable:
            raise fail(errno.EPERM)
        _writes_it_all(event.attr)
        mapping = _Mapping(self, space, 0, pages, [event])
        where = address if address else None
        start = space.map(
            where, size, prot & 3, fixed=bool(flags & _FIXED and address), path=self.path, shared=True, backing=mapping
        )  # fmt: skip
        mapping.start, self.mapping = start, mapping
        attr = event.attr
        watermark = attr.flag("watermark")
        event.ring = RingBuffer(
            pages,
            mapping.read,
            mapping.write,
            overwrite=not prot & WRITE,
            backward=attr.flag("write_backward"),
            watermark=attr.wakeup if watermark else 0,
            wakeup_events=0 if watermark else attr.wakeup,
        )
        self.control.attention(event)
        return start


def _writes_it_all(attr: Attr) -> None:
    """The machine writes every field and record that the attr asks for, or the task stops here."""
    missing = [name for name, bit in SAMPLE.items() if attr.sample_type & bit & ~SUPPORTED]
    missing += [name for name in _NOT_WRITTEN if attr.flag(name)]
    if missing:
        raise Unsupported(f"perf records with {', '.join(missing)}")


def _attr(task: Task, address: int) -> bytes:
    """`struct perf_event_attr` as perf_copy_attr reads it (EFAULT; E2BIG, and the known size is written back)."""
    (size,) = task.unpack("<I", address + _SIZE_AT)
    size = size or _VER0
    if not _VER0 <= size <= PAGE:
        task.pack("<I", address + _SIZE_AT, ATTR_SIZE)
        raise fail(errno.E2BIG)
    at = address + ATTR_SIZE
    while at < address + size:  # check_zeroed_user: a byte that is set is met before memory that is not there
        piece = min(address + size, at // PAGE * PAGE + PAGE) - at
        if any(task.space.copy_out(at, piece)):
            task.pack("<I", address + _SIZE_AT, ATTR_SIZE)
            raise fail(errno.E2BIG)
        at += piece
    return task.space.copy_out(address, size)


def perf_event_open(task: Task, attr: int, pid: int, cpu: int, group: int, flags: int, *_: int) -> int:
    kernel, files = _kernel(task), task.files
    if flags & ~0xF:
        raise fail(errno.EINVAL)
    data = _attr(task, attr)
    found: list[PerfFile] = []

    def leader() -> PerfEvent | None:
        if signed(group) == -1:
            return None
        file = files[group]
        if not isinstance(file, PerfFile):
            raise HwbpError(f"{signed(group)} is no perf event's descriptor", errno="EBADF")
        found.append(file)
        return file.event

    owner = Owner("perf", task.pid, task.comm)
    try:
        event = kernel.perf.opening.open(_tracked(task), data, signed(pid), signed(cpu), flags, leader, owner)
    except HwbpError as error:
        wish = Attr.unpack(data)
        raise _refused(task, error, f"task {task.tid} asks for {wish.bp_addr:#x}/{wish.bp_len}") from error
    file = PerfFile(task, event)
    try:
        if flags & _FD_OUTPUT and found:
            file.redirect(found[0])
        fd = files.add(file, close_on_exec=bool(flags & FD_CLOEXEC))
    except OSError:
        if event.state is not State.DEAD:
            kernel.perf.control.free(event)
        raise
    event.owner = replace(event.owner, fd=fd)
    task.opened.append(event)
    task.system.on_breakpoints()
    return fd


def all_of_the_task(task: Task, *, on: bool) -> int:
    """prctl(PR_TASK_PERF_EVENTS_ENABLE or _DISABLE): every event that this task has opened."""
    control = _kernel(task).perf.control
    task.opened = [event for event in task.opened if event.state is not State.DEAD and event.owned]
    for event in task.opened:
        (control.enable if on else control.disable)(event)
    task.system.on_breakpoints()
    return 0


HANDLERS: Mapping[str, Handler] = {"perf_event_open": perf_event_open}
