"""Command lines of earlier runs: a file of lines, newest last, that several runs may append to at once."""

from __future__ import annotations

import contextlib
import os
from typing import Final

__all__ = ["CommandHistory"]

_LARGEST: Final = 1 << 22
"""Bytes that are looked at: what lies further back is forgotten."""
_LONGEST: Final = 4096


class CommandHistory:
    """The last `limit` lines; `path` None or a limit of 0 keeps them in memory only.

    Nothing here fails: a history that cannot be read or written is an empty one.
    """

    def __init__(self, path: str | None = None, limit: int = 1000) -> None:
        self._path = path if limit else None
        self._limit = limit or 1000
        self._lines: list[str] | None = None

    @property
    def lines(self) -> list[str]:
        """Oldest first; the file is read when they are asked for first."""
        if self._lines is None:
            self._lines = self._read()
        return self._lines

    def add(self, line: str) -> None:
        """A line that was run. The same line twice in a row is kept once."""
        line = line.strip()
        if not line or len(line) > _LONGEST or not line.isprintable():
            return
        lines = self.lines
        if lines and lines[-1] == line:
            return
        lines.append(line)
        if len(lines) > self._limit:
            del lines[: len(lines) - self._limit]
        self._append(line)

    def _read(self) -> list[str]:
        if self._path is None:
            return []
        try:
            with open(self._path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                file.seek(max(0, size - _LARGEST))
                raw = file.read(_LARGEST)
        except OSError:
            return []
        found = [text for text in raw.decode(errors="replace").split("\n") if text and text.isprintable()]
        lines = [text for text in found if len(text) <= _LONGEST][-self._limit :]
        if len(found) > 2 * self._limit:
            self._rewrite(lines)
        return lines

    def _append(self, line: str) -> None:
        if self._path is None:
            return
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
            fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, f"{line}\n".encode())
            finally:
                os.close(fd)

    def _rewrite(self, lines: list[str]) -> None:
        """Shorten the file; whoever reads it meanwhile sees the old one or the new one."""
        assert self._path is not None
        new = f"{self._path}.{os.getpid()}"
        with contextlib.suppress(OSError):
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write("".join(f"{line}\n" for line in lines).encode())
            os.replace(new, self._path)
