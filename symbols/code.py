"""The code of one address space, as far as hits have led into it: functions swept and instructions compiled, once each."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Final, Literal, Protocol

import iced_x86 as ic
import numpy as np
from numpy.typing import NDArray

from symbols.accesses import OPERAND, compile_operands
from symbols.boundaries import FUNCTION_LIMIT, LONGEST
from symbols.sweep import Sweep, instruction_at, sweep, vote

__all__ = ["SOME_RETURN", "Code", "Data", "FunctionAt", "Read", "Unsettled"]

Read = Callable[[int, int], bytes]
FunctionAt = Callable[[int], tuple[int, int] | None]


class Data(Protocol):
    """What is known of the memory that pointers to code lie in (`symbols.pointers`)."""

    def spans(self) -> Sequence[tuple[int, int]]:
        """(start, end) of memory that is kept from batch to batch."""

    def written_once(self, place: int) -> bool:
        """Whether a pointer is filled before it is used, and then left alone."""


_KEPT_STARTS: Final = 1 << 22
_KEPT_INSTRUCTIONS: Final = 1 << 18
SOME_RETURN: Final = 0
"""The number of a `ret` of which nobody knows where it is: its address is 0."""
_RETURNS: Final = {64: ic.Instruction.create(ic.Code.RETNQ), 32: ic.Instruction.create(ic.Code.RETND)}
_KEPT_WORDS: Final = 256
_KEPT_DATA: Final = 1 << 20
"""Bytes of data that are kept from batch to batch."""
_PAGE: Final = 4096


class Unsettled(Exception):
    """A pointer was read for the first time: it says nothing yet of hits that are over."""


class Code:
    """Instructions by number: `operands[number]` are the two rows of OPERAND, `addresses[number]` where it lies.

    `read` may raise anything or give less, `function_at` gives (start, size in bytes) or None. What is kept is bounded:
    `full` says that everything should be forgotten. `bits` is 64 or 32, as the code is decoded.
    """

    def __init__(
        self, read: Read, function_at: FunctionAt, data: Data | None = None, bits: Literal[32, 64] = 64
    ) -> None:
        self.bits = bits
        self._read = read
        self._function_at = function_at
        self._data = data
        self._kept: list[tuple[int, bytes]] = []  # data as it was at the batch before, by address
        self._now: list[tuple[int, bytes]] = []
        self.forget()

    def forget(self) -> None:
        """The mappings changed. What memory held at the batch before stays true."""
        self._sweeps: dict[int, Sweep | None] = {}
        self._numbers: dict[int, int] = {}
        self._words: dict[int, tuple[int, bool]] = {}  # pointers, and whether each was read before this batch
        self._starts = 0
        self._used = 1
        self._rows = np.zeros((256, 2), OPERAND)
        self._addresses = np.zeros(256, np.uint64)
        compile_operands(_RETURNS[self.bits], self._rows[SOME_RETURN])

    @property
    def full(self) -> bool:
        """Whether the bounds are reached."""
        return self._starts > _KEPT_STARTS or len(self._numbers) > _KEPT_INSTRUCTIONS

    @property
    def operands(self) -> NDArray[np.void]:
        """Two operands for each number."""
        return self._rows

    @property
    def addresses(self) -> NDArray[np.uint64]:
        """Where each number's instruction lies."""
        return self._addresses

    def bytes(self, address: int, size: int) -> bytes:
        """What can be read from there, up to the end of the page where memory ends within."""
        last = (address + size) & -_PAGE
        for end in (address + size, last, (address + _PAGE) & -_PAGE):
            if address < end <= address + size:
                try:
                    if data := self._read(address, end - address):
                        return bytes(data)[: end - address]
                except Exception:  # whatever the reader's own error is
                    continue
        return b""

    def word(self, address: int) -> tuple[int, bool] | None:
        """The pointer at an address, and whether it is settled; None where there is none.

        Hits are older than the reading, so a pointer counts if it was the same at the batch before, or is one that is written
        once. One that is not settled leads on to others, which are then read as early as it was.
        """
        known = self._words.get(address)
        if known is None:
            value = self._word(address)
            if value is None or len(self._words) == _KEPT_WORDS:
                return None
            known = self._words[address] = value, value == self._was(address) or self._once(address)
        return known

    def _once(self, address: int) -> bool:
        try:
            return self._data is not None and self._data.written_once(address)
        except Exception:  # as for names
            return False

    def _was(self, address: int) -> int | None:
        """What the word at an address was at the batch before, where data is kept."""
        place = bisect_right(self._kept, address, key=_start) - 1
        if place < 0:
            return None
        start, data = self._kept[place]
        word = data[address - start : address - start + 8]
        return int.from_bytes(word, "little") if len(word) == 8 else None

    def keep(self) -> None:
        """Begin a batch in which pointers may be asked for: data as it is now is what the next one finds to have been."""
        self._kept, self._now = self._now, []
        left = _KEPT_DATA
        try:
            spans = sorted(self._data.spans()) if self._data is not None else []
        except Exception:  # as for names
            spans = []
        for start, end in spans:
            if 0 < end - start <= left and (data := self.bytes(start, end - start)):
                self._now.append((start, data))
                left -= len(data)

    def _word(self, address: int) -> int | None:
        data = self.bytes(address, 8)
        return int.from_bytes(data, "little") if len(data) == 8 else None

    def same_pointers(self) -> bool:
        """Begin a batch: read the pointers again; whether all are what they were."""
        same = True
        for address, (value, _) in list(self._words.items()):
            now = self._word(address)
            same &= now == value
            if now is None:
                del self._words[address]
            else:
                self._words[address] = now, now == value
        return same

    def end(self, address: int) -> int | None:
        """Where the function that holds an address ends, None where that is not known."""
        found = self._find(address)
        return found[0] + found[1] if found is not None and address < found[0] + found[1] else None

    def start(self, address: int) -> int | None:
        """Where the function that holds an address begins."""
        found = self._find(address)
        return None if found is None else found[0]

    def function(self, address: int) -> Sweep | None:
        """The function that holds an address, swept."""
        found = self._find(address)
        if found is None:
            return None
        start, size = found
        if start not in self._sweeps:
            code = self.bytes(start, min(size, FUNCTION_LIMIT))
            done = sweep(code, start, self.bits) if code else None
            self._sweeps[start] = done
            self._starts += len(done.starts) if done else 1
        known = self._sweeps[start]
        if known is not None and known.starts[-1] < address < start + size:
            return None  # it could not be swept that far
        return known

    def decode(self, address: int) -> ic.Instruction | None:
        """The instruction at an address, None where it is none."""
        return instruction_at(self.bytes(address, LONGEST), address, self.bits)

    def guess(self, end: int) -> int | None:
        """The instruction before `end` where no function is known: by vote."""
        for size in (128, end & _PAGE - 1):
            code = self.bytes(end - size, size)
            if size and len(code) == size:
                return vote(code, end, self.bits)
        return None

    def number(self, address: int) -> int:
        """The number of the instruction at an address; -1 where it is none, or touches no memory."""
        number = self._numbers.get(address)
        if number is None:
            number = self._numbers[address] = self._compile(address)
        return number

    def _find(self, address: int) -> tuple[int, int] | None:
        try:
            found = self._function_at(address)
        except Exception:  # names come from hostile files: a broken part costs its own names only
            return None
        if found is None or not found[0] <= address or address - found[0] >= FUNCTION_LIMIT:
            return None
        return found

    def _compile(self, address: int) -> int:
        instruction = self.decode(address)
        if instruction is None:
            return -1
        number = self._used
        if number == len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
            self._addresses = np.concatenate([self._addresses, np.zeros_like(self._addresses)])
        if not compile_operands(instruction, self._rows[number]):
            return -1
        self._addresses[number] = address
        self._used += 1
        return number


def _start(kept: tuple[int, bytes]) -> int:
    return kept[0]
