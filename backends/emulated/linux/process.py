"""System calls about the process itself: who it is, its end, its limits, and what it may not start."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping

from backends.emulated.linux.paths import AT_FDCWD, resolve, signed
from backends.emulated.linux.state import (
    GID,
    PID,
    PPID,
    TRANSFER_LIMIT,
    UID,
    Handler,
    State,
    Unsupported,
    fail,
)
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
    def handler(state: State, *_: int) -> int:
        return value

    return handler


def _error(code: int) -> Handler:
    def handler(state: State, *_: int) -> int:
        raise fail(code)

    return handler


def _unsupported(what: str) -> Handler:
    def handler(state: State, *_: int) -> int:
        raise Unsupported(what)

    return handler


def exit_(state: State, status: int, *_: int) -> None:
    state.exit_status = status & 0xFF


def arch_prctl(state: State, code: int, address: int, *_: int) -> int:
    registers = {0x1002: "FS_BASE", 0x1001: "GS_BASE"}  # ARCH_SET_FS, ARCH_SET_GS
    if code in registers:
        if address >> 47:
            raise fail(errno.EPERM)
        state.engine.set(registers[code], address)
        return 0
    readers = {0x1003: "FS_BASE", 0x1004: "GS_BASE"}  # ARCH_GET_FS, ARCH_GET_GS
    if code not in readers:
        raise fail(errno.EINVAL)
    state.pack("<Q", address, state.engine.get(readers[code]))
    return 0


def set_tid_address(state: State, address: int, *_: int) -> int:
    return PID


def uname(state: State, buffer: int, *_: int) -> int:
    state.space.copy_in(buffer, b"".join(word.encode().ljust(65, b"\0") for word in _UTSNAME))
    return 0


def sysinfo(state: State, buffer: int, *_: int) -> int:
    """`struct sysinfo`, 112 bytes: 1 GiB, half of it free."""
    layout = "<qQQQQQQQQQHH4xQQI4x"
    seconds = state.now() // 10**9
    state.pack(layout, buffer, seconds, 0, 0, 0, 1 << 30, 1 << 29, 0, 0, 0, 0, 1, 0, 0, 0, 1)
    return 0


def prlimit64(state: State, pid: int, resource: int, new: int, old: int, *_: int) -> int:
    if signed(pid) not in (0, PID):
        raise fail(errno.ESRCH)
    if resource > 15:
        raise fail(errno.EINVAL)
    wanted = state.unpack("<QQ", new) if new else None
    if old:
        state.pack("<QQ", old, *state.limits.get(resource, _LIMITS.get(resource, (_INFINITY, _INFINITY))))
    if wanted is not None:
        if wanted[0] > wanted[1]:
            raise fail(errno.EINVAL)
        state.limits[resource] = (wanted[0], wanted[1])
    return 0


def getrlimit(state: State, resource: int, buffer: int, *_: int) -> int:
    return prlimit64(state, 0, resource, 0, buffer)


def setrlimit(state: State, resource: int, buffer: int, *_: int) -> int:
    return prlimit64(state, 0, resource, buffer, 0)


def getrandom(state: State, buffer: int, size: int, flags: int, *_: int) -> int:
    if flags & ~7:
        raise fail(errno.EINVAL)
    data = state.random.randbytes(min(size, TRANSFER_LIMIT))
    state.space.copy_in(buffer, data)
    return len(data)


def prctl(state: State, option: int, argument: int, *_: int) -> int:
    match option:
        case 15:  # PR_SET_NAME
            state.comm = state.space.text(argument, 256)[:15].decode("utf-8", "surrogateescape")
            return 0
        case 16:  # PR_GET_NAME
            state.space.copy_in(argument, state.comm.encode("utf-8", "surrogateescape")[:15].ljust(16, b"\0"))
            return 0
        case 3:  # PR_GET_DUMPABLE
            return 1
        case 1 | 4 | 38 | 0x53564D41:  # PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_SET_VMA
            return 0
        case _:
            raise fail(errno.EINVAL)


def sched_getaffinity(state: State, pid: int, size: int, buffer: int, *_: int) -> int:
    if size < 8 or size % 8:
        raise fail(errno.EINVAL)
    state.pack("<Q", buffer, 1)
    return 8


def getcpu(state: State, cpu: int, node: int, *_: int) -> int:
    for address in (cpu, node):
        if address:
            state.pack("<I", address, 0)
    return 0


def _three_ids(value: int) -> Handler:
    def handler(state: State, first: int, second: int, third: int, *_: int) -> int:
        for address in (first, second, third):
            state.pack("<I", address, value)
        return 0

    return handler


def futex(state: State, word: int, operation: int, value: int, timeout: int, *_: int) -> int:
    """Alone, a waker finds nobody, and a waiter would wait for ever."""
    command = operation & 0x7F
    if word % 4:
        raise fail(errno.EINVAL)
    if command in (1, 3, 4, 10):  # WAKE, REQUEUE, CMP_REQUEUE, WAKE_BITSET
        return 0
    if command not in (0, 9):  # WAIT, WAIT_BITSET
        raise fail(errno.ENOSYS)
    (now,) = state.unpack("<I", word)
    if now != value & 0xFFFF_FFFF:
        raise fail(errno.EAGAIN)
    if not timeout:
        raise Unsupported("a futex wait that nobody can end")
    seconds, nanoseconds = state.unpack("<qq", timeout)
    state.sleep_until(state.now() + seconds * 10**9 + nanoseconds if command == 0 else state.now())
    raise fail(errno.ETIMEDOUT)


def execve(state: State, path: int, *_: int) -> int:
    raise state.refuse("exec", f"execve {resolve(state, AT_FDCWD, state.path(path))}")


def execveat(state: State, dirfd: int, path: int, *_: int) -> int:
    raise state.refuse("exec", f"execveat {state.path(path)}")


def _refused(word: str, what: str, code: int) -> Handler:
    def handler(state: State, *_: int) -> int:
        raise state.refuse(word, what, code)

    return handler


def socket(state: State, family: int, *_: int) -> int:
    names = {1: "unix", 2: "IPv4", 10: "IPv6", 16: "netlink"}
    raise state.refuse("network", f"socket ({names.get(family, f'family {family}')})")


def _own_only(answer: Callable[[], int]) -> Handler:
    def handler(state: State, pid: int, *_: int) -> int:
        if signed(pid) not in (0, PID):
            raise fail(errno.ESRCH)
        return answer()

    return handler


_STARTS = ("fork", "vfork", "clone", "clone3")
_NO_PEER = ("connect", "bind", "listen", "accept", "accept4", "shutdown", "getsockname", "getpeername")
_NO_PEER_EITHER = ("sendto", "recvfrom", "sendmsg", "recvmsg", "setsockopt", "getsockopt")

HANDLERS: Mapping[str, Handler] = {
    "exit": exit_,
    "exit_group": exit_,
    "arch_prctl": arch_prctl,
    "set_tid_address": set_tid_address,
    "set_robust_list": _constant(0),
    "getpid": _constant(PID),
    "gettid": _constant(PID),
    "getppid": _constant(PPID),
    "getpgrp": _constant(PID),
    "getpgid": _own_only(lambda: PID),
    "getsid": _own_only(lambda: PID),
    "setsid": _error(errno.EPERM),
    "setpgid": _own_only(lambda: 0),
    "getuid": _constant(UID),
    "geteuid": _constant(UID),
    "getgid": _constant(GID),
    "getegid": _constant(GID),
    "getresuid": _three_ids(UID),
    "getresgid": _three_ids(GID),
    "getgroups": _constant(0),
    "capget": _error(errno.EPERM),
    "setuid": lambda state, uid, *_: _same(uid, UID),
    "setgid": lambda state, gid, *_: _same(gid, GID),
    "uname": uname,
    "sysinfo": sysinfo,
    "prlimit64": prlimit64,
    "getrlimit": getrlimit,
    "setrlimit": setrlimit,
    "getrandom": getrandom,
    "prctl": prctl,
    "sched_yield": _constant(0),
    "sched_getaffinity": sched_getaffinity,
    "sched_setaffinity": _constant(0),
    "sched_getscheduler": _constant(0),
    "getpriority": _constant(20),
    "setpriority": _constant(0),
    "personality": _constant(0),
    "getcpu": getcpu,
    "futex": futex,
    "execve": execve,
    "execveat": execveat,
    "wait4": _error(errno.ECHILD),
    "waitid": _error(errno.ECHILD),
    "socket": socket,
    "socketpair": _refused("network", "socketpair", errno.EACCES),
    "ptrace": _refused("kill", "ptrace", errno.EPERM),
    **{name: _unsupported(f"{name}: another task or process") for name in _STARTS},
    **{name: _error(errno.ENOTSOCK) for name in (*_NO_PEER, *_NO_PEER_EITHER)},
}


def _same(wanted: int, own: int) -> int:
    if wanted & 0xFFFF_FFFF != own:
        raise fail(errno.EPERM)
    return 0
