"""A cache on disk for what takes long to work out of a program file, by build id.

Anything in it may be lost at any moment, and nothing in it is believed: files of others are not read, and readers
check what they load. Its size is bounded; what was used longest ago goes first.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
from typing import Final

__all__ = ["Cache"]

BYTES_LIMIT: Final = 512 << 20
_KEY = re.compile(r"[0-9a-f]{8,128}")
_KIND = re.compile(r"[a-z0-9.-]{1,32}")


class Cache:
    """One folder, `$XDG_CACHE_HOME/hwbp-tui/symbols` by default. Nothing here raises."""

    def __init__(self, folder: str | None = None, limit: int = BYTES_LIMIT) -> None:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        self.folder = folder if folder is not None else os.path.join(base, "hwbp-tui", "symbols")
        self._limit = limit

    def path(self, build_id: str | None, kind: str) -> str | None:
        """Where an entry belongs, None for a file that has no usable build id."""
        if build_id is None or not _KEY.fullmatch(build_id) or not _KIND.fullmatch(kind):
            return None
        return os.path.join(self.folder, f"{build_id}.{kind}")

    def get(self, build_id: str | None, kind: str) -> bytes | None:
        """An entry's bytes; None where there is none, or it is not our own."""
        path = self.path(build_id, kind)
        if path is None:
            return None
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            found = os.fstat(fd)
            if (
                not stat.S_ISREG(found.st_mode)
                or found.st_uid != os.geteuid()
                or found.st_mode & 0o022
                or found.st_size > self._limit
            ):
                return None
            with contextlib.suppress(OSError):
                os.utime(fd)  # used now
            with open(fd, "rb", closefd=False) as file:
                return file.read()
        except OSError:
            return None
        finally:
            os.close(fd)

    def put(self, build_id: str | None, kind: str, data: bytes) -> None:
        """Keep an entry: whole or not at all."""
        path = self.path(build_id, kind)
        if path is None or len(data) > self._limit // 2:
            return
        try:
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            fd, name = tempfile.mkstemp(prefix=".new-", dir=self.folder)
        except OSError:
            return
        try:
            with open(fd, "wb") as file:
                file.write(data)
            os.replace(name, path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(name)
            return
        self._prune(path)

    def _prune(self, keep: str) -> None:
        entries = []
        try:
            with os.scandir(self.folder) as found:
                for entry in found:
                    if entry.is_file(follow_symlinks=False):
                        state = entry.stat(follow_symlinks=False)
                        entries.append((state.st_mtime, state.st_size, entry.path))
        except OSError:
            return
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self._limit:
                return
            if path != keep:
                with contextlib.suppress(OSError):
                    os.unlink(path)
                    total -= size
