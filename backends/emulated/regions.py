"""The mappings of one address space as an ordered set: what lies where, how much there is, and where there is room.

Only books: no engine knows of them, and nothing here touches memory. Fresh addresses go downwards and are never given
out twice, since the engine goes on running code that it once translated at an address.
"""

from __future__ import annotations

import errno
import os
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from backends.emulated.memory import AddressSpace

__all__ = [
    "LIMIT",
    "MIN_ADDRESS",
    "PAGE",
    "USER_END",
    "Backing",
    "Region",
    "Regions",
    "page_down",
    "page_up",
]

PAGE = 4096
USER_END = 0x7FFF_FFFF_F000
"""TASK_SIZE_MAX of x86-64 with four-level paging (arch/x86/include/asm/page_64_types.h)."""
LIMIT = 1 << 30
"""Accessible bytes a program may have mapped, in all; twice as many with those it only reserved (PROT_NONE)."""
MIN_ADDRESS = 0x10000
"""vm.mmap_min_addr: the lowest address that may be mapped."""
_TOP = USER_END - (128 << 20)
"""mm->mmap_base without randomisation (arch/x86/mm/mmap.c, mmap_base): what asks for no address lies below."""


def page_down(address: int) -> int:
    """The start of the page that holds this address."""
    return address & -PAGE


def page_up(address: int) -> int:
    """This address, or the next page's start."""
    return (address + PAGE - 1) & -PAGE


class Backing(Protocol):
    """What lies behind a mapping that is more than this address space's own memory."""

    copied_by_fork: bool

    def unmapped(self, space: AddressSpace, start: int, end: int) -> None:
        """A part of it is about to go from an address space."""
        ...


@dataclass(frozen=True, slots=True)
class Region:
    """One mapping, start..end in bytes. `prot` is of READ, WRITE and EXEC, `offset` where it begins in its file or backing."""

    start: int
    end: int
    prot: int
    offset: int = 0
    path: str = ""
    shared: bool = False
    backing: Backing | None = None

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.end - self.start

    def cut(self, start: int, end: int) -> Region:
        """The part of it inside start..end."""
        start, end = max(start, self.start), min(end, self.end)
        moved = self.offset + start - self.start if self._has_offset else 0
        return replace(self, start=start, end=end, offset=moved)

    @property
    def _has_offset(self) -> bool:
        return self.path[:1] == "/" or self.backing is not None

    def continues(self, other: Region) -> bool:
        """Whether `other` begins where this one ends, and is of the same kind: Linux shows the two as one."""
        return (
            self.end == other.start
            and (self.prot, self.path, self.shared) == (other.prot, other.path, other.shared)
            and self.backing is other.backing
            and (not self._has_offset or self.offset + self.end - self.start == other.offset)
        )


class Regions:
    """Regions in the order of their addresses; no two overlap.

    What does not fit raises OSError (ENOMEM) and changes nothing.
    """

    def __init__(self) -> None:
        self._regions: list[Region] = []
        self._starts: list[int] = []
        self._next = _TOP
        self._accessible = 0
        self._all = 0

    def copy(self) -> Regions:
        """The same regions, to be changed apart from these."""
        other = Regions()
        other._regions, other._starts = list(self._regions), list(self._starts)
        other._next, other._accessible, other._all = self._next, self._accessible, self._all
        return other

    def __iter__(self) -> Iterator[Region]:
        return iter(self._regions)

    def at(self, address: int) -> Region | None:
        """The region that holds this byte."""
        index = bisect_right(self._starts, address) - 1
        if index < 0 or self._regions[index].end <= address:
            return None
        return self._regions[index]

    def above(self, address: int) -> Region | None:
        """The first region that begins above this address."""
        index = bisect_right(self._starts, address)
        return self._regions[index] if index < len(self._regions) else None

    def within(self, start: int, end: int) -> Iterator[Region]:
        """The parts of regions inside start..end, in order."""
        index = max(0, bisect_right(self._starts, start) - 1)
        while index < len(self._regions) and self._regions[index].start < end:
            region = self._regions[index]
            if region.end > start:
                yield region.cut(start, end)
            index += 1

    def place(self, address: int | None, size: int, *, fixed: bool) -> int:
        """Where `size` bytes, whole pages, go: at the address itself if `fixed`, else there if that is free.

        ENOMEM where the address space has no room, or ends.
        """
        if fixed:
            assert address is not None
            if address < MIN_ADDRESS or address + size > USER_END:
                raise _no_room()
            self._next = min(self._next, address) if self._next < address + size <= _TOP else self._next
            return address
        if address is not None:
            hint = page_down(address)
            if hint >= MIN_ADDRESS and hint + size <= self._next and not any(self.within(hint, hint + size)):
                return hint
        start = self._next - size
        while (blocked := next(self.within(start, start + size), None)) is not None:
            start = blocked.start - size
        if start < MIN_ADDRESS or size > 2 * LIMIT:
            raise _no_room()
        self._next = start
        return start

    def claim(self, start: int, end: int, prot: int | None) -> None:
        """Count start..end as mapped with this permission, in place of what is there now; None: as not mapped.

        ENOMEM where that makes more than `LIMIT`. The regions themselves stay as they are.
        """
        accessible, whole = self._accessible, self._all
        for part in self.within(start, end):
            accessible -= part.size if part.prot else 0
            whole -= part.size
        accessible += end - start if prot else 0
        whole += 0 if prot is None else end - start
        if accessible > LIMIT or whole > 2 * LIMIT:
            raise _no_room()
        self._accessible, self._all = accessible, whole

    def insert(self, region: Region) -> None:
        """Add one where nothing is; with a neighbour that it continues, or that continues it, it becomes one."""
        index = bisect_right(self._starts, region.start)
        if index < len(self._regions) and region.continues(self._regions[index]):
            region = replace(region, end=self._regions[index].end)
            del self._regions[index], self._starts[index]
        if index and self._regions[index - 1].continues(region):
            self._regions[index - 1] = replace(self._regions[index - 1], end=region.end)
            return
        self._regions.insert(index, region)
        self._starts.insert(index, region.start)

    def remove(self, start: int, end: int) -> None:
        """Forget whatever is inside start..end; what reaches out of it is cut."""
        first = max(0, bisect_right(self._starts, start) - 1)
        last = bisect_right(self._starts, end - 1)
        kept: list[Region] = []
        for region in self._regions[first:last]:
            if region.start < start:
                kept.append(region.cut(region.start, start))
            if region.end > end:
                kept.append(region.cut(end, region.end))
        self._regions[first:last] = kept
        self._starts[first:last] = [region.start for region in kept]


def _no_room() -> OSError:
    return OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
