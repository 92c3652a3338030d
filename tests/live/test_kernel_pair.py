"""Random sequences of perf and ptrace requests: this machine's kernel and the model answer alike, step by step."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.live.fidelity import campaign
from tests.live.real_side import slots_are_free
from tests.live.steps import draw, script, shrink

pytestmark = pytest.mark.live
_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root")


def _need() -> None:
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    if not slots_are_free(os.getpid(), wide=False):
        pytest.skip(
            "no four hardware breakpoints to be had for a task here: none in this machine, or somebody holds them"
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wide", "nobody"),
    [
        pytest.param(False, False, id="tasks"),
        pytest.param(False, True, id="unprivileged", marks=_root),
        pytest.param(True, False, id="wide", marks=_root),
    ],
)
def test_the_kernel_and_the_model_answer_alike(wide: bool, nobody: bool) -> None:
    _need()
    steps, sequences, discarded, difference = campaign(seconds=10, seed=1, wide=wide, nobody=nobody, most=60)
    assert not difference, difference
    if not sequences:
        pytest.skip(f"somebody else held a slot in all of {discarded} sequences")
    assert steps > 10 * sequences


def test_a_sequence_is_drawn_again_from_its_seed() -> None:
    assert draw(5) == draw(5) != draw(6)
    assert script(draw(5)).count("\n") == 32


def test_a_failing_sequence_is_shrunk_to_what_matters() -> None:
    steps = draw(7, 40)
    culprits = [steps[11], steps[29]]
    shortest = shrink(steps, lambda some: all(step in some for step in culprits))
    assert len(shortest) <= 4
    assert all(step in shortest for step in culprits)
