"""perf_event_open() for breakpoints: attributes, ioctls, and errors that say what to do.

Layout of the attribute: struct perf_event_attr, include/uapi/linux/perf_event.h (PERF_ATTR_SIZE_VER7, 128 bytes).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from enum import IntFlag
from typing import Final

from backends.base import HwbpError
from backends.model import WatchType
from symbols.dataclass import dataclass

__all__ = [
    "Counts",
    "Flag",
    "SampleType",
    "attributes",
    "breakpoint_attributes",
    "disable",
    "enable",
    "event_id",
    "for_whole_cpus",
    "idle_attributes",
    "is_for_whole_cpus",
    "modify",
    "moved",
    "open_event",
    "read_counts",
    "redirect_output",
    "refusal",
    "set_program",
    "sideband_attributes",
]

_SYS_PERF_EVENT_OPEN: Final = 298  # x86-64
_TYPE_SOFTWARE: Final = 1
_TYPE_BREAKPOINT: Final = 5
_COUNT_SW_DUMMY: Final = 9
_FLAG_FD_CLOEXEC: Final = 8
_IOC_ENABLE: Final = 0x2400
_IOC_DISABLE: Final = 0x2401
_IOC_SET_OUTPUT: Final = 0x2405
_IOC_ID: Final = 0x80082407
_IOC_SET_BPF: Final = 0x40042408
_IOC_MODIFY_ATTRIBUTES: Final = 0x4008240B
_IOC_FLAG_GROUP: Final = 0
_FORMAT_LOST: Final = 1 << 4
_BP_TYPES: Final = {"w": 2, "rw": 3, "x": 4}
_SIZE: Final = 128
_CLOCK_MONOTONIC: Final = 1

_libc = ctypes.CDLL(None, use_errno=True)


class Flag(IntFlag):
    """Bits of the attribute's flag word."""

    DISABLED = 1 << 0
    INHERIT = 1 << 1
    EXCLUDE_KERNEL = 1 << 5
    EXCLUDE_HV = 1 << 6
    MMAP = 1 << 8
    COMM = 1 << 9
    TASK = 1 << 13
    WATERMARK = 1 << 14
    SAMPLE_ID_ALL = 1 << 18
    MMAP2 = 1 << 23
    COMM_EXEC = 1 << 24
    USE_CLOCKID = 1 << 25
    INHERIT_THREAD = 1 << 35
    REMOVE_ON_EXEC = 1 << 36


class SampleType(IntFlag):
    """PERF_SAMPLE_*."""

    IP = 1 << 0
    TID = 1 << 1
    TIME = 1 << 2
    ADDR = 1 << 3
    CALLCHAIN = 1 << 5
    ID = 1 << 6
    CPU = 1 << 7
    REGS_USER = 1 << 12
    STACK_USER = 1 << 13
    IDENTIFIER = 1 << 16
    REGS_INTR = 1 << 18


class _Attr(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("config", ctypes.c_uint64),
        ("sample_period", ctypes.c_uint64),
        ("sample_type", ctypes.c_uint64),
        ("read_format", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
        ("wakeup", ctypes.c_uint32),
        ("bp_type", ctypes.c_uint32),
        ("bp_addr", ctypes.c_uint64),
        ("bp_len", ctypes.c_uint64),
        ("branch_sample_type", ctypes.c_uint64),
        ("sample_regs_user", ctypes.c_uint64),
        ("sample_stack_user", ctypes.c_uint32),
        ("clockid", ctypes.c_int32),
        ("sample_regs_intr", ctypes.c_uint64),
        ("aux_watermark", ctypes.c_uint32),
        ("sample_max_stack", ctypes.c_uint16),
        ("reserved_2", ctypes.c_uint16),
        ("aux_sample_size", ctypes.c_uint32),
        ("reserved_3", ctypes.c_uint32),
        ("sig_data", ctypes.c_uint64),
    )


assert ctypes.sizeof(_Attr) == _SIZE

Attributes = _Attr
"""A struct perf_event_attr."""


def attributes(kind: int, config: int, flags: Flag) -> Attributes:
    """An attribute with the clock that all our records share: CLOCK_MONOTONIC, which BPF's ktime is too."""
    return _Attr(
        type=kind, size=_SIZE, config=config, flags=flags | Flag.USE_CLOCKID, clockid=_CLOCK_MONOTONIC
    )


def breakpoint_attributes(
    address: int, length: int, kind: WatchType, *, children: bool, kernel: bool, sampled: bool
) -> Attributes:
    """One breakpoint, disabled, every hit an overflow.

    An execute breakpoint has the length of a long (hw_breakpoint.c, arch_build_bp_info: anything else is EINVAL).
    It is removed where its task calls exec: its address means nothing in the new image.
    """
    flags = Flag.DISABLED | Flag.INHERIT | Flag.EXCLUDE_HV | Flag.REMOVE_ON_EXEC
    if not children:
        flags |= Flag.INHERIT_THREAD
    if not kernel:
        flags |= Flag.EXCLUDE_KERNEL
    attr = attributes(_TYPE_BREAKPOINT, 0, flags)
    attr.bp_type = _BP_TYPES[kind]
    attr.bp_addr = address
    attr.bp_len = 8 if kind == "x" else length
    attr.sample_period = 1
    attr.read_format = _FORMAT_LOST if sampled else 0
    return attr


_OF_TASKS: Final = Flag.INHERIT | Flag.INHERIT_THREAD | Flag.REMOVE_ON_EXEC


def for_whole_cpus(attr: Attributes) -> None:
    """Make a breakpoint's attribute one for events of CPUs: there is no task whose life it follows."""
    attr.flags &= ~int(_OF_TASKS)


def is_for_whole_cpus(attr: Attributes) -> bool:
    """Whether `for_whole_cpus` has been there."""
    return not attr.flags & Flag.INHERIT


def sideband_attributes(*, children: bool) -> Attributes:
    """No event at all, but the records about mappings, names, threads and exits of a task."""
    flags = (
        Flag.INHERIT | Flag.MMAP | Flag.MMAP2 | Flag.COMM | Flag.COMM_EXEC | Flag.TASK | Flag.SAMPLE_ID_ALL
    )
    if not children:
        flags |= Flag.INHERIT_THREAD
    attr = attributes(_TYPE_SOFTWARE, _COUNT_SW_DUMMY, flags | Flag.EXCLUDE_KERNEL | Flag.EXCLUDE_HV)
    attr.sample_type = SampleType.TID | SampleType.TIME
    return attr


def idle_attributes() -> Attributes:
    """An event that never happens, to own a ring."""
    flags = Flag.DISABLED | Flag.EXCLUDE_KERNEL | Flag.EXCLUDE_HV | Flag.WATERMARK
    return attributes(_TYPE_SOFTWARE, _COUNT_SW_DUMMY, flags)


def open_event(attr: Attributes, pid: int, cpu: int = -1) -> int:
    """perf_event_open(2) for a thread (or with -1 for every task of a CPU): its descriptor. Raises OSError."""
    fd: int = _libc.syscall(_SYS_PERF_EVENT_OPEN, ctypes.byref(attr), pid, cpu, -1, _FLAG_FD_CLOEXEC)
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return fd


def enable(fd: int) -> None:
    """Count and record from now on, in the children that inherited it too."""
    fcntl.ioctl(fd, _IOC_ENABLE, _IOC_FLAG_GROUP)


def disable(fd: int) -> None:
    """Stop counting; the slot stays reserved (kernel/events/hw_breakpoint.c reserves at creation)."""
    fcntl.ioctl(fd, _IOC_DISABLE, _IOC_FLAG_GROUP)


def set_program(fd: int, program: int) -> None:
    """Run a BPF program at each overflow. It must happen before the task has children: they copy what is there."""
    fcntl.ioctl(fd, _IOC_SET_BPF, program)


def moved(attr: Attributes, address: int, length: int, kind: WatchType) -> Attributes:
    """The same attribute for another window, still disabled."""
    copy = _Attr.from_buffer_copy(attr)
    copy.bp_addr, copy.bp_type, copy.bp_len = address, _BP_TYPES[kind], 8 if kind == "x" else length
    return copy


def modify(fd: int, attr: Attributes) -> None:
    """Give a disabled event another window; its register and its count stay, in the children that inherited it too.

    Nothing but address, length and type may differ from what it was opened with (EINVAL; kernel/events/core.c,
    perf_event_modify_attr). ENOTTY before Linux 4.17.
    """
    fcntl.ioctl(fd, _IOC_MODIFY_ATTRIBUTES, bytearray(bytes(attr)))


def redirect_output(fd: int, to: int) -> None:
    """Write this event's records into another event's ring (EINVAL where their CPUs or clocks differ)."""
    fcntl.ioctl(fd, _IOC_SET_OUTPUT, to)


def event_id(fd: int) -> int:
    """The number that records carry."""
    return int(struct.unpack("<Q", fcntl.ioctl(fd, _IOC_ID, bytes(8)))[0])


@dataclass(frozen=True, slots=True)
class Counts:
    """What the kernel counted: `hits`, and `lost` records that found no room (0 for an event without records)."""

    hits: int
    lost: int


def read_counts(fd: int, *, sampled: bool) -> Counts:
    """The event's own count, that of its inherited copies added."""
    data = os.read(fd, 32)
    if sampled:
        return Counts(*struct.unpack_from("<QQ", data))
    return Counts(struct.unpack_from("<Q", data)[0], 0)


_PARANOID: Final = "/proc/sys/kernel/perf_event_paranoid"


def _paranoid() -> str:
    try:
        with open(_PARANOID, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return "unknown"


def refusal(error: OSError, what: str, target: str, holders: tuple[str, ...] = ()) -> HwbpError:
    """What the kernel's errno means for a breakpoint, and what to do next."""
    number = error.errno or 0
    name = errno.errorcode.get(number, str(number))
    why, remedy = {
        errno.ENOSPC: (
            "no debug register is free: x86 has four, and a task gets those that no other breakpoint on it, "
            "or on any CPU, holds",
            f"`{'sudo ' if os.geteuid() else ''}hwbp-tui slots` shows who holds them",
        ),
        errno.EACCES: (
            f"not permitted (perf_event_paranoid is {_paranoid()})",
            "as root, with CAP_PERFMON, or: sysctl kernel.perf_event_paranoid=2",
        ),
        errno.EPERM: (
            "not permitted: another user's process, or a filter (seccomp) that forbids perf_event_open",
            "as root, or with CAP_PERFMON and CAP_SYS_PTRACE",
        ),
        errno.ESRCH: ("no such process", ""),
        errno.EINVAL: (
            "the kernel takes no such breakpoint: address, length or type is not one it supports",
            "",
        ),
        errno.ENOENT: ("this kernel has no breakpoint events", ""),
        errno.EMFILE: ("too many open descriptors", "ulimit -n shows the limit; raise it"),
        errno.ENOMEM: (
            "no memory may be locked for hits: other rings of this user have it",
            "end them, ulimit -l, or sysctl kernel.perf_event_mlock_kb",
        ),
        errno.EPIPE: ("the root process has ended, and it opened the events", "start again with --sudo"),
        errno.ENOSYS: ("perf_event_open is not available here (a container's filter?)", ""),
        errno.EOPNOTSUPP: ("this machine has no hardware breakpoints", ""),
    }.get(number, (os.strerror(number), ""))
    return HwbpError(f"{what} on {target}: {why}", errno=name, holders=holders, remedy=remedy)
