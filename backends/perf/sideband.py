"""What the kernel tells about a task beside its hits: mappings of code, names, exec, threads, exits.

One event without a count for each thread and CPU, written into one small perf ring for each CPU. Records come rarely, so
they are taken apart one by one. Layouts: include/uapi/linux/perf_event.h, enum perf_event_type.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import struct
from collections.abc import Iterable
from typing import Final

from backends.model import Mapping
from backends.perf import events
from backends.perf.opener import Opener
from symbols.dataclass import dataclass

__all__ = ["Mapped", "Named", "Rings", "Sideband", "Started", "online_cpus"]

_PAGES: Final = 16
_MMAP, _LOST, _COMM, _EXIT, _FORK, _MMAP2 = 1, 2, 3, 4, 7, 10
_COMM_EXEC: Final = 1 << 13
_DATA_HEAD: Final = 1024
_PERMS: Final = ((1, "r"), (2, "w"), (4, "x"))
_SAMPLE_ID: Final = 16  # pid, tid and time, behind every record


def online_cpus() -> tuple[int, ...]:
    """The CPUs that are online (/sys/devices/system/cpu/online)."""
    try:
        with open("/sys/devices/system/cpu/online", encoding="ascii") as file:
            parts = file.read().strip().split(",")
    except OSError:
        return tuple(range(os.cpu_count() or 1))
    cpus: list[int] = []
    for part in parts:
        first, _, last = part.partition("-")
        cpus += range(int(first), int(last or first) + 1)
    return tuple(cpus)


@dataclass(frozen=True, slots=True)
class Mapped:
    """Code was mapped."""

    pid: int
    mapping: Mapping


@dataclass(frozen=True, slots=True)
class Named:
    """A task has a new name; with `exec` also a new image (and its breakpoints are gone)."""

    pid: int
    tid: int
    comm: str
    exec: bool


@dataclass(frozen=True, slots=True)
class Started:
    """A thread, or a process, began; its parent is (ppid, ptid). `time` is CLOCK_MONOTONIC, ns."""

    pid: int
    tid: int
    ppid: int
    ptid: int
    time: int


News = Mapped | Named | Started


class Rings:
    """One perf ring for each CPU. Each belongs to an event of ours that counts nothing: whoever writes there may go."""

    def __init__(self, opener: Opener, pages: int) -> None:
        self._opener = opener
        self.pages = pages
        self._owners: dict[int, int] = {}
        self._maps: dict[int, mmap.mmap] = {}
        self._tails: dict[int, int] = {}
        self._seen: dict[int, int] = {}

    def join(self, fd: int, cpu: int) -> None:
        """Let an event of a CPU write into that CPU's ring."""
        if cpu not in self._owners:
            self._make(cpu)
        events.redirect_output(fd, self._owners[cpu])

    def _make(self, cpu: int) -> None:
        """A ring too large for this user (EPERM: perf_event_mlock_kb) is made smaller, down to one page."""
        owner = self._opener.ring_owner(cpu)
        try:
            while True:
                try:
                    self._maps[cpu] = mmap.mmap(owner, (self.pages + 1) * mmap.PAGESIZE)
                    break
                except OSError as error:
                    if self.pages == 1:
                        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)) from error
                    self.pages //= 2
        except BaseException:
            os.close(owner)
            raise
        self._owners[cpu] = owner
        self._tails[cpu] = 0

    @property
    def cpus(self) -> tuple[int, ...]:
        """The CPUs that have a ring."""
        return tuple(self._maps)

    def waiting(self) -> int:
        """Bytes to take, of all CPUs."""
        return sum(
            struct.unpack_from("<Q", memory, _DATA_HEAD)[0] - self._tails[cpu]
            for cpu, memory in self._maps.items()
        )

    def look(self, cpu: int) -> bytes | memoryview:
        """Everything new in a CPU's ring, whole records: where it lies if it lies in one piece, and good until `free`."""
        memory = self._maps[cpu]
        size = len(memory) - mmap.PAGESIZE
        (head,) = struct.unpack_from("<Q", memory, _DATA_HEAD)
        tail, self._seen[cpu] = self._tails[cpu], head
        if head == tail:
            return b""
        at, end = tail % size, head % size
        page = mmap.PAGESIZE
        if at < end:
            return memoryview(memory)[page + at : page + end]
        return memory[page + at :] + memory[page : page + end]

    def free(self, cpu: int) -> None:
        """What `look` gave last is done with."""
        head = self._tails[cpu] = self._seen.get(cpu, self._tails[cpu])
        struct.pack_into("<Q", self._maps[cpu], _DATA_HEAD + 8, head)

    def take(self, cpu: int) -> bytes:
        """Everything new in a CPU's ring, whole records."""
        data = bytes(self.look(cpu))
        self.free(cpu)
        return data

    def close(self) -> None:
        """Unmap them."""
        for memory in self._maps.values():
            memory.close()
        for owner in self._owners.values():
            os.close(owner)
        self._maps.clear()
        self._owners.clear()


class Sideband:
    """The records of the tasks that were `follow`ed and of those that they began."""

    def __init__(self, opener: Opener, *, children: bool) -> None:
        self._opener = opener
        self._children = children
        self._rings = Rings(opener, _PAGES)
        self._fds: list[int] = []
        self.lost = False

    def follow(self, tids: Iterable[int]) -> bool:
        """Follow threads; False where that is not possible, and what was opened for them stays."""
        for tid in tids:
            for cpu in online_cpus():
                try:
                    fd = self._opener.follow(tid, cpu, children=self._children)
                except ProcessLookupError:
                    break
                except OSError:
                    return False
                self._fds.append(fd)
                try:
                    self._rings.join(fd, cpu)
                except OSError:
                    return False
        return True

    def take(self) -> list[News]:
        """What has happened since the last call, in the order of each CPU."""
        found: list[News] = []
        for cpu in self._rings.cpus:
            data = self._rings.take(cpu)
            at = 0
            while at + 8 <= len(data):
                kind, misc, size = struct.unpack_from("<IHH", data, at)
                if size < 8 or at + size > len(data):
                    break
                body = data[at + 8 : at + size]
                at += size
                if kind == _LOST:
                    self.lost = True
                elif (news := _news(kind, misc, body)) is not None:
                    found.append(news)
        return found

    def close(self) -> None:
        """Follow nothing any more."""
        self._rings.close()
        for fd in self._fds:
            with contextlib.suppress(OSError):
                os.close(fd)
        self._fds.clear()


def _news(kind: int, misc: int, body: bytes) -> News | None:
    text = body[:-_SAMPLE_ID]
    if kind == _MMAP2 and len(text) >= 72:
        pid, _tid, start, length, offset = struct.unpack_from("<IIQQQ", text)
        prot, _flags = struct.unpack_from("<II", text, 56)
        path = os.fsdecode(text[64:].split(b"\0")[0])
        perms = "".join(letter if prot & bit else "-" for bit, letter in _PERMS) + "p"
        path = "" if path == "//anon" else path
        return Mapped(pid, Mapping(start, start + length, perms, offset, path))
    if kind == _COMM and len(text) >= 8:
        pid, tid = struct.unpack_from("<II", text)
        return Named(pid, tid, os.fsdecode(text[8:].split(b"\0")[0]), bool(misc & _COMM_EXEC))
    if kind == _FORK and len(text) >= 24:
        pid, ppid, tid, ptid, time = struct.unpack_from("<IIIIQ", text)
        return Started(pid, tid, ppid, ptid, time)
    return None
