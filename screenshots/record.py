"""Records a hunt on a live program: the README's, in a real terminal (tmux), with the keys that it names: `make recording`.

Writes hunt.cast (asciicast v2) and hunt.svg. Needs tmux, a C compiler, and the right to see values (root or CAP_BPF).
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))

from cast import Frame, frames, picture, written  # noqa: E402

WIDTH, HEIGHT = 100, 28
EVERY = 0.5
TITLE = "hwbp-tui: who writes books.total in a running program?"

# Caption, keys, what must be on the screen then, and how long to look at it (seconds).
STEPS = (
    ("hwbp-tui attach PID -w books.total: the program runs on at its own speed", (), "clear_visits", 3.0),
    ("3: every instruction that writes it", ("3",), "HOW IT COMES THERE", 3.0),
    (
        "Down: the one that does not belong there, and how it comes there",
        ("Down",),
        r"(?m)^▸.*clear_visits",
        2.5,
    ),
    (". lists what can be done from here", (".",), "its code", 2.0),
    ("c: its code. The loop runs one element too far", ("c",), r"i <= sizeof", 4.0),
    (
        ": a watch for those hits alone; what it would take is said before",
        (":watch books.total if value == 0",),
        "fits",
        3.0,
    ),
    ("Enter: the kernel holds the condition at each hit", ("Enter",), "watch 1: books.total", 2.0),
    (
        "2, then /value=0: only the hits that cleared it, each with its thread and stack",
        ("2", "/value=0", "Enter"),
        "clear_visits.*clear_visits",
        4.0,
    ),
    ("q: nothing stays armed, the program runs on", (), "clear_visits", 1.5),
)


class Terminal:
    """A tmux server with one window."""

    def __init__(self, folder: Path, command: str) -> None:
        self._tmux = ["tmux", "-S", str(folder / "tmux"), "-f", "/dev/null"]
        self.run("new-session", "-d", "-s", "a", "-x", str(WIDTH), "-y", str(HEIGHT), command)

    def run(self, *words: str) -> str:
        return subprocess.run([*self._tmux, *words], capture_output=True, text=True, check=False).stdout

    def lines(self) -> tuple[str, ...]:
        """What it shows, with colours."""
        shown = self.run("capture-pane", "-t", "a", "-e", "-N", "-p").split("\n")
        return tuple((shown + [""] * HEIGHT)[:HEIGHT])


def record(folder: Path, pid: int) -> list[Frame]:
    """Press the keys and look, twice a second. Raises RuntimeError where a step does not show what it must."""
    settings = f"env CI=1 COLORTERM=truecolor XDG_CONFIG_HOME={folder} XDG_STATE_HOME={folder}"
    command = f"{settings} {sys.executable} -m tui attach {pid} -w books.total --fps 4"
    terminal = Terminal(folder, f"cd {ROOT}; {command}")
    shots: list[Frame] = []
    clock = 0.0
    try:
        for said, keys, wanted, seconds in STEPS:
            for key in keys:
                if key.startswith((":", "/")):
                    for letter in key:
                        terminal.run("send-keys", "-t", "a", "-l", letter)
                        time.sleep(0.03)
                else:
                    terminal.run("send-keys", "-t", "a", key)
            for _ in range(100):
                lines = terminal.lines()
                if re.search(wanted, _plain(lines), re.DOTALL):
                    break
                time.sleep(0.1)
            else:
                raise RuntimeError(f"{said}: {wanted!r} is not on the screen:\n{_plain(lines)}")
            for _ in range(int(seconds / EVERY)):
                shots.append(Frame(clock, terminal.lines(), said))
                clock += EVERY
                time.sleep(EVERY)
        terminal.run("send-keys", "-t", "a", "q")
    finally:
        time.sleep(0.5)
        terminal.run("kill-server")
    return shots


def _plain(lines: tuple[str, ...]) -> str:
    return "\n".join(re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines)


def main() -> int:
    """Record, write, draw."""
    for tool in ("tmux", "cc"):
        if shutil.which(tool) is None:
            print(
                f"recording needs {tool}: apt-get install {'gcc libc6-dev' if tool == 'cc' else tool}",
                file=sys.stderr,
            )
            return 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = Path("docs/examples/race.c")
        subprocess.run(["cc", "-g", "-O1", "-pthread", "-o", folder / "race", source], cwd=ROOT, check=True)
        program = subprocess.Popen([folder / "race", "600"], stdout=subprocess.DEVNULL)
        try:
            time.sleep(0.5)
            shots = record(folder, program.pid)
            alive = program.poll() is None
        finally:
            program.kill()
            program.wait()
    if not alive:
        print("the program did not survive", file=sys.stderr)
        return 1
    text = written(shots, WIDTH, TITLE)
    (HERE / "hunt.cast").write_text(text, encoding="utf-8")
    (HERE / "hunt.svg").write_text(picture(frames(text)[::2], WIDTH), encoding="utf-8")
    for name in ("hunt.cast", "hunt.svg"):
        print(f"screenshots/{name}: {os.path.getsize(HERE / name):,} bytes")
    return 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
