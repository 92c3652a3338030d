"""What breakpoints and their BPF programs share: a line of words each, in an array that both have mapped.

A line has counters, then two tables of what a hit is held against: the program reads the one that `active` names, so the
other can be written while hits come, and one store of a word changes over.
"""

from __future__ import annotations

import mmap
import struct
from collections import deque
from typing import Final

from backends.condition import MOST_TERMS, SUBJECTS, Condition

__all__ = [
    "COUNT",
    "LENGTH",
    "LINE",
    "LINES",
    "PLACE",
    "PLACES",
    "PLACES_AT",
    "PLACES_BITS",
    "TABLE",
    "TABLES",
    "TERM",
    "TERMS",
    "WORDS",
    "Lines",
]

WORDS: Final = {
    name: 8 * number
    for number, name in enumerate(
        (
            *("hits", "drops", "signals", "filtered", "beyond", "passed", "limit", "active"),
            *("last", "last_process", "ignore", "ignored"),
        )
    )
}
"""Where the counters are, in bytes: hits met; those that found no room in the ring, told their thread to stop, did not meet
the condition, came after the limit; hits that met the condition while there was a limit, and that limit (0: none); with a
condition, or hits to be ignored, the window's value after the last hit, wanted or not, and whose process it was in (0: not known);
how many hits that meet the condition are ignored, and how many were."""
TABLES: Final = 128
LENGTH, COUNT, TERMS = 0, 8, 16
"""In a table: the window's bytes (0: nothing to read), how many terms there are, the terms."""
TERM: Final = ("subject", "mask", "flip", "low", "span", "outside")
"""The words of a term (`backends.condition.Term`)."""
TABLE: Final = 512
LINE: Final = 2048
assert TERMS + MOST_TERMS * 8 * len(TERM) <= TABLE
assert TABLES + 2 * TABLE <= LINE

LINES: Final = 1024
"""How many breakpoints there can be at once."""
PLACES_AT: Final = LINES * LINE
PLACES_BITS: Final = 12
PLACES: Final = 1 << PLACES_BITS
PLACE: Final = 16
"""Behind the lines: a table of hits that found no room in the ring, found by hashing. Each place has its key, the ip with the
breakpoint's number XORed into the top 16 bits, and how many there were."""


class Lines:
    """The lines in the array that `memory` maps; SIZE bytes."""

    SIZE: Final = PLACES_AT + PLACES * PLACE

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self._free = deque(range(0, PLACES_AT, LINE))

    def take(self) -> int:
        """A line that is all zeros: where it begins. OSError where there is none."""
        if not self._free:
            raise OSError(28, "too many breakpoints at once")
        line = self._free.popleft()
        self._memory[line : line + LINE] = bytes(LINE)
        return line

    def give_back(self, line: int) -> None:
        """It is used again as late as can be: a hit that is under way on another CPU may still count there."""
        self._free.append(line)

    def word(self, line: int, name: str) -> int:
        """A counter."""
        return int(struct.unpack_from("<Q", self._memory, line + WORDS[name])[0])

    def set_word(self, line: int, name: str, value: int) -> None:
        """Set a counter."""
        struct.pack_into("<Q", self._memory, line + WORDS[name], value)

    def hold_against(self, line: int, length: int, condition: Condition | None) -> None:
        """From the next hit on: a window of `length` bytes (0: an instruction), and what the hit must be like."""
        other = 1 - (self.word(line, "active") & 1)
        terms = condition.terms if condition else ()
        table = struct.pack("<QQ", length, len(terms))
        for term in terms:
            subject = SUBJECTS.index(term.subject)
            table += struct.pack("<6Q", subject, term.mask, term.flip, term.low, term.span, term.outside)
        at = line + TABLES + other * TABLE
        self._memory[at : at + TABLE] = table.ljust(TABLE, b"\0")
        self.set_word(line, "last_process", 0)
        self.set_word(line, "active", other)

    def forget_dropped(self, id_: int) -> None:
        """Those of a breakpoint are nobody's any more."""
        for number in range(PLACES):
            at = PLACES_AT + number * PLACE
            (key,) = struct.unpack_from("<Q", self._memory, at)
            if key and key >> 48 ^ (0xFFFF if key >> 47 & 1 else 0) == id_ & 0xFFFF:
                struct.pack_into("<Q", self._memory, at + 8, 0)

    def dropped(self) -> dict[tuple[int, int], int]:
        """How many hits found no room, by (the low 16 bits of the breakpoint's number, ip)."""
        found: dict[tuple[int, int], int] = {}
        words = struct.unpack_from(f"<{2 * PLACES}Q", self._memory, PLACES_AT)
        for key, count in zip(words[::2], words[1::2], strict=True):
            if count:
                high = 0xFFFF if key >> 47 & 1 else 0
                ip = key & (1 << 48) - 1 | high << 48
                found[key >> 48 ^ high, ip] = count
        return found
