"""What bare/rows.toml says of user-mode instructions, on this machine's own CPU through ptrace."""

from __future__ import annotations

import functools
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.compiled import compiled
from tests.machine.bare_runs import ROWS, cases_of

pytestmark = [pytest.mark.live, pytest.mark.undisturbed]
SOURCE = Path(__file__).parent / "boundaries.c"
SIGNALS = {"6": "4", "e": "11", "d": "11"}
"""Vector, as a row prints it, to the signal that Linux makes of it."""
BS = 1 << 14
COMPARED = {"step_then_execute": 2, "step_and_data": 1, "rep_step": 3}
"""Lines before the instructions that clear TF, which a tracer does not need."""


@functools.cache
def printed() -> dict[str, list[str]]:
    with tempfile.TemporaryDirectory() as folder:
        program = compiled(Path(folder) / "boundaries", SOURCE, "-O1", "-no-pie")
        done = subprocess.run([program], capture_output=True, text=True, timeout=60)
    if done.returncode == 2:
        pytest.skip(f"no hardware breakpoints through ptrace here: {done.stderr.strip()}")
    return cases_of(done.stdout)[0]


def rows() -> dict[str, dict[str, Any]]:
    return {name: row for table in ROWS.values() for name, row in table["rows"].items()}


def essence(line: str) -> tuple[str, ...]:
    """Where and why, without what Linux hides: DR7, RF, and the bits of DR6 that an earlier #DB left."""
    words = line.split()
    if words[0] == "db":
        dr6 = int(words[3], 16)
        return "db", words[1], f"{dr6 & 15:x}"
    if words[0] == "vector":
        return "signal", SIGNALS[words[1]], words[2]
    return words[0], words[1], words[2]


CASES = [
    name
    for name, row in rows().items()
    if f'"{name}"' in SOURCE.read_text() or f"({name})" in SOURCE.read_text()
]


@pytest.mark.parametrize("name", CASES)
def test_silicon_does_what_the_row_says(name: str) -> None:
    row = rows()[name]
    lines = printed()[name]
    wanted = [essence(line) for line in row["expect"]][: COMPARED.get(name)]
    assert [essence(line) for line in lines][: COMPARED.get(name)] == wanted
    assert "silicon" in row["confirmed_by"]


def test_a_single_step_is_told_from_a_data_match() -> None:
    step, execute = printed()["step_then_execute"][:2]
    assert int(step.split()[3], 16) & (BS | 15) == BS
    assert int(execute.split()[3], 16) & (BS | 15) == 4
