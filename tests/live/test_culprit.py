"""The culprits of hits on this machine's hardware, where each accused instruction is stepped alone to see whether it did it."""

from __future__ import annotations

import shutil
import subprocess
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from symbols.boundaries import function_at
from symbols.culprit import READ_WRITE, WRITE, Culprits, Found
from symbols.elf import ElfImage
from symbols.space import AddressSpace
from symbols.table import SymbolTable
from tests.live.silicon import Unavailable
from tests.live.tracee import USER_REGS, Tracee, WatchHit, watch

pytestmark = pytest.mark.live
SHAPES = Path(__file__).parent.parent / "machine" / "data" / "shapes.S"
Slots = list[tuple[int, int, str]]


def culprits(tracee: Tracee, path: str, slots: Slots, hits: list[WatchHit]) -> Found:
    space = AddressSpace(tracee.mappings(), path)
    slot = np.array([hit.slot for hit in hits])
    sampled = np.array([hit.registers for hit in hits], np.uint64)
    return Culprits(tracee.read, partial(function_at, space)).find(
        [hit.ip for hit in hits],
        np.array([address for address, _, _ in slots], np.uint64)[slot],
        np.array([length for _, length, _ in slots])[slot],
        np.array([WRITE if kind == "w" else READ_WRITE for _, _, kind in slots])[slot],
        {name: sampled[:, column] for column, name in enumerate(USER_REGS)},
        [hit.top or 0 for hit in hits],
        [hit.top is not None for hit in hits],
    )


def accuse(argv: list[str], slots: Slots, limit: int = 20_000) -> tuple[list[WatchHit], Found]:
    """Two runs: the second one's hits, each with its instruction if it was accused in the first."""
    try:
        with Tracee(argv, {"LC_ALL": "C"}) as tracee:
            first = watch(tracee, slots, limit)
            accused = set(culprits(tracee, argv[0], slots, first).insn_ip.tolist())
        with Tracee(argv, {"LC_ALL": "C"}) as tracee:
            hits = watch(tracee, slots, limit, accused - {0})
            return hits, culprits(tracee, argv[0], slots, hits)
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> str:
    if shutil.which("gcc") is None:
        pytest.skip("no gcc: apt-get install gcc")
    path = tmp_path_factory.mktemp("shapes") / "shapes"
    subprocess.run(["gcc", "-nostdlib", "-static", "-o", path, SHAPES], check=True)
    return str(path)


@pytest.mark.parametrize(
    "text",
    ["block:8:w block:8:rw block+8:8:w block+8:4:rw", "block:1:rw block+2:2:w edge:8:rw edge+8:8:w"],
)
def test_every_shape_of_access_is_found_or_not_known(shapes: str, text: str) -> None:
    table = SymbolTable(ElfImage.open(shapes))
    slots = []
    for item in text.split():
        expression, length, kind = item.split(":")
        name, _, offset = expression.partition("+")
        slots.append((table.find(name)[0].value + int(offset or "0"), int(length), kind))
    hits, found = accuse([shapes], slots)
    assert len(hits) > 30
    for hit, insn_ip, known, value in zip(
        hits, found.insn_ip.tolist(), found.value_known.tolist(), found.value.tolist(), strict=True
    ):
        assert insn_ip in (0, hit.insn_ip), hex(hit.ip)
        assert not known or value == hit.value, hex(hit.ip)
    assert np.count_nonzero(found.insn_ip) > 0.95 * len(hits)
