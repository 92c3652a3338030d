"""The app in a real terminal: from a key to its paint, and what drawing costs, in a flood and idle."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import replace

from tests.bench import flood
from tests.bench.first_picture import APP, HELLO, set_running
from tests.bench.programs import Built
from tests.bench.report import Report, Row, Spread, percentile, skipped
from tests.bench.terminal import Terminal, TooLate, cpu_seconds

__all__ = ["bench"]

_GOAL_FLOOD = 50
_GOAL_IDLE = 20
_GOAL_CPU = 35
_GOAL_CPU_IDLE = 5
_CAPACITY = 1 << 20


def bench(built: Built, quick: bool) -> Report:
    """Four machines: two that hit as fast as they can, emulated and live, one that writes 200,000 records a second, one that stands."""
    presses, seconds = (24, 3.0) if quick else (100, 8.0)
    program = built.program("hits", "write")
    report = _scene("full rate", [*APP, "run", "-w", "hot", "--", program], False, presses, seconds)
    report += _live([*APP, "run", "--backend", "perf", "-w", "hot", "--", program], presses, seconds)
    report += _scene(
        f"{flood.RATE:,} records/s", flood.command(flood.RATE, _CAPACITY), False, presses, seconds
    )
    return report + _scene("idle", APP, True, presses, seconds)


def _live(command: Sequence[str], presses: int, seconds: float) -> Report:
    name = "live at full rate"
    with Terminal(command) as terminal:
        try:
            terminal.until(lambda text: "LOADED" in text or "RUNNING" in text, "the program")
        except TooLate as why:
            return skipped(f"keys: {name}", f"no live breakpoints here: {why}")
    return _scene(name, command, False, presses, seconds)


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
        first, whole = _stay_and_follow(terminal, presses)
        typed, peer = _typing(terminal, presses)
        terminal.send("2/value>0\r")
        terminal.watch(2.0)
        used, began = cpu_seconds(terminal.pid), time.perf_counter()
        terminal.watch(seconds)
        filtering = 100 * (cpu_seconds(terminal.pid) - used) / (time.perf_counter() - began)
        filtered, _ = _stay_and_follow(terminal, presses, "frozen at")
    goal_key, goal_cpu = (_GOAL_IDLE, _GOAL_CPU_IDLE) if idle else (_GOAL_FLOOD, _GOAL_CPU)
    return Report(
        (
            _row(f"keys: stay and follow, {name}", first, goal_key),
            _row(f"keys: until all panels show it, {name}", whole, None),
            _row(f"keys: typing a command, {name}", typed, goal_key, peer),
            Row(
                f"front end's CPU, {name}",
                f"{share:.1f} % of a core",
                goal=f"<= {goal_cpu} %",
                met=share <= goal_cpu,
            ),
            _row(f"keys: stay and follow, a filter on, {name}", filtered, goal_key),
            Row(
                f"front end's CPU, a filter on, {name}",
                f"{filtering:.1f} % of a core",
                goal=f"<= {goal_cpu} %",
                met=filtering <= goal_cpu,
            ),
        )
    )


def _row(what: str, latencies: list[float], goal: int | None, peer: list[float] | None = None) -> Row:
    late = percentile(latencies, 0.95)
    row = Row(what, _text(latencies))
    if goal is not None:
        row = replace(row, goal=f"p95 <= {goal} ms", met=late <= goal)
    if peer is not None:
        ratio = f"{late / percentile(peer, 0.95):.2f} x p95"
        row = replace(row, peer=f"{_text(peer)}, Textual's Input", ratio=ratio)
    return row


def _text(latencies: list[float]) -> str:
    return f"p95 {percentile(latencies, 0.95):.1f} of {Spread.of(latencies).text('ms')}"


def _stay_and_follow(
    terminal: Terminal, presses: int, stays: str = "staying at"
) -> tuple[list[float], list[float]]:
    """`k` stays at a hit, `f` follows again: until the history's rule says so, and until the last panel does."""
    moments = random.Random(1)
    first, whole = [], []
    for number in range(presses):
        key, rule, footer = ("f", "following", "f stay ") if number % 2 else ("k", stays, "f follow ")
        spent, more = terminal.press(key, (rule, footer), footer)
        first.append(1000 * spent)
        whole.append(1000 * more)
        terminal.watch(moments.uniform(0.03, 0.13))
    return first, whole


def _typing(terminal: Terminal, presses: int) -> tuple[list[float], list[float]]:
    """A comment on the command line, in turn with the same letters in a bare Textual app under the same load."""
    ours: list[float] = []
    theirs: list[float] = []
    with Terminal([*HELLO, "input"]) as peer:
        peer.until(lambda text: "Hello, World" in text, "the peer")
        peer.watch(0.5)
        while len(ours) < presses:
            terminal.press(":", "complete")
            ours += _letters(terminal)
            terminal.press("\r", "command")
            terminal.watch(0.2)
            theirs += _letters(peer)
            peer.send("\x15")
            peer.watch(0.2)
    return ours[:presses], theirs[:presses]


def _letters(terminal: Terminal) -> list[float]:
    moments = random.Random(2)
    latencies = []
    text = ""
    for letter in "#qwertyuiopasdfghjklzxcvbnm":
        text += letter
        latencies.append(1000 * terminal.press(letter, text)[0])
        terminal.watch(moments.uniform(0.03, 0.13))
    return latencies
