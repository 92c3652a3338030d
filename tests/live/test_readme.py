"""The README word by word: every command in it is run, and every key of its walks is pressed."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.bpf_here import reason as no_bpf
from tests.live.tracing import needs_breakpoints
from tests.machine.terminal import Terminal

pytest.importorskip("icicle", reason="icicle-emu is not installed: pip install icicle-emu")

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text()
HWBP = ".venv/bin/hwbp-tui"

# Every command line that stands in a block of the README, and where it is run.
RUN_BY = {
    "apt-get install git make python3 python3-venv": "tests/unit/test_packaging.py builds the environment with what these give",
    "cd hwbp-tui": "the tests run there",
    "make demo": "test_the_walk_through_the_emulated_machine runs what it runs; tests/unit/test_docs.py has the target",
    "make test": "this",
    "cc -g -O1 -pthread -o race docs/examples/race.c": "race",
    "./race 600 &": "race",
    f"{HWBP} attach $! -w books.total": "test_the_hunt_in_the_app",
    f"{HWBP} trace -p $! -w 'books.total if value == 0' --stack --limit 3": "test_the_hunt_without_a_screen",
    f"{HWBP} slots": "test_slots_answers",
    f"{HWBP} demo contention": "test_the_demos_play_to_their_end",
    f"{HWBP} demo --list": "test_the_demos_are_listed",
    f"{HWBP} demo kgdb": "test_the_demos_play_to_their_end",
}

needs_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="no tmux: apt-get install tmux")
needs_bpf = pytest.mark.skipif(bool(no_bpf()), reason=no_bpf() or "it works here")


def commands() -> list[str]:
    """The lines of all blocks without a language and without a prompt, their comments and alignment taken away."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    plain = [block for language, block in blocks if not language and not block.startswith("$ ")]
    lines = [line for block in plain for line in block.splitlines()]
    return [re.sub(r"\s+#.*", "", line).strip() for line in lines]


def test_every_command_of_the_readme_is_run_by_a_test() -> None:
    assert sorted(set(commands())) == sorted(RUN_BY)
    for where in RUN_BY.values():
        if where.startswith("test_") or where == "race":
            assert where.split()[0] in globals(), where


def hwbp(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tui", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def race(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The program of the hunt, built and begun as the README says; its process id."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler: apt-get install gcc libc6-dev")
    folder = tmp_path_factory.mktemp("race")
    build = next(shlex.split(line) for line in commands() if line.startswith("cc "))
    build[build.index("race")] = str(folder / "race")
    subprocess.run(build, cwd=ROOT, check=True)
    process = subprocess.Popen([folder / "race", "600"], stdout=subprocess.DEVNULL)
    yield process.pid
    assert process.poll() is None, "the program did not survive being watched"
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.fixture
def screens(tmp_path: Path) -> Iterator[list[Terminal]]:
    found: list[Terminal] = []
    yield found
    for terminal in found:
        terminal.run("kill-server")


@pytest.mark.slow
@pytest.mark.live
@pytest.mark.root
@needs_breakpoints
@needs_bpf
def test_the_hunt_without_a_screen(race: int) -> None:
    line = next(line for line in commands() if " trace -p $!" in line)
    done = hwbp(*shlex.split(line.replace("$!", str(race)))[1:])
    assert done.returncode == 0, done.stderr
    hits = [text for text in done.stdout.splitlines() if "books.total" in text]
    assert len(hits) == 3
    for text in hits:
        assert re.search(r"\d+ -> 0 ", text)
        assert "clear_visits" in text
        assert "race.c:" in text
        assert "< statistics" in text


@pytest.mark.slow
@pytest.mark.live
@pytest.mark.root
@needs_breakpoints
@needs_bpf
@needs_tmux
def test_the_hunt_in_the_app(race: int, tmp_path: Path, screens: list[Terminal]) -> None:
    terminal = Terminal(tmp_path, "attach", str(race), "-w", "books.total", size=(120, 40))
    screens.append(terminal)
    terminal.until("RUNNING")
    terminal.until("clear_visits")
    terminal.keys("3")
    screen = terminal.until("WHO WRITES books.total")
    assert "deposit" in screen
    assert "clear_visits" in screen
    terminal.until("▸")  # the rows are there
    terminal.keys("Down")
    terminal.matches(r"(?m)^▸.*clear_visits")
    terminal.keys(".")
    terminal.until("FROM HERE")
    terminal.keys("c")
    screen = terminal.until("one too far")
    assert "clear_visits" in screen
    terminal.keys("-l", ":watch books.total if value == 0")
    screen = terminal.until("fits: takes 1 of 3 free")
    assert "if value == 0" in screen
    terminal.keys("Enter")
    terminal.until("watch 1: books.total")
    terminal.escape()
    assert terminal.leave() == 0
    assert terminal.log.read_text() == ""


@pytest.mark.slow
@pytest.mark.live
@needs_breakpoints
def test_slots_answers() -> None:
    done = hwbp("slots")
    assert done.returncode == 0
    assert "CPU 0" in done.stdout or "/proc" in done.stdout


def test_the_demos_are_listed() -> None:
    from tui.session.demos import DEMOS

    done = hwbp("demo", "--list")
    assert [line.split()[0] for line in done.stdout.splitlines()] == [demo.name for demo in DEMOS]
    words = (
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
    )
    assert f"names {words[len(DEMOS) - 2]} more" in TEXT


@pytest.mark.slow
@needs_tmux
@pytest.mark.parametrize("name", ["contention", "kgdb"])
def test_the_demos_play_to_their_end(name: str, tmp_path: Path, screens: list[Terminal]) -> None:
    from tui.session.demos import find_demo

    steps = len(find_demo(name, "emulated").steps)
    terminal = Terminal(tmp_path, "demo", name, size=(100, 30))
    screens.append(terminal)
    for step in range(1, steps + 1):
        terminal.until(f"{step}/{steps}")
        terminal.until("Right or Enter" if step < steps else "the end")
        assert "not as planned" not in terminal.screen()
        terminal.keys("Right")
    terminal.keys("q")


@pytest.mark.slow
@needs_tmux
def test_the_walk_through_the_emulated_machine(tmp_path: Path, screens: list[Terminal]) -> None:
    terminal = Terminal(tmp_path, size=(120, 40))
    screens.append(terminal)
    terminal.until("RUNNING")
    terminal.keys("Space")
    terminal.until("STOPPED")
    terminal.keys("k")
    terminal.until("staying at")
    terminal.keys("Enter")
    terminal.until("Esc closes")
    terminal.escape()
    terminal.until("SLOTS" if "SLOTS" in terminal.screen() else "DR0")
    terminal.keys("f")
    terminal.until("following")
    terminal.keys("w")
    terminal.keys("-l", "seed")
    terminal.until("ENOSPC: needs 1 slot, and none is free")
    terminal.escape()
    terminal.keys(";")
    terminal.keys("s")
    terminal.keys("d")
    terminal.until("is gone")
    terminal.keys("w")
    terminal.keys("-l", "seed")
    terminal.until("fits: takes 1 of 1 free")
    terminal.keys("Enter")
    terminal.until("watch 4: seed")
    terminal.keys("u")
    terminal.until("undone: watch seed")
    terminal.keys("s")
    terminal.until("one instruction" if "one instruction" in terminal.screen() else "STOPPED")
    terminal.keys("t")
    terminal.keys("-l", "G1")
    terminal.keys("Enter")
    terminal.until("differs")
    terminal.keys("u")
    terminal.until("undone: dr7 toggle G1")
    for key, said in (("2", "HITS"), ("3", "WHO DOES IT"), ("5", "TIMELINE"), ("6", "CODE"), ("7", "MEMORY"),
                      ("8", "REGISTERS"), ("9", "TASKS"), ("0", "LOG"), ("1", "DR7")):  # fmt: skip
        terminal.keys(key)
        terminal.until(said)
    terminal.keys("F1")
    terminal.until("Keys")
    terminal.escape()
    assert terminal.leave() == 0
    assert terminal.log.read_text() == ""
