"""The real app in a real terminal: tmux, driven by keys, read as text."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

__all__ = ["Terminal"]

ROOT = Path(__file__).parents[2]


class Terminal:
    """One tmux server with the app in it; `log` is the app's standard error. `ci` is the variable CI: no tour is offered."""

    def __init__(self, folder: Path, *options: str, size: tuple[int, int] = (100, 30), ci: str = "1") -> None:
        self.log, self.code = folder / "log", folder / "code"
        self._tmux = ["tmux", "-S", str(folder / "tmux"), "-f", "/dev/null"]
        words = " ".join(shlex.quote(option) for option in options if option)
        settings = f"env -u COLUMNS -u LINES CI={ci} XDG_CONFIG_HOME={folder} XDG_STATE_HOME={folder}"
        command = f"cd {ROOT}; {settings} {sys.executable} -m tui {words} 2>{self.log}; echo $? >{self.code}"
        self.run("new-session", "-d", "-s", "app", "-x", str(size[0]), "-y", str(size[1]), command)

    def run(self, *words: str) -> str:
        done = subprocess.run([*self._tmux, *words], capture_output=True, text=True, timeout=30, check=False)
        return done.stdout

    def keys(self, *keys: str) -> None:
        self.run("send-keys", "-t", "app", *keys)

    def escape(self) -> None:
        """Escape alone: with a key close behind it would be Alt and that key."""
        self.keys("Escape")
        time.sleep(0.3)

    def leave(self) -> int:
        """q, and the exit code."""
        self.keys("q")
        for _ in range(100):
            if (code := self.ended()) is not None:
                return code
            time.sleep(0.1)
        raise AssertionError(f"q did not leave:\n{self.screen()}")

    def screen(self) -> str:
        return self.run("capture-pane", "-t", "app", "-p")

    def until(self, text: str) -> str:
        return self.matches(re.escape(text))

    def matches(self, pattern: str) -> str:
        for _ in range(300):
            if re.search(pattern, screen := self.screen()):
                return screen
            time.sleep(0.05)
        raise AssertionError(f"never {pattern!r} on the screen:\n{self.screen()}\n{self.log.read_text()}")

    def ended(self) -> int | None:
        return int(self.code.read_text()) if self.code.exists() and self.code.read_text().strip() else None
