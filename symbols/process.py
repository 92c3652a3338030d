"""The files of a live process as it has them mapped, also deleted and replaced ones; its vdso; names its JIT gives.

What is read here was written by the process: it is taken apart, never trusted.
"""

from __future__ import annotations

import os
import re
import stat
from bisect import bisect_right
from typing import Final

from symbols.elf import NAMED, ElfError, ElfImage

__all__ = ["JitNames", "ProcessFiles"]

MAPS_LIMIT: Final = 1 << 26  # bytes
JIT_LIMIT: Final = 1 << 28  # bytes of a perf map
JIT_SYMBOLS: Final = 1 << 21
DELETED: Final = " (deleted)"
_MAP: Final = re.compile(
    rb"([0-9a-f]{1,16})-([0-9a-f]{1,16}) ([rwxsp-]{4}) ([0-9a-f]{1,16}) ([0-9a-f]+):([0-9a-f]+) ([0-9]{1,20}) *(.*)",
    re.DOTALL,
)
_OCTAL: Final = re.compile(rb"\\([0-7]{3})")
_JIT: Final = re.compile(rb"(?:0x)?([0-9a-fA-F]{1,16}) +(?:0x)?([0-9a-fA-F]{1,16}) +([^\n]*)")
Row = tuple[int, int, str, int, str]


class ProcessFiles:
    """The mappings of one process, and the very files that are mapped, whatever lies at their paths now.

    Nothing here raises: a process that is gone has no mappings.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._places: dict[str, tuple[int, int, int]] = {}

    def rows(self) -> list[Row]:
        """(start, end, perms, offset, path) of /proc/PID/maps, as `AddressSpace` takes them."""
        try:
            with open(f"/proc/{self.pid}/maps", "rb") as file:
                data = file.read(MAPS_LIMIT)
        except OSError:
            return []
        found: list[Row] = []
        if data:  # of a process that has ended meanwhile, what was known stays
            self._places.clear()
        for line in data.split(b"\n"):
            match = _MAP.fullmatch(line)
            if match is None:
                continue
            start, end = int(match[1], 16), int(match[2], 16)
            # A newline in a name is written as \012 (fs/proc/task_mmu.c, seq_path).
            path = os.fsdecode(_OCTAL.sub(lambda m: bytes([int(m[1], 8) & 0xFF]), match[8]))
            found.append((start, end, match[3].decode("ascii"), int(match[4], 16), path))
            self._places.setdefault(path, (start, end, int(match[7])))
        return found

    def open(self, path: str) -> ElfImage | None:
        """The file that is mapped under this path; None where it can no longer be had.

        By the kernel's own link to it where we may follow that, else by its path in the process's own root, if the
        inode is still the mapping's (its device is not compared: btrfs and overlayfs show another one in maps).
        """
        if path not in self._places:
            self.rows()
        if path not in self._places:
            return self._left_behind(path)
        start, end, inode = self._places[path]
        plain = path.removesuffix(DELETED)
        tries = [f"/proc/{self.pid}/map_files/{start:x}-{end:x}", f"/proc/{self.pid}/root{plain}", plain]
        try:
            if os.readlink(f"/proc/{self.pid}/exe") == path:
                tries.insert(1, f"/proc/{self.pid}/exe")
        except OSError:
            pass
        for each in tries:
            try:
                image = ElfImage.open(each, NAMED)
            except ElfError:
                continue
            if (
                each.startswith((f"/proc/{self.pid}/map_files", f"/proc/{self.pid}/exe"))
                or image.inode == inode
            ):
                image.path = path
                return image
        return None

    def _left_behind(self, path: str) -> ElfImage | None:
        """The file at this path, for a process that is gone: nothing can be compared any more."""
        if os.path.exists(f"/proc/{self.pid}/maps") and self._places:
            return None
        try:
            return None if path.endswith(DELETED) else ElfImage.open(path, NAMED)
        except ElfError:
            return None

    def jit_path(self) -> str | None:
        """/tmp/perf-PID.map in the process's own root, by its pid in its own namespace."""
        inner = self.pid
        try:
            with open(f"/proc/{self.pid}/status", "rb") as file:
                if match := re.search(rb"^NSpid:.*?(\d+)$", file.read(1 << 16), re.MULTILINE):
                    inner = int(match[1])
        except OSError:
            return None
        return f"/proc/{self.pid}/root/tmp/perf-{inner}.map"

    def owner(self) -> int | None:
        """The user that the process runs as."""
        try:
            return os.stat(f"/proc/{self.pid}").st_uid
        except OSError:
            return None


class JitNames:
    """Names of code that was made at run time, from a perf map (tools/perf/Documentation/jit-interface.txt).

    Of entries that overlap the later one holds, since a JIT uses its memory again. A file of somebody else is not read.
    """

    def __init__(self, path: str, owner: int | None = None) -> None:
        self._path = path
        self._owner = owner
        self._seen: tuple[int, int] | None = None
        self._starts: list[int] = []
        self._entries: list[tuple[int, int, str]] = []
        self._order: dict[int, int] = {}

    def refresh(self) -> None:
        """Read the file again if it has grown or changed."""
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return
        with open(fd, "rb") as file:
            found = os.fstat(fd)
            state = (found.st_size, found.st_mtime_ns)
            allowed = {os.geteuid(), 0} | ({self._owner} if self._owner is not None else set())
            if not stat.S_ISREG(found.st_mode) or found.st_uid not in allowed or state == self._seen:
                return
            self._seen = state
            data = file.read(JIT_LIMIT)
        entries: dict[int, tuple[int, str]] = {}
        for match in _JIT.finditer(data):
            start, size = int(match[1], 16), int(match[2], 16)
            if 0 < size < 1 << 40 and len(entries) < JIT_SYMBOLS:
                entries.pop(start, None)
                entries[start] = (size, match[3][:4096].decode("utf-8", "surrogateescape"))
        order = {start: place for place, start in enumerate(entries)}
        self._entries = [(start, *entries[start]) for start in sorted(entries)]
        self._starts = [start for start, _, _ in self._entries]
        self._order = order

    def at(self, address: int) -> tuple[str, int] | None:
        """The name of the code at an address and the offset in it."""
        last = bisect_right(self._starts, address) - 1
        best: tuple[int, str, int] | None = None
        for place in range(last, max(-1, last - 16), -1):
            start, size, name = self._entries[place]
            if address < start + size and (best is None or self._order[start] > best[0]):
                best = (self._order[start], name, address - start)
        return (best[1], best[2]) if best is not None else None
