"""Call stacks of hits, walked once each and then recognised.

A walk is a function of pc, rsp, rbp and the words it read from the stack. So for each (pc, rsp, rbp) the places read
are remembered with the words found there: when the same words stand there again, the stack is the same.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import pairwise
from typing import Protocol

from backends.model import Frame

__all__ = ["OTHER_STACKS", "StackTable", "Walker"]

_MOST_STACKS = 65_536
OTHER_STACKS = _MOST_STACKS
"""The number of all stacks beyond the table's end."""
_MOST_KEYS = 100_000
_MOST_LAYOUTS = 8
_MOST_KNOWN = 4096
_WIDEST = 1 << 16


class Walker(Protocol):
    """Walks a stack and says what it read (`symbols.frames.Unwinder`)."""

    def walk_traced(
        self, pc: int, sp: int, bp: int, limit: int = 16, regs: Callable[[str], int] | None = None
    ) -> tuple[tuple[tuple[int, bool], ...], tuple[tuple[int, int], ...], bool]:
        """((ip, guessed)...), ((address, size) read...), whether only rsp and rbp were used."""
        ...


class _Layout:
    """The places one walk read, and the stack's number by the words found there."""

    __slots__ = ("addresses", "known", "size", "start", "unpack")

    def __init__(self, addresses: list[int]) -> None:
        self.addresses = addresses
        self.start = addresses[0]
        text, at = "<", self.start
        for address in addresses:
            text += f"{address - at}xQ"
            at = address + 8
        self.size = at - self.start
        self.unpack = struct.Struct(text).unpack
        self.known: dict[tuple[int, ...], int] = {}


class StackTable:
    """Interned stacks. Number 0 is no stack; frames are innermost first, the first being the instruction itself."""

    def __init__(self, read: Callable[[int, int], bytes], depth: int = 16) -> None:
        self._read = read
        self._depth = depth
        self._walker: Walker | None = None
        self._layouts: dict[tuple[int, int, int], list[_Layout]] = {}
        self._numbers: dict[tuple[tuple[int, bool], ...], int] = {}
        self.stacks: list[tuple[tuple[int, bool], ...]] = [()]
        self.walks = 0

    def beside(self, read: Callable[[int, int], bytes]) -> StackTable:
        """A table for another address space that hands out the same numbers."""
        other = StackTable(read, self._depth)
        other._numbers, other.stacks = self._numbers, self.stacks
        return other

    def set_walker(self, walker: Walker | None) -> None:
        """Mappings changed: what was learnt from the old ones is forgotten, numbers stay."""
        self._walker = walker
        self._layouts.clear()

    def set_read(self, read: Callable[[int, int], bytes]) -> None:
        """Where the stack's words come from."""
        self._read = read

    def number(self, pc: int, sp: int, bp: int, regs: Callable[[str], int]) -> int:
        """The number of the stack at this moment."""
        layouts = self._layouts.get((pc, sp, bp))
        if layouts is not None:
            for layout in layouts:
                try:
                    number = layout.known.get(layout.unpack(self._read(layout.start, layout.size)))
                except Exception:  # whatever the reader's own error is: a hole between two words
                    continue
                if number is not None:
                    return number
        return self._walk(pc, sp, bp, regs)

    def _walk(self, pc: int, sp: int, bp: int, regs: Callable[[str], int]) -> int:
        if self._walker is None:
            return self._intern(((pc, False),))
        self.walks += 1
        frames, reads, repeatable = self._walker.walk_traced(pc, sp, bp, self._depth, regs)
        number = self._intern(frames)
        if repeatable:
            self._learn((pc, sp, bp), reads, number)
        return number

    def _intern(self, frames: tuple[tuple[int, bool], ...]) -> int:
        number = self._numbers.get(frames)
        if number is None:
            if len(self.stacks) >= _MOST_STACKS:
                return OTHER_STACKS
            number = self._numbers[frames] = len(self.stacks)
            self.stacks.append(frames)
        return number

    def _learn(self, key: tuple[int, int, int], reads: tuple[tuple[int, int], ...], number: int) -> None:
        if any(size != 8 for _, size in reads):
            return
        addresses = sorted({address for address, _ in reads})
        if not addresses or addresses[-1] - addresses[0] > _WIDEST:
            return
        if any(b - a < 8 for a, b in pairwise(addresses)):
            return
        if len(self._layouts) >= _MOST_KEYS:
            self._layouts.clear()
        layouts = self._layouts.setdefault(key, [])
        layout = next((layout for layout in layouts if layout.addresses == addresses), None)
        if layout is None:
            if len(layouts) >= _MOST_LAYOUTS:
                return
            layout = _Layout(addresses)
        try:
            words = layout.unpack(self._read(layout.start, layout.size))
        except Exception:  # a hole between two words: this stack is walked each time
            return
        if not layout.known:
            layouts.append(layout)
        if len(layout.known) >= _MOST_KNOWN:  # words that are no return addresses may be new each time
            layout.known.clear()
        layout.known[words] = number

    def frames(self, first: int, limit: int) -> tuple[tuple[Frame, ...], ...]:
        """Stacks from a number on."""
        return tuple(
            tuple(Frame(ip, guessed) for ip, guessed in stack) for stack in self.stacks[first : first + limit]
        )
