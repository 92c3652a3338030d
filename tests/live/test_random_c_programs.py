"""Random C programs on silicon and emulated."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live.ptrace import Unavailable
from tests.live.random_c import program
from tests.live.random_c_programs import agrees


@pytest.mark.live
@pytest.mark.slow
def test_random_c_programs_hit_and_end_as_on_silicon(tmp_path: Path) -> None:
    looked_at = 0
    for seed in range(1, 13):
        try:
            found = agrees(tmp_path, seed)
        except Unavailable as error:
            pytest.skip(str(error))
        if found is not None:
            assert not found[1], f"seed {seed}: {found[1]}"
            looked_at += found[0] > 0
    assert looked_at >= 6


def test_a_program_is_the_same_for_its_seed_and_no_other() -> None:
    assert program(5) == program(5)
    assert program(5) != program(6)
