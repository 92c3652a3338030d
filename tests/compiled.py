"""C programs of tests, built where they are needed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

__all__ = ["compiled"]


def compiled(path: Path, source: str | Path, *options: str) -> Path:
    """The program `path`, of C that is given as a file or as text; symbols and lines call the text `prog.c` for a
    program `prog`. Skips without gcc, or without a library that the options ask for."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed: apt-get install gcc libc6-dev")
    path.parent.mkdir(exist_ok=True)
    if isinstance(source, str):
        path.with_suffix(".c").write_text(source)
        source = Path(path.with_suffix(".c").name)
    done = subprocess.run(
        ["gcc", source, *options, "-o", path], cwd=path.parent, capture_output=True, text=True, check=False
    )
    if "cannot find" in done.stderr:
        pytest.skip(f"gcc {' '.join(options)} does not link here: {done.stderr.splitlines()[0]}")
    assert done.returncode == 0, done.stderr
    return path
