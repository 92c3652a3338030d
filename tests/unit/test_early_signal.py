"""Ctrl-C at the very start: an end like any other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
EARLY = """
import os, runpy, signal, sys
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "tui.cli":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
sys.argv = ["tui", "--version"]
runpy.run_module("tui", run_name="__main__", alter_sys=True)
"""


def test_sigint_while_modules_are_imported_is_no_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-c", EARLY], cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
