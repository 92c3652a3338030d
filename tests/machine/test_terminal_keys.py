"""The real app in a real terminal (tmux): keys all at once, and random keys and sizes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machine.terminal import Terminal

pytest.importorskip("icicle", reason="icicle-emu is not installed: pip install icicle-emu")
if shutil.which("tmux") is None:
    pytest.skip("no tmux: apt-get install tmux", allow_module_level=True)

pytestmark = pytest.mark.slow

KEYS = (
    *("Space", "Tab", "BTab", "Up", "Down", "Left", "Right", "Enter", "Escape", "BSpace", "Home", "End"),
    *("PPage", "NPage", "F1", "C-p", "C-w", ":", "w", "d", "s", "n", "e", "t", "T", "f", "g", "G", "x", "7"),
)


@pytest.fixture(params=["", "--ascii"])
def terminal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Terminal]:
    found = Terminal(tmp_path, request.param)
    try:
        found.until("RUNNING")
        yield found
    finally:
        found.run("kill-server")


def _hits(terminal: Terminal) -> list[str]:
    """The line that counts the hits, once it stands still: the last ones are drawn a moment behind the state."""
    lines: list[str] = []
    for _ in range(40):
        before, lines = lines, [line for line in terminal.until("HITS").splitlines() if "HITS" in line]
        if before == lines:
            break
        time.sleep(0.2)
    return lines


def test_a_command_sent_all_at_once_is_run_and_none_of_its_letters(terminal: Terminal) -> None:
    terminal.keys(":stop", "Enter")
    terminal.until("STOPPED by request")
    before = _hits(terminal)
    terminal.keys(":info slots", "Enter")
    terminal.until("perf fd 3")
    terminal.keys("Escape")
    assert _hits(terminal) == before


def test_sigterm_gives_the_terminal_back(terminal: Terminal) -> None:
    assert terminal.run("list-panes", "-F", "#{alternate_on} #{mouse_any_flag}").split() == ["1", "1"]
    terminal.run("set", "remain-on-exit", "on")
    app = terminal.run("list-panes", "-F", "#{pane_pid}").strip()
    os.kill(int(Path(f"/proc/{app}/task/{app}/children").read_text().split()[0]), signal.SIGTERM)
    for _ in range(100):
        if terminal.ended() is not None:
            break
        time.sleep(0.1)
    assert terminal.ended() == 128 + signal.SIGTERM
    assert terminal.run("list-panes", "-F", "#{alternate_on} #{mouse_any_flag}").split() == ["0", "0"]
    assert "Traceback" not in terminal.log.read_text()


def test_random_keys_and_sizes_leave_the_app_running_and_no_traceback(terminal: Terminal) -> None:
    chance = random.Random(1)
    for number in range(150):
        terminal.keys(*chance.choices(KEYS, k=chance.randint(1, 5)))
        if number % 5 == 0:
            size = str(chance.randint(1, 200)), str(chance.randint(1, 60))
            terminal.run("resize-window", "-t", "app", "-x", size[0], "-y", size[1])
        assert terminal.ended() is None, terminal.log.read_text()
    terminal.run("resize-window", "-t", "app", "-x", "100", "-y", "30")
    for _ in range(40):
        for key in (
            "Escape",
            "Escape",
            "q",
        ):  # one by one: Escape with a key close behind is Alt and that key
            terminal.keys(key)
            time.sleep(0.15)
        if terminal.ended() is not None:
            break
    assert terminal.ended() == 0
    assert terminal.log.read_text() == ""


def test_a_target_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, "attach", str(2**22 + 1))  # behind PID_MAX_LIMIT (include/linux/threads.h)
    for _ in range(200):
        if (code := terminal.ended()) is not None:
            break
        time.sleep(0.05)
    assert code == 1
    (line,) = terminal.log.read_text().splitlines()
    assert line.startswith(f"hwbp-tui: error: no process {2**22 + 1}")
