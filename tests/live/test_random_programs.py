"""Random programs on silicon and emulated; how one that differs is made small."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live import random_programs
from tests.live.ptrace import Slots, Unavailable
from tests.live.random_programs import Case, difference, listing, make, shrunk

SLOTS: Slots = [(0x403000, 8, "w"), (0x403010, 4, "rw")]


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.parametrize("first", [1, 21])
def test_random_programs_hit_and_end_as_on_silicon(tmp_path: Path, first: int) -> None:
    for seed in range(first, first + 20):
        case = make(seed)
        try:
            what = difference(tmp_path, case)
        except Unavailable as error:
            pytest.skip(str(error))
        assert not what, f"seed {seed}: {what}\n{listing(case)}"


def test_a_program_is_the_same_for_its_seed_and_no_other() -> None:
    assert make(5) == make(5)
    assert make(5) != make(6)


def test_what_differs_is_shrunk_to_what_makes_the_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def differs(folder: Path, case: Case) -> str:
        found = b"\x90" in case.pieces and b"\xcc" in case.pieces and SLOTS[1] in case.slots
        return "it differs" if found else ""

    monkeypatch.setattr(random_programs, "difference", differs)
    case = Case([b"\xf8", b"\x90", b"\xf5", b"\xcc", b"\xf9"], b"\xf4", SLOTS, 40, ((b"\xf8", 0),))
    assert shrunk(tmp_path, case) == Case([b"\x90", b"\xcc"], b"\xf4", [SLOTS[1]])


def test_a_difference_is_printed_as_a_program() -> None:
    lines = listing(Case([b"\x90", b"\x48\x89\x03"], b"\xf4", [SLOTS[0]])).splitlines()
    assert lines[0] == "  +0/8:w"
    assert [line.split(maxsplit=2)[2] for line in lines[1:]] == [
        "add rbx, 0x1000",
        "mov esp, 0x402800",
        "nop",
        "mov qword ptr [rbx], rax",
        "hlt",
    ]
