"""Random programs on this machine's silicon and on the emulated CPU: the same hits, DR6, values, registers, memory and end.

python -m tests.live.random_programs [--seconds N] [--seed N] [--keep-going]

A program is a list of pieces of machine code around one data page (`tests.live.random_pieces`), under random slots, perhaps
with its first instructions single-stepped, and ends by exit or by a fault. Compared are, at each #DB, ip, BS and B0 to B3 of
DR6 and the watched bytes; at the end how it ended, the general registers, flags, x87, MXCSR and XMM registers, and the data.
One that differs is shrunk piece by piece and printed. Flags that the manual leaves undefined are not looked at: what reads
flags has a comparison of its own in front.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from symbols.disasm import disassemble
from tests.live.program_state import compared
from tests.live.ptrace import Slots, Unavailable
from tests.live.random_pieces import LAST, MIDDLE, TO_MIDDLE, Maker
from tests.live.random_transfers import linked, own_steps
from tests.machine.code import DATA, START, program

__all__ = ["Case", "difference", "listing", "make", "shrunk"]


class Case(NamedTuple):
    """A program: the pieces of its code with how it ends, its slots, and how many instructions are stepped first.

    `execute` are the pieces that an execute slot stands in, and how far in, besides `slots`.
    """

    pieces: list[bytes]
    end: bytes
    slots: Slots
    steps: int = 0
    execute: tuple[tuple[bytes, int], ...] = ()

    @property
    def code(self) -> bytes:
        """Its machine code, from START on."""
        return linked(TO_MIDDLE + b"".join(self.pieces) + self.end, START)

    @property
    def armed(self) -> Slots:
        """All slots."""
        at, places = START + len(TO_MIDDLE), {}
        for piece in self.pieces:
            places[piece] = at
            at += len(piece)
        found = [(places[piece] + into, 1, "x") for piece, into in self.execute if piece in places]
        return (self.slots + found)[:4]


def make(seed: int) -> Case:
    """The program of a seed."""
    maker = Maker(seed)
    chance = maker.chance
    steps = chance.choice([0, 0, 0, 10, 40, 1000])
    maker.stepped = steps > 0
    pieces = [maker.wide() for _ in range(4)]
    if chance.random() < 0.8:
        pieces.insert(0, maker.segments())
    pieces += [maker.piece() for _ in range(chance.randrange(4, 40))]
    slots = maker.slots()
    if not steps and chance.random() < 0.3:
        pieces.insert(chance.randrange(len(pieces)), maker.handled())
    if not steps and chance.random() < 0.25:
        at = chance.randrange(1, len(pieces))
        pieces[at : at + 1] = [own_steps(b"".join(maker.piece() for _ in range(chance.randrange(1, 7))))]
    chosen = chance.choices(pieces, k=chance.randrange(3)) if chance.random() < 0.4 else []
    execute = tuple((piece, chance.choice([0, 0, 0, 1, 2, 3])) for piece in chosen)
    return Case(pieces, maker.end(), slots, steps, execute)


def difference(folder: Path, case: Case) -> str:
    """What differs, "" where nothing does. Raises Unavailable."""
    path = program(folder / "program", case.code, ends=False)
    return compared(path, case.armed, case.steps, (DATA, LAST - DATA))[1]


def shrunk(folder: Path, case: Case) -> Case:
    """The least that still differs."""
    for at in range(len(case.pieces) - 1, -1, -1):
        fewer = case._replace(pieces=case.pieces[:at] + case.pieces[at + 1 :])
        if difference(folder, fewer):
            case = fewer
    for change in ({"steps": 0}, {"execute": ()}):
        less = case._replace(**change)
        if less != case and difference(folder, less):
            case = less
    for slot in case.slots:
        less = case._replace(slots=[each for each in case.slots if each is not slot])
        if less.armed and difference(folder, less):
            case = less
    return case


def listing(case: Case) -> str:
    """The program, for people."""
    code = case.code
    lines = [f"  {address - MIDDLE:+d}/{length}:{kind}" for address, length, kind in case.slots]
    lines += [f"  {address:#x}:x" for address, _, kind in case.armed if kind == "x"]
    if case.steps:
        lines.append(f"  {case.steps} stepped")
    for insn in disassemble(code, START, 4096):
        if insn.address < START + len(code):
            lines.append(f"  {insn.address:#x}  {insn.bytes.hex():24} {insn.text}")
    return "\n".join(lines)


def main() -> int:
    """Until the time is up; exit code 1 if there was a difference, which is shrunk and printed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep-going", action="store_true", help="do not end at the first difference")
    options = parser.parse_args()
    end, seed, wrong = time.monotonic() + options.seconds, options.seed, 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            while time.monotonic() < end:
                case = make(seed)
                if what := difference(folder, case):
                    case = shrunk(folder, case)
                    print(f"seed {seed}: {difference(folder, case) or what}\n{listing(case)}")
                    wrong += 1
                seed += 1
                if wrong and not options.keep_going:
                    break
        except Unavailable as error:
            print(f"no comparison here: {error}")
            return 0
    print(f"{seed - options.seed - wrong} programs agreed, {wrong} did not, seeds from {options.seed}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
