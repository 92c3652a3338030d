"""The same bare programs on whole PCs that other people wrote: QEMU's translator (TCG) and Bochs."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import pytest

from tests.machine.bare_runs import FOLDER, ROWS, agrees, cases_of, row_ids
from tests.machine.pc import BOCHS, QEMU, bochs_output, qemu_output


@functools.cache
def printed(emulator: str, program: str) -> list[dict[str, list[str]]]:
    run = {"qemu": qemu_output, "bochs": bochs_output}[emulator]
    with tempfile.TemporaryDirectory() as folder:
        return cases_of(run(FOLDER / program, Path(folder), 5 if "qemu_ends" in ROWS[program] else 60))


def check(emulator: str, program: str, case: str) -> None:
    row = ROWS[program]["rows"][case]
    if emulator == "qemu" and "qemu_ends" in ROWS[program]:
        assert len(printed(emulator, program)) < 2, "QEMU has learnt this: its row can be compared now"
        assert emulator not in row["confirmed_by"]
        return
    differs = row.get(emulator)
    expected = differs["lines"] if differs else row["expect"]
    found = printed(emulator, program)
    assert len(found) == 2
    for cases in found:
        lines = cases[case]
        assert len(lines) == len(expected), lines
        assert all(map(agrees, lines, expected)), lines
    assert (emulator in row["confirmed_by"]) == (differs is None)


@pytest.mark.skipif(QEMU is None, reason="no qemu-system-x86_64: apt-get install qemu-system-x86 seabios")
@pytest.mark.parametrize(
    ("program", "case"),
    [pytest.param(*row, marks=pytest.mark.slow) if "qemu_ends" in ROWS[row[0]] else row for row in row_ids()],
)
def test_qemu_agrees_or_its_error_is_listed(program: str, case: str) -> None:
    check("qemu", program, case)


@pytest.mark.skipif(BOCHS is None, reason="no bochs: apt-get install bochs bochsbios vgabios")
@pytest.mark.parametrize(("program", "case"), row_ids())
def test_bochs_agrees_or_its_error_is_listed(program: str, case: str) -> None:
    check("bochs", program, case)
