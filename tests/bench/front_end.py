"""The app in a real terminal: from a key to its paint, and what drawing costs, in a flood and idle."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from tests.bench import flood
from tests.bench.first_picture import APP, set_running
from tests.bench.programs import Built
from tests.bench.report import Report, Row, Spread, percentile
from tests.bench.terminal import Terminal, cpu_seconds

__all__ = ["bench"]

_GOAL_FLOOD = 50
_GOAL_IDLE = 20
_GOAL_CPU = 35
_GOAL_CPU_IDLE = 5
_CAPACITY = 1 << 20


def bench(built: Built, quick: bool) -> Report:
    """Three machines: one that hits as fast as it can, one that writes 200,000 records a second, one that stands."""
    presses, seconds = (24, 3.0) if quick else (100, 8.0)
    program = built.program("hits", "write")
    report = _scene("full rate", [*APP, "run", "-w", "hot", "--", program], False, presses, seconds)
    report += _scene(
        f"{flood.RATE:,} records/s", flood.command(flood.RATE, _CAPACITY), False, presses, seconds
    )
    return report + _scene("idle", APP, True, presses, seconds)


def _scene(name: str, command: Sequence[str], idle: bool, presses: int, seconds: float) -> Report:
    with Terminal(command) as terminal:
        set_running(terminal)
        terminal.watch(2.5)
        if idle:
            terminal.press(" ", "STOPPED")
            terminal.watch(1.0)
        used, began = cpu_seconds(terminal.pid), time.perf_counter()
        terminal.watch(seconds)
        share = 100 * (cpu_seconds(terminal.pid) - used) / (time.perf_counter() - began)
        stay = _stay_and_follow(terminal, presses)
        typed = _typing(terminal, presses)
    goal_key, goal_cpu = (_GOAL_IDLE, _GOAL_CPU_IDLE) if idle else (_GOAL_FLOOD, _GOAL_CPU)
    return Report(
        (
            _row(f"keys: stay and follow, {name}", stay, goal_key),
            _row(f"keys: typing a command, {name}", typed, goal_key),
            Row(
                f"front end's CPU, {name}",
                f"{share:.1f} % of a core",
                goal=f"<= {goal_cpu} %",
                met=share <= goal_cpu,
            ),
        )
    )


def _row(what: str, latencies: list[float], goal: int) -> Row:
    late = percentile(latencies, 0.95)
    text = f"p95 {late:.1f} of {Spread.of(latencies).text('ms')}"
    return Row(what, text, goal=f"p95 <= {goal} ms", met=late <= goal)


def _stay_and_follow(terminal: Terminal, presses: int) -> list[float]:
    """`k` stays at a hit, `f` follows again: the footer says what `f` would do next."""
    moments = random.Random(1)
    latencies = []
    for number in range(presses):
        key, sign = ("f", "f stay ") if number % 2 else ("k", "f follow ")
        latencies.append(1000 * terminal.press(key, sign))
        terminal.watch(moments.uniform(0.03, 0.13))
    return latencies


def _typing(terminal: Terminal, presses: int) -> list[float]:
    """A comment on the command line, letter by letter: each counts when the text with it stands there."""
    moments = random.Random(2)
    latencies: list[float] = []
    while len(latencies) < presses:
        terminal.press(":", "complete")
        text = ""
        for letter in "#" + "qwertyuiopasdfghjklzxcvbnm":
            text += letter
            latencies.append(1000 * terminal.press(letter, text))
            terminal.watch(moments.uniform(0.03, 0.13))
        terminal.press("\r", "command")
        terminal.watch(0.2)
    return latencies[:presses]
