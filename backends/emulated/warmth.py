"""When a program is worth translating.

The engine's interpreter runs some millions of instructions a second, whatever they are; its translator runs hot code thirty
times faster, and takes longer to translate a line of code than the interpreter to run it a thousand times. So neither a number
of instructions nor a time says when to change over: a tight loop should be translated at once, the start of an
interpreter of a language, which runs half a million different instructions, not for a minute.

Where the program stands is noted now and then. Once the same few places come up again and again, translating them
costs less than what interpreting has cost already: then the translator takes over, and will have cost at most as much again.
"""

from __future__ import annotations

from typing import Final

__all__ = ["SAMPLE_EVERY", "Warmth"]

SAMPLE_EVERY: Final = 10_000
"""Instructions between two looks."""
_LOOKS_A_LINE: Final = 8
"""Looks for each line of 64 bytes of code: that many times SAMPLE_EVERY interpreted take about as long as translating it."""
_LEAST: Final = 100
_MOST_LINES: Final = 1 << 16


class Warmth:
    """One address space's. `look` after about every SAMPLE_EVERY instructions."""

    def __init__(self) -> None:
        self._lines: set[int] = set()
        self._looks = 0
        self._patience = 1

    def look(self, pc: int) -> bool:
        """Note where the program stands; True once it is worth translating."""
        self._looks += 1
        if len(self._lines) < _MOST_LINES:
            self._lines.add(pc >> 6)
        return self._looks >= self._patience * max(_LEAST, _LOOKS_A_LINE * len(self._lines))

    def cool(self) -> None:
        """The translations are gone: it goes on in the interpreter."""
        self._lines.clear()
        self._looks = 0

    def failed(self) -> None:
        """The translator gave up: the next attempt has to be worth more."""
        self._patience *= 4
        self.cool()
