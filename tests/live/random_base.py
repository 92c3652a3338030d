"""What all random pieces of machine code share: where the data is, which registers are free, and operands in memory."""

from __future__ import annotations

import random
import struct

from tests.live.random_forms import Forms
from tests.machine.code import DATA

__all__ = ["LAST", "MIDDLE", "Pieces"]

MIDDLE = DATA + 0x1000
"""Where rbx points: writable pages meet there."""
LAST = DATA + 0x3000
"""The first address behind the data: nothing is mapped there."""
_FREE = (0, 1, 2, 6, 7)
"""rax, rcx, rdx, rsi, rdi: rbx is the data, rbp keeps rsp."""


class Pieces:
    """Draws from one seed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self._forms = Forms(self.chance)
        self.stepped = False
        """Whether instructions will be single-stepped."""

    def _memory(self, register: int) -> bytes:
        """ModRM and disp8 of [rbx + something near]."""
        return bytes([0x43 | register << 3]) + struct.pack("b", self.chance.randrange(-20, 44))

    def _sized(self, opcode: bytes, register: int, *, lock: bool = False) -> bytes:
        """An instruction whose last opcode byte is odd for 2, 4 and 8 bytes and even for 1."""
        size = self.chance.choice([1, 2, 4, 8])
        prefix = (
            (b"\xf0" if lock else b"") + (b"\x66" if size == 2 else b"") + (b"\x48" if size == 8 else b"")
        )
        if size == 1:
            register = register % 3 if register > 3 else register  # al, cl, dl; or the digit of an opcode
            opcode = opcode[:-1] + bytes([opcode[-1] & 0xFE])
        return prefix + opcode + self._memory(register)

    def _register(self) -> int:
        return self.chance.choice(_FREE)

    def _compare(self) -> bytes:
        """cmp of two registers: what was undefined is defined again."""
        return bytes([0x48, 0x39, 0xC0 | self._register() << 3 | self._register()])

    def _on_data(self, body: bytes) -> bytes:
        lea = b"\x48\x8d\x63" + struct.pack("b", self.chance.randrange(0, 48) & -8)
        return b"\x48\x89\xe5" + lea + body + b"\x48\x89\xec"

    def load(self) -> bytes:
        kind = self.chance.randrange(3)
        if kind == 0:
            return (
                b"\x48\x0f"
                + self.chance.choice([b"\xb6", b"\xb7", b"\xbe", b"\xbf"])
                + self._memory(self._register())
            )
        return self._sized(b"\x8b", self._register())
