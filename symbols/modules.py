"""What a program has mapped, as modules: its files, each opened once, and where each was loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from symbols.dataclass import dataclass
from symbols.elf import NAMED, PAGE, PF_W, PF_X, PT_LOAD, ElfError, ElfImage, Segment
from symbols.names import Names

if TYPE_CHECKING:
    from symbols.process import ProcessFiles

__all__ = ["Images", "Module", "Row"]

Read = Callable[[int, int], bytes]
Row = tuple[int, int, str, int, str]
"""A mapping: (start, end, perms, offset, path), as in /proc/PID/maps."""

VDSO_LIMIT: Final = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Module:
    """A file (or the vdso) as mapped: `start` to `end`, and the load bias that was added to its own addresses.

    `names` is None where the file cannot be opened as a program.
    """

    path: str
    start: int
    end: int
    bias: int
    names: Names | None

    def is_code(self, vaddr: int) -> bool:
        """Whether a file address lies in an executable segment."""
        return any(0 <= vaddr - segment.vaddr < segment.memsz for segment in self._segments(PF_X))

    def is_data(self, vaddr: int) -> bool:
        """Whether a file address lies in a page of a writable segment, of what is read-only after relocation, too."""
        return any(
            segment.vaddr & -PAGE <= vaddr < segment.vaddr + segment.memsz for segment in self._segments(PF_W)
        )

    def _segments(self, flag: int) -> list[Segment]:
        segments = self.names.image.segments if self.names is not None else ()
        return [segment for segment in segments if segment.type == PT_LOAD and segment.flags & flag]


class Images:
    """The files of one program by path, each opened once. One that cannot be opened has no names; nothing here raises.

    `files` opens them as a live process has them; `read(address, size)` gives the vdso, which is no file, and may raise
    anything.
    """

    def __init__(self, files: ProcessFiles | None = None, read: Read | None = None) -> None:
        self._files = files
        self._read = read
        self._opened: dict[str, Names | None] = {}

    def open(self, path: str) -> Names | None:
        """The names of the file at a path."""
        if path not in self._opened:
            try:
                image = self._files.open(path) if self._files is not None else ElfImage.open(path, NAMED)
                self._opened[path] = Names(image) if image is not None else None
            except ElfError:  # its own names are lost, and nothing else
                self._opened[path] = None
        return self._opened[path]

    def modules(self, rows: Iterable[Row]) -> tuple[Module, ...]:
        """The modules that these mappings are of, by address; one for each load of a file.

        A mapping may fit two biases: the one that most mappings of its file fit is meant.
        """
        guesses: list[tuple[Row, tuple[int, ...]]] = []
        votes: Counter[tuple[str, int]] = Counter()
        for row in rows:
            start, end, _, offset, path = row
            if path.startswith("/"):
                names = self.open(path)
                guess = tuple(_biases(names.image, start, offset)) if names else (start - offset,)
            elif path in ("[vdso]", "[vsyscall]"):
                guess = (start,)
                if path == "[vdso]":
                    self._open_vdso(start, end)
            else:
                continue
            guesses.append((row, guess))
            votes.update((path, bias) for bias in guess)
        spans: dict[tuple[str, int], list[int]] = {}
        for (start, end, _, _, path), guess in guesses:
            if guess:
                bias = max(guess, key=lambda bias: votes[path, bias])
                spans.setdefault((path, bias), []).extend((start, end))
        modules = []
        for (path, bias), ends in spans.items():
            names = self._opened.get(path)
            start, end = min(ends), max(ends)
            if names is not None:
                low, high = names.image.load_range
                start, end = max(start, low + bias), max(min(end, high + bias), high + bias)
            modules.append(Module(path, start, end, bias, names))
        return tuple(sorted(modules, key=lambda module: module.start))

    def _open_vdso(self, start: int, end: int) -> None:
        """The vdso as it lies in memory (Documentation/ABI/stable/vdso)."""
        if "[vdso]" not in self._opened and self._read is not None:
            try:
                data = bytes(self._read(start, min(end - start, VDSO_LIMIT)))
                self._opened["[vdso]"] = Names(ElfImage.of_bytes("[vdso]", data))
            except Exception:  # whatever the reader's own error is, and ElfError
                self._opened["[vdso]"] = None


def _biases(image: ElfImage, start: int, offset: int) -> set[int]:
    """What may have been added to the file's addresses: segments can share a page of the file, so there may be two."""
    if image.kind == "EXEC":
        return {0}
    found = set()
    for segment in image.segments:
        first = segment.offset & -PAGE
        if segment.type == PT_LOAD and first <= offset < segment.offset + max(segment.filesz, 1):
            found.add(start - ((segment.vaddr & -PAGE) + offset - first))
    return found
