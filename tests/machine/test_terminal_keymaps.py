"""Each keymap's own keys in a real terminal (tmux): pressed one after the other, each does what docs/app.md says of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.machine.terminal import Terminal
from tui.app.keymaps import KEYMAPS

pytest.importorskip("icicle", reason="icicle-emu is not installed: pip install icicle-emu")
if shutil.which("tmux") is None:
    pytest.skip("no tmux: apt-get install tmux", allow_module_level=True)

pytestmark = pytest.mark.slow

Walk = tuple[tuple[str, str], ...]
"""What is pressed, in tmux's words, and the pattern that must be on the screen then."""

WALKS: dict[str, Walk] = {
    "default": (
        ("Space", "STOPPED by request"),
        ("s", "stepped 1"),
        ("k", "staying at"),
        ("j", r"HITS [\d,]+ \S+ ?(staying|following)"),
        ("G", "f stay"),
        ("g", "staying at 1,"),
        ("f", "f stay"),
        ("?", "HITS: help"),
        ("q", "f stay"),
        ("2", "b group"),
        ("/", "Enter keep it"),
        ("Escape", "b group"),
        ("1", "f stay"),
        ("d", "counter is gone"),
        ("u", "counter is armed again"),
        ("U", "done again: delete 0"),
        ("w", "Tab complete"),
        ("Escape", "f stay"),
        (":", "Tab complete"),
        ("Escape", "f stay"),
        ("y", "hit [0-9,]+ as a line"),
        ("Escape", "f stay"),
        ("C-p", "Search|search"),
    ),
    "vim": (
        ("Space", "STOPPED by request"),
        ("2", "b group"),
        ("C-u", "frozen at"),
        ("C-d", "frozen at"),
        ("C-f", "frozen at"),
        ("?", "Enter keep it"),
        ("w", "F w"),
        ("Enter", "no further hit meets w"),
        ("N", "frozen at"),
        ("n", "frozen at"),
        ("1", "STOPPED by request"),
        ("d", "counter is gone"),
        ("u", "undone: delete 0"),
        ("C-r", "done again: delete 0"),
    ),
    "gdb": (
        ("c", "STOPPED by request"),
        ("i", "stopped at .*stepped 1"),
        ("s", "stopped at "),
        ("n", "stopped at "),
        ("o", "stopped at .*stepped 1"),
        ("v", r"▸ (?!stopped)"),
        ("w", "#0 "),
        ("Escape", "f follow|F stay|F follow"),
        ("f", "stopped at "),
        ("u", "staying at"),
        ("F", "F stay"),
        ("D", "counter is gone"),
        ("U", "undone: delete 0"),
        ("R", "done again: delete 0"),
        ("W", "Tab complete"),
    ),
    "emacs": (
        ("Space", "STOPPED by request"),
        ("C-p", "staying at"),
        ("C-n", "HITS"),
        ("2", "b group"),
        ("M-v", "frozen at"),
        ("C-v", "frozen at"),
        ("M-<", "frozen at 1 "),
        ("M->", "f stay"),
        ("M-x", "Tab complete"),
        ("C-g", "b group"),
        ("M-w", "hit [0-9,]+ as a line"),
        ("Escape", "b group"),
        ("d", "counter is gone"),
        ("C-_", "undone: delete 0"),
        ("F6", "Search|search"),
    ),
}


@pytest.mark.parametrize("name", WALKS)
def test_the_keys_of_a_keymap_do_what_is_said_of_them(name: str, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, "--keymap", name, size=(140, 45))
    try:
        terminal.until("RUNNING")
        for key, seen in WALKS[name]:
            if key == "Escape":
                terminal.escape()
            else:
                terminal.keys(key)
            terminal.matches(seen)
        terminal.escape()
        terminal.escape()
        assert terminal.leave() == 0
        assert terminal.log.read_text() == ""
    finally:
        terminal.run("kill-server")


def test_every_keymap_is_walked() -> None:
    assert set(WALKS) == set(KEYMAPS)
