"""Names, types and values in a session on a real emulated program: commands as a script gives them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.compiled import compiled
from tests.machine.scripts import script

SOURCE = Path(__file__).parent.parent / "unit" / "symbols_data" / "values.c"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("names") / "values", SOURCE, "-g", "-O0")


def test_values_types_and_places_of_a_stopped_program(program: Path) -> None:
    answers = script(
        program,
        "hbreak twice stop",
        "continue",
        "print x + 1",
        "print cfg.state",
        "print *cfg.head->next",
        "print cfg.title",
        "whatis cfg.limits",
        "ptype struct node",
        "info locals",
        "info line",
        "info symbol &cfg.limits[2]",
        "x/2dg &cfg.limits[2]",
        "print $rip == &twice",
        "! print cfg.nope",
    )
    results = [answer.get("result", {}) for answer in answers]
    assert results[2]["value"] == 1
    assert results[3]["text"] == "ON"
    assert results[4]["text"] == "{value = 2, next = 0x0}"
    assert results[5]["text"].endswith('"title"')
    assert results[6]["type"] == "long int[4]"
    assert results[7]["type"] == "struct node"
    assert [row["name"] for row in results[8]["locals"]] == ["x"]
    assert results[9]["frames"][0]["function"] == "twice"
    assert results[10]["data"] == "cfg.limits[2]"
    assert results[11]["values"] == [3, 4]
    assert results[12]["value"] == 1
    assert answers[13]["expected"] is True


def test_a_thread_local_variable_is_watched_in_its_thread_and_a_local_until_its_function_returns(
    program: Path,
) -> None:
    answers = script(
        program,
        "watch per_thread",
        "hbreak twice stop",
        "continue",
        "print per_thread",
        "watch x:rw",
        "info watchpoints",
        "delete 1",
        "finish",
        "info watchpoints",
    )
    results = [answer["result"] for answer in answers]
    assert results[0]["length"] == 4
    assert results[3]["value"] == 7
    assert [row["expr"] for row in results[5]["watches"]] == [
        "per_thread",
        "twice",
        "x",
    ]
    assert [row["expr"] for row in results[8]["watches"]] == ["per_thread"]


def test_list_takes_a_line_of_the_file_where_the_program_stands(program: Path) -> None:
    answers = script(program, "list 8", "hbreak twice stop", "continue", "list 12", "! list 99999")
    shown = [answers[number]["result"] for number in (0, 3)]
    assert {Path(each["file"]).name for each in shown} == {"values.c"}
    assert [each["line"] for each in shown] == [8, 12]
    assert answers[4]["expected"] is True
