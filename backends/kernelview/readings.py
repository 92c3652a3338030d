"""Structures that are read again and again: what is made of one is made anew only where it has changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from backends.kernelview.layout import Record, Shape
from backends.kernelview.memory import Memory, Structures, UnreadableError
from symbols.dataclass import dataclass

__all__ = ["Readings"]

T = TypeVar("T")

_FEW: Final = 256


@dataclass(frozen=True, slots=True)
class _Run(Generic[T]):
    """Structures that were read together, and what was made of each."""

    addresses: Sequence[int]
    read: Structures
    made: list[T | None]


class Readings(Generic[T]):
    """What was made of the structures of one shape. What is the same bytes as before is the same object as before.

    `forget` begins a new turn.
    """

    def __init__(self, shape: Shape, memory: Memory, make: Callable[[Record], T]) -> None:
        self._shape = shape
        self._memory = memory
        self._make = make
        self._size = sum(size for _, size in shape.pieces)
        self._made: dict[int, tuple[bytes, T]] = {}
        self._asked = 0  # in this turn
        # Most structures of most runs are as they were at the turn before: then one comparison is enough for all of them.
        self._runs: dict[int, _Run[T]] = {}
        self._before: dict[int, _Run[T]] = {}

    def forget(self) -> None:
        """What was read so far may have changed, and what is not read again may be dropped."""
        if len(self._made) > 2 * self._asked + _FEW:
            self._made.clear()
        self._asked = 0
        self._before, self._runs = self._runs, {}

    def at(self, address: int) -> T | None:
        """The one at an address as it is now, None where there is no memory."""
        try:
            record = self._shape.read(self._memory, address)
        except UnreadableError:
            return None
        self._asked += 1
        return self._of(address, record.data)

    def all(self, addresses: Sequence[int]) -> list[T | None]:
        """Those at many addresses as they are now, None where there is no memory."""
        self._asked += len(addresses)
        found: list[T | None] = []
        for read in self._memory.structures(addresses, self._shape.pieces):
            part = addresses[len(found) : len(found) + len(read.there)]
            if not part:
                continue
            run = self._before.get(part[0])
            if run is None or run.read != read or run.addresses != part:
                run = _Run(part, read, self._of_each(part, read))
            self._runs[part[0]] = run
            found += run.made
        return found

    def _of_each(self, addresses: Sequence[int], read: Structures) -> list[T | None]:
        starts = range(0, len(read.data), read.stride)
        return [
            self._of(address, read.data[start : start + self._size]) if there else None
            for address, there, start in zip(addresses, read.there, starts, strict=True)
        ]

    def _of(self, address: int, data: bytes) -> T:
        known = self._made.get(address)
        if known is None or known[0] != data:
            known = self._made[address] = data, self._make(Record(address, self._shape.fields, data))
        return known[1]
