"""From the start of the process until the four slots show what the started program really has in them."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.bench.programs import Built
from tests.bench.report import Report, Row, Spread
from tests.bench.terminal import Terminal

__all__ = ["APP", "HELLO", "bench", "four_slots_shown", "set_running"]

APP = [str(Path(sys.executable).with_name("hwbp-tui"))]
HELLO = [sys.executable, str(Path(__file__).with_name("hello.py"))]
_GOAL = 1.6
_SLOT = re.compile(r"0x[0-9a-f]{6,} +(?:x|w|rw) +\d")


def four_slots_shown(text: str) -> bool:
    """Four addresses with type and length, and the title with the program, its pid and its state."""
    return (
        len(_SLOT.findall(text)) >= 4
        and re.search(r"counter 1000 +\S+ +(?:LOADED|RUNNING|STOPPED)", text) is not None
    )


def set_running(terminal: Terminal) -> None:
    """Wait until the program is there, and see that it runs: the app may have begun by itself."""
    terminal.until(lambda text: "LOADED" in text or "RUNNING" in text, "the program")
    terminal.watch(1.0)
    text = terminal.text()
    if text.rfind("LOADED") > text.rfind("RUNNING"):
        terminal.press(" ", "RUNNING")


def bench(_built: Built, quick: bool) -> Report:
    """In turn with a Textual hello-world."""
    rounds = 4 if quick else 10
    ours, peer = [], []
    _start(APP, four_slots_shown)  # files into the page cache, bytecode written
    for _ in range(rounds):
        peer.append(_start(HELLO, lambda text: "Hello, World" in text))
        ours.append(_start(APP, four_slots_shown))
    mine, theirs = Spread.of(ours), Spread.of(peer)
    ratio = mine.over(theirs)
    of_medians = mine.middle / theirs.middle
    return Report(
        (
            Row(
                f"first picture: the four slots, {rounds} starts",
                mine.text("ms"),
                theirs.text("ms, Textual hello-world"),
                ratio.text("x"),
                f"<= {_GOAL}x",
                of_medians <= _GOAL,
            ),
        ),
        (f"first picture: ratio of the medians {of_medians:.2f}",),
    )


def _start(command: Sequence[str], seen: Callable[[str], bool]) -> float:
    with Terminal(command) as terminal:
        return (terminal.until(seen, "the first picture") - terminal.began) * 1000
