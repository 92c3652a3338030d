"""`hwbp-tui slots`: its JSON as agreed, its text on 80 columns, without privileges, and disarming what was left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.live.bpf_here import needs_bpf
from tests.live.holders import Puppet, needs_gcc, perf_open, puppet

pytestmark = [pytest.mark.root, pytest.mark.live, pytest.mark.undisturbed, needs_bpf, needs_gcc]

SLOT = {"address", "length", "type", "enabled", "owner", "target", "hits", "orphan"}


def run(*arguments: str | int, powerless: bool = False) -> subprocess.CompletedProcess[str]:
    """The command; without any capability where asked."""
    without = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if powerless else []
    return subprocess.run(
        [*without, sys.executable, "-m", "tui", "slots", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def answer(*arguments: str | int, powerless: bool = False) -> dict[str, Any]:
    done = run(*arguments, "--json", powerless=powerless)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_object_has_what_was_agreed(programs: Path, victim: Puppet, counter: int) -> None:
    tracer = programs / "tracer"
    with puppet(tracer, victim.pid, 0, counter, 7, 0xD_0001) as debugger:
        fd = perf_open(counter, 4, 3, pid=victim.pid)
        try:
            found = answer(victim.pid)
        finally:
            os.close(fd)
    assert found.keys() == {"schema", "source", "taken_ns", "scan_ms", "cpus", "reserved", "unknown"}
    assert (found["schema"], found["source"]) == (1, "kernel books")
    for cpu in found["cpus"]:
        assert cpu.keys() == {"cpu", "dr7", "free", "slots"}
        assert 0 <= cpu["free"] <= 2  # a CPU-wide request must leave room for this task's two
        for slot in cpu["slots"]:
            assert slot.keys() == SLOT | {"slot"}
    ptrace, perf = sorted(found["reserved"], key=lambda slot: slot["owner"]["kind"], reverse=True)
    target = {"pid": victim.pid, "tid": victim.pid, "comm": "victim"}
    assert ptrace == {
        "address": counter,
        "length": 4,
        "type": "w",
        "enabled": True,
        "owner": {"kind": "ptrace", "pid": debugger.pid, "comm": "tracer", "fd": None},
        "target": target,
        "hits": 0,
        "orphan": False,
    }
    comm = Path("/proc/self/comm").read_text().removesuffix("\n")
    assert perf == {
        "address": counter,
        "length": 4,
        "type": "rw",
        "enabled": True,
        "owner": {"kind": "perf", "pid": os.getpid(), "comm": comm, "fd": fd},
        "target": target,
        "hits": 0,
        "orphan": False,
    }


@pytest.mark.slow
def test_the_text_fits_80_columns_and_says_who_watches_what(victim: Puppet, counter: int) -> None:
    fd = perf_open(counter, 8, pid=victim.pid)
    try:
        done = run(victim.pid)
    finally:
        os.close(fd)
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert f"{counter:#x}/8:w" in done.stdout
    assert f"perf {os.getpid()}" in done.stdout
    assert f"-> {victim.pid} victim" in done.stdout


@pytest.mark.slow
def test_names_of_processes_cannot_reach_the_terminal(programs: Path, tmp_path: Path, counter: int) -> None:
    hostile = tmp_path / "a\x1b[31m\\b\n"
    hostile.write_bytes((programs / "victim").read_bytes())
    hostile.chmod(0o755)
    with puppet(hostile) as child:
        fd = perf_open(counter, pid=child.pid)
        try:
            text, data = run(child.pid).stdout, answer(child.pid)
        finally:
            os.close(fd)
    assert "\x1b" not in text
    assert "a\\x1b[31m\\\\b\\x0a" in text
    assert data["reserved"][0]["target"]["comm"] == "a\\x1b[31m\\\\b\\x0a"


@pytest.mark.slow
def test_without_privileges_it_says_what_it_knows_and_how_to_get_more(victim: Puppet, counter: int) -> None:
    found = answer(powerless=True)
    assert (found["source"], found["cpus"], found["reserved"]) == ("proc", [], [])
    assert any("sudo hwbp-tui slots" in text for text in found["unknown"])
    done = run(powerless=True)
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.slow
def test_a_traced_process_is_named_even_without_privileges(
    programs: Path, victim: Puppet, counter: int
) -> None:
    with puppet(programs / "tracer", victim.pid, 0, counter) as tracer:
        unknown = answer(victim.pid, powerless=True)["unknown"]
        assert any(
            f"process {victim.pid} (victim) is traced by {tracer.pid} (tracer)" in text for text in unknown
        )


def left_behind(programs: Path, tid: int, counter: int) -> None:
    """A debugger watches a thread and is killed."""
    with puppet(programs / "tracer", tid, 0, counter, 1, counter + 8, 7, 0xD0_0001 | 0xD << 16 | 4) as tracer:
        assert tracer.first == ["ready"]
        tracer.kill()


@pytest.mark.slow
def test_a_watch_that_was_left_behind_is_found_and_disarmed(programs: Path, counter: int) -> None:
    with puppet(programs / "victim", 1) as child:
        for tid in child.tids:
            left_behind(programs, tid, counter)
        before = answer(child.pid)["reserved"]
        assert [(slot["orphan"], slot["enabled"]) for slot in before] == [(True, True)] * 4
        text = run(child.pid).stdout
        assert f"the next hit kills process {child.pid}" in text
        assert f"hwbp-tui slots {child.pid} --disarm" in text

        done = run(child.pid, "--disarm")
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("disarmed in thread") == 4
        assert f"disarmed in thread {child.tids[1]}: {counter:#x}/4:w (u_debugreg[0])" in done.stdout
        after = answer(child.pid)["reserved"]
        assert [(slot["orphan"], slot["enabled"]) for slot in after] == [(True, False)] * 4
        assert child.ask("h") == "done"  # it writes what was watched, and lives
        assert child.process.poll() is None
        assert "no watch was left armed" in run(child.pid, "--disarm").stdout


@pytest.mark.slow
def test_a_stopped_process_stays_stopped_when_it_is_disarmed(
    programs: Path, victim: Puppet, counter: int
) -> None:
    left_behind(programs, victim.pid, counter)
    subprocess.run(["kill", "-STOP", str(victim.pid)], check=True)
    assert run(victim.pid, "--disarm").stdout.count("disarmed in") == 2
    assert "State:\tT (stopped)" in Path(f"/proc/{victim.pid}/status").read_text()
    subprocess.run(["kill", "-CONT", str(victim.pid)], check=True)
    assert victim.ask("h") == "done"


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (("--disarm",), 2, "--disarm needs the process"),
        (("4194304", "--disarm"), 1, "there is no process 4194304"),
        (("4194304",), 1, "there is no process 4194304"),
        (("2", "--disarm"), 1, "may not be traced"),
    ],
)
def test_bad_requests_get_one_line(arguments: tuple[str, ...], code: int, line: str) -> None:
    done = run(*arguments)
    assert done.returncode == code
    assert done.stderr.startswith("hwbp-tui: error: ")
    assert line in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_process_that_is_being_debugged_is_not_disarmed(
    programs: Path, victim: Puppet, counter: int
) -> None:
    with puppet(programs / "tracer", victim.pid, 0, counter, 7, 0xD_0001) as tracer:
        done = run(victim.pid, "--disarm")
        assert done.returncode == 1
        assert f"is traced by {tracer.pid}" in done.stderr
        assert answer(victim.pid)["reserved"][0]["enabled"]


@pytest.mark.slow
def test_whoever_is_refused_reads_who_holds_the_slots(programs: Path, victim: Puppet, counter: int) -> None:
    registers = [word for n in range(4) for word in (n, counter + 8 * n)]
    with puppet(programs / "tracer", victim.pid, *registers) as tracer:
        done = subprocess.run(
            [sys.executable, "-m", "tui", "trace", "-p", str(victim.pid), "-w", "total/8:w"],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "ENOSPC" in done.stderr
    first = (
        f"held by: ptrace {tracer.pid} (tracer): {counter:#x}/1:w in {victim.pid} (victim), disabled; ptrace"
    )
    assert first in done.stderr
