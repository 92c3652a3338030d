"""Random C programs (`tests.live.random_c`) on this machine's silicon and on the emulated CPU, compared as random machine code is.

python -m tests.live.random_c_programs [--seconds N] [--seed N] [--keep-going]

Slots are on variables, on the stack, and on instructions. One that differs is printed with the seed that makes it again.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from symbols.disasm import disassemble
from symbols.elf import PF_W, ElfImage
from symbols.table import SymbolTable
from tests.compiled import compiled
from tests.live.program_state import TooMany, compared
from tests.live.ptrace import Slots, Unavailable
from tests.live.random_c import STACK, STACK_TOP, Program, program

__all__ = ["agrees"]

_PATIENCE = 1.0
"""Seconds that a program may take natively; one that takes longer is left out."""


def _slots(seed: int, image: ElfImage) -> Slots:
    chance = random.Random(~seed)
    table = SymbolTable(image)
    symbols = [symbol for name in table.names("", 1 << 12) for symbol in table.find(name)]
    variables = [each for each in symbols if each.kind == "object" and each.size and each.name != STACK]
    text = image.sections[".text"]
    instructions = [
        each.address for each in disassemble(image.read(text.addr, text.size), text.addr, text.size)
    ]
    slots: Slots = []
    for _ in range(chance.randrange(1, 5)):
        where, length = chance.random(), chance.choice([1, 2, 4, 8])
        kind = chance.choice(["w", "rw"])
        if where < 0.55 and variables:
            variable = chance.choice(variables)
            slots.append((variable.value + chance.randrange(variable.size) & -length, length, kind))
        elif where < 0.8:
            top = table.find(STACK)[0].value + STACK_TOP
            slots.append((top - chance.randrange(500) & -length, length, kind))
        else:
            slots.append((chance.choice(instructions), 1, "x"))
    return slots


def agrees(folder: Path, seed: int) -> tuple[int, str] | None:
    """How often the program of a seed halted, and what differs, "" where nothing does; None for one that takes too long or hits
    too often. Raises Unavailable."""
    made: Program = program(seed)
    path = compiled(folder / "program", made.source, *made.flags)
    try:
        subprocess.run([path], timeout=_PATIENCE, capture_output=True, check=False)
    except subprocess.TimeoutExpired:
        return None
    image = ElfImage.open(path)
    written = [each for each in image.segments if each.flags & PF_W and each.type == 1]
    start = min(each.vaddr for each in written)
    size = max(each.vaddr + each.memsz for each in written) - start
    try:
        return compared(str(path), _slots(seed, image), made.steps, (start, size))
    except TooMany:
        return None


def main() -> int:
    """Until the time is up; exit code 1 if there was a difference, which is printed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep-going", action="store_true", help="do not end at the first difference")
    options = parser.parse_args()
    end, seed = time.monotonic() + options.seconds, options.seed
    agreed = halts = wrong = 0
    with tempfile.TemporaryDirectory() as name:
        try:
            while time.monotonic() < end and (options.keep_going or not wrong):
                found = agrees(Path(name), seed)
                if found is not None and found[1]:
                    wrong += 1
                    made = program(seed)
                    print(f"seed {seed}: {found[1]}\n{made.steps} stepped, gcc {' '.join(made.flags)}")
                elif found is not None:
                    agreed += 1
                    halts += found[0]
                seed += 1
        except Unavailable as error:
            print(f"no comparison here: {error}")
            return 0
    left_out = seed - options.seed - agreed - wrong
    print(
        f"{agreed} programs with {halts} hits and steps agreed, {wrong} did not, {left_out} left out,"
        f" seeds from {options.seed}"
    )
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
