"""Frames of a stopped program: which is looked at, what its registers and variables are, beside gdb; stores and their undo."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.compiled import compiled
from tests.machine.scripts import script

pytest.importorskip("icicle", reason="icicle-emu is not installed: pip install icicle-emu")

SOURCE = """
volatile long sink;
long total = 5;
struct pair { int left; int right; } pair = {1, 2};

__attribute__((noinline)) void leaf(long depth, char letter)
{
    sink = depth + letter;
}

__attribute__((noinline)) long climb(long depth, long sum)
{
    long here = depth * 3;
    struct pair kept = {(int)depth, (int)sum};
    if (depth == 0)
        leaf(here, 'x');
    else
        sum += climb(depth - 1, sum + here);
    sink += kept.left + kept.right + here;
    return sum + total;
}

int main(void)
{
    long first = 11;
    long result = climb(3, first);
    return (int)(result + first);
}
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By the compiler's level."""
    folder = tmp_path_factory.mktemp("frames")
    options = ["-g", "-no-pie", "-fno-inline", "-fno-optimize-sibling-calls"]
    return {
        level: compiled(folder / level / "prog", SOURCE, level, *options) for level in ("-O0", "-O1", "-O2")
    }


def in_leaf(program: Path, *lines: str) -> list[dict[str, Any]]:
    """What each command gives where `leaf` was entered; {} for one that was refused."""
    answers = script(program, "hbreak leaf stop", "continue", *lines)
    return [answer.get("result", {}) for answer in answers[2:]]


DEPTH = 6  # leaf, four times climb, main
SAVED = ("rbx", "r12", "r13", "r14", "r15")


def by_gdb(program: Path) -> list[dict[str, str]]:
    """Variables and `pc` of each frame, as gdb prints them."""
    words = ["break leaf", "run"]
    for number in range(DEPTH):
        words += [f"frame {number}", f"echo ~~~{number}\\n", "info args", "info locals", "print/x $pc"]
    arguments = [part for word in words for part in ("-ex", word)]
    done = subprocess.run(
        ["gdb", "-q", "-batch", "-nx", "-ex", "set confirm off", *arguments, program],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    frames = []
    for block in done.stdout.split("~~~")[1:]:
        found = dict(re.findall(r"^(\w+|\$\d+) = (.*)$", block, re.MULTILINE))
        frames.append({name if name[0] != "$" else "pc": text for name, text in found.items()})
    return frames


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gdb") is None, reason="gdb is not installed")
@pytest.mark.parametrize("level", ["-O0", "-O1", "-O2"])
def test_every_frame_is_as_gdb_sees_it(programs: dict[str, Path], level: str) -> None:
    program = programs[level]
    expected = by_gdb(program)
    assert len(expected) == DEPTH
    lines = [f"hbreak {expected[0]['pc']} stop", "continue"]  # behind the prologue
    for number in range(DEPTH):
        lines += [f"frame {number}", "info locals", "print $pc"]
    answers = [answer["result"] for answer in script(program, *lines)][2:]
    known = 0
    for number, theirs in enumerate(expected):
        frame, variables, pc = answers[3 * number : 3 * number + 3]
        assert frame["number"] == number
        assert pc["value"] == int(theirs.pop("pc"), 16)
        ours = {row["name"]: row["value"] for row in variables["locals"]}
        assert ours.keys() == theirs.keys()
        for name, text in theirs.items():
            if "optimized out" in text or text == "<unavailable>" or ours[name].startswith("<"):
                continue
            known += 1
            assert text == ours[name], (number, name)
    assert known >= DEPTH


@pytest.mark.slow
def test_up_down_and_what_they_change(programs: dict[str, Path]) -> None:
    results = in_leaf(
        programs["-O1"],
        "up",
        "info registers",
        "! EINVAL set $rbx = 1",
        "up 2",
        "frame",
        "down",
        "! ENOENT down 9",
        "! ENOENT frame 63",
        "frame",
        "stepi",
        "frame",
    )
    assert results[0]["number"] == 1
    assert "climb" in results[0]["symbol"]
    known = results[1]["registers"]
    assert {"rip", "rsp", *SAVED} <= known.keys()
    assert not {"rax", "rcx", "rdx", "rsi", "rdi", "r8", "r11", "eflags"} & known.keys()
    assert known["rip"] == results[0]["ip"]
    assert [results[n]["number"] for n in (3, 4, 5, 8)] == [3, 3, 2, 2]
    assert results[10]["number"] == 0, "the program has moved: the innermost frame again"


@pytest.mark.slow
def test_stores_are_taken_back_while_they_are_there(programs: dict[str, Path]) -> None:
    results = in_leaf(
        programs["-O2"],
        "set var pair.right = 77",
        "set $rsi = 0x41",
        "undo",
        "print $rsi",
        "undo",
        "print pair",
        "redo",
        "print pair",
        "set var *(char *)&total = 9",
        "set var total = 6",
        "undo",
        "print total",
    )
    assert results[3]["value"] == ord("x")
    assert [results[n]["text"] for n in (5, 7)] == ["{left = 1, right = 2}", "{left = 1, right = 77}"]
    assert results[11]["value"] == 9


@pytest.mark.slow
def test_a_callers_variable_is_stored_in_its_frame(programs: dict[str, Path]) -> None:
    results = in_leaf(
        programs["-O0"],
        "up",
        "set var kept.left = 40",
        "print kept.left",
        "up",
        "print kept.left",
        "undo",
        "down",
        "print kept.left",
    )
    assert [results[n]["value"] for n in (2, 4, 7)] == [40, 1, 0]


@pytest.mark.slow
def test_what_the_program_has_stored_since_is_not_taken_back(programs: dict[str, Path]) -> None:
    results = in_leaf(
        programs["-O1"],
        "set var sink = 1234",
        "finish",
        "! EBUSY undo",
        "print sink",
    )
    assert results[-1]["value"] != 1234
