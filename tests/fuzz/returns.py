"""Random functions with several returns, run: whatever rules returns out may never rule out the one that was taken.

python -m tests.fuzz.returns [--seconds N] [--seed N]

Unicorn runs a caller that sets registers and calls a function of random instructions, jumps, loops, pushes and calls. Behind its
return, the return that was taken must fit, by the last instructions (`symbols.paths`) and by the whole code (`symbols.facts`).
A failure prints its seed.
"""

from __future__ import annotations

import argparse
import random
import struct
import sys
import time
from typing import Any

import numpy as np

from symbols.accesses import COLUMNS, FLAGS, FS_BASE
from symbols.arrivals import Both
from symbols.culprit import READ_WRITE, Culprits
from symbols.verdict import Hits

__all__ = ["Made", "check"]

CODE, STACK, MEMORY = 0x40_0000, 0x7F00_0000_0000, 0x10_0000
_CALLER, _CALLEE, _OTHER, _TAIL = 0, 0x100, 0x800, 0xA00
_STEPS = 600
_LEFT = 12  # words
_REGISTERS = (0, 1, 2, 3, 5, 6, 7, 8, 9, 12)
_CONDITIONS = 16


def _rex(wide: bool, reg: int, index: int, base: int, *, byte: bool = False) -> bytes:
    value = 0x40 | wide << 3 | (reg >> 3) << 2 | (index >> 3) << 1 | base >> 3
    return bytes([value]) if value != 0x40 or byte else b""


def _two(opcode: bytes, wide: bool, reg: int, rm: int, *, byte: bool = False) -> bytes:
    return _rex(wide, reg, 0, rm, byte=byte) + opcode + bytes([0xC0 | (reg & 7) << 3 | rm & 7])


class Made:
    """A program made from a seed: `code` by place, the callee's size."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.registers: tuple[int, ...] = _REGISTERS
        self.tail = self.chance.random() < 0.3
        caller = b"".join(self._plain() for _ in range(self.chance.randrange(8)))
        self.call = len(caller)
        caller += b"\xe8" + (_CALLEE - self.call - 5).to_bytes(4, "little", signed=True)
        self.code = bytearray(b"\x90" * 0x1000)
        self.sizes: dict[int, int] = {}
        self._place(_CALLER, caller + b"\x90\xf4")
        self._place(_OTHER, b"".join(self._plain() for _ in range(4)) + b"\xc3")
        self._place(_TAIL, self._function(_TAIL, self.chance.randrange(1, 4), 0))
        self._place(_CALLEE, self._function(_CALLEE, self.chance.randrange(2, 9), self.chance.randrange(3)))

    def _place(self, at: int, code: bytes) -> None:
        self.code[at : at + len(code)] = code
        self.sizes[at] = len(code)

    def _plain(self) -> bytes:
        """One instruction that goes on behind itself and keeps rsp."""
        chance = self.chance
        one, other, wide = chance.choice(self.registers), chance.choice(self.registers), chance.random() < 0.5
        small = bytes([chance.randrange(256)])
        kind = chance.randrange(23)
        if kind == 21:  # lea one, [other + index + small]
            index = chance.choice(self.registers)
            sib = bytes([(index & 7) << 3 | other & 7])
            return _rex(wide, one, index, other) + b"\x8d" + bytes([0x44 | (one & 7) << 3]) + sib + small
        if kind == 22:  # tzcnt, or popcnt
            return b"\xf3" + _two(chance.choice([b"\x0f\xbc", b"\x0f\xb8"]), wide, one, other)
        if kind < 3:
            return _two(b"\x89", wide, other, one)  # mov
        if kind == 3:
            return (
                _rex(False, 0, 0, one)
                + bytes([0xB8 | one & 7])
                + chance.choice([0, 1, 5, 40]).to_bytes(4, "little")
            )
        if kind == 4:  # lea one, [other + small]
            return (
                _rex(wide, one, 0, other)
                + b"\x8d"
                + bytes([0x40 | (one & 7) << 3 | other & 7])
                + (b"\x24" if other & 7 == 4 else b"")
                + small
            )
        if kind < 7:  # add, or, and, sub, xor, cmp with a byte
            return _two(b"\x83", wide, chance.choice([0, 1, 4, 5, 6, 7]), one) + small
        if kind < 9:
            return _two(chance.choice([b"\x01", b"\x29", b"\x31", b"\x21", b"\x09"]), wide, other, one)
        if kind < 12:
            return _two(chance.choice([b"\x39", b"\x85"]), wide, other, one)  # cmp, test
        if kind == 12:
            return _two(b"\x39", False, one, one) if chance.random() < 0.3 else _two(b"\x31", False, one, one)
        if kind == 13:
            return _two(b"\xff", wide, chance.randrange(2), one)  # inc, dec
        if kind == 14:
            return _two(b"\xf7", wide, chance.choice([2, 3]), one)  # not, neg
        if kind == 15:
            return _two(
                chance.choice([b"\x0f\xb6", b"\x0f\xbe"]), wide, one, other, byte=True
            )  # movzx, movsx
        if kind == 16:
            return _two(b"\xc1", wide, chance.choice([4, 5, 7]), one) + bytes([chance.randrange(1, 31)])
        if kind == 17:
            return b"\xf3" + _two(chance.choice([b"\x0f\xb8", b"\x0f\xbc", b"\x0f\xbd"]), wide, one, other)
        if kind == 18:  # movzx one, byte [rsp - 64]
            return _rex(wide, one, 0, 4) + b"\x0f\xb6" + bytes([0x44 | (one & 7) << 3, 0x24, 0xC0])
        if kind == 19:  # mov [rsp - 32 or - 8], one; mov one, [rsp - 32 or - 8]
            return (
                _rex(True, one, 0, 4)
                + chance.choice([b"\x89", b"\x8b"])
                + bytes([0x44 | (one & 7) << 3, 0x24, 0xE0])
            )
        return _two(bytes([0x0F, 0x40 | chance.randrange(_CONDITIONS)]), wide, one, other)  # cmovcc

    def _function(self, at: int, blocks: int, pushes: int) -> bytes:
        """Blocks that end in a return, a jump to another block, a tail call, or go on."""
        chance = self.chance
        frame = chance.random() < 0.3 and pushes > 0
        self.registers = tuple(each for each in _REGISTERS if each != 5 or not frame)  # rbp
        saved = [chance.choice(self.registers) for _ in range(pushes)]

        def push(register: int) -> bytes:
            return _rex(False, 0, 0, register) + bytes([0x50 | register & 7])

        def pop(register: int) -> bytes:
            return _rex(False, 0, 0, register) + bytes([0x58 | register & 7])

        before = b"".join(push(register) for register in saved)
        after = b"".join(pop(register) for register in reversed(saved))
        if frame:
            before, after = b"\x55\x48\x89\xe5" + before, after + b"\xc9"  # push rbp; mov rbp, rsp ... leave
        parts: list[tuple[bytes, int | None, bytes]] = []  # (code, the block that its jump leads to, opcode)
        for number in range(blocks):
            body = b"".join(self._plain() for _ in range(chance.randrange(5)))
            if chance.random() < 0.15:
                body += b"\xe8CALL"
            if chance.random() < 0.4:  # test one, one; cmp one, 0
                one, wide = chance.choice(self.registers), chance.random() < 0.5
                body += _two(b"\x85", wide, one, one) if wide else _two(b"\x83", True, 7, one) + b"\0"
            kind = chance.randrange(5)
            if number == blocks - 1 or kind == 0:
                parts.append((body + after + b"\xc3", None, b""))
            elif kind == 1 and self.tail and at == _CALLEE:
                parts.append((body + after, -1, b"\xe9"))
            else:
                target = (
                    chance.randrange(number + 1, blocks)
                    if chance.random() < 0.85
                    else chance.randrange(blocks)
                )
                opcode = b"\xe9" if kind == 2 else bytes([0x0F, 0x80 | chance.randrange(_CONDITIONS)])
                parts.append((body, target, opcode))
        starts, place = [], len(before)
        for body, _, opcode in parts:
            starts.append(place)
            place += len(body) + (len(opcode) + 4 if opcode else 0)
        out = bytearray(before)
        for body, leads, opcode in parts:
            out += body
            if opcode:
                to = _TAIL - at if leads == -1 else starts[leads or 0]
                out += opcode + (to - len(out) - len(opcode) - 4).to_bytes(4, "little", signed=True)
        while (hole := out.find(b"CALL")) >= 0:
            out[hole : hole + 4] = (_OTHER - at - hole - 4).to_bytes(4, "little", signed=True)
        return bytes(out)

    def function_at(self, address: int) -> tuple[int, int] | None:
        """The bounds of the four functions."""
        for start, size in self.sizes.items():
            if CODE + start <= address < CODE + start + size:
                return CODE + start, size
        return None

    def read(self, address: int, size: int) -> bytes:
        """The code."""
        if not CODE <= address < CODE + len(self.code):
            raise OSError("nothing there")
        return bytes(self.code[address - CODE : address - CODE + size])

    def run(self) -> tuple[int, dict[str, int], list[int]] | None:
        """The return that was taken, the registers behind it, and the words that rsp has left, nearest first; None where it did
        not end in time."""
        import unicorn as uc
        from unicorn import x86_const as x86

        machine: Any = uc.Uc(uc.UC_ARCH_X86, uc.UC_MODE_64)
        machine.mem_map(CODE, 0x1000)
        machine.mem_map(STACK - 0x10000, 0x20000)
        machine.mem_write(CODE, bytes(self.code))
        machine.mem_write(STACK - 0x400, self.chance.randbytes(0x400))
        numbers = {name: getattr(x86, f"UC_X86_REG_{name.upper()}") for name in COLUMNS[:FLAGS]}
        for name, number in numbers.items():
            if name != "rsp":
                value = self.chance.choice(
                    [0, 1, 5, 40, self.chance.getrandbits(8), self.chance.getrandbits(64)]
                )
                machine.reg_write(number, value)
        machine.reg_write(x86.UC_X86_REG_RSP, STACK)
        last = [0]

        def note(_machine: object, address: int, _size: int, _data: object) -> None:
            if address != CODE + self.call + 5:
                last[0] = address

        machine.hook_add(uc.UC_HOOK_CODE, note)
        try:
            machine.emu_start(CODE, CODE + self.call + 5, count=_STEPS)
        except uc.UcError:
            return None
        if (
            machine.reg_read(x86.UC_X86_REG_RIP) != CODE + self.call + 5
            or machine.reg_read(x86.UC_X86_REG_RSP) != STACK
        ):
            return None
        registers = {name: machine.reg_read(number) for name, number in numbers.items()}
        registers["rflags"] = machine.reg_read(x86.UC_X86_REG_EFLAGS)
        left = machine.mem_read(STACK - 8 * _LEFT, 8 * _LEFT)
        return last[0], registers, list(struct.unpack(f"<{_LEFT}Q", left))[::-1]


def check(seed: int) -> tuple[bool, int, int]:
    """(whether it ended, how many returns there were, how many were ruled out). AssertionError is a finding."""
    made = Made(seed)
    end = made.run()
    if end is None:
        return False, 0, 0
    taken, registers, left = end
    culprits = Culprits(made.read, made.function_at)
    where = culprits._arrivals
    sampled = {name: np.array([registers[name]], np.uint64) for name in COLUMNS[:FS_BASE]}
    hits = Hits(CODE + made.call + 5, STACK - 8, 8, READ_WRITE, sampled)
    hits.below, hits.have_below = np.array([left], np.uint64), np.ones(1, bool)
    arrivals = where.surer(CODE + _CALLEE, CODE + made.call + 5)
    assert taken in [int(culprits._code.addresses[each.number]) for each in arrivals] or not arrivals
    out = 0
    for each in arrivals:
        address = int(culprits._code.addresses[each.number])
        ways = [each.against.one, each.against.other] if isinstance(each.against, Both) else [each.against]
        no = [way is not None and bool(way.contradicted(hits, np.array([0]))[0]) for way in ways]
        assert address != taken or not any(no), (hex(address), no, registers)
        out += any(no)
    found = culprits.find(CODE + made.call + 5, STACK - 8, 8, READ_WRITE, sampled, below=[left])
    assert int(found.insn_ip[0]) in (0, taken)
    return True, len(arrivals), out


def main() -> int:
    """Until the time is up; exit code 1 at the first finding."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    end, seed, ended, returns, out = time.monotonic() + options.seconds, options.seed, 0, 0, 0
    while time.monotonic() < end:
        try:
            whole, some, gone = check(seed)
        except Exception:
            print(f"returns: seed {seed}", file=sys.stderr)
            raise
        ended, returns, out, seed = ended + whole, returns + some, out + gone, seed + 1
    print(
        f"returns: {ended} of {seed - options.seed} programs ended, {returns} returns, {out} ruled out, seeds from {options.seed}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
