"""Bare mode: instructions a second with nothing armed and with a quiet slot, and #DB a second with their handler."""

from __future__ import annotations

import os
import time
from itertools import pairwise

from backends.base import Launch
from backends.emulated.bare.backend import BareBackend
from backends.ring import create_memfd
from tests.bench.programs import Built
from tests.bench.report import Report, Row, Spread

__all__ = ["bench"]

_GOAL = 0.1
"""Million instructions a second."""


def _marks(program: str) -> list[tuple[float, int, int]]:
    """(seconds, instructions, #DB) at each letter that the program prints."""
    fd = create_memfd(1 << 16)
    backend = BareBackend(fd)
    os.close(fd)
    marks: list[tuple[float, int, int]] = []

    def mark(_stream: int, _data: bytes) -> None:
        marks.append((time.perf_counter(), backend.cpu.instructions, backend.cpu.exceptions.journal.total))

    backend.output_to(mark)
    backend.launch(Launch(program))
    backend.resume()
    while backend.running:
        backend.run_slice()
    if backend.view().exit_status != 0 or len(marks) != 4:
        raise RuntimeError(f"the program did not end as it should: {backend.view().stop.text}")
    return marks


def bench(built: Built, quick: bool) -> Report:
    """Each part of one run, several runs."""
    program = built.program("bare")
    parts: list[list[float]] = [[], [], []]
    for _ in range(3 if quick else 5):
        marks = _marks(program)
        for number, (before, after) in enumerate(pairwise(marks)):
            done = after[1] - before[1] if number < 2 else after[2] - before[2]
            parts[number].append(done / (after[0] - before[0]) / (1e6 if number < 2 else 1e3))
    rows = []
    for what, values in zip(("nothing armed", "a quiet slot"), parts, strict=False):
        spread = Spread.of(values)
        rows.append(
            Row(
                f"bare: {what}",
                spread.text("M instr/s"),
                goal=f">= {_GOAL} M instr/s",
                met=spread.middle >= _GOAL,
            )
        )
    rows.append(Row("bare: #DB with their handler", Spread.of(parts[2]).text("k/s")))
    return Report(tuple(rows))
