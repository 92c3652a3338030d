"""The line table of a whole program as arrays, for many addresses at once.

symbolic reads all of .debug_line and .debug_info 25 times faster than we could, in a child of its own with bounds on
memory and time: what is hostile there costs a child. Its file (a "symcache", version 9) is read here as arrays, and kept
in the cache on disk. Without symbolic the caller reads unit by unit, slower, with the same answers.

python -m symbols.whole_lines FILE   writes the symcache of a program to standard output
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from typing import Any, Final

from symbols.arrays import np
from symbols.cache import Cache
from symbols.elf import ElfImage

__all__ = ["WholeLines", "whole_lines"]

SECONDS: Final = 60
MEMORY: Final = 8 << 30  # bytes of address space
BYTES_LIMIT: Final = 256 << 20
KIND: Final = "symcache9"
_HEADER: Final = struct.Struct("<4sI32s6I16x")
_NONE: Final = 0xFFFFFFFF


class WholeLines:
    """A symcache: for each range of addresses a source location. Raises ValueError for one that is not sound.

    Layout (symbolic's symcache/src/raw.rs): header; files (compilation folder, folder, name, three reserved);
    functions (name, folder, entry, language); locations (file, line, function, location it is inlined into); first
    address of each range, whose locations are the last ones; strings, each behind its length.
    """

    def __init__(self, data: bytes) -> None:
        if len(data) < _HEADER.size:
            raise ValueError("too short")
        magic, version, _, _, files, functions, locations, ranges, strings = _HEADER.unpack_from(data)
        at = _HEADER.size
        sizes = (24 * files, 16 * functions, 16 * locations, 4 * ranges)
        if magic != b"SYMC" or version != 9 or ranges > locations:
            raise ValueError("not a symcache of this version")
        if at + sum(sizes) + strings > len(data):
            raise ValueError("cut off")
        self._files = np.frombuffer(data, "<u4", 6 * files, at).reshape(-1, 6)
        at += sizes[0] + sizes[1]
        self._locations = np.frombuffer(data, "<u4", 4 * locations, at).reshape(-1, 4)
        at += sizes[2]
        self._ranges = np.frombuffer(data, "<u4", ranges, at)
        self._strings = data[len(data) - strings :]
        if ranges > 1 and not bool((self._ranges[1:] >= self._ranges[:-1]).all()):
            raise ValueError("not in order")
        self._shift = locations - ranges

    def at_many(self, vaddrs: Any) -> tuple[Any, Any]:
        """(file's number, line) for an array of file addresses; -1 and 0 where nothing is known."""
        wanted = np.asarray(vaddrs, np.uint64)
        place = np.searchsorted(self._ranges, np.minimum(wanted, _NONE).astype("u4"), "right") - 1
        known = (place >= 0) & (wanted < _NONE)
        rows = self._locations[np.where(known, place + self._shift, 0)] if len(self._locations) else None
        if rows is None:
            return np.full(len(wanted), -1, np.int64), np.zeros(len(wanted), np.uint32)
        known &= (rows[:, 0] < len(self._files)) & (rows[:, 1] != 0)
        return np.where(known, rows[:, 0].astype(np.int64), -1), np.where(known, rows[:, 1], 0)

    def file(self, number: int) -> str:
        """The name of a file, with its folder as the compiler was given it."""
        _, folder, name = (self._text(int(at)) for at in self._files[number][:3])
        return name if not folder or name.startswith("/") else f"{folder}/{name}"

    def _text(self, at: int) -> str:
        size = shift = 0
        while at < len(self._strings):
            byte = self._strings[at]
            at += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80 or shift > 28:
                break
        return self._strings[at : at + size].decode("utf-8", "replace")


def whole_lines(image: ElfImage, cache: Cache | None = None) -> WholeLines | None:
    """The lines of a file with debug information: from the cache, else made now. None where that cannot be done."""
    cache = cache or Cache()
    data = cache.get(image.build_id, KIND)
    for fresh in (False, True):
        if fresh:
            data = _made(os.path.abspath(image.path))
        if data is not None:
            try:
                found = WholeLines(data)
            except ValueError:
                continue
            if fresh:
                cache.put(image.build_id, KIND, data)
            return found
    return None


def _made(path: str) -> bytes | None:
    try:
        with subprocess.Popen(
            [sys.executable, "-m", "symbols.whole_lines", path],
            cwd=os.path.dirname(os.path.dirname(os.path.abspath(__file__))),  # where `symbols` is found
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as child:
            try:
                data, _ = child.communicate(timeout=SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                return None
        return data if child.returncode == 0 and 0 < len(data) <= BYTES_LIMIT else None
    except OSError:
        return None


def main() -> int:
    """Write the symcache of the file that the command line names."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        from symbolic.debuginfo import Archive
    except ImportError:
        return 3
    found: Any = Archive.open(sys.argv[1]).get_object(arch="x86_64")
    found.make_symcache().dump_into(sys.stdout.buffer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
