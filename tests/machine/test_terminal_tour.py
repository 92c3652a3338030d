"""The guided tour in a real terminal, from the offer to its end: every key that it asks for is pressed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machine.terminal import Terminal

pytest.importorskip("icicle", reason="icicle-emu is not installed: pip install icicle-emu")
if shutil.which("tmux") is None:
    pytest.skip("no tmux: apt-get install tmux", allow_module_level=True)

pytestmark = pytest.mark.slow


@pytest.fixture
def terminals(tmp_path: Path) -> Iterator[list[Terminal]]:
    found: list[Terminal] = []
    yield found
    for terminal in found:
        terminal.run("kill-server")


def test_the_tour_is_offered_once_and_any_key_goes_on_without_it(
    tmp_path: Path, terminals: list[Terminal]
) -> None:
    terminals.append(first := Terminal(tmp_path, ci="", size=(80, 24)))
    first.until("First time here?")
    assert (tmp_path / "hwbp-tui" / "tour-offered").exists()
    first.keys("3")
    assert "First time here?" not in first.until("WHO DOES IT")
    assert first.leave() == 0
    first.run("kill-server")
    (tmp_path / "code").unlink()

    terminals.append(again := Terminal(tmp_path, ci="", size=(80, 24)))
    again.until("RUNNING")
    again.keys("0")
    assert "First time here?" not in again.until("LOG")
    assert again.leave() == 0


@pytest.mark.parametrize("size", [(80, 24), (140, 45)])
def test_each_step_is_done_by_the_keys_that_it_names(
    tmp_path: Path, terminals: list[Terminal], size: tuple[int, int]
) -> None:
    terminals.append(terminal := Terminal(tmp_path, "tour", size=size))
    terminal.until("TOUR 1/10")
    terminal.keys("Space")
    terminal.until("TOUR 2/10")
    terminal.keys("w", *"seed")
    terminal.until("TOUR 3/10")
    terminal.escape()
    terminal.keys("\\;", "s", "Down", "d")  # a lone semicolon is tmux's own
    terminal.until("TOUR 4/10")
    terminal.keys("w", *"seed", "Enter")
    terminal.until("TOUR 5/10")
    terminal.keys("Space")
    terminal.until("TOUR 6/10")
    terminal.keys("3")
    terminal.until("TOUR 7/10")
    terminal.matches("▸ +[0-9,]+ ")
    terminal.keys("Down", ".")
    terminal.until("code")
    terminal.keys("c")
    terminal.until("TOUR 8/10")
    terminal.keys("1")
    terminal.until("TOUR 9/10")
    terminal.keys("F1")
    terminal.until(": help")
    terminal.escape()
    terminal.until("TOUR 10/10")
    terminal.keys("F3")
    for _ in range(200):
        if "TOUR" not in terminal.screen():
            break
        time.sleep(0.1)
    else:
        raise AssertionError(terminal.screen())
    assert terminal.leave() == 0
    assert terminal.log.read_text() == ""
