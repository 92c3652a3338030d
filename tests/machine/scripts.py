"""`hwbp-tui script --json` with commands from here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["script"]


def script(
    program: Path, *lines: str, backend: str = "emulated", status: int | None = 0
) -> list[dict[str, Any]]:
    """The answer to each line, in order; the script must end with this exit code, None for any."""
    done = subprocess.run(
        [sys.executable, "-m", "tui", "script", "-", "--json", "--backend", backend, "--", str(program)],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert status is None or done.returncode == status, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()[1:]]
