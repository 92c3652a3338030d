"""Each scene shows what it says: the numbers and words that carry it are asserted."""

from __future__ import annotations

import re

import pytest

from tests.unit.test_text_program import run
from tui.session.demos import DEMOS, Demo, find_demo, read_scene


def played(name: str) -> str:
    """A scene's output as a script, without what its own `expect` lines found."""
    done = run("script", "-", stdin="\n".join(find_demo(name).script()))
    assert done.returncode == 0, done.stderr
    return re.sub(r"^ *\d+  expect .*\n.*\n", "", done.stdout, flags=re.MULTILINE)


@pytest.mark.parametrize("demo", DEMOS, ids=lambda demo: demo.name)
def test_every_scene_checks_itself(demo: Demo) -> None:
    assert sum(len(step.expect) + (step.expect_errno is not None) for step in demo.steps) >= 3


def test_a_switch_is_free_where_nobody_has_a_breakpoint() -> None:
    writes = re.findall(r"runs task \d+: (\d+) register write", played("free"))
    assert writes == ["0", "0", "1", "2", "0"]


def test_one_event_sits_in_two_registers() -> None:
    text = played("moves")
    assert re.search(r"CPU 0 runs task 1001.*\n +DR0  perf event 3", text)
    assert re.search(r"CPU 1 runs task 1001.*\n.*DR0  perf event 4.*\n +DR1  perf event 3", text)


def test_the_greediest_task_starves_a_cpu_and_the_dead_count() -> None:
    text = played("starve")
    assert "CPU 0: 0 pinned + 4 of task 1001 = 4/4" in text
    assert "4 of task 1001 (dead)" in text
    assert "CPU 0: 3 pinned + 1 of task 1002 = 4/4" in text


def test_kgdb_reserves_in_an_nmi_and_leaves_a_ghost() -> None:
    text = played("kgdb")
    assert "Z2,ffffffff82205000,4  <- OK" in text
    assert "DR7 0x000d0602, the kernel's copy 0x00000200, ghosts: DR0" in text
    assert "nobody counts it: no owner" in text
    assert "E01 to Z2,ffffffff82206040,4: bp_cpuinfo_sem is held by task 1000" in text


def test_the_guest_runs_on_its_own_registers_and_the_hosts_come_back() -> None:
    text = played("guest")
    assert re.findall(r"(\d+) register writes? to", text) == ["5", "6", "5", "0"]
    assert "no register of this CPU watches that" in text
    assert "the guest sees  DR0-3 0x3000" in text
    assert "the CPU gets    DR0-3 0x2000" in text


def test_what_leaks_comes_back_at_exec() -> None:
    text = played("leak")
    assert "u_debugreg[0]: 0x1000/1:w, task 1001" in text
    assert text.rindex("u_debugreg[0]: 0x1000/1:w, task 1001") < text.rindex("task exec 1001")


def test_a_program_that_is_signalled_at_its_own_hits_has_the_numbers_of_linux() -> None:
    """What the program itself checks, on this kernel too (tests/machine/test_programs_builtin.py runs it there)."""
    text = played("sigtrap")
    assert "counts = {1, 3, 2}" in text
    assert "exited: the program has ended: exit status 0" in text


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("print seed\nexpect nothing of it", ":2: 'nothing of it' is not in the answer to `print seed`"),
        ("expect x", "there is no command before this one"),
        ("print seed\nexpect", "expect what?"),
        ("# program nothing\nprint 1", "the script asks for a built-in program 'nothing'"),
        ("# program selfdebug\nprint 1", "the script asks for a built-in program 'selfdebug'"),
    ],
)
def test_what_a_script_expects_must_be_there(lines: str, said: str) -> None:
    done = run("script", "-", stdin=lines)
    assert done.returncode == 1
    assert said in done.stderr


def test_several_texts_are_looked_for_in_one_answer() -> None:
    done = run("script", "-", stdin="! print nowhere\nexpect nowhere\nprint 6*7\nexpect 4\nexpect 42\n")
    assert done.returncode == 0, done.stderr


def test_a_split_watch_is_all_or_nothing() -> None:
    text = played("split")
    assert "3 slots" in text
    assert "2 windows" in text


@pytest.mark.parametrize(
    "text", ["# demo y: T\n# program p\n", "# demo x: T\nno\n", "# demo x: T\n# program p\n\n# one\na\nb\n"]
)
def test_a_file_that_is_no_scene_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="x"):
        read_scene("x", text)
