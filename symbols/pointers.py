"""Where a program keeps the pointers that its code jumps through, and which of them nobody writes once they were used.

The dynamic linker fills a file's GOT before its code uses it, or with the first use (lazy binding): the function that is called in
the end is the same. The loader itself is the exception: its GOT is filled before libraries are there, and once more behind them
(glibc elf/rtld.c:dl_main), so a call of the same stub can go to two functions.
"""

from __future__ import annotations

import struct
from typing import Final

from symbols.elf import ElfImage
from symbols.space import AddressSpace

__all__ = ["Pointers"]

DATA_LIMIT: Final = 1 << 19
"""Bytes of data that are looked at as a whole, those of small files first."""
PT_DYNAMIC: Final = 2
_DT_NEEDED: Final = 1
_DYNAMIC_LIMIT: Final = 1 << 16
_GOT: Final = (".got", ".got.plt")

Span = tuple[int, int]
"""The first address and the one past the end."""


class Pointers:
    """The pointers of one address space; its mappings may change."""

    def __init__(self, space: AddressSpace) -> None:
        self._space = space
        self._once: dict[str, tuple[Span, ...]] = {}
        self._rows: object = None
        self._spans: tuple[Span, ...] = ()

    def spans(self) -> tuple[Span, ...]:
        """Memory that programs keep variables in: of files, RELRO too, with the .bss behind them."""
        if self._rows is not self._space.mappings:
            self._rows = self._space.mappings
            self._spans = _spans(self._space)
        return self._spans

    def written_once(self, place: int) -> bool:
        """Whether the word at a place is one that is filled before code uses it, and then left alone."""
        module = self._space.module_at(place)
        if module is None or module.names is None:
            return False
        if module.path not in self._once:
            self._once[module.path] = _filled_once(module.names.image)
        return any(start <= place - module.bias < end for start, end in self._once[module.path])


def _spans(space: AddressSpace) -> tuple[Span, ...]:
    found: list[Span] = []
    behind, before = 0, ""
    for start, end, perms, _, path in space.mappings:
        module = space.module_at(start) if path.startswith("/") else None
        is_bss = not path and start == behind and "w" in perms and ("x" not in perms or perms == before)
        if is_bss or (module is not None and module.is_data(start - module.bias)):
            found.append((start, end))
        behind, before = end if module is not None else 0, perms
    left, kept = DATA_LIMIT, []
    for start, end in sorted(found, key=lambda span: span[1] - span[0]):
        left -= end - start
        if left < 0:
            break
        kept.append((start, end))
    return tuple(sorted(kept))


def _filled_once(image: ElfImage) -> tuple[Span, ...]:
    """The GOT of a file that is not the loader: a library that needs no other is taken for one."""
    if image.interpreter is None and not _needs_others(image):
        return ()
    return tuple(
        (section.addr, section.addr + section.size)
        for name in _GOT
        if (section := image.sections.get(name)) is not None
    )


def _needs_others(image: ElfImage) -> bool:
    """Whether there is a DT_NEEDED; true of a program without a dynamic section, too, which loads nothing."""
    for segment in image.segments:
        if segment.type == PT_DYNAMIC:
            data = image.read_at(segment.offset, min(segment.filesz, _DYNAMIC_LIMIT))
            for tag, _ in struct.iter_unpack("<qQ", data[: len(data) & -16]):
                if tag == _DT_NEEDED:
                    return True
                if not tag:
                    break
            return False
    return True
