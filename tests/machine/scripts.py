"""`hwbp-tui script --json` with commands from here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["answers", "script", "told"]

ROOT = Path(__file__).parents[2]


def told(command: Sequence[str | Path], lines: Iterable[str], status: int | None = 0) -> str:
    """What a command that reads a script from its input prints; it must end with this exit status, None for any."""
    done = subprocess.run(
        command, cwd=ROOT, input="\n".join(lines), capture_output=True, text=True, timeout=120, check=False
    )
    assert status is None or done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout


def answers(printed: str) -> list[dict[str, Any]]:
    """The answer to each line of what `script --json` printed."""
    return [json.loads(line) for line in printed.splitlines()[1:]]


def script(
    program: Path, *lines: str, backend: str = "emulated", status: int | None = 0
) -> list[dict[str, Any]]:
    """The answer to each line, in order; the script must end with this exit status, None for any."""
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "tui",
        "script",
        "-",
        "--json",
        "--backend",
        backend,
        "--",
        program,
    ]
    return answers(told(command, lines, status))
