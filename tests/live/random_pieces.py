"""Pieces of machine code for random programs that load, store, modify, repeat, push, call and branch around one data page."""

from __future__ import annotations

import struct

from tests.live.ptrace import Slots
from tests.live.random_base import LAST, MIDDLE
from tests.live.random_ends import end
from tests.live.random_floats import FloatPieces
from tests.live.random_stack import StackPieces
from tests.live.random_transfers import TRANSFERS, interrupt_return
from tests.live.random_whole import WholePieces
from tests.machine.code import DATA

__all__ = ["LAST", "MIDDLE", "TO_MIDDLE", "Maker"]

TO_MIDDLE = b"\x48\x81\xc3" + struct.pack("<i", MIDDLE - DATA) + b"\xbc" + struct.pack("<I", DATA + 0x800)
"""add rbx, 0x1000; mov esp, a place in the data: what is on the first stack is not compared."""


class Maker(WholePieces, FloatPieces, StackPieces):
    """Pieces, slots and an end from one seed."""

    def piece(self) -> bytes:
        kinds = (
            *(
                self.store,
                self.store,
                self.load,
                self.alu,
                self.alu,
                self.one,
                self.shift,
                self.exchange,
                self.bits,
            ),
            *(self.stack, self.call, self.string, self.string, self.sse, self.flags, self.branch, self.wide),
            *(self.upper, self.multiply, self.sse_whole, self.x87, self.x87, self.x87, self.move_ss),
            *(self.form,) * 14,
            *(self.floats, self.floats, self.floats, self.floats, self.control),
            *(self.transfer,) * 9,
            *(self.loop, self.frames, self.frames, self.odd, self.odd, self.divide, self.mask),
        )
        return self.chance.choice(kinds)()

    def slots(self) -> Slots:
        found = []
        for _ in range(self.chance.randrange(1, 5)):
            length = self.chance.choice([1, 2, 4, 8, 8])
            at = self.chance.randrange(-16, 48) & -length
            found.append((MIDDLE + at, length, self.chance.choice(["w", "rw"])))
        if self.chance.random() < 0.3:
            found[-1] = (LAST - 8, 8, found[-1][2])
        return found

    def transfer(self) -> bytes:
        """What moves the instruction pointer, flags or the stack as compilers hardly do; a step through IRETQ loses its TF there."""
        makers = [each for each in TRANSFERS if not (self.stepped and each is interrupt_return)]
        return self.chance.choice(makers)(self.chance)

    def end(self) -> bytes:
        """How the program ends: by itself or by a fault."""
        return end(self.chance, stepped=self.stepped)

    def form(self) -> bytes:
        """Any instruction that there is."""
        return self._forms.piece()
