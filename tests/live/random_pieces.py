"""Pieces of machine code for random programs that load, store, modify, repeat, push, call and branch around one data page."""

from __future__ import annotations

import random
import struct

from tests.machine.code import CODE, DATA

__all__ = ["LAST", "MIDDLE", "TO_MIDDLE", "Maker", "Slots"]

Slots = list[tuple[int, int, str]]
MIDDLE = DATA + 0x1000
"""Where rbx points: writable pages meet there."""
LAST = DATA + 0x3000
"""The first address behind the data: nothing is mapped there."""
TO_MIDDLE = b"\x48\x81\xc3" + struct.pack("<i", MIDDLE - DATA) + b"\xbc" + struct.pack("<I", DATA + 0x800)
"""add rbx, 0x1000; mov esp, a place in the data: what is on the first stack is not compared."""
_ALU = range(8)  # add, or, adc, sbb, and, sub, xor, cmp
_FREE = (0, 1, 2, 6, 7)
"""rax, rcx, rdx, rsi, rdi: rbx is the data, rbp keeps rsp."""


class Maker:
    """Pieces, slots and an end from one seed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

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

    def wide(self) -> bytes:
        return bytes([0x48, 0xB8 + self._register()]) + self.chance.randbytes(8)

    def store(self) -> bytes:
        if self.chance.random() < 0.3:
            return b"\x48\xc7" + self._memory(0) + self.chance.randbytes(4)
        return self._sized(b"\x89", self._register())

    def load(self) -> bytes:
        kind = self.chance.randrange(3)
        if kind == 0:
            return (
                b"\x48\x0f"
                + self.chance.choice([b"\xb6", b"\xb7", b"\xbe", b"\xbf"])
                + self._memory(self._register())
            )
        return self._sized(b"\x8b", self._register())

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

    def _compare(self) -> bytes:
        """cmp of two registers: what was undefined is defined again."""
        return bytes([0x48, 0x39, 0xC0 | self._register() << 3 | self._register()])

    def flags(self) -> bytes:
        code = self.chance.randrange(16)
        if self.chance.random() < 0.5:
            return self._compare() + bytes([0x0F, 0x90 | code]) + self._memory(0)
        return self._compare() + bytes([0x48, 0x0F, 0x40 | code]) + self._memory(self._register())

    def branch(self) -> bytes:
        over = self.store() + self.load()
        return self._compare() + bytes([0x70 | self.chance.randrange(16), len(over)]) + over

    def stack(self) -> bytes:
        """rsp into the data, some pushes and pops, and back."""
        body = b""
        depth = 0
        for _ in range(self.chance.randrange(1, 5)):
            kind = self.chance.randrange(4)
            if kind == 0 and depth:
                body += bytes([0x58 + self._register()])
                depth -= 1
            elif kind == 1:
                body += b"\xff" + self._memory(6)  # push [m]
                depth += 1
            elif kind == 2:
                body += b"\x6a" + self.chance.randbytes(1)
                depth += 1
            else:
                body += bytes([0x50 + self._register()])
                depth += 1
        return self._on_data(body)

    def _on_data(self, body: bytes) -> bytes:
        lea = b"\x48\x8d\x63" + struct.pack("b", self.chance.randrange(0, 48) & -8)
        return b"\x48\x89\xe5" + lea + body + b"\x48\x89\xec"

    def call(self) -> bytes:
        """call over a jump, into a function that returns: nop; jmp end; f: ... ret."""
        inside = self.load()
        after = b"\xeb" + bytes([len(inside) + 1])
        return self._on_data(b"\xe8" + struct.pack("<i", len(after)) + after + inside + b"\xc3")

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
        code = legacy + prefix + rex + bytes([opcode])
        return (
            pointers
            + count
            + (b"\xfd" if down else b"")
            + code
            + (b"\xfc" if down else b"")
            + self._compare()
        )

    def sse(self) -> bytes:
        register = self.chance.randrange(4)
        form = self.chance.choice([
            b"\x0f\x10", b"\x0f\x11", b"\xf3\x0f\x6f", b"\xf3\x0f\x7f", b"\x66\x0f\xd6", b"\xf3\x0f\x7e", b"\x66\x0f\x7e",
            b"\x66\x0f\x6e",
        ])  # fmt: skip
        return form + self._memory(register)

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

    def move_ss(self) -> bytes:
        """MOV SS from memory, with what comes in its shadow: no access there, before which an AMD Zen 5 loses some matches."""
        at = struct.pack("b", self.chance.randrange(-16, 40))
        load = b"\x66\xc7\x43" + at + b"\x2b\0" + b"\x8e\x53" + at
        return load + self.chance.choice([b"\x90", b"\x8e\x53" + at + b"\x90", self._compare(), b"\xeb\0"])

    def end(self) -> bytes:
        """How the program ends: by itself or by a fault. No store that fails on its second page (docs/emulator.md)."""
        store = b"\x49\xb8" + struct.pack("<Q", self.chance.choice([0xDEAD000, CODE + 64, LAST, 1 << 63]))
        away = b"\x49\xb8" + struct.pack(
            "<Q", self.chance.choice([0xDEAD000, LAST - 3, LAST - 1, LAST, 1 << 63])
        )
        runs_out = b"\xb9\x08\0\0\0\x48\xbf" + struct.pack("<Q", LAST - 24) + b"\x48\x8d\x73\x08"
        return self.chance.choice([
            b"\xbf" + struct.pack("<I", self.chance.randrange(256)) + b"\xb8\x3c\0\0\0\x0f\x05",
            b"\xbf" + struct.pack("<I", self.chance.randrange(256)) + b"\xb8\x3c\0\0\0\x0f\x05",
            b"\xcc", b"\x0f\x0b", b"\xf4", b"\xcd\x81",
            b"\x31\xc9\x48\xf7\xf1",  # div by zero
            b"\x31\xd2\x31\xc0\x80\x63\x08\0\xf6\x73\x08",  # div byte [m], which was made 0
            store + b"\x49\x89\0", store + b"\x4c\x89\xc4\x50\xf4", store + b"\x4c\x89\xc4\xff\x33\xf4", store + b"\x41\x0f\x11\0\xf4",
            store + b"\x41\xdd\x18\xf4", store + b"\x41\xdb\x38\xf4", store + b"\x4c\x89\xc7\xa5\xf4", store + b"\x41\x8f\0\xf4",
            away + b"\x49\x8b\0\xf4", away + b"\x41\xdf\x28\xf4", away + b"\x41\xdb\x28\xf4", away + b"\x41\x0f\x10\0\xf4",
            away + b"\x4c\x89\xc6\xac\xf4", away + b"\x4c\x89\xc6\x48\x8d\x7b\x08\x48\xa5\xf4",
            away + b"\x4c\x89\xc6\x48\x8d\x7b\x08\xa7\xf4", away + b"\x4c\x89\xc7\x48\x8d\x73\x08\xfd\x48\xa7\xf4",
            runs_out + b"\xf3\x48\xa5", runs_out + b"\xf3\x48\xab", runs_out + b"\xf2\x48\xaf\xf4",
        ])  # fmt: skip
