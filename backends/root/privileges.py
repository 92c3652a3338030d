"""What the root process keeps of root, and gives up: capabilities(7), prctl(2), setrlimit(2).

It ends up as the user who asked, with the few capabilities below and no way to more. It is not dumpable, so that other
processes of that user cannot trace it.
"""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Iterable
from enum import IntEnum
from typing import Final

__all__ = ["Capability", "drop", "held"]


class Capability(IntEnum):
    """include/uapi/linux/capability.h"""

    DAC_READ_SEARCH = 2
    """/proc/PID/mem of another user"""
    SYS_PTRACE = 19
    """the same, and /proc/PID/exe and maps"""
    SYS_ADMIN = 21
    """breakpoints on kernel addresses (arch/x86/kernel/hw_breakpoint.c, hw_breakpoint_arch_parse)"""
    SYSLOG = 34
    """the names of the kernel's own handlers (/proc/kallsyms)"""
    PERFMON = 38
    """events on another user's process"""
    BPF = 39
    """maps and programs"""


_KEPT: Final = (
    Capability.DAC_READ_SEARCH,
    Capability.SYS_PTRACE,
    Capability.SYSLOG,
    Capability.PERFMON,
    Capability.BPF,
)
_PR_SET_DUMPABLE, _PR_SET_KEEPCAPS, _PR_CAPBSET_DROP = 4, 8, 24
_PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
_CAPABILITY_VERSION_3: Final = 0x20080522
_LAST: Final = 63

_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def _prctl(option: int, *values: int) -> int:
    result: int = _libc.prctl(option, *(ctypes.c_ulong(value) for value in (*values, 0, 0, 0, 0)[:4]))
    return result


def _must(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def drop(uid: int, gid: int, *, kernel: bool) -> None:
    """Become that user with the kept capabilities alone; with `kernel` also the one that kernel addresses take. OSError."""
    kept = {*_KEPT, Capability.SYS_ADMIN} if kernel else {*_KEPT}
    for number in range(_LAST + 1):
        if number not in kept:
            _prctl(_PR_CAPBSET_DROP, number)  # those that this kernel does not know are refused
    _must(_prctl(_PR_SET_KEEPCAPS, 1), "keeping capabilities")
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    _set({*kept} & held())
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    _must(_prctl(_PR_SET_NO_NEW_PRIVS, 1), "giving up new privileges")
    _must(_prctl(_PR_SET_DUMPABLE, 0), "being undumpable")
    for limit in (resource.RLIMIT_NPROC, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        resource.setrlimit(limit, (0, 0))


def held() -> set[int]:
    """The capabilities that this process may use or make usable."""
    header, data = _Header(_CAPABILITY_VERSION_3, 0), (_Data * 2)()
    _must(_libc.capget(ctypes.byref(header), ctypes.byref(data)), "capget")
    return {n for n in range(_LAST + 1) if data[n // 32].permitted >> n % 32 & 1}


def _set(capabilities: Iterable[int]) -> None:
    header, data = _Header(_CAPABILITY_VERSION_3, 0), (_Data * 2)()
    for number in capabilities:
        data[number // 32].permitted |= 1 << number % 32
        data[number // 32].effective |= 1 << number % 32
    _must(_libc.capset(ctypes.byref(header), ctypes.byref(data)), "capset")
