"""The wheel installs into an empty environment and runs; the constraints fit what pyproject.toml asks for."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIREMENTS: list[str] = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
PROGRAMS = "backends/emulated/programs/"


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for needed in ("build", "hatchling", "pip"):
        if find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed here (make test installs it)")
    out = tmp_path_factory.mktemp("wheel")
    done = run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that has the wheel, and our dependencies but not our tree."""
    place = tmp_path_factory.mktemp("environment")
    venv.create(place, with_pip=False)
    python = place / "bin" / "python"
    done = run(
        sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", wheel, cwd=place
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (packages,) = place.glob("lib/python*/site-packages")
    # A folder named in a .pth file is searched, but the .pth files in it, such as our editable install's, are not read.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return place / "bin"


@pytest.mark.slow
def test_the_wheel_holds_every_module_the_programs_and_the_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        elves = [name for name in names if name.startswith(PROGRAMS) and archive.read(name)[:4] == b"\x7fELF"]
    in_tree = {
        str(path.relative_to(ROOT))
        for package in ("tui", "backends", "symbols")
        for path in (ROOT / package).rglob("*.py")
    }
    in_tree_elves = [
        path
        for path in (ROOT / PROGRAMS).rglob("*")
        if path.is_file() and path.read_bytes()[:4] == b"\x7fELF"
    ]
    assert in_tree <= names
    assert elves
    assert len(elves) == len(in_tree_elves)
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests/", "docs/")) for name in names)


@pytest.mark.slow
def test_the_installed_command_says_its_version(installed: Path, tmp_path: Path) -> None:
    done = run(installed / "hwbp-tui", "--version", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert PROJECT["version"] in done.stdout


@pytest.mark.slow
def test_the_installed_command_runs_its_own_code_and_not_the_trees(installed: Path, tmp_path: Path) -> None:
    done = run(installed / "python", "-c", "import tui.cli; print(tui.cli.__file__)", cwd=tmp_path)
    assert done.stdout.startswith(str(installed.parent)), done.stdout + done.stderr


def test_every_requirement_is_pinned_and_no_pin_names_a_host() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {re.split(r"==", line)[0] for line in lines}
    asked = {re.split(r"[<>=!~;\[ ]", requirement)[0] for requirement in REQUIREMENTS}
    assert asked <= pinned
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+( ; .+)?", line) for line in lines)


def test_every_requirement_has_an_upper_bound() -> None:
    assert not [
        requirement for requirement in REQUIREMENTS if "<" not in requirement and "==" not in requirement
    ]


@pytest.mark.slow
def test_the_installed_command_traces_a_program_that_came_with_it(installed: Path, tmp_path: Path) -> None:
    (program,) = installed.parent.glob(f"lib/python*/site-packages/{PROGRAMS}counter")
    done = run(
        *(installed / "hwbp-tui", "trace", "--json", "-w", "counter", "--limit", "3", "--", program),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    values = [json.loads(line).get("value") for line in done.stdout.splitlines()]
    assert values == [None, 1, 2, 3, None]  # between the header and the summary
