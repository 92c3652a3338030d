"""Random programs on this machine's silicon and on the emulated CPU: the same hits, values, memory and end.

python -m tests.live.random_programs [--seconds N] [--seed N]

A program is a list of pieces of machine code that loads, stores, modifies, repeats, pushes, calls and branches around one
data page, under random slots. One that differs is shrunk piece by piece and printed. Flags that the manual leaves undefined
are not looked at: what reads flags has a comparison of its own in front.
"""

from __future__ import annotations

import argparse
import random
import struct
import sys
import tempfile
import time
from pathlib import Path

from symbols.disasm import disassemble
from tests.live.silicon import Unavailable
from tests.live.tracee import USER_REGS, Tracee, watch
from tests.machine.code import DATA, EXIT, START, program
from tests.machine.emulated import run

__all__ = ["Slots", "difference", "make", "shrunk"]

Slots = list[tuple[int, int, str]]
_MIDDLE = DATA + 0x1000
"""Where rbx points: writable pages meet there."""
_TO_MIDDLE = b"\x48\x81\xc3" + struct.pack("<i", _MIDDLE - DATA)
_MEMORY = 0x200
"""Bytes around the middle that are compared at the end: half of them before it."""
_ALU = range(8)  # add, or, adc, sbb, and, sub, xor, cmp
_FREE = (0, 1, 2, 6, 7)
"""rax, rcx, rdx, rsi, rdi: rbx is the data, rbp keeps rsp."""


class _Maker:
    """Pieces from one seed."""

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
        )
        return self.chance.choice(kinds)()

    def slots(self) -> Slots:
        found = []
        for _ in range(self.chance.randrange(1, 5)):
            length = self.chance.choice([1, 2, 4, 8, 8])
            at = self.chance.randrange(-16, 48) & -length
            found.append((_MIDDLE + at, length, self.chance.choice(["w", "rw"])))
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
            register &= 3  # al, cl, dl, bl
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
        if prefix == b"\xf2" and opcode not in (0xAE, 0xAF, 0xA6, 0xA7):
            prefix = b"\xf3"
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


def make(seed: int) -> tuple[list[bytes], Slots]:
    """A program's pieces and its slots."""
    maker = _Maker(seed)
    start = [maker.wide() for _ in range(4)]
    return start + [maker.piece() for _ in range(maker.chance.randrange(4, 40))], maker.slots()


def difference(folder: Path, pieces: list[bytes], slots: Slots) -> str:
    """What differs, "" where nothing does. Raises Unavailable."""
    path = program(folder / "program", _TO_MIDDLE + b"".join(pieces))
    with Tracee([path], {}) as tracee:
        there = watch(tracee, slots, 5000)
        status = tracee.status
        memory = tracee.read(_MIDDLE - _MEMORY // 2, _MEMORY) if status is None else b""
        registers = dict(zip(USER_REGS, tracee.registers(), strict=True)) if status is None else {}
    hits = run([path], slots)
    ours = [(hit.ip, hit.slot, hit.value) for hit in hits.hits]
    silicon = [(hit.ip, hit.slot, hit.value) for hit in there]
    for at, (mine, real) in enumerate(zip(ours, silicon, strict=False)):
        if mine != real:
            return f"hit {at}: emulated {mine[0]:#x} DR{mine[1]} {mine[2]:#x}, silicon {real[0]:#x} DR{real[1]} {real[2]:#x}"
    if len(ours) != len(silicon):
        return f"{len(ours)} hits emulated, {len(silicon)} on silicon"
    if status is None:
        here = hits.backend.read(_MIDDLE - _MEMORY // 2, _MEMORY)
        if here != memory:
            at = next(n for n in range(_MEMORY) if here[n] != memory[n])
            return (
                f"memory at {_MIDDLE - _MEMORY // 2 + at:#x}: emulated {here[at]:#x}, silicon {memory[at]:#x}"
            )
        mine_registers = {each.name: each.value for each in hits.backend.registers(None)}
        for name in ("rbx", "rdx", "rsi", "r8", "r9"):  # the exit itself uses the others
            if name in mine_registers and mine_registers[name] != registers[name]:
                return f"{name}: emulated {mine_registers[name]:#x}, silicon {registers[name]:#x}"
    return ""


def shrunk(folder: Path, pieces: list[bytes], slots: Slots) -> tuple[list[bytes], Slots]:
    """The least that still differs."""
    for at in range(len(pieces) - 1, -1, -1):
        fewer = pieces[:at] + pieces[at + 1 :]
        if difference(folder, fewer, slots):
            pieces = fewer
    for slot in list(slots):
        less = [each for each in slots if each is not slot]
        if less and difference(folder, pieces, less):
            slots = less
    return pieces, slots


def listing(pieces: list[bytes], slots: Slots) -> str:
    """The program, for people."""
    code = _TO_MIDDLE + b"".join(pieces)
    lines = [f"  {address - _MIDDLE:+d}/{length}:{kind}" for address, length, kind in slots]
    for insn in disassemble(code + EXIT, START, 4096):
        if insn.address < START + len(code):
            lines.append(f"  {insn.address:#x}  {insn.bytes.hex():24} {insn.text}")
    return "\n".join(lines)


def main() -> int:
    """Until the time is up; exit code 1 at the first difference, which is shrunk and printed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    end, seed = time.monotonic() + options.seconds, options.seed
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            while time.monotonic() < end:
                pieces, slots = make(seed)
                if what := difference(folder, pieces, slots):
                    pieces, slots = shrunk(folder, pieces, slots)
                    print(
                        f"seed {seed}: {difference(folder, pieces, slots) or what}\n{listing(pieces, slots)}"
                    )
                    return 1
                seed += 1
        except Unavailable as error:
            print(f"no comparison here: {error}")
            return 0
    print(f"{seed - options.seed} programs agreed, seeds from {options.seed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
