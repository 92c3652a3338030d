"""Random pieces of SSE and x87."""

from __future__ import annotations

import random
import struct

from tests.live.random_base import Pieces

__all__ = ["FloatPieces"]


def _double(chance: random.Random) -> int:
    exponent = chance.choice(
        [
            0,
            0,
            1,
            2,
            0x3FF,
            0x3FF,
            0x400,
            0x41D,
            0x43D,
            0x7FE,
            0x7FF,
            chance.randrange(0x7FF),
            chance.randrange(0x3E0, 0x420),
        ]
    )
    fraction = chance.choice(
        [0, 1, 1 << 51, chance.getrandbits(52), chance.getrandbits(10) << 42, (1 << 52) - 1]
    )
    return chance.getrandbits(1) << 63 | exponent << 52 | fraction


def _singles(chance: random.Random) -> int:
    number = 0
    for _ in range(2):
        exponent = chance.choice([0, 0, 1, 0x7F, 0x7F, 0x80, 0x9D, 0xFE, 0xFF, chance.randrange(0xFF)])
        fraction = chance.choice([0, 1, 1 << 22, chance.getrandbits(23), chance.getrandbits(6) << 17])
        number = number << 32 | chance.getrandbits(1) << 31 | exponent << 23 | fraction
    return number


class FloatPieces(Pieces):
    """What XMM registers, MXCSR and the x87 unit can do."""

    def sse(self) -> bytes:
        register = self.chance.randrange(4)
        form = self.chance.choice([
            b"\x0f\x10", b"\x0f\x11", b"\xf3\x0f\x6f", b"\xf3\x0f\x7f", b"\x66\x0f\xd6", b"\xf3\x0f\x7e", b"\x66\x0f\x7e",
            b"\x66\x0f\x6e",
        ])  # fmt: skip
        return form + self._memory(register)

    def sse_whole(self) -> bytes:
        """SSE2 on whole numbers: two registers, sixteen aligned bytes, or halves."""
        register = self.chance.randrange(8)
        if self.chance.random() < 0.5:
            form = self.chance.choice([
                b"\x66\x0f\xd4", b"\x66\x0f\xef", b"\x66\x0f\x61", b"\x66\x0f\x74", b"\x66\x0f\xeb", b"\x66\x0f\xf9",
                b"\x66\x0f\xdf", b"\x66\x0f\x6c",
            ])  # fmt: skip
            return form + bytes([0xC0 | register << 3 | self.chance.randrange(8)])
        aligned = self.chance.choice(
            [b"\x66\x0f\x6f", b"\x66\x0f\x7f", b"\x66\x0f\xfe", b"\x66\x0f\xdb", b"\x0f\x28", b"\x0f\x29"]
        )
        if self.chance.random() < 0.6:
            return aligned + bytes([0x43 | register << 3, self.chance.choice([0, 16, 32, 0xF0])])
        return self.chance.choice([b"\x0f\x12", b"\x0f\x13", b"\x0f\x16", b"\x0f\x17"]) + self._memory(
            register
        )

    def x87(self) -> bytes:
        """Loads and stores of every size, and what works on the stack; no image, whose pointers are not kept."""
        kind = self.chance.randrange(6)
        if kind == 0:
            opcode, digit = self.chance.choice(
                [(0xD9, 0), (0xDD, 0), (0xDB, 5), (0xDF, 0), (0xDB, 0), (0xDF, 5), (0xDF, 4)]
            )
            return bytes([opcode]) + self._memory(digit)
        if kind == 1:
            opcode, digit = self.chance.choice(
                [(0xD9, 2), (0xDD, 2), (0xDF, 2), (0xDB, 2), (0xD9, 7), (0xDD, 7)]
            )
            return bytes([opcode]) + self._memory(digit)
        if kind == 2:
            opcode, digit = self.chance.choice([
                (0xD9, 3), (0xDD, 3), (0xDB, 7), (0xDF, 3), (0xDB, 3), (0xDF, 7), (0xDF, 1), (0xDB, 1), (0xDD, 1), (0xDF, 6),
            ])  # fmt: skip
            return bytes([opcode]) + self._memory(digit)
        if kind == 3:
            return bytes(
                [0xD9, self.chance.choice([0xE8, 0xEE, 0xEB, 0xE0, 0xE1, 0xE4, 0xE5, 0xFA, 0xFC, 0xF6, 0xF7])]
            )
        place = self.chance.randrange(8)
        if kind == 4:
            digit = self.chance.choice([0, 1, 4, 5, 6, 7])
            if self.chance.random() < 0.4:
                return bytes([self.chance.choice([0xD8, 0xDC, 0xDA, 0xDE])]) + self._memory(digit)
            return bytes([self.chance.choice([0xD8, 0xDC, 0xDE]), 0xC0 | digit << 3 | place])
        opcode, digit = self.chance.choice(
            [(0xD9, 1), (0xDB, 5), (0xDB, 6), (0xDF, 5), (0xDD, 0), (0xDA, 0), (0xD9, 0)]
        )
        return bytes([opcode, 0xC0 | digit << 3 | place])

    def floats(self) -> bytes:
        """Numbers of every class in memory or a register, and an instruction or two on floats."""
        code = b""
        for _ in range(self.chance.randrange(1, 3)):
            number = self.chance.choice([_double, _double, _singles])(self.chance)
            code += b"\x48\xb8" + struct.pack("<Q", number)
            if self.chance.random() < 0.5:
                code += b"\x66\x48\x0f\x6e" + bytes([0xC0 | self.chance.randrange(4) << 3])
                if self.chance.random() < 0.5:
                    code += b"\x66\x0f\x6c" + bytes(
                        [0xC0 | self.chance.randrange(4) << 3 | self.chance.randrange(4)]
                    )
            else:
                code += b"\x48\x89\x43" + struct.pack("b", self.chance.randrange(-24, 48) & -8)
        return code + b"".join(self._forms.floats() for _ in range(self.chance.randrange(1, 4)))

    def control(self) -> bytes:
        """MXCSR: a rounding mode, denormals as zeros, flags cleared, exceptions not masked; and what it is."""
        value = self.chance.choice(
            [
                0x1F80,
                0x1F80,
                0x3F80,
                0x5F80,
                0x7F80,
                0x1FC0,
                0x9F80,
                0x9FC0,
                0x1FBF,
                0x1F80 & ~self.chance.choice([0, 0x80, 0x200, 0x1000, 0x800]),
            ]
        )
        at = struct.pack("b", self.chance.randrange(-16, 40))
        code = b"\xc7\x43" + at + struct.pack("<I", value) + b"\x0f\xae\x53" + at
        return self.chance.choice([code, b"\x0f\xae\x5b" + at])

    def mask(self) -> bytes:
        """maskmovdqu: bytes of xmm1 that xmm2 selects, at rdi."""
        pointer = b"\x48\x8d\x7b" + struct.pack("b", self.chance.randrange(-16, 40))
        return (
            pointer
            + b"\x66\x0f\xf7"
            + bytes([0xC0 | self.chance.randrange(4) << 3 | self.chance.randrange(4)])
        )
