"""Source files: where the file of a line may lie, and its text.

The names come from a program's debugging information and may be hostile: only regular files are read, never more than
`LIMIT` bytes, and none that the kernel makes up as it is read (they have no size).
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable
from typing import Final

from symbols.dataclass import dataclass
from symbols.debug_sections import BROKEN
from symbols.dwarf_names import AT
from symbols.space import AddressSpace

__all__ = ["LIMIT", "Source", "Sources", "compiled_in"]

_ONE_CHECKOUT: Final = 2.0
"""Seconds within which a checkout writes a program and its source, in whatever order."""
LIMIT: Final = 8 << 20  # bytes
_KEPT: Final = 64
"""Files whose text is kept."""


@dataclass(frozen=True, slots=True)
class Source:
    """The text of one file. `lines` are as in the file, without their ends; line N is `lines[N - 1]`.

    `path` is "" where it was not found, and `looked` says where it was looked for, and why that was not it. `newer`:
    the file was changed after the program was linked.
    """

    name: str
    path: str
    lines: tuple[str, ...]
    looked: tuple[str, ...] = ()
    newer: bool = False

    def line(self, number: int) -> str | None:
        """Line `number` (from 1), None where the file has none."""
        return self.lines[number - 1] if 0 < number <= len(self.lines) else None


def compiled_in(space: AddressSpace, address: int) -> str:
    """The directory in which the code at an address was compiled (DW_AT_comp_dir), "" where that is not known."""
    module = space.module_at(address)
    if module is None or module.names is None:
        return ""
    try:
        unit = module.names.sections.unit_at((address - module.bias) & ((1 << 64) - 1))
        return unit.head.text(AT.comp_dir) or unit.top.text(AT.comp_dir) if unit is not None else ""
    except BROKEN:
        return ""


class Sources:
    """Finds and keeps the text of source files. `directories` are searched first, as gdb's `directory` says.

    Nothing here raises.
    """

    def __init__(self) -> None:
        self.directories: tuple[str, ...] = ()
        self._known: dict[tuple[str, str, str], Source] = {}

    def search(self, *directories: str) -> None:
        """Look in these directories too, before any other; without any, in none."""
        fresh = tuple(os.path.abspath(each) for each in directories)
        self.directories = tuple(dict.fromkeys((*fresh, *self.directories))) if fresh else ()
        self._known.clear()

    def find(self, name: str, directory: str, program: str) -> Source:
        """The file that the ELF file `program` calls `name`, compiled in `directory`. Each is looked for once."""
        key = name, directory, program
        if (found := self._known.get(key)) is None:
            if len(self._known) >= _KEPT:
                self._known.clear()
            found = self._known[key] = self._find(name, directory, program)
        return found

    def _find(self, name: str, directory: str, program: str) -> Source:
        looked: list[str] = []
        for path in dict.fromkeys(self._places(name, directory, program)):
            text, why = _read(path)
            if text is not None:
                rows = text.removesuffix(b"\n").split(b"\n")  # only what compilers count as ends of lines
                lines = tuple(row.rstrip(b"\r").decode("utf-8", "surrogateescape") for row in rows)
                return Source(name, path, lines, tuple(looked), _newer(path, program))
            looked.append(f"{path}: {why}")
        return Source(name, "", (), tuple(looked))

    def _places(self, name: str, directory: str, program: str) -> Iterable[str]:
        base = os.path.basename(name)
        beside = os.path.dirname(os.path.abspath(program)) if program else ""
        for each in self.directories:
            yield os.path.normpath(os.path.join(each, name.lstrip("/")))
            yield os.path.join(each, base)
        if os.path.isabs(name):
            yield os.path.normpath(name)
        elif os.path.isabs(directory):
            yield os.path.normpath(os.path.join(directory, name))
        elif beside:
            yield os.path.normpath(os.path.join(beside, directory, name))
        if beside:
            yield os.path.join(beside, base)
        if not os.path.isabs(name):
            yield os.path.abspath(name)


def _read(path: str) -> tuple[bytes | None, str]:
    """The bytes of a regular file, or why there are none."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except ValueError:  # a name with a NUL in it
        return None, "no file can be called that"
    except OSError as error:
        return None, os.strerror(error.errno or 0)
    try:
        status = os.fstat(number)
        if not stat.S_ISREG(status.st_mode):
            return None, "not a regular file"
        if status.st_size > LIMIT:
            return None, f"larger than {LIMIT >> 20} MiB"
        data = bytearray()
        while len(data) < status.st_size and (more := os.read(number, status.st_size - len(data))):
            data += more
        return bytes(data), ""
    except OSError as error:
        return None, os.strerror(error.errno or 0)
    finally:
        os.close(number)


def _newer(path: str, program: str) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return os.stat(path).st_mtime > os.stat(program).st_mtime + _ONE_CHECKOUT
    return False
