"""Whatever is killed, and when: the program runs on, its slots are free, nobody of ours is left. `make kills` is the long run."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from tests.live.bpf_here import needs_bpf
from tests.live.kills import SOURCE, Victim, draw, play
from tests.live.tracing import build, needs_breakpoints

pytestmark = [pytest.mark.live, pytest.mark.root, pytest.mark.slow, needs_bpf, needs_breakpoints]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build(tmp_path_factory.mktemp("kills"), "flat", SOURCE, "-no-pie"))


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("victim", ["front end", "backend", "root process"])
def test_killed_at_any_moment_we_leave_a_program_that_runs_and_four_free_slots(
    program: str, tmp_path: Path, victim: Victim, seed: int
) -> None:
    case = draw(random.Random(f"{victim} {seed}"))
    case = replace(case, victim=victim, sudo=case.sudo or victim == "root process")
    assert not play(case, program, tmp_path).wrong
