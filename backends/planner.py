"""How a range of memory is covered by debug registers, which watch 1, 2, 4 or 8 aligned bytes each (SDM 3B 17.2.5).

The cover is exact: a register that reached beyond the range would report accesses that nobody asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from backends.model import WatchType

__all__ = ["SLOTS", "explain", "fitting_length", "slots_needed", "windows"]

SLOTS: Final = 4
"""Address registers of an x86 CPU: DR0 to DR3."""

_WIDEST: Final = 8
_END: Final = 1 << 64


def windows(address: int, length: int, type: WatchType) -> list[tuple[int, int]]:  # noqa: A002 - the field's word
    """The aligned (address, length) windows that cover a range, the fewest there are, in order of address.

    An execute watch is one window of length 1. A long range makes a long list: ask `slots_needed` first. Raises
    ValueError for a range that is empty, negative, or runs past the end of the address space.
    """
    return list(_windows(address, length, type))


def slots_needed(address: int, length: int, type: WatchType) -> int:  # noqa: A002
    """How many slots a range takes, without listing its windows."""
    _check(address, length, type)
    if type == "x":
        return 1
    # The wide windows lie between the first and the last 8-byte boundary inside the range.
    first, last = -(-address // _WIDEST) * _WIDEST, (address + length) // _WIDEST * _WIDEST
    if first >= last:
        return sum(1 for _ in _windows(address, length, type))
    return (first - address).bit_count() + (last - first) // _WIDEST + (address + length - last).bit_count()


def fitting_length(address: int, length: int, free: int) -> int:
    """The longest beginning of a data range that `free` slots cover, in bytes (0 when none is free)."""
    return sum(size for _, size in islice(_windows(address, length, "w"), free))


def explain(address: int, length: int, type: WatchType, free: int) -> str:  # noqa: A002
    """One line that says what a request takes and, where `free` slots are too few, what would fit."""
    needed = slots_needed(address, length, type)
    what = f"{length} byte{'s' * (length != 1)} at {address:#x}"
    if needed == 1:
        takes = f"{what} need{'s' * (length == 1)} 1 slot"
    else:
        sizes = "+".join(str(size) for _, size in islice(_windows(address, length, type), 6))
        takes = f"{what} need {needed} windows: {sizes}{'+...' if needed > 6 else ''}"
    if needed <= free:
        return takes
    have = f"only {free} slot{'s are' if free > 1 else ' is'} free" if free else "no slot is free"
    if needed > SLOTS:
        have = f"an x86 CPU has {SLOTS} slots" + (f", and {have}" if free < SLOTS else "")
    if not free or type == "x":
        return f"{takes}; {have}"
    fits = fitting_length(address, length, free)
    return f"{takes}; {have}; the first {'byte' if fits == 1 else f'{fits} bytes'} would fit"


def _windows(address: int, length: int, type: WatchType) -> Iterator[tuple[int, int]]:  # noqa: A002
    _check(address, length, type)
    if type == "x":
        yield address, 1
        return
    end = address + length
    while address < end:
        size = _WIDEST
        while address % size or address + size > end:
            size //= 2
        yield address, size
        address += size


def _check(address: int, length: int, type: WatchType) -> None:  # noqa: A002
    if length < 1:
        raise ValueError(f"length {length}: a watch covers at least 1 byte")
    if address < 0 or address + length > _END:
        raise ValueError(f"{length} bytes at {address:#x} do not lie in the address space")
    if type == "x" and length != 1:
        raise ValueError(f"length {length}: an execute watch has length 1")
