"""Instructions as no compiler writes them, on silicon and emulated: what they hit, and how they fault or end."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from tests.live.ptrace import Slots, Unavailable
from tests.live.random_pieces import MIDDLE
from tests.live.random_programs import Case, difference
from tests.machine.code import EXIT

pytestmark = [
    pytest.mark.live,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc"),
]

SLOTS: Slots = [(MIDDLE, 8, "w"), (MIDDLE + 8, 8, "rw"), (MIDDLE + 16, 4, "rw")]
LINES = [
    line
    for line in Path(__file__).with_name("odd_instructions.txt").read_text().splitlines()
    if line and not line.startswith("#")
]
_BATCH = 12


def _assembled(folder: Path, texts: list[str]) -> list[bytes]:
    """The machine code of each."""
    sections = [
        f'.section l{at}, "ax", @progbits\n{text.replace(";", chr(10))}\n' for at, text in enumerate(texts)
    ]
    (folder / "code.s").write_text(".intel_syntax noprefix\n" + "".join(sections))
    made = ["gcc", "-c", "-o", str(folder / "code.o"), str(folder / "code.s")]
    subprocess.run(made, check=True, capture_output=True)
    with (folder / "code.o").open("rb") as file:
        found = {section.name: section.data() for section in ELFFile(file).iter_sections()}
    return [found[f"l{at}"] for at in range(len(texts))]


def _same(folder: Path, text: str, code: bytes, steps: int) -> None:
    case = Case([code], b"\x48\x39\xc0" + EXIT, SLOTS, steps)
    try:
        what = difference(folder, case)
    except Unavailable as error:
        pytest.skip(str(error))
    assert not what, f"{text[:200]}, {steps} stepped: {what}"


@pytest.mark.parametrize("first", range(0, len(LINES), _BATCH))
def test_it_hits_and_ends_as_on_silicon(tmp_path: Path, first: int) -> None:
    lines = LINES[first : first + _BATCH]
    codes = _assembled(tmp_path, [line.removeprefix("@nostep ") for line in lines])
    for at, (line, code) in enumerate(zip(lines, codes, strict=True), first):
        _same(tmp_path, line, code, 0 if line.startswith("@nostep ") or at % 2 else 100)


def _shifts(operation: str, bits: int) -> Iterator[str]:
    """Each with several values and counts: the result, and of the flags what the manual defines for that count."""
    chance = random.Random(bits)
    register = {8: "sil", 16: "si", 32: "esi", 64: "rsi"}[bits]
    at = 64
    for value in (1, 1 << bits - 1, (1 << bits) - 1, chance.getrandbits(bits)):
        for count in (0, 1, 2, 3, 9, 17, 18, 31, 32, 33, 63, 64, 65, bits - 1, bits):
            masked = count & (63 if bits == 64 else 31)
            seen = 0xC400  # SF, ZF, PF; then CF, then OF
            if operation not in ("shl", "shr") or masked < bits:
                seen |= 0x100
            if masked < 2:
                seen |= 0xFF
            yield (
                f"mov rsi,{value}; mov ecx,{count}; cmp ecx,ecx; {chance.choice(('clc', 'stc'))}; {operation} {register},cl; "
                f"lahf; seto al; and eax,{seen}; mov [rbx+{at}],rsi; mov [rbx+{at + 8}],ax; cmp eax,eax"
            )
            at += 10


@pytest.mark.parametrize("operation", ["rol", "ror", "rcl", "rcr", "shl", "shr", "sar"])
def test_shifts_by_every_count_leave_the_flags_that_silicon_leaves(tmp_path: Path, operation: str) -> None:
    texts = ["; ".join(_shifts(operation, bits)) for bits in (8, 16, 32, 64)]
    for text, code in zip(texts, _assembled(tmp_path, texts), strict=True):
        _same(tmp_path, text, code, 0)
