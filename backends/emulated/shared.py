"""Memory that several address spaces share (MAP_SHARED and anonymous): each has its own copy on its own engine.

One CPU runs at a time, so the copies are made equal when another address space that shares them is entered: the bytes go
from the space that ran last to the one that runs next. Within one process nothing is ever copied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backends.emulated.memory import AddressSpace

__all__ = ["SharedMemory"]


class SharedMemory:
    """`size` bytes. `_latest` is the space whose copy is the newest; None: `_content` is."""

    copied_by_fork = True

    def __init__(self, size: int) -> None:
        self._content = bytearray(size)
        self._latest: AddressSpace | None = None

    def begin(self, space: AddressSpace) -> None:
        """It has just been mapped, as zeros, in the first space."""
        self._latest = space

    def catch_up(self, space: AddressSpace) -> None:
        """This space is about to look at it, or to change it."""
        if self._latest is space:
            return
        self._take()
        for address, offset, size in space.places_of(self):
            space.poke(address, bytes(self._content[offset : offset + size]))
        self._latest = space

    def unmapped(self, space: AddressSpace, start: int, end: int) -> None:
        """A part is about to go from a space."""
        if self._latest is space:
            self._take()

    def _take(self) -> None:
        if self._latest is None:
            return
        for address, offset, size in self._latest.places_of(self):
            self._content[offset : offset + size] = self._latest.peek(address, size)
        self._latest = None
