"""step, next and advance go from source line to source line as gdb's do; live in tests/live/test_line_steps.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from tests.live.tracing import build
from tests.machine.scripts import script

pytestmark = pytest.mark.slow

SOURCE: Final = r"""#include <stdio.h>
int g;
static int twice(int n)
{
    int r = n * 2;
    g += r;
    return r;
}
int main(void)
{
    int sum = 0;
    for (int i = 0; i < 2; i++)
        sum += twice(i);
    printf("%d\n", sum);
    g = sum;
    return g;
}
"""
COMMANDS: Final = ["hbreak main stop", "continue", *["step"] * 7, *["next"] * 7, "next 2", "advance twice"]
LINES: Final = [10, 11, 12, 13, 5, 6, 7, 8, 12, 13, 12, 14, 15, 16, 17]
"""Where `continue`, the steps and the nexts stop: as gdb 13.1 says."""


def lines_of(folder: Path, backend: str, commands: list[str]) -> list[dict[str, Any]]:
    """What a script answers, a row a command."""
    return script(build(folder, "lines", SOURCE, "-O0"), *commands, backend=backend, status=None)


def held_to(folder: Path, backend: str) -> None:
    rows = lines_of(folder, backend, COMMANDS)
    sources = [row["result"]["source"] for row in rows[1 : 1 + len(LINES)]]
    assert [int(source.rpartition(":")[2]) for source in sources] == LINES
    assert rows[1 + len(LINES)]["result"]["state"] in ("stopped", "exited")


def test_steps_go_by_lines(tmp_path: Path) -> None:
    held_to(tmp_path, "emulated")


def test_a_stop_on_the_way_ends_a_step(tmp_path: Path) -> None:
    rows = lines_of(
        tmp_path,
        "emulated",
        ["hbreak main stop", "continue", "watch g stop", "next 9", "delete all", "advance lines.c:6", "step"],
    )
    assert rows[3]["result"]["reason"] == "hit"
    assert rows[3]["result"]["source"].endswith(":7")
    assert rows[5]["result"]["source"].endswith(":6")
    assert rows[6]["result"]["source"].endswith(":7")


def test_without_lines_it_says_so(tmp_path: Path) -> None:
    rows = lines_of(tmp_path, "emulated", ["hbreak _start stop", "continue", "step"])
    assert not rows[2]["ok"]
    assert rows[2]["error"] == "no source line is known here"
