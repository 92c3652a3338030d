"""The bare machine against the manual and the suites: every row of bare/rows.toml."""

from __future__ import annotations

import functools

import pytest

from tests.machine.bare_runs import FOLDER, ROWS, agrees, cases_of, row_ids, run_bare


@functools.cache
def passes(program: str) -> list[dict[str, list[str]]]:
    run = run_bare(FOLDER / program)
    assert run.view.exit_status == 0, run.view.stop
    return cases_of(run.output)


@pytest.mark.parametrize(("program", "case"), row_ids())
def test_a_case_prints_what_its_source_says(program: str, case: str) -> None:
    expected = ROWS[program]["rows"][case]["expect"]
    for number, cases in enumerate(passes(program)):
        lines = cases[case]
        assert len(lines) == len(expected), (number, lines)
        assert all(map(agrees, lines, expected)), (number, lines)


@pytest.mark.parametrize("program", list(ROWS))
def test_every_case_has_a_row_and_runs_with_both_values_of_dr6(program: str) -> None:
    found = passes(program)
    assert len(found) == 2
    assert all(list(cases) == list(ROWS[program]["rows"]) for cases in found)


@pytest.mark.parametrize(("program", "case"), row_ids())
def test_every_row_names_its_source_and_an_opinion(program: str, case: str) -> None:
    row = ROWS[program]["rows"][case]
    assert row["source"]
    assert bool(row["confirmed_by"]) != ("unconfirmed" in row)
    for emulator in ("bochs", "qemu"):
        if emulator in row:
            assert emulator not in row["confirmed_by"]
            assert row[emulator]["why"]


def test_the_document_names_every_row_that_no_opinion_confirms() -> None:
    document = (FOLDER.parents[2] / "docs" / "bare.md").read_text()
    unconfirmed = [row for program, row in row_ids() if not ROWS[program]["rows"][row]["confirmed_by"]]
    assert unconfirmed
    assert [row for row in unconfirmed if f"`{row}`" not in document] == []
