"""C programs from here, built where they are needed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

__all__ = ["compiled"]


def compiled(path: Path, source: str, *options: str) -> str:
    """The program, as `path`; DWARF and symbols call its file prog.c. Skips without gcc."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed: apt-get install gcc")
    (path.parent / "prog.c").write_text(source)
    subprocess.run(["gcc", *options, "-o", path, "prog.c"], cwd=path.parent, check=True)
    return str(path)
