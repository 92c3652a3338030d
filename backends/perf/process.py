"""A live process as /proc shows it. What is read here was written by the process: it is taken apart, never trusted."""

from __future__ import annotations

import os
import re
from typing import Final

from backends.base import HwbpError
from backends.model import Mapping

__all__ = [
    "comm_of",
    "is_kernel_thread",
    "is_over",
    "mappings_in",
    "mappings_of",
    "read_memory",
    "standing",
    "status_of",
    "threads_of",
]

_MAP: Final = re.compile(
    rb"([0-9a-f]+)-([0-9a-f]+) ([rwxsp-]{4}) ([0-9a-f]+) [0-9a-f]+:[0-9a-f]+ [0-9]+ *(.*)", re.DOTALL
)
_OCTAL: Final = re.compile(rb"\\([0-7]{3})")
_READ_LIMIT: Final = 1 << 20
_PF_KTHREAD: Final = 0x200000


def mappings_of(pid: int) -> tuple[Mapping, ...]:
    """/proc/PID/maps; empty for a process that is gone, a zombie, or one that may not be read."""
    try:
        with open(f"/proc/{pid}/maps", "rb") as file:
            return mappings_in(file.read())
    except OSError:
        return ()


def mappings_in(data: bytes) -> tuple[Mapping, ...]:
    """The mappings in the text of a /proc/PID/maps."""
    found = []
    for line in data.split(b"\n"):
        if match := _MAP.fullmatch(line):
            start, end, perms, offset, path = match.groups()
            # A newline in a name is written as \012 (fs/proc/task_mmu.c, seq_path).
            path = _OCTAL.sub(lambda m: bytes([int(m[1], 8) & 0xFF]), path)
            found.append(
                Mapping(
                    int(start, 16),
                    int(end, 16),
                    perms.decode("ascii"),
                    int(offset, 16),
                    os.fsdecode(path),
                )
            )
    return tuple(found)


def threads_of(pid: int) -> tuple[int, ...]:
    """The thread ids of a process; empty where it is gone."""
    try:
        return tuple(sorted(int(name) for name in os.listdir(f"/proc/{pid}/task")))
    except OSError:
        return ()


def is_over(pid: int, tid: int) -> bool:
    """Whether a thread has ended, though it may be listed still."""
    return standing(pid, tid)[0] in ("", "Z", "X")


def standing(pid: int, tid: int) -> tuple[str, int]:
    """(state, who traces it) of a thread, by its /proc/PID/task/TID/status; an empty state where it is gone."""
    state, tracer = "", 0
    try:
        with open(f"/proc/{pid}/task/{tid}/status", "rb") as file:
            for line in file.read(1 << 14).split(b"\n"):  # a newline in a name is escaped there
                if line.startswith(b"State:"):
                    state = line.split()[1].decode("ascii")
                elif line.startswith(b"TracerPid:"):
                    tracer = int(line.split()[1])
    except OSError:
        return "", 0
    return state, tracer


def is_kernel_thread(pid: int) -> bool:
    """Whether it never had memory of its own: PF_KTHREAD of include/linux/sched.h, in /proc/PID/stat's flags (proc(5))."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()  # a name may hold anything
    except OSError:
        return False
    return len(fields) > 6 and bool(int(fields[6]) & _PF_KTHREAD)


def comm_of(pid: int, tid: int | None = None) -> str:
    """The name of a task, up to 15 bytes of any kind; empty where it is gone."""
    path = f"/proc/{pid}/comm" if tid is None else f"/proc/{pid}/task/{tid}/comm"
    try:
        with open(path, "rb") as file:
            return os.fsdecode(file.read().removesuffix(b"\n"))
    except OSError:
        return ""


def status_of(pid: int) -> dict[str, str]:
    """/proc/PID/status by field; empty where it is gone."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            lines = file.read().split(b"\n")
    except OSError:
        return {}
    pairs = (line.partition(b":") for line in lines)
    return {os.fsdecode(name): os.fsdecode(value.strip()) for name, colon, value in pairs if colon}


def read_memory(fd: int, address: int, size: int) -> bytes:
    """Bytes of a process through its open /proc/PID/mem (EFAULT, EINVAL)."""
    if not 0 < size <= _READ_LIMIT:
        raise HwbpError(f"{size} bytes: between 1 and {_READ_LIMIT}", errno="EINVAL")
    try:
        data = os.pread(fd, size, address) if address < 1 << 63 else b""
    except OSError:
        data = b""
    if len(data) < size:
        raise HwbpError(f"{address:#x}: nothing is mapped there", errno="EFAULT")
    return data
