"""Which file a path means to the program: the host's, except where the host would show the emulator itself."""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from backends.emulated.linux.descriptors import File, HostFile, Null, RandomBytes, TextFile
from backends.emulated.linux.state import PID, Task, fail

__all__ = ["AT_FDCWD", "OWN", "open_host", "open_special", "own_link", "resolve", "signed"]

AT_FDCWD = -100
OWN = f"/proc/{PID}"
"""The calling process's own directory, whatever its number is; never a process of the host."""
_NAMES = ("self", "thread-self")
_MAX_LINKS = 40
_CPUINFO = """processor\t: {cpu}
vendor_id\t: AuthenticAMD
cpu family\t: 15
model\t\t: 4
model name\t: hwbp-tui emulated x86-64
cpu cores\t: {cpus}
flags\t\t: fpu tsc cx8 cmov mmx fxsr sse sse2 syscall nx rdtscp lm cx16 lahf_lm
bugs\t\t:

"""
_FIXED = {
    "/proc/meminfo": "MemTotal:        1048576 kB\nMemFree:          524288 kB\nMemAvailable:     524288 kB\n",
    "/proc/loadavg": "0.00 0.00 0.00 1/1 1000\n",
}


def signed(value: int, bits: int = 32) -> int:
    """The low bits of a register as C's int (or long)."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def resolve(task: Task, dirfd: int, path: str, *, follow: bool = True) -> str:
    """The absolute path after all links but, unless `follow`, the last; what lies in the program's own /proc
    directory comes out as /proc/self/..., never as the emulator's.
    """
    if not path:
        raise fail(errno.ENOENT)
    base = task.process.cwd
    if not path.startswith("/") and signed(dirfd) != AT_FDCWD:
        directory = task.files[dirfd]
        if not stat.S_ISDIR(directory.status().st_mode):
            raise fail(errno.ENOTDIR)
        base = directory.path
    todo = [part for part in os.path.join(base, path).split("/") if part not in ("", ".")][::-1]
    done = "/"
    links = 0
    while todo:
        part = todo.pop()
        if part == "..":
            if not os.path.isdir(done):
                raise fail(errno.ENOTDIR if os.path.exists(done) else errno.ENOENT)
            done = os.path.dirname(done)
            continue
        if done == "/proc" and (part in _NAMES or part.isdigit()):
            if part not in (*_NAMES, str(task.pid)):
                raise fail(errno.ENOENT)
            rest = [part, *todo[::-1]][1:]
            if not rest:
                return "/proc/self" if part == "self" and not follow else OWN
            return _own("/".join(rest), task, follow)
        done = os.path.join(done, part)
        if (todo or follow) and os.path.islink(done):
            links += 1
            if links > _MAX_LINKS:
                raise fail(errno.ELOOP)
            target = os.readlink(done)
            todo += [part for part in target.split("/") if part not in ("", ".")][::-1]
            done = "/" if target.startswith("/") else os.path.dirname(done)
    return done + "/" if path.endswith("/") and done != "/" else done


def _own(rest: str, task: Task, follow: bool) -> str:
    """A path below /proc/self, its links followed."""
    if rest in ("task", f"task/{task.tid}"):
        raise fail(errno.ENOENT)
    rest = rest.removeprefix(f"task/{task.tid}/")
    if follow or rest.split("/")[0] in ("cwd", "root"):
        if rest == "exe":
            return task.image.path
        if rest.split("/")[0] in ("cwd", "root"):
            start = task.process.cwd if rest.startswith("cwd") else "/"
            return os.path.join(start, *rest.split("/")[1:]) if "/" in rest else start
    return f"/proc/self/{rest}".rstrip("/")


def own_link(task: Task, path: str) -> str | None:
    """Where a link of /proc/self points; None for a path that is no such link."""
    if path == "/proc/self":
        return str(task.pid)
    if path == "/proc/self/exe":
        return task.image.path
    if path.startswith("/proc/self/fd/") and path[14:].isdigit():
        return task.files[int(path[14:])].path
    return None


def _of_the_cpus(path: str, cpus: int) -> str | None:
    """The files that describe the CPUs."""
    if path == "/proc/cpuinfo":
        return "".join(_CPUINFO.format(cpu=cpu, cpus=cpus) for cpu in range(cpus))
    if path == "/proc/stat":
        zeros = " 0" * 10
        return f"cpu {zeros}\n" + "".join(f"cpu{cpu}{zeros}\n" for cpu in range(cpus))
    if path in ("/sys/devices/system/cpu/online", "/sys/devices/system/cpu/possible"):
        return f"0-{cpus - 1}\n" if cpus > 1 else "0\n"
    return None


def open_special(task: Task, path: str) -> File | None:
    """The files that the machine makes itself; None for the host's, ENOENT for what there is not."""
    if (text := _of_the_cpus(path, len(task.system.scheduler.queues))) is not None:
        return TextFile(path, text.encode())
    if path in _FIXED:
        return TextFile(path, _FIXED[path].encode())
    if path == "/proc/uptime":
        return TextFile(path, f"{task.now() / 1e9:.2f} 0.00\n".encode())
    if path == "/dev/null":
        return Null()
    if path in ("/dev/urandom", "/dev/random"):
        return RandomBytes(path, task.random.getrandbits(64))
    if path == "/dev/tty":
        raise fail(errno.ENXIO)
    if path == OWN:
        raise fail(errno.ENOENT)
    if not path.startswith("/proc/self"):
        return None
    return _own_file(task, path, path.removeprefix("/proc/self").lstrip("/"))


def _own_file(task: Task, path: str, name: str) -> File:
    if name.startswith("fd/") and name[3:].isdigit():
        return task.files[int(name[3:])]
    content = {"comm": _comm, "cmdline": _cmdline, "maps": _maps, "status": _status, "stat": _stat}.get(name)
    if content is None:
        raise fail(errno.ENOENT)
    return TextFile(path, os.fsencode(content(task)))


def _comm(task: Task) -> str:
    return task.comm + "\n"


def _cmdline(task: Task) -> str:
    return "".join(word + "\0" for word in task.image.argv)


def _maps(task: Task) -> str:
    lines = []
    for m in task.space.mappings():
        line = f"{m.start:08x}-{m.end:08x} {m.perms} {m.offset:08x} 00:00 {int(bool(m.path[:1] == '/'))} "
        lines.append(f"{line:<73}{m.path}\n" if m.path else line + "\n")
    return "".join(lines)


def _status(task: Task) -> str:
    cpus = ",".join(map(str, task.system.scheduler.cpus_of(task)))
    return (
        f"Name:\t{task.comm}\nState:\tR (running)\nTgid:\t{task.pid}\nPid:\t{task.tid}\nPPid:\t{task.ppid}\n"
        "TracerPid:\t0\nUid:\t1000\t1000\t1000\t1000\nGid:\t1000\t1000\t1000\t1000\n"
        f"Threads:\t{len(task.process.threads)}\nCpus_allowed_list:\t{cpus}\n"
    )


def _stat(task: Task) -> str:
    group = task.process.pgid
    return f"{task.pid} ({task.comm}) R {task.ppid} {group} {task.process.sid} " + "0 " * 45 + "0\n"


def open_host(path: str, flags: int, mode: int) -> HostFile:
    """Open a file of the host; EACCES for devices, pipes and sockets, which could block or change the host."""
    with contextlib.suppress(FileNotFoundError):
        # Before opening: that alone may wake a pipe's writer or start a device.
        _check_kind(path, os.stat(path).st_mode)
    fd = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY, mode)
    return HostFile(fd, path, flags)


def _check_kind(path: str, mode: int) -> None:
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or path in ("/dev/zero", "/dev/full")):
        raise fail(errno.EACCES)
