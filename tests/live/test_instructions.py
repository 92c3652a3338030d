"""Every form of instruction that this machine's own programs are made of does on the engine what it does on silicon."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.instructions import FILES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="needs an x86-64 processor"),
]


@pytest.mark.parametrize("path", FILES)
def test_instructions_of_a_program_agree_with_silicon(path: str) -> None:
    if not os.path.exists(path):
        pytest.skip(f"{path} is not here")
    done = subprocess.run(  # a process of its own: what it runs may end it
        [sys.executable, "-m", "tests.live.instructions", "--forms", "1", path],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 disagreed" in done.stdout
    assert int(done.stdout.split()[0]) > 300
