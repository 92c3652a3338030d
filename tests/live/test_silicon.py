"""The emulated debug unit against this machine's own debug registers: the same program, slot by slot."""

from __future__ import annotations

from pathlib import Path

import pytest

from symbols.elf import ElfImage
from symbols.table import SymbolTable
from tests.compiled import compiled
from tests.live import silicon
from tests.live.ptrace import Slots, Unavailable
from tests.machine.emulated import EmulatedHit, run

pytestmark = [pytest.mark.live, pytest.mark.undisturbed]
SHAPES = Path(__file__).parent.parent / "machine" / "data" / "shapes.S"
SLOTS = [
    "block:8:w",
    "block:8:rw",
    "block:1:rw",
    "block:2:w",
    "block:4:w block+4:4:rw",
    "block+2:2:w block:8:rw block+8:8:w spot:1:x",
    "block+1:1:rw block+3:1:w block+7:1:rw block+12:4:w",
    "edge:8:w edge+8:8:rw edge+8:1:w",
    "block:8:rw block:8:w block:8:rw block:1:w",
    "spot:1:x spot:1:x block:8:w",
    "image:8:w image+24:4:rw image+504:8:w",
    "other:8:rw other+64:8:rw block+8:8:rw block+16:8:w",
]


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("shapes") / "shapes"
    return str(compiled(path, SHAPES, "-nostdlib", "-static"))


def parse(path: str, text: str) -> list[tuple[int, int, str]]:
    table = SymbolTable(ElfImage.open(path))
    slots = []
    for item in text.split():
        expression, length, kind = item.split(":")
        name, _, offset = expression.partition("+")
        slots.append((table.find(name)[0].value + int(offset or "0"), int(length), kind))
    return slots


def merged(hits: list[EmulatedHit]) -> list[tuple[int, int]]:
    """One (ip, slots) for each #DB."""
    out: list[tuple[int, int]] = []
    for hit in hits:
        if hit.same_db:
            out[-1] = (out[-1][0], out[-1][1] | 1 << hit.slot)
        else:
            out.append((hit.ip, 1 << hit.slot))
    return out


def native(argv: list[str], slots: Slots) -> tuple[list[silicon.SiliconHit], int]:
    try:
        return silicon.trace(argv, slots)
    except Unavailable as error:
        pytest.skip(f"no hardware breakpoints through ptrace here: {error}")


@pytest.mark.parametrize("jit", [False, True], ids=["interpreted", "translated"])
@pytest.mark.parametrize("text", SLOTS)
def test_every_shape_of_access_hits_as_on_silicon(shapes: str, text: str, jit: bool) -> None:
    slots = parse(shapes, text)
    expected, status = native([shapes], slots)
    result = run([shapes], slots, jit=jit)
    assert merged(result.hits) == [(hit.ip, hit.slots) for hit in expected]
    assert result.view.exit_status == status >> 8
    assert expected, "the table should make hits"


@pytest.mark.parametrize("text", ["block:8:rw", "block+2:2:w block:8:rw block+8:8:w block+16:8:rw"])
def test_values_after_each_hit_are_those_on_silicon(shapes: str, text: str) -> None:
    slots = parse(shapes, text)
    expected, _ = native([shapes], slots)
    groups: list[list[EmulatedHit]] = []
    for hit in run([shapes], slots).hits:
        if hit.same_db:
            groups[-1].append(hit)
        else:
            groups.append([hit])
    for group, there in zip(groups, expected, strict=True):
        for hit in group:
            value = there.values[hit.slot]
            on_the_stack = value is not None and value >> 40 == 0x7F  # its top depends on the environment
            assert on_the_stack or hit.value == value, hex(hit.insn_ip)


def test_instruction_counts_do_not_depend_on_what_is_watched(shapes: str) -> None:
    counts = {run([shapes], parse(shapes, text)).view.instructions for text in ["", *SLOTS]}
    assert len(counts) == 1


C_PROGRAM = r"""
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
long counter, total; struct { int id; long limits[4]; char name[16]; } cfg; double ratio; short tiny; char byte;
static void __attribute__((noinline)) bump(long n) { counter += n; tiny = (short)counter; byte ^= (char)n; }
static long __attribute__((noinline)) fib(int n) { total++; return n < 2 ? n : fib(n - 1) + fib(n - 2); }
int main(void) {
    for (int i = 0; i < 40; i++) { bump(i * 7); cfg.limits[i & 3] += counter; cfg.id = i; ratio = ratio * 0.5 + i; }
    for (int i = 0; i < 16; i++) cfg.name[i] = (char)('a' + i);
    printf("%ld %ld %f %d\n", counter, fib(9), ratio, tiny);
    return (int)(counter & 63);
}
"""


@pytest.mark.parametrize("optimisation", ["-O0", "-O1", "-O2"])
@pytest.mark.parametrize(
    "text",
    ["counter:8:w", "cfg+8:8:rw cfg:4:w ratio:8:w tiny:2:rw", "total:8:rw byte:1:rw cfg+40:8:w main:1:x"],
)
def test_c_programs_hit_as_on_silicon(tmp_path: Path, optimisation: str, text: str) -> None:
    path = str(compiled(tmp_path / "p", C_PROGRAM, optimisation, "-g", "-static"))
    slots = parse(path, text)
    expected, status = native([path], slots)
    result = run([path], slots)
    assert merged(result.hits) == [(hit.ip, hit.slots) for hit in expected]
    assert result.view.exit_status == status >> 8
