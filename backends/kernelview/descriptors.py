"""What processes have open, as the kernel keeps it: which descriptor leads to which event."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Collection
from typing import Final

from backends.kernelview.layout import Layout
from backends.kernelview.memory import Memory, UnreadableError
from symbols.dataclass import dataclass

__all__ = ["Descriptors"]

_MOST_FILES: Final = 1 << 16
"""Descriptors of a process that are searched for an event; more are left unsearched."""


@dataclass(frozen=True, slots=True)
class _Open:
    """One `files_struct` as it was read: its descriptors' numbers, their `struct file`s, and what those lead to."""

    raw: bytes
    numbers: list[int]
    files: list[int]
    leads_to: list[int | None]
    descriptors: dict[int, int]


class Descriptors:
    """Reads tables of open files, each once until `look_again`. One that has not changed is the same object as before."""

    def __init__(self, layout: Layout, memory: Memory) -> None:
        self._layout = layout
        self._memory = memory
        self._now: dict[int, _Open] = {}
        self._before: dict[int, _Open] = {}

    def forget(self) -> None:
        """A new turn: what was read so far may have changed, and what is not read again is of no use any more."""
        self._before, self._now = self._now, {}

    def look_again(self) -> None:
        """What was read so far may have changed."""
        self._before |= self._now
        self._now.clear()

    def of(self, files: int) -> dict[int, int]:
        """For what the open files of a `files_struct` lead to (`private_data`): the lowest descriptor that leads there."""
        if files not in self._now:
            self._now[files] = self._read(files, self._before.get(files))
        return self._now[files].descriptors

    def of_all(self, tables: Collection[int]) -> dict[int, dict[int, int]]:
        """The same of many, as they are now. Nothing of it is kept."""
        return {files: self._read(files, None).descriptors for files in tables}

    def _read(self, files: int, before: _Open | None) -> _Open:
        memory, layout = self._memory, self._layout
        raw = b""
        with contextlib.suppress(UnreadableError):
            table = layout.fdtable.read(memory, memory.word(files + layout.files.offset("fdt")))
            raw = memory.read(table["fd"], 8 * min(table["max_fds"], _MOST_FILES)).rstrip(b"\0")
        if before is not None and before.raw == raw:
            numbers, opened = before.numbers, before.files
        else:
            words = struct.iter_unpack("<Q", raw + bytes(-len(raw) % 8))  # most of a table is not in use
            used = [(fd, file) for fd, (file,) in enumerate(words) if file]
            numbers, opened = [fd for fd, _ in used], [file for _, file in used]
        member = layout.file.offset("private_data")
        leads_to = memory.words([file + member for file in opened])
        if before is not None and before.raw == raw and before.leads_to == leads_to:
            return before
        descriptors = {to: fd for to, fd in zip(reversed(leads_to), reversed(numbers), strict=True) if to}
        return _Open(raw, numbers, opened, leads_to, descriptors)
