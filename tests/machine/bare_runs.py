"""Run bare programs inside the test's own process, and read the rows that say what they must print."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.base import Launch
from backends.emulated.bare.backend import BareBackend
from backends.emulated.engine import Engine
from backends.model import MachineView
from backends.ring import create_memfd

__all__ = ["FOLDER", "ROWS", "BareRun", "agrees", "cases_of", "row_ids", "run_bare"]

FOLDER = Path(__file__).parent / "bare"
ROWS: dict[str, Any] = tomllib.loads((FOLDER / "rows.toml").read_text())
"""By program, then row (`bare/rows.toml` says what is in it)."""


@dataclass(frozen=True)
class BareRun:
    """What a run left behind."""

    view: MachineView
    output: str
    backend: BareBackend


def run_bare(
    program: Path | str, *, engine: Engine | None = None, slices: int = 20_000, show_disabled: bool = False
) -> BareRun:
    """Run to the end, or for that many slices."""
    fd = create_memfd(1 << 14)
    backend = BareBackend(fd, engine)
    os.close(fd)
    backend.cpu.recorder.show_disabled = show_disabled
    backend.launch(Launch(str(program)))
    backend.resume()
    for _ in range(slices):
        if not backend.running:
            break
        backend.run_slice()
    output = b"".join(data for _, data in backend.output(0)).decode()
    return BareRun(backend.view(), output, backend)


def cases_of(output: str) -> list[dict[str, list[str]]]:
    """The lines of each case, for each time the cases ran; a case that is cut off is there with what it printed."""
    passes: list[dict[str, list[str]]] = []
    lines: list[str] = []
    for line in output.splitlines():
        if line.startswith("case "):
            name = line.removeprefix("case ")
            if not passes or name in passes[-1]:
                passes.append({})
            lines = passes[-1][name] = []
        elif line != "end" and passes:
            lines.append(line)
    return passes


def agrees(line: str, expected: str) -> bool:
    """Word for word, where `*` stands for anything."""
    words, wanted = line.split(), expected.split()
    return len(words) == len(wanted) and all(
        want in ("*", word) for word, want in zip(words, wanted, strict=True)
    )


def row_ids() -> list[tuple[str, str]]:
    """Every row as (program, case)."""
    return [(program, row) for program, table in ROWS.items() for row in table["rows"]]
