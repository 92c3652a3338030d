"""The culprits of hits on this machine's hardware, where each accused instruction is stepped alone to see whether it did it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from symbols.culprit import Found
from symbols.elf import ElfImage
from symbols.space import AddressSpace
from symbols.table import SymbolTable
from tests.compiled import compiled
from tests.live.culprit_programs import Finder, measure, programs
from tests.live.ptrace import Slots, Unavailable
from tests.live.tracee import Tracee, WatchHit, watch

pytestmark = pytest.mark.live
SHAPES = Path(__file__).parent.parent / "machine" / "data" / "shapes.S"


def accuse(argv: list[str], slots: Slots, limit: int = 20_000) -> tuple[list[WatchHit], Found]:
    """Two runs: the second one's hits, each with its instruction if it was accused in the first."""
    space = AddressSpace([], argv[0])
    try:
        with Tracee(argv, {}) as tracee:
            first = Finder(tracee, space, slots)
            watch(tracee, slots, limit, each=first.add)
        with Tracee(argv, {}) as tracee:
            second = Finder(tracee, space, slots)
            watch(tracee, slots, limit, first.insn_ips, second.add)
            return second.hits, second.total
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("shapes") / "shapes"
    return str(compiled(path, SHAPES, "-nostdlib", "-static"))


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


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gzip", "c++", "rust"])
def test_culprits_and_values_of_a_program_are_right_and_nearly_all_given(name: str) -> None:
    with programs([name]) as built:
        if name not in built:
            pytest.skip(f"no {name}: apt-get install gzip g++, or rustc")
        try:
            tallies = measure(built[name], groups=1, limit=600, seed=1)
        except Unavailable as error:
            pytest.skip(str(error))
    for way, least in (("symbols", 0.99), ("stripped", 0.95), ("bare", 0.9)):
        tally = tallies[way]
        assert tally.bad == []
        assert tally.hits > 20
        assert tally.given >= least * tally.hits, tally.unknown
    assert tallies["symbols"].covering_given >= 0.95 * tallies["symbols"].covering
