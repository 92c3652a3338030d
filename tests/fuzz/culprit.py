"""Code that nobody wrote: random and mutated bytes, lying function bounds, ips anywhere, memory that comes and goes.

python -m tests.fuzz.culprit [--seconds N] [--seed N]

Whatever is given, an answer comes back: an instruction within what could be read, that ends at ip or leads there, or none; the
same one for a batch as for each hit of it; and what is kept stays bounded. A failure prints its seed.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symbols.culprit import READ_WRITE, REGISTERS, WRITE, Culprits, Found
from symbols.disasm import disassemble, one
from symbols.elf import ElfImage

__all__ = ["Case", "check"]

_PLACES = (0x40_1000, 0, (1 << 64) - 4096, 0x7FFF_FFFF_F000, 0xFFFF_8000_0000_0000)
_MASK = (1 << 64) - 1


class Case:
    """One program's worth of nonsense, made from a seed."""

    def __init__(self, seed: int, code: bytes) -> None:
        chance = self.chance = random.Random(seed)
        self.base = chance.choice(_PLACES)
        size = chance.choice([1, 15, 64, 600, 4096])
        kind = chance.randrange(3)
        if kind == 0 or len(code) <= size:
            self.memory = bytearray(chance.randbytes(size))
        else:
            start = chance.randrange(len(code) - size)
            self.memory = bytearray(code[start : start + size])
            if kind == 1:
                for _ in range(size // 8):
                    self.memory[chance.randrange(size)] = chance.randrange(256)
        self.fails = chance.choice([0.0, 0.0, 0.1, 1.0])
        self.bounds = chance.choice(["none", "one", "many", "lies", "raises"])
        self.starts = sorted(self.base + chance.randrange(size) for _ in range(5))

    def read(self, address: int, size: int) -> bytes:
        """Memory; it may fail, and give less."""
        if self.fails and self.chance.random() < self.fails:
            raise OSError("gone")
        at = address - self.base
        if not 0 <= at < len(self.memory):
            raise OSError("nothing there")
        return bytes(self.memory[at : at + size])

    def function_at(self, address: int) -> tuple[int, int] | None:
        """Bounds of functions, honest or not."""
        if self.bounds == "none":
            return None
        if self.bounds == "raises":
            raise ValueError("broken")
        if self.bounds == "lies":
            return self.chance.choice(
                [
                    (address + 1, 5),
                    (address, 0),
                    (-1, 1 << 62),
                    (0, _MASK),
                    (address - (1 << 19), 1 << 40),
                    (address, -8),
                ]
            )
        if self.bounds == "one":
            return self.base, len(self.memory)
        before = [start for start in self.starts if start <= address]
        return (before[-1], 64) if before else None

    def find(self, culprits: Culprits, rows: dict[str, NDArray[Any]]) -> Found:
        """Ask about hits."""
        registers = {name: rows[name] for name in REGISTERS if name in rows}
        return culprits.find(rows["ip"], rows["window"], rows["length"], rows["kind"], registers, rows["top"])

    def rows(self, count: int) -> dict[str, NDArray[Any]]:
        """Hits near the code, and anywhere."""
        chance = self.chance
        near = [(self.base + chance.randrange(len(self.memory) + 16)) & _MASK for _ in range(8)]

        def column() -> NDArray[np.uint64]:
            return np.array(
                [
                    chance.choice(near) if chance.random() < 0.8 else chance.randrange(1 << 64)
                    for _ in range(count)
                ],
                np.uint64,
            )

        rows = {name: column() for name in REGISTERS if chance.random() < 0.9}
        rows |= {"ip": column(), "top": column(), "window": column()}
        rows["length"] = np.array([chance.choice([1, 2, 4, 8]) for _ in range(count)])
        rows["kind"] = np.array([chance.choice([0, WRITE, READ_WRITE]) for _ in range(count)], np.uint8)
        return rows


def check(seed: int, code: bytes) -> int:
    """Run one case; the number of hits asked about. AssertionError, or any other error, is a finding."""
    case = Case(seed, code)
    culprits = Culprits(case.read, case.function_at)
    rows = case.rows(24)
    found = case.find(culprits, rows)
    for ip, insn_ip, kind in zip(
        rows["ip"].tolist(), found.insn_ip.tolist(), rows["kind"].tolist(), strict=True
    ):
        assert kind == 0 or insn_ip == 0 or case.base <= insn_ip < case.base + len(case.memory), hex(insn_ip)
        assert kind or insn_ip == ip
    for value, length in zip(found.value.tolist(), rows["length"].tolist(), strict=True):
        assert value < 1 << 8 * length
    if not case.fails and case.bounds in ("none", "one", "many"):
        for row in range(0, 24, 5):
            single = case.find(culprits, {name: column[row : row + 1] for name, column in rows.items()})
            assert [column[row] for column in found] == [column[0] for column in single]
    memory = bytes(case.memory)
    for instruction in disassemble(memory, case.base, 40):
        assert instruction.size == len(instruction.bytes) > 0
        assert instruction.text.isprintable()
    assert one(memory[:15], case.base).isprintable()
    return len(found.insn_ip)


def main() -> int:
    """Until the time is up; exit code 1 at the first finding."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    image = ElfImage.open(str(Path(sys.executable).resolve()))
    text = image.sections[".text"]
    code = image.read(text.addr, min(text.size, 1 << 22))
    end, seed, hits, slowest = time.monotonic() + options.seconds, options.seed, 0, 0.0
    while time.monotonic() < end:
        begun = time.monotonic()
        try:
            hits += check(seed, code)
        except Exception:
            print(f"culprit: seed {seed}", file=sys.stderr)
            raise
        slowest = max(slowest, time.monotonic() - begun)
        seed += 1
    print(
        f"culprit: {seed - options.seed} programs, {hits} hits, slowest {slowest:.2f} s, seeds from {options.seed}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
