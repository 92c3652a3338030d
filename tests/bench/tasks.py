"""What many tasks cost: eight processes, and eight threads of one, against one task of the same program."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from backends.base import Launch
from backends.emulated.backend import EmulatedBackend
from backends.ring import create_memfd
from tests.bench.programs import Built
from tests.bench.report import Report, Row, Spread

__all__ = ["bench"]

_TASKS = 8
_GOALS = (
    ("processes", 10_000, 0.4),
    ("processes", 100_000, 0.5),
    ("threads", 10_000, 0.1),
    ("threads", 100_000, 0.35),
)
_WARM_UP = 120_000_000


@contextmanager
def _machine(program: str, kind: str, count: int, quantum: int) -> Iterator[EmulatedBackend]:
    """A machine of one CPU on which that many tasks run, warm."""
    fd = create_memfd(1 << 10)
    backend = EmulatedBackend(fd)
    os.close(fd)
    backend.launch(Launch(program, (kind, str(count)), stacks=False, cpus=1, quantum=quantum))
    backend.resume()
    try:
        _rate(backend, _WARM_UP)
        if len(backend.view().tasks) != count:
            raise RuntimeError(f"{len(backend.view().tasks)} tasks run, not {count}")
        yield backend
    finally:
        backend.close()


def _rate(backend: EmulatedBackend, instructions: int) -> float:
    """Millions of instructions a second, of all tasks."""
    machine = backend._machine
    before, start = machine.instructions, time.perf_counter()
    while machine.instructions - before < instructions and backend.running:
        backend.run_slice()
    return (machine.instructions - before) / (time.perf_counter() - start) / 1e6


def bench(built: Built, quick: bool) -> Report:
    """Ratios, taken in turns with the machine that has one task."""
    program = built.program("crew", hosted=True)
    rounds, instructions = (5, 30_000_000) if quick else (9, 60_000_000)
    rows = []
    for kind, quantum, goal in _GOALS:
        with _machine(program, kind, _TASKS, quantum) as many, _machine(program, kind, 1, quantum) as one:
            ours, peer = [], []
            for _ in range(rounds):
                ours.append(_rate(many, instructions))
                peer.append(_rate(one, instructions))
        mine, theirs = Spread.of(ours), Spread.of(peer)
        ratio = mine.over(theirs)
        rows.append(
            Row(
                f"tasks: {_TASKS} {kind}, quantum {quantum:,}",
                mine.text("M instr/s"),
                theirs.text("M instr/s, one task"),
                ratio.text("x"),
                f">= {goal}x",
                ratio.middle >= goal,
            )
        )
    return Report(tuple(rows))
