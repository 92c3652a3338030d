"""All views in a real terminal (tmux), on a program that runs, through storms of resizes."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machine.terminal import Terminal

pytest.importorskip("icicle", reason="icicle-emu is not installed: pip install icicle-emu")
if shutil.which("tmux") is None:
    pytest.skip("no tmux: apt-get install tmux", allow_module_level=True)

pytestmark = pytest.mark.slow

VIEWS = {
    "1": "DR7",
    "2": "done by",
    "3": "WHO DOES IT",
    "4": "HOW OFTEN",
    "5": "HITS OVER TIME",
    "6": "CODE",
    "7": "MEMORY",
    "8": "CALL STACK",
    "9": "turns",
    "0": "LOG",
}


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    found = Terminal(tmp_path, "")
    try:
        found.until("RUNNING")
        yield found
    finally:
        found.run("kill-server")


def test_views_filters_and_groups_by_real_keys_while_the_program_runs(terminal: Terminal) -> None:
    for key, sign in VIEWS.items():
        terminal.keys(key)
        terminal.until(sign)
    terminal.keys("2", "/", "w value>3 !x", "Enter")
    screen = terminal.until("/ w value>3 !x")
    assert "following" in screen
    terminal.matches(r"HITS [1-9][\d,]* of ")  # before the first hit there is nothing to stay at
    terminal.keys("k")
    terminal.until("frozen at")
    terminal.keys("b")
    terminal.until("HITS by site")
    terminal.keys("Enter")
    terminal.until("/ w value>3 !x at=0x")
    terminal.escape()
    terminal.keys("1")
    terminal.until("DR7")


@pytest.mark.parametrize("seed", [1, 2])
def test_a_storm_of_resizes_over_all_views_ends_in_whole_pictures(terminal: Terminal, seed: int) -> None:
    chance = random.Random(seed)
    for number in range(120):
        size = str(chance.randint(1, 220)), str(chance.randint(1, 70))
        terminal.run("resize-window", "-t", "app", "-x", size[0], "-y", size[1])
        if number % 4 == 0:
            terminal.keys(chance.choice([*VIEWS, "k", "j", "f", "Up", "Down", "PageUp", "Tab", "Enter"]))
    terminal.escape()
    assert terminal.ended() is None, terminal.log.read_text()
    for width, height in ((80, 24), (120, 40), (200, 60)):
        terminal.run("resize-window", "-t", "app", "-x", str(width), "-y", str(height))
        for key, sign in VIEWS.items():
            terminal.keys("1" if key != "1" else "0")
            terminal.keys(key)
            # Until the app draws again, tmux shows the lower part of a picture that was higher.
            lines = terminal.matches(rf"(?s)\A *hwbp-tui.*{sign}.*\? help[^\n]*\n?\Z").splitlines()
            assert len(lines) == height, "the last line is the keys"
            assert max(map(len, lines)) <= width
    assert terminal.leave() == 0
