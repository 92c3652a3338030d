"""Random pieces that work on whole numbers: loads, stores, arithmetic, bits, strings, loops."""

from __future__ import annotations

import struct

from tests.live.random_base import MIDDLE, Pieces

__all__ = ["WholePieces"]

_ALU = range(8)  # add, or, adc, sbb, and, sub, xor, cmp


class WholePieces(Pieces):
    """What general registers and memory can do."""

    def wide(self) -> bytes:
        return bytes([0x48, 0xB8 + self._register()]) + self.chance.randbytes(8)

    def store(self) -> bytes:
        if self.chance.random() < 0.3:
            return b"\x48\xc7" + self._memory(0) + self.chance.randbytes(4)
        return self._sized(b"\x89", self._register())

    def alu(self) -> bytes:
        opcode = 8 * self.chance.choice(_ALU) + self.chance.choice([1, 3])
        lock = opcode & 2 == 0 and opcode < 0x38 and self.chance.random() < 0.2
        return self._sized(bytes([opcode]), self._register(), lock=lock)

    def one(self) -> bytes:
        opcode, digit = self.chance.choice([(0xFF, 0), (0xFF, 1), (0xF7, 2), (0xF7, 3)])  # inc, dec, not, neg
        return self._sized(bytes([opcode]), digit)

    def shift(self) -> bytes:
        digit = self.chance.choice([0, 1, 4, 5, 7])  # rol, ror, shl, shr, sar
        return b"\x48\xc1" + self._memory(digit) + bytes([self.chance.randrange(1, 63)]) + self._compare()

    def exchange(self) -> bytes:
        opcode = self.chance.choice([b"\x87", b"\x0f\xc1", b"\x0f\xb1"])  # xchg, xadd, cmpxchg
        return self._sized(opcode, self._register(), lock=opcode[0] == 0x0F and self.chance.random() < 0.5)

    def bits(self) -> bytes:
        digit = self.chance.randrange(4, 8)  # bt, bts, btr, btc
        if self.chance.random() < 0.5:
            return (
                b"\x48\x0f\xba" + self._memory(digit) + bytes([self.chance.randrange(64)]) + self._compare()
            )
        register = self._register()
        bound = bytes([0x48, 0x83, 0xE0 | register, 0x7F])  # and r, 127
        return bound + b"\x48\x0f" + bytes([0x83 | digit << 3]) + self._memory(register) + self._compare()

    def flags(self) -> bytes:
        code = self.chance.randrange(16)
        if self.chance.random() < 0.5:
            return self._compare() + bytes([0x0F, 0x90 | code]) + self._memory(0)
        return self._compare() + bytes([0x48, 0x0F, 0x40 | code]) + self._memory(self._register())

    def branch(self) -> bytes:
        over = self.store() + self.load()
        return self._compare() + bytes([0x70 | self.chance.randrange(16), len(over)]) + over

    def string(self) -> bytes:
        pointers = b"\x48\x8d\x7b" + struct.pack("b", self.chance.randrange(-16, 40))
        pointers += b"\x48\x8d\x73" + struct.pack("b", self.chance.randrange(-16, 40))
        count = b"\xb9" + struct.pack("<I", self.chance.randrange(0, 9))
        prefix = self.chance.choice([b"", b"\xf3", b"\xf3", b"\xf2"])
        wide = self.chance.choice([b"", b"\x66", b"\x48"])
        opcode = self.chance.choice([0xA4, 0xA5, 0xAA, 0xAB, 0xAC, 0xAD, 0xAE, 0xAF, 0xA6, 0xA7])
        if not opcode & 1:
            wide = b""
        legacy = wide if wide == b"\x66" else b""
        rex = wide if wide == b"\x48" else b""
        down = self.chance.random() < 0.3
        if self.chance.random() < 0.2:
            legacy += b"\x67"
        code = legacy + prefix + rex + bytes([opcode])
        return (
            pointers
            + count
            + (b"\xfd" if down else b"")
            + code
            + (b"\xfc" if down else b"")
            + self._compare()
        )

    def upper(self) -> bytes:
        """r8 to r15: loads, stores, arithmetic, and what moves between them and the others."""
        register = self.chance.randrange(8)
        opcode = self.chance.choice([0x89, 0x8B, 0x01, 0x2B, 0x31, 0x87])
        if self.chance.random() < 0.5:
            prefix = self.chance.choice([b"\x4c", b"\x44", b"\x66\x44"])
            return prefix + bytes([opcode]) + self._memory(register)
        return bytes([0x49, 0x89, 0xC0 | self._register() << 3 | register])

    def multiply(self) -> bytes:
        """mul or imul of a register or memory: what else they leave undefined is compared away."""
        digit = self.chance.choice([4, 5])
        wide = self.chance.choice([b"", b"\x48", b"\x66"])
        if self.chance.random() < 0.5:
            return wide + b"\xf7" + self._memory(digit) + self._compare()
        return wide + bytes([0xF7, 0xC0 | digit << 3 | self._register()]) + self._compare()

    def divide(self) -> bytes:
        """A division that mostly fits."""
        digit = self.chance.choice([6, 7])
        if self.chance.random() < 0.25:  # and eax, 127; or r8d.., 1; div r8b..
            register = self.chance.randrange(8)
            odd = bytes([0x41, 0x83, 0xC8 | register, 1])
            return b"\x83\xe0\x7f" + odd + bytes([0x41, 0xF6, 0xC0 | digit << 3 | register]) + self._compare()
        wide = self.chance.choice([b"\x48", b"", b"\x66"])
        if self.chance.random() < 0.5:
            return (
                b"\x31\xd2\x48\x0f\xba\x6b\x10\x01"
                + wide
                + b"\xf7"
                + bytes([0x43 | digit << 3, 0x10])
                + self._compare()
            )
        return b"\x31\xd2\x83\xc9\x01" + wide + bytes([0xF7, 0xC1 | digit << 3]) + self._compare()

    def loop(self) -> bytes:
        """loop, loope, loopne over a store, or jrcxz over one."""
        body = self.store()
        kind = self.chance.choice([0xE0, 0xE1, 0xE2, 0xE3])
        count = b"\xb9" + struct.pack("<I", self.chance.randrange(kind != 0xE3, 4))
        short = self.chance.choice([b"", b"", b"\x67"])
        if kind == 0xE3:
            return count + short + bytes([kind, len(body)]) + body
        return count + self._compare_once() + body + short + bytes([kind, -len(body) - 2 - len(short) & 0xFF])

    def _compare_once(self) -> bytes:
        return bytes([0x48, 0x39, 0xC0 | self._register() << 3 | self._register()])

    def odd(self) -> bytes:
        """What has operands of its own: xlat, lahf, sahf, moffs, movnti, leas, nops with prefixes, clflush."""
        near = struct.pack("<Q", MIDDLE + self.chance.randrange(-20, 44))
        return self.chance.choice([
            b"\xd7", b"\x9f", b"\x9e", b"\x64\xd7", b"\xa0" + near, b"\x66\xa1" + near, b"\xa1" + near, b"\x48\xa1" + near,
            b"\xa2" + near, b"\x66\xa3" + near, b"\xa3" + near, b"\x48\xa3" + near, b"\x66\x0f\x1f" + self._memory(0), b"\xf3\x90",
            b"\x0f\xae" + self._memory(7), b"\x2e\x48\x89" + self._memory(self._register()), b"\x3e\x36\x89" + self._memory(self._register()),
            b"\x48\x8d" + self._memory(self._register()), b"\x67\x8d" + self._memory(self._register()), b"\x0f\x18" + self._memory(1),
            b"\x66\x0f\xae" + self._memory(7), b"\x8c" + self._memory(self.chance.randrange(6)),
            b"\x48\x8c" + bytes([0xC0 | self.chance.randrange(6) << 3 | self._register()]), b"\x0f\xae\xe8", b"\x0f\xae\xf0", b"\x0f\xae\xf8",
        ])  # fmt: skip
