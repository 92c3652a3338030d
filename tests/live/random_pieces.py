"""Pieces of machine code for random programs that load, store, modify, repeat, push, call and branch around one data page."""

from __future__ import annotations

import random
import struct

from tests.live.ptrace import Slots
from tests.live.random_ends import end
from tests.live.random_forms import Forms
from tests.live.random_transfers import TRANSFERS, interrupt_return
from tests.machine.code import DATA

__all__ = ["LAST", "MIDDLE", "TO_MIDDLE", "Maker"]

MIDDLE = DATA + 0x1000
"""Where rbx points: writable pages meet there."""
LAST = DATA + 0x3000
"""The first address behind the data: nothing is mapped there."""
TO_MIDDLE = b"\x48\x81\xc3" + struct.pack("<i", MIDDLE - DATA) + b"\xbc" + struct.pack("<I", DATA + 0x800)
"""add rbx, 0x1000; mov esp, a place in the data: what is on the first stack is not compared."""
_ALU = range(8)  # add, or, adc, sbb, and, sub, xor, cmp
_FREE = (0, 1, 2, 6, 7)
"""rax, rcx, rdx, rsi, rdi: rbx is the data, rbp keeps rsp."""


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


class Maker:
    """Pieces, slots and an end from one seed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self._forms = Forms(self.chance)
        self.stepped = False
        """Whether instructions will be single-stepped."""

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

    def segments(self) -> bytes:
        """The bases of fs and gs become the middle of the data: arch_prctl(ARCH_SET_FS and ARCH_SET_GS)."""
        call = b"\x48\x89\xde\xb8\x9e\0\0\0\x0f\x05"
        without_step = b"\x49\x81\xe3\xff\xfe\xff\xff"  # and r11, ~TF, which is there when the call was stepped on silicon
        return b"\xbf\x02\x10\0\0" + call + b"\xbf\x01\x10\0\0" + call + without_step

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

    def frames(self) -> bytes:
        """enter of each depth, leave, pushes and pops of other sizes and of flags, on the data."""
        kind = self.chance.randrange(7)
        if kind == 0:
            return self._on_data_with_frame(
                b"\xc8" + struct.pack("<HB", self.chance.randrange(0, 24, 8), self.chance.randrange(4))
            )
        if kind == 1:
            return self._on_data_with_frame(b"\xc9")
        if (
            kind == 2 and not self.stepped
        ):  # flags without TF; Linux leaves TF set behind a popf that was stepped (step.c)
            return self._on_data(b"\x68" + struct.pack("<I", self.chance.getrandbits(32) & 0x8D5) + b"\x9d")
        if kind == 3 and not self.stepped:  # pushf shows the TF of a step on silicon
            return self._on_data(self.chance.choice([b"\x9c", b"\x66\x9c", b"\x9c\x58", b"\x9c\x8f\x43\x08"]))
        if kind == 4:
            return self._on_data(
                b"\x66\x68" + self.chance.randbytes(2) + b"\x66" + bytes([0x58 + self._register()])
            )
        if kind == 5:
            return self._on_data(b"\x8f" + self._memory(0) + b"\x66\xff" + self._memory(6))
        away = self.chance.choice([b"\xc2\x08\0", b"\xc2\x10\0", b"\xc3"])
        return self._on_data(b"\xe8\x02\0\0\0\xeb" + bytes([len(away)]) + away)

    def _on_data_with_frame(self, body: bytes) -> bytes:
        """rsp and rbp in the data: r14 keeps rsp."""
        stack = b"\x48\x8d\x63" + struct.pack("b", self.chance.randrange(0, 48) & -8)
        # away from rsp: an enter of several levels that hits copies twice on an AMD Zen 5
        frame = b"\x48\x8d\x6b" + struct.pack("b", self.chance.randrange(-100, -40))
        return b"\x49\x89\xe6" + stack + frame + body + b"\x4c\x89\xf4"

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

    def divide(self) -> bytes:
        """A division that mostly fits."""
        wide = self.chance.choice([b"\x48", b"", b"\x66"])
        digit = self.chance.choice([6, 7])
        if self.chance.random() < 0.5:
            return (
                b"\x31\xd2\x48\x0f\xba\x6b\x10\x01"
                + wide
                + b"\xf7"
                + bytes([0x43 | digit << 3, 0x10])
                + self._compare()
            )
        return b"\x31\xd2\x83\xc9\x01" + wide + bytes([0xF7, 0xC1 | digit << 3]) + self._compare()

    def mask(self) -> bytes:
        """maskmovdqu: bytes of xmm1 that xmm2 selects, at rdi."""
        pointer = b"\x48\x8d\x7b" + struct.pack("b", self.chance.randrange(-16, 40))
        return (
            pointer
            + b"\x66\x0f\xf7"
            + bytes([0xC0 | self.chance.randrange(4) << 3 | self.chance.randrange(4)])
        )

    def handled(self) -> bytes:
        """A signal by an exception, with a handler that stores, and returns behind the instruction; on a stack of its own."""
        inside = b"\x48\xc7" + self._memory(0) + self.chance.randbytes(4) + self.load()
        fault, skip = self.chance.choice(
            [(b"\x0f\x0b", 2), (b"\xcc", 0), (b"\xf4", 1), (b"\x8b\x04\x25\0\0\0\0", 7)]
        )
        number = {b"\x0f\x0b": 4, b"\xcc": 5}.get(fault, 11)
        handler = b"\x48\x83\x82\xa8\0\0\0" + bytes([skip]) + inside + b"\xc3"
        restorer = b"\xb8\x0f\0\0\0\x0f\x05"
        area = 0x1000_0000
        tail = handler + restorer
        map_ = (
            b"\xbf"
            + struct.pack("<I", area)
            + b"\xbe\0\0\1\0\xba\3\0\0\0\x41\xba\x32\0\0\0\x41\xb8\xff\xff\xff\xff\x45\x31\xc9\xb8\x09\0\0\0\x0f\x05"
        )
        skip_tail = b"\xe9" + struct.pack("<i", len(tail))
        head = b"\x48\x8d\x05" + struct.pack("<i", -len(tail) - 7)  # lea rax, handler
        head += b"\x48\xa3" + struct.pack("<Q", area)
        head += b"\x48\x05" + struct.pack("<i", len(handler)) + b"\x48\xa3" + struct.pack("<Q", area + 16)
        head += b"\xb8\x04\0\0\x84\x48\xa3" + struct.pack("<Q", area + 8)
        act = (
            b"\xbf"
            + struct.pack("<I", number)
            + b"\xbe"
            + struct.pack("<I", area)
            + b"\x31\xd2\x41\xba\x08\0\0\0\xb8\x0d\0\0\0\x0f\x05"
        )
        run = b"\x48\x89\xe5\xbc" + struct.pack("<I", area + 0x10000) + fault + b"\x48\x89\xec"
        return map_ + skip_tail + tail + head + act + run
