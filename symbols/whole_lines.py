"""The line table of a whole program as arrays, for many addresses at once; kept in the cache on disk."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from symbols.arrays import np
from symbols.cache import Cache
from symbols.line_program import Strings, read_header
from symbols.line_rows import END, Program, run

if TYPE_CHECKING:
    from symbols.debug_sections import DebugSections

__all__ = ["WholeLines", "whole_lines"]

KIND: Final = "lines1"
BYTES_LIMIT: Final = 1 << 26
"""Of .debug_line: larger ones are read unit by unit, as far as they are asked for."""
NAMES_LIMIT: Final = 1 << 20
_MAGIC: Final = b"HWBPLIN1"
_HEADER: Final = struct.Struct("<8sQQQ")  # rows, files, bytes of names
_NONE: Final = 0xFFFF_FFFF


class WholeLines:
    """Rows by ascending address: each holds to the next one. `files[file]`; a file of 0xffffffff says that nothing is known."""

    def __init__(self, address: Any, line: Any, file: Any, files: Sequence[str]) -> None:
        self._address, self._line, self._file, self._files = address, line, file, files

    @classmethod
    def loaded(cls, data: bytes) -> WholeLines:
        """What `packed` gave. Raises ValueError for what is not sound."""
        if len(data) < _HEADER.size:
            raise ValueError("too short")
        magic, rows, count, size = _HEADER.unpack_from(data)
        if magic != _MAGIC or _HEADER.size + 16 * rows + size != len(data):
            raise ValueError("not a table of this version, or cut off")
        address = np.frombuffer(data, "<u8", rows, _HEADER.size)
        line = np.frombuffer(data, "<u4", rows, _HEADER.size + 8 * rows)
        file = np.frombuffer(data, "<u4", rows, _HEADER.size + 12 * rows)
        files = data[len(data) - size :].decode("utf-8", "surrogateescape").split("\0")[:-1]
        if len(files) != count or bool((file[file != _NONE] >= count).any()):
            raise ValueError("names are missing")
        if rows > 1 and not bool((address[1:] >= address[:-1]).all()):
            raise ValueError("not in order")
        return cls(address, line, file, files)

    def packed(self) -> bytes:
        """All of it as bytes."""
        names = "".join(f"{name}\0" for name in self._files).encode("utf-8", "surrogateescape")
        arrays = (self._address.astype("<u8"), self._line.astype("<u4"), self._file.astype("<u4"))
        head = _HEADER.pack(_MAGIC, len(self._address), len(self._files), len(names))
        return b"".join((head, *(each.tobytes() for each in arrays), names))

    def at_many(self, vaddrs: Any) -> tuple[Any, Any]:
        """(file's number, line) for an array of file addresses; -1 and 0 where nothing is known."""
        wanted = np.asarray(vaddrs, np.uint64)
        if not len(self._address):
            return np.full(len(wanted), -1, np.int64), np.zeros(len(wanted), np.uint32)
        row = np.searchsorted(self._address, wanted, "right") - 1
        file = self._file[np.maximum(row, 0)]
        known = (row >= 0) & (file != _NONE)
        return np.where(known, file.astype(np.int64), -1), np.where(known, self._line[row], np.uint32(0))

    def file(self, number: int) -> str:
        """The name of a file, with its folder as the compiler was given it."""
        return self._files[number]


def whole_lines(
    sections: DebugSections, offsets: Sequence[int], cache: Cache | None = None
) -> WholeLines | None:
    """The lines of a program whose line tables lie at `offsets`: from the cache, else made now. None where that is too much."""
    cache = cache or Cache()
    build_id = sections.image.build_id
    data = cache.get(build_id, KIND)
    if data is not None:
        try:
            return WholeLines.loaded(data)
        except ValueError:
            pass
    found = _made(sections, offsets)
    if found is not None and build_id is not None:
        cache.put(build_id, KIND, found.packed())
    return found


def _made(sections: DebugSections, offsets: Sequence[int]) -> WholeLines | None:
    if len(sections["line"]) > BYTES_LIMIT:
        return None
    names: dict[str, int] = {"": 0}
    numbers: list[int] = []  # by unit and file: the number of its name
    begins: list[int] = [0]
    programs: list[Program] = []
    strings: Strings = {}
    for offset in offsets:
        header = read_header(sections, offset, strings)
        if header is None:
            continue
        numbers += [names.setdefault(name, len(names)) for name in header.files]
        if len(numbers) > NAMES_LIMIT:
            return None
        programs.append(header.program)
        begins.append(len(numbers))
    rows = run(sections["line"], programs, brief=True)
    begin, number = np.array(begins), np.array([*numbers, 0], "u4")
    place = begin[rows.unit] + rows.file
    inside = place < begin[rows.unit + 1]
    file = number[np.where(inside, place, len(numbers))]
    ends = rows.flags & END != 0
    file = np.where((file == 0) | ends | (rows.line == 0), np.uint32(_NONE), file)
    order = _in_order(rows.address, ends)
    address, line, file = (each[order] for each in (rows.address, rows.line, file))
    # Rows that say what the one before them says are left out.
    keep = np.ones(len(file), bool)
    keep[1:] = (file[1:] != file[:-1]) | ((line[1:] != line[:-1]) & (file[1:] != _NONE))
    return WholeLines(address[keep], line[keep], file[keep], list(names))


def _in_order(address: Any, ends: Any) -> Any:
    """The order of rows by address. Where one sequence ends and the next begins at one address, the end comes first."""
    last = np.flatnonzero(ends)
    first = np.append(0, last[:-1] + 1) if len(last) else last
    backwards = address[1:] < address[:-1]
    backwards[last[:-1]] = False
    if not backwards.any():
        sequences = np.lexsort((address[last], address[first]))
        lengths = (last - first + 1)[sequences]
        shift = first[sequences] - (np.cumsum(lengths) - lengths)
        order = np.repeat(shift, lengths) + np.arange(len(address))
        if not (address[order[1:]] < address[order[:-1]]).any():
            return order
    return np.lexsort((~ends, address))
