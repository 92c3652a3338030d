"""What the target has mapped, and the code in it: from its memory, or once that has gone from the files it had mapped."""

from __future__ import annotations

import contextlib
import os

from backends.base import HwbpError
from backends.model import Mapping
from backends.perf.process import read_memory
from backends.perf.target import Target

__all__ = ["Image"]


class Image:
    """The mappings of a target as they were last read. `mappings` is ordered by address."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.mappings: tuple[Mapping, ...] = ()
        self._late: list[Mapping] = []
        self.stale = False

    def mapped(self, mapping: Mapping) -> None:
        """The kernel has told of a mapping: what is known is stale."""
        self._late.append(mapping)
        self.stale = True

    def refresh(self) -> bool:
        """Read the mappings again; whether they have changed."""
        fresh = self._target.mappings()
        if fresh:
            self._late.clear()
            found = fresh
        elif self._late:  # gone already: what it mapped, the kernel has told
            found = _overlaid(self.mappings, self._late)
            self._late.clear()
        else:
            found = self.mappings
        self.stale = False
        changed = found != self.mappings
        self.mappings = found
        return changed

    def code(self, address: int, size: int) -> bytes:
        """Memory for decoding: of the process, or once it has gone of the file that was mapped there (EFAULT)."""
        if self._target.memory is not None:
            with contextlib.suppress(HwbpError):
                return read_memory(self._target.memory, address, size)
        return _from_file(self.mappings, address, size)


def _overlaid(mappings: tuple[Mapping, ...], later: list[Mapping]) -> tuple[Mapping, ...]:
    """Mappings with later ones over them; what they cover in part is kept as it was before."""
    rows = list(mappings)
    for new in later:
        rows = [row for row in rows if not (new.start <= row.start and row.end <= new.end)]
        rows.append(new)
    return tuple(sorted(rows, key=lambda row: row.start))


def _from_file(mappings: tuple[Mapping, ...], address: int, size: int) -> bytes:
    """Code as the file has it: only where the mapping could not be written to."""
    for row in mappings:
        if (
            row.start <= address < row.end
            and "x" in row.perms
            and "w" not in row.perms
            and row.path[:1] == "/"
        ):
            size = min(size, row.end - address)
            try:
                fd = os.open(row.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            except OSError:
                break
            try:
                data = os.pread(fd, size, address - row.start + row.offset)
            except OSError:
                break
            finally:
                os.close(fd)
            if len(data) == size:
                return data
            break
    raise HwbpError(f"{address:#x}: nothing is mapped there", errno="EFAULT")
