"""`trace` and `script` on the emulated machine, as a person calls them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backends.emulated.programs import PROGRAMS
from tui.session.demos import DEMOS

pytest.importorskip("icicle", reason="icicle-emu is not installed: pip install icicle-emu")

ROOT = Path(__file__).parents[2]
COUNTER = str(PROGRAMS["counter"].path)


def command(*argv: str) -> list[str]:
    return [sys.executable, "-m", "tui", *argv]


def run(*argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*argv), cwd=ROOT, capture_output=True, text=True, input=stdin, timeout=120, check=False
    )


def machines_of(pid: int) -> list[str]:
    """The processes whose parent is `pid`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "stat").read_text().rpartition(")")[2].split()[1] == str(pid):
                    found.append(entry.name)
            except OSError:
                continue
    return found


def test_every_step_of_the_counter_is_a_hit_with_its_exact_values() -> None:
    done = run("trace", "--json", "-w", "counter", "--", COUNTER, "3")
    header, *hits, last = map(json.loads, done.stdout.splitlines())
    assert done.returncode == 0
    assert header == {"schema": 1, "kind": "trace"}
    assert [(hit["old"], hit["value"]) for hit in hits[:3]] == [(0, 1), (1, 2), (2, 3)]
    assert {hit["module"] for hit in hits} == {COUNTER}
    assert all(hit["source"].startswith("counter.c:") for hit in hits)
    assert last["summary"]["exit_status"] == 0
    assert last["summary"]["hits"] == len(hits)
    assert "counter" in done.stderr


def test_a_run_is_the_same_every_time() -> None:
    first, second = (
        run(
            "trace", "--json", "--stack", "-w", "counter", "-w", "reset_one:x", "--", COUNTER, "40"
        ).stdout.splitlines()
        for _ in range(2)
    )
    assert first[:-1] == second[:-1]


def test_with_a_file_the_program_keeps_its_standard_output(tmp_path: Path) -> None:
    file = tmp_path / "hits"
    done = run("trace", "-w", "counter", "-o", str(file), "--", COUNTER, "2")
    assert "counter" in done.stdout
    assert done.stderr == ""
    assert "exit status 0" in file.read_text()


def test_the_limit_ends_a_program_that_goes_on_for_hours() -> None:
    done = run("trace", "--json", "--limit", "3", "-w", "counter", "--", COUNTER)
    assert json.loads(done.stdout.splitlines()[-1])["summary"]["hits"] == 3
    assert done.returncode == 0


def test_a_reader_that_goes_away_ends_the_trace_quietly() -> None:
    with subprocess.Popen(
        command("trace", "-w", "counter", "--", COUNTER),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        children = machines_of(process.pid)
        process.stdout.close()
        assert process.wait(60) == 0
        assert process.stderr.read() == b""
    assert children
    assert not [pid for pid in children if Path("/proc", pid).exists()]


def test_sigint_ends_the_trace_with_its_summary() -> None:
    with subprocess.Popen(
        command("trace", "--json", "-w", "counter", "--", COUNTER), cwd=ROOT, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        children = machines_of(process.pid)
        process.send_signal(signal.SIGINT)
        *_, last = process.stdout.read().splitlines()
        assert process.wait(60) == 0
    assert json.loads(last)["summary"]["exit_status"] is None
    assert not [pid for pid in children if Path("/proc", pid).exists()]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["-w", "nosuch", "--", COUNTER], "no symbol nosuch"),
        (["-w", "cfg", "--", COUNTER], "need 5 windows"),
        ([*["-w", "counter"] * 5, "--", COUNTER], "5 watches need 5 slots"),
        (["-w", "counter", "--", "/etc/passwd"], "not an ELF"),
        (["-w", "counter", "--", "/nonexistent"], "/nonexistent"),
        (["-w", "counter", "--", "no-such-program-anywhere"], "no-such-program-anywhere"),
        (["-w", "counter", "--stdin", "/nonexistent", "--", COUNTER], "/nonexistent"),
    ],
)
def test_what_cannot_be_traced_is_told_in_one_line(argv: list[str], said: str) -> None:
    done = run("trace", *argv)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("hwbp-tui: error: ")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


@pytest.mark.parametrize("demo", DEMOS, ids=lambda demo: demo.name)
def test_a_demo_plays_as_a_script_with_the_same_commands(demo: object) -> None:
    script = "\n".join(demo.script())  # type: ignore[attr-defined]
    done = run("script", "-", "--json", stdin=script)
    assert done.returncode == 0, done.stderr
    objects = [json.loads(line) for line in done.stdout.splitlines()[1:]]
    assert all(obj["ok"] for obj in objects)
    refused = [obj for obj in objects if obj.get("expected")]
    wanted = [step.expect_errno for step in demo.steps if step.expect_errno]  # type: ignore[attr-defined]
    assert [obj["errno"] for obj in refused] == wanted
    assert all(len(obj["holders"]) >= 4 for obj in refused if demo.name == "contention")  # type: ignore[attr-defined]


def test_a_script_runs_the_program_to_its_next_stop() -> None:
    script = "watch counter stop\ncontinue\nprint counter\ncontinue 2\nprint counter\ninfo stack\nfinish\nx/2i $rip\n"
    done = run("script", "-", "--json", "--", COUNTER, "5", stdin=script)
    assert done.returncode == 0, done.stderr
    results = [json.loads(line)["result"] for line in done.stdout.splitlines()[1:]]
    assert results[1]["reason"] == "hit"
    assert (results[2]["value"], results[4]["value"]) == (1, 3)
    assert results[5]["frames"][0]["symbol"].startswith("worker_step")
    assert results[6]["symbol"].startswith("worker+")
    assert len(results[7]["instructions"]) == 2


def test_a_function_is_listed_with_names_sources_watches_and_what_hit() -> None:
    script = "watch counter stop\nhbreak add_limit\ncontinue\ndisassemble\ndisassemble add_limit\n! disassemble 0x10\n"
    done = run("script", "-", "--json", "--", COUNTER, "5", stdin=script)
    assert done.returncode == 0, done.stderr
    results = [json.loads(line).get("result") for line in done.stdout.splitlines()[1:]]
    rows = results[3]["instructions"]
    (culprit,) = [row for row in rows if row["hits"]]
    assert (culprit["insn"].split()[0], culprit["refers"], culprit["hits"]) == ("add", "counter", 1)
    assert culprit["source"].startswith("counter.c:")
    assert {"mix", "seed", "add_limit"} <= {row.get("refers") for row in rows}
    assert [row["armed"] for row in results[4]["instructions"]][:2] == [True, False]
