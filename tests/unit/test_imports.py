"""What a word of the command line imports: nothing that it does not need.

Asked of a fresh interpreter, because this one has imported everything already.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("textual", "rich", "numpy", "icicle", "capstone", "iced_x86", "elftools")
"""Each costs between 20 ms and 300 ms at start."""

LOADED = "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})), file=sys.stderr)"

COMMAND_LINE = f"""
import json, sys
sys.argv = ["hwbp-tui", *json.loads(sys.argv[1])]
from tui.cli import main
try:
    main()
except SystemExit:
    pass
{LOADED}
"""

EVERY_MODULE = f"""
import importlib, json, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
{LOADED}
"""


def modules_after(code: str, *arguments: str) -> set[str]:
    """Top-level names in `sys.modules` after a fresh interpreter ran this code."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["trace", "--help"], ["run", "--help"], ["no-such-word"]],
    ids=" ".join,
)
def test_a_command_line_that_runs_no_machine_imports_no_big_package(arguments: list[str]) -> None:
    assert modules_after(COMMAND_LINE, json.dumps(arguments)).isdisjoint(HEAVY)


@pytest.mark.parametrize("package", ["symbols", "backends", "tui.session", "tui.text"])
def test_everything_below_the_app_works_without_textual(package: str) -> None:
    assert "textual" not in modules_after(EVERY_MODULE, package)
