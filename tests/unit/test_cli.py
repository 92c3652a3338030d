"""The command line: words, options, exit codes, one line for every error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tui.cli import main

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["frob"], 2, "invalid choice: 'frob'"),
        (["--frob"], 2, "unrecognized arguments: --frob"),
        (["trace"], 2, "trace needs either -p PID or a program"),
        (["trace", "-p", "1", "--", "/bin/true"], 2, "trace needs either"),
        (["trace", "--"], 2, "trace needs either"),
        (["trace", "-p", "0"], 2, "no process id"),
        (["trace", "--limit", "0", "--", "x"], 2, "no count from 1"),
        (["trace", "--limit", "²", "--", "x"], 2, "no count from 1"),
        (["trace", "--duration", "nan", "--", "x"], 2, "no number of seconds"),
        (["trace", "--duration", "-1", "--", "x"], 2, "no number of seconds"),
        (["trace", "-w", "counter:r", "--", "x"], 2, "x86 cannot watch reads alone"),
        (["trace", "-w", "counter/0", "--", "x"], 2, "at least 1 byte"),
        (["-w", "counter:q", "trace", "--", "x"], 2, "unknown type 'q'"),
        (["trace", "-w", "", "--", "x"], 2, "needs an expression"),
        (["trace", "--allow", "fly", "--", "x"], 2, "invalid choice: 'fly'"),
        (["run"], 2, "run needs a program"),
        (["run", "prog"], 2, "a program comes after --: hwbp-tui run -- prog"),
        (["script"], 2, "required: FILE"),
        (["script", "-", "--"], 2, "no program after --"),
        (["slots", "--", "x"], 2, "slots takes no program"),
        (["--", "x"], 2, "hwbp-tui run -- PROGRAM"),
        (["attach", "x"], 2, "no process id"),
        (["trace", "-p", "4194304"], 1, "no process 4194304"),
        (["trace", "-p", "99999999"], 1, "no process 99999999"),
        (["trace", "-p", "2147483648"], 2, "2147483648 is too large a process id: 2147483647 at most"),
        (["--fps", "100000000"], 2, "100000000 is too large a rate: 120 at most"),
        (["trace", "--env", "=x", "--", "x"], 2, "'=x' has no name"),
        (["trace", "-w", "counter+", "--", "x"], 2, "'counter+' ends too early"),
        (["trace", "-w", "counter/8/8", "--", "x"], 2, "LEN comes last, and once"),
        (["trace", "-w", "main:x/1", "--", "x"], 2, "the type comes last"),
        (["trace", "-w", "*0", "--", "x"], 2, "0 is a null pointer"),
        (["trace", "--backend", "perf", "--", "/no/such"], 1, "no such file"),
        (["trace", "--kernel", "--", "x"], 1, "--kernel is for live programs"),
        (["trace", "--backend", "emulated", "-p", "1"], 1, "cannot attach"),
        (["trace", "--sudo", "--", "x"], 1, "--sudo is for live programs"),
        (["trace", "--sudo", "-p", "4194304"], 1, "no process 4194304"),
        (["attach", "1"], 1, "attach needs a terminal"),
        (["serve", "trace"], 2, "trace has no screen to serve"),
        (["serve", "--port", "70000"], 2, "70000 is too large a port: 65535 at most"),
        (["serve", "attach", "1", "--sudo"], 2, "serve has no --sudo"),
        (["--ascii", "serve"], 2, "the app's options come behind serve"),
        (["slots", "4194304"], 1, "there is no process 4194304"),
        (["slots", "0"], 2, "no process id"),
        (["demo", "nosuch"], 1, "there is no demo 'nosuch' (there is contention, starve"),
        (["run", "--", "x"], 1, "run needs a terminal"),
        (["demo"], 1, "demo needs a terminal"),
        ([], 1, "hwbp-tui trace"),
        (["script", "/nonexistent"], 1, "/nonexistent: No such file"),
        (["trace", "--", "/tmp"], 1, "/tmp: is a directory"),
    ],
)
def test_an_error_is_one_line_with_the_right_exit_code(
    capfd: pytest.CaptureFixture[str], argv: list[str], code: int, said: str
) -> None:
    assert main(argv) == code
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("hwbp-tui: error: ")
    assert captured.err.count("\n") == 1
    assert said in captured.err


def run(*argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tui", *argv],
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def test_the_version_is_printed() -> None:
    assert run("--version").stdout.startswith("hwbp-tui 0.")


@pytest.mark.parametrize(
    "argv", [["--help"], ["trace", "--help"], ["demo", "--list"], ["--version"], ["frob"]]
)
def test_what_needs_no_machine_imports_no_machine(argv: list[str]) -> None:
    code = (
        "import sys\n"
        "from tui.cli import main\n"
        "try:\n"
        f"    main({argv!r})\n"
        "except SystemExit:\n"
        "    pass\n"
        "heavy = {'textual', 'rich', 'numpy', 'icicle', 'capstone', 'elftools', 'iced_x86'} & set(sys.modules)\n"
        "sys.stderr.write(f'heavy: {sorted(heavy)}')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.endswith("heavy: []")


@pytest.mark.parametrize("options", [[], ["--sudo"]])
def test_a_demo_that_takes_privileges_is_refused_before_it_begins(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    monkeypatch.setattr("tui.text.checks.kernel.may_watch_cpus", lambda: False)
    assert main(["demo", "starve", "--backend", "perf", *options]) == 1
    said = capfd.readouterr().err
    assert said.startswith("hwbp-tui: error: demo starve: events of whole CPUs take CAP_PERFMON")
    assert main(["demo", "--list"]) == 0
    listed = [line for line in capfd.readouterr().out.splitlines() if "(perf: sudo" in line]
    assert [line.split()[0] for line in listed] == ["starve"]


@pytest.mark.parametrize("name", ["backends", "symbols"])
def test_a_foreign_package_of_the_same_name_is_told_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()
    code = "import sys; from tui.cli import main; sys.exit(main(['--version']))"
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd="/",
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"hwbp-tui: error: another package named '{name}' is in the way: ")
    assert done.stderr.count("\n") == 1


def test_an_unexpected_failure_is_one_line_too(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import tui.text.slots

    def broken(_pid: int | None, *, json: bool, root: object) -> int:
        raise ZeroDivisionError("a\nb")

    monkeypatch.setattr(tui.text.slots, "slots", broken)
    monkeypatch.delenv("HWBP_TUI_DEBUG", raising=False)
    assert main(["slots"]) == 1
    captured = capfd.readouterr()
    assert captured.err.startswith("hwbp-tui: error: ZeroDivisionError: a b")
    assert captured.err.count("\n") == 1
    monkeypatch.setenv("HWBP_TUI_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        main(["slots"])


def test_doctor_answers_with_every_check(capfd: pytest.CaptureFixture[str]) -> None:
    import json

    assert main(["doctor", "--json"]) == 0
    answer = json.loads(capfd.readouterr().out)
    assert answer["schema"] == 1
    names = [check["name"] for check in answer["checks"]]
    assert {"python", "emulator", "hardware_breakpoint", "perf_event_paranoid", "btf", "terminal"} <= set(
        names
    )
    for check in answer["checks"]:
        assert list(check) == ["name", "ok", "found", "means", "remedy"]
        assert check["ok"] in (True, False, None)
        assert check["ok"] or check["remedy"], check["name"]


def test_doctor_speaks_text_as_well(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    assert "hardware_breakpoint" in capfd.readouterr().out


def test_a_closed_standard_output_is_not_given_to_another_file() -> None:
    command = f"{sys.executable} -m tui demo --list >&-"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_serve_without_its_extra_is_one_line(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.web.page.find_spec", lambda name: None)
    assert main(["serve"]) == 1
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert "serve needs the extra 'serve'" in said
    assert "pip install textual-serve" in said
