"""Each view of the app in a flood: from a key to its paint, from its number to its picture, and what drawing it costs."""

from __future__ import annotations

import random
import time

from tests.bench import flood
from tests.bench.first_picture import set_running
from tests.bench.programs import Built
from tests.bench.report import Report, Row, Spread, percentile
from tests.bench.terminal import Terminal, cpu_seconds

__all__ = ["bench"]

_GOAL = 50
_GOAL_CPU = 35
_CAPACITY = 1 << 20
_SIGNS = {
    "1": "OWNERS",
    "2": "HITS",
    "3": "WHO",
    "4": "HOW OFTEN",
    "5": "HITS OVER TIME",
    "6": "CODE",
    "7": "MEMORY",
    "8": "REGISTERS",
    "9": "TASKS",
    "0": "LOG",
}
_LETTERS = "#qwertyuiopasdfghjklzxcvbnm"


def bench(_built: Built, quick: bool) -> Report:
    """200,000 records a second into a full ring; in each view letters are typed, then it is left alone."""
    seconds = 2.0 if quick else 5.0
    report = Report(())
    with Terminal(flood.command(flood.RATE, _CAPACITY)) as terminal:
        set_running(terminal)
        terminal.watch(6.0)
        for key in "2345678901":
            opened = 1000 * terminal.press(key, _SIGNS[key])[1]
            terminal.watch(1.5)
            letters = _typed(terminal)
            if not quick:
                letters += _typed(terminal)
            used, began = cpu_seconds(terminal.pid), time.perf_counter()
            terminal.watch(seconds)
            share = 100 * (cpu_seconds(terminal.pid) - used) / (time.perf_counter() - began)
            report += _rows(key, opened, letters, share)
    return report


def _typed(terminal: Terminal) -> list[float]:
    """A comment on the command line, a letter at a time, at moments that know nothing of the frames."""
    moments = random.Random(2)
    terminal.press(":", "complete")
    found, text = [], ""
    for letter in _LETTERS:
        text += letter
        found.append(1000 * terminal.press(letter, text)[0])
        terminal.watch(moments.uniform(0.03, 0.13))
    terminal.press("\r", "command")
    terminal.watch(0.3)
    return found


def _rows(key: str, opened: float, letters: list[float], share: float) -> Report:
    late = percentile(letters, 0.95)
    view = f"view {key} at {flood.RATE:,} records/s"
    return Report(
        (
            Row(
                f"keys: {view}",
                f"p95 {late:.1f} of {Spread.of(letters).text('ms')}; opened in {opened:.0f} ms",
                goal=f"p95 <= {_GOAL} ms",
                met=late <= _GOAL,
            ),
            Row(
                f"front end's CPU, {view}",
                f"{share:.1f} % of a core",
                goal=f"<= {_GOAL_CPU} %",
                met=share <= _GOAL_CPU,
            ),
        )
    )
