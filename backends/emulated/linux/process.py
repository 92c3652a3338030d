"""System calls about the process itself: who it is, its limits, where it may run, and what it may not do."""

from __future__ import annotations

import errno
from collections.abc import Mapping

from backends.emulated.linux.paths import signed
from backends.emulated.linux.perf_events import all_of_the_task
from backends.emulated.linux.state import GID, TRANSFER_LIMIT, UID, Handler, Process, Task, fail
from backends.emulated.loader import STACK_LIMIT

__all__ = ["HANDLERS"]

_INFINITY = (1 << 64) - 1
_LIMITS = {
    3: (STACK_LIMIT, _INFINITY),
    4: (0, _INFINITY),
    6: (4096, 4096),
    7: (1024, 4096),
}  # STACK CORE NPROC NOFILE
_UTSNAME = ("Linux", "hwbp-tui", "6.1.0", "#1 SMP", "x86_64", "(none)")


def _constant(value: int) -> Handler:
    def handler(task: Task, *_: int) -> int:
        return value

    return handler


def _error(code: int) -> Handler:
    def handler(task: Task, *_: int) -> int:
        raise fail(code)

    return handler


def arch_prctl(task: Task, code: int, address: int, *_: int) -> int:
    registers = {0x1002: "FS_BASE", 0x1001: "GS_BASE"}  # ARCH_SET_FS, ARCH_SET_GS
    if code in registers:
        if address >> 47:
            raise fail(errno.EPERM)
        task.engine.set(registers[code], address)
        return 0
    readers = {0x1003: "FS_BASE", 0x1004: "GS_BASE"}  # ARCH_GET_FS, ARCH_GET_GS
    if code not in readers:
        raise fail(errno.EINVAL)
    task.pack("<Q", address, task.engine.get(readers[code]))
    return 0


def set_tid_address(task: Task, address: int, *_: int) -> int:
    task.clear_child_tid = address
    return task.tid


def uname(task: Task, buffer: int, *_: int) -> int:
    task.space.copy_in(buffer, b"".join(word.encode().ljust(65, b"\0") for word in _UTSNAME))
    return 0


def sysinfo(task: Task, buffer: int, *_: int) -> int:
    """`struct sysinfo`, 112 bytes: 1 GiB, half of it free."""
    layout = "<qQQQQQQQQQHH4xQQI4x"
    seconds = task.now() // 10**9
    task.pack(layout, buffer, seconds, 0, 0, 0, 1 << 30, 1 << 29, 0, 0, 0, 0, 1, 0, 0, 0, 1)
    return 0


def prlimit64(task: Task, pid: int, resource: int, new: int, old: int, *_: int) -> int:
    if signed(pid) not in (0, task.pid):
        raise fail(errno.ESRCH)
    if resource > 15:
        raise fail(errno.EINVAL)
    wanted = task.unpack("<QQ", new) if new else None
    if old:
        task.pack("<QQ", old, *task.limits.get(resource, _LIMITS.get(resource, (_INFINITY, _INFINITY))))
    if wanted is not None:
        if wanted[0] > wanted[1]:
            raise fail(errno.EINVAL)
        task.limits[resource] = (wanted[0], wanted[1])
    return 0


def getrlimit(task: Task, resource: int, buffer: int, *_: int) -> int:
    return prlimit64(task, 0, resource, 0, buffer)


def setrlimit(task: Task, resource: int, buffer: int, *_: int) -> int:
    return prlimit64(task, 0, resource, buffer, 0)


def getrandom(task: Task, buffer: int, size: int, flags: int, *_: int) -> int:
    if flags & ~7:
        raise fail(errno.EINVAL)
    data = task.random.randbytes(min(size, TRANSFER_LIMIT))
    task.space.copy_in(buffer, data)
    return len(data)


def prctl(task: Task, option: int, argument: int, *_: int) -> int:
    match option:
        case 15:  # PR_SET_NAME
            task.comm = task.space.text(argument, 256)[:15].decode("utf-8", "surrogateescape")
            if (kernel := task.system.kernel) is not None:
                kernel.rename(kernel.task(task.tid), task.comm)
            return 0
        case 16:  # PR_GET_NAME
            task.space.copy_in(argument, task.comm.encode("utf-8", "surrogateescape")[:15].ljust(16, b"\0"))
            return 0
        case 3:  # PR_GET_DUMPABLE
            return 1
        case 31 | 32:  # PR_TASK_PERF_EVENTS_DISABLE, PR_TASK_PERF_EVENTS_ENABLE
            return all_of_the_task(task, on=option == 32)
        case 1 | 4 | 38 | 0x53564D41:  # PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_SET_VMA
            return 0
        case _:
            raise fail(errno.EINVAL)


def _task(task: Task, tid: int) -> Task:
    other = task.system.tasks.get(signed(tid)) if signed(tid) else task
    if other is None:
        raise fail(errno.ESRCH)
    return other


def sched_getaffinity(task: Task, tid: int, size: int, buffer: int, *_: int) -> int:
    if size < 8 or size % 8:
        raise fail(errno.EINVAL)
    scheduler = task.system.scheduler
    task.pack("<Q", buffer, sum(1 << cpu for cpu in scheduler.cpus_of(_task(task, tid))))
    return 8


def sched_setaffinity(task: Task, tid: int, size: int, buffer: int, *_: int) -> int:
    other = _task(task, tid)
    if not size:
        raise fail(errno.EINVAL)
    mask = int.from_bytes(task.space.copy_out(buffer, min(size, 8)), "little")
    scheduler = task.system.scheduler
    allowed = frozenset(cpu for cpu in range(len(scheduler.queues)) if mask >> cpu & 1)
    if not allowed:
        raise fail(errno.EINVAL)
    scheduler.pin(other, None if len(allowed) == len(scheduler.queues) else allowed)
    return 0


def sched_yield(task: Task, *_: int) -> int:
    task.system.scheduler.left[task.cpu] = 0
    return 0


def getcpu(task: Task, cpu: int, node: int, *_: int) -> int:
    for address, value in ((cpu, task.cpu), (node, 0)):
        if address:
            task.pack("<I", address, value)
    return 0


def _three_ids(value: int) -> Handler:
    def handler(task: Task, first: int, second: int, third: int, *_: int) -> int:
        for address in (first, second, third):
            task.pack("<I", address, value)
        return 0

    return handler


def _refused(word: str, what: str, code: int) -> Handler:
    def handler(task: Task, *_: int) -> int:
        raise task.refuse(word, what, code)

    return handler


def socket(task: Task, family: int, *_: int) -> int:
    names = {1: "unix", 2: "IPv4", 10: "IPv6", 16: "netlink"}
    raise task.refuse("network", f"socket ({names.get(family, f'family {family}')})")


def _process(task: Task, pid: int) -> Process:
    process = task.system.processes.get(signed(pid) or task.pid)
    if process is None:
        raise fail(errno.ESRCH)
    return process


def setpgid(task: Task, pid: int, group: int, *_: int) -> int:
    process = _process(task, pid)
    if process is not task.process and process.parent is not task.process:
        raise fail(errno.ESRCH)
    if signed(group) < 0:
        raise fail(errno.EINVAL)
    process.pgid = signed(group) or process.pid
    return 0


def setsid(task: Task, *_: int) -> int:
    if any(process.pgid == task.pid for process in task.system.processes.values()):
        raise fail(errno.EPERM)
    task.process.pgid = task.process.sid = task.pid
    return task.pid


_NO_PEER = ("connect", "bind", "listen", "accept", "accept4", "shutdown", "getsockname", "getpeername")
_NO_PEER_EITHER = ("sendmsg", "recvmsg", "setsockopt", "getsockopt")

HANDLERS: Mapping[str, Handler] = {
    "arch_prctl": arch_prctl,
    "set_tid_address": set_tid_address,
    "getpid": lambda task, *_: task.pid,
    "gettid": lambda task, *_: task.tid,
    "getppid": lambda task, *_: task.ppid,
    "getpgrp": lambda task, *_: task.process.pgid,
    "getpgid": lambda task, pid, *_: _process(task, pid).pgid,
    "getsid": lambda task, pid, *_: _process(task, pid).sid,
    "setsid": setsid,
    "setpgid": setpgid,
    "getuid": _constant(UID),
    "geteuid": _constant(UID),
    "getgid": _constant(GID),
    "getegid": _constant(GID),
    "getresuid": _three_ids(UID),
    "getresgid": _three_ids(GID),
    "getgroups": _constant(0),
    "capget": _error(errno.EPERM),
    "setuid": lambda task, uid, *_: _same(uid, UID),
    **dict.fromkeys(("setreuid", "setresuid"), lambda task, *ids: _all_same(ids, UID)),
    **dict.fromkeys(("setregid", "setresgid"), lambda task, *ids: _all_same(ids, GID)),
    "setgid": lambda task, gid, *_: _same(gid, GID),
    "uname": uname,
    "sysinfo": sysinfo,
    "prlimit64": prlimit64,
    "getrlimit": getrlimit,
    "setrlimit": setrlimit,
    "getrandom": getrandom,
    "prctl": prctl,
    "sched_yield": sched_yield,
    "sched_getaffinity": sched_getaffinity,
    "sched_setaffinity": sched_setaffinity,
    "sched_getscheduler": _constant(0),
    "getpriority": _constant(20),
    "setpriority": _constant(0),
    "personality": _constant(0),
    "getcpu": getcpu,
    "socket": socket,
    "ptrace": _refused("kill", "ptrace", errno.EPERM),
    **{name: _error(errno.ENOTSOCK) for name in (*_NO_PEER, *_NO_PEER_EITHER)},
}


def _all_same(ids: tuple[int, ...], own: int) -> int:
    """The ids of setresuid(2) and its kin, -1 for those that stay (the rest of the six arguments is not looked at)."""
    for wanted in ids[:2]:
        if wanted & 0xFFFF_FFFF != 0xFFFF_FFFF:
            _same(wanted & 0xFFFF_FFFF, own)
    return 0


def _same(wanted: int, own: int) -> int:
    if wanted & 0xFFFF_FFFF != own:
        raise fail(errno.EPERM)
    return 0
