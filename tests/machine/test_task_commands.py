"""The commands for tasks and CPUs, as a script runs them on the machine."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from backends.emulated.programs import PROGRAMS
from tests.machine.scripts import told

COUNTER = str(PROGRAMS["counter"].path)


def script(tmp_path: Path, text: str, *options: str) -> list[dict[str, Any]]:
    """The answers, one a command."""
    (tmp_path / "s").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "tui.cli", "script", str(tmp_path / "s"), "--json", *options, "--", COUNTER],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    rows = [json.loads(line) for line in done.stdout.splitlines()][1:]
    assert all(row["ok"] for row in rows), rows[-1]
    return rows


def test_tasks_are_made_pinned_held_back_and_looked_at(tmp_path: Path) -> None:
    rows = script(
        tmp_path,
        "spawn nothing alice\nspawn pattern w:counter/8@50 on 1\ninfo tasks\ncpu 1\n! ENXIO cpu 2\n! ESRCH task 1\n"
        "task 1002\npin 1002 0,1\nsleep 1002\nwake 1002\n! EINVAL sleep 1001\n! EINVAL pin 1002 9\n"
        "! EINVAL spawn pattern w:counter/3\n! EINVAL spawn pattern w:0/8\n! ENOENT spawn program /nonexistent\n"
        "! spawn\n! spawn pattern\n! spawn pattern z:1\n! pin\n! pin 1002 x\n! task x\n",
    )
    alice, pattern, tasks = (row["result"] for row in rows[:3])
    assert (alice["tid"], pattern["tid"]) == (1001, 1002)
    assert [(task["tid"], task["kind"], task["cpu"], task["pinned"]) for task in tasks["tasks"]] == [
        (1000, "program", 0, []), (1001, "nothing", None, []), (1002, "pattern", 1, [1]),
    ]  # fmt: skip
    assert rows[6]["result"]["task"] == 1002
    assert [row["result"]["state"] for row in rows if row["command"].split()[0] in ("sleep", "wake") and "result" in row] == [
        "stopped", "runnable",
    ]  # fmt: skip


def test_a_pattern_hits_a_wide_breakpoint_beside_the_program(tmp_path: Path) -> None:
    rows = script(
        tmp_path,
        "spawn pattern w:counter/8@200 r:counter/8 on 1\nwatch counter\ncontinue 5\ninfo cpus\n"
        "info journal\n",
        "--cpus", "2", "--quantum", "1000",
    )  # fmt: skip
    cpus = rows[3]["result"]["cpus"]
    assert cpus[0]["slots"]
    assert not cpus[1]["slots"]  # the watch follows the program's task
    assert cpus[0]["writes"].get("switch", 0) == 0
    assert cpus[1]["dr_writes"] == 0
    journal = rows[4]["result"]
    assert [(row["cpu"], row["slot"], row["end_ns"]) for row in journal["occupancies"]] == [(0, 0, None)]
    assert {row["tid"] for row in journal["marks"] if row["kind"] == "switch"} >= {1000, 1001}


@pytest.mark.parametrize("options", [("--cpus", "0"), ("--cpus", "65"), ("--quantum", "0"), ("--cpus", "x")])
def test_impossible_machines_are_refused_by_the_command_line(options: tuple[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tui.cli", "trace", *options, "--", COUNTER],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert done.returncode == 2
    assert options[1] in done.stderr


def test_a_task_that_is_told_what_to_do_is_seen_with_its_hits_and_its_time(tmp_path: Path) -> None:
    rows = script(
        tmp_path,
        "task new worker 1\nperf event counter -t 1001\nperf event pid_max -C 1 kernel\ninfo tasks\ntask run 1001 1\n"
        "task access 1 counter:w\ntask access 1 counter:r\ntask access 1 pid_max kernel\ninfo tasks\ninfo hits\ninfo cpus\n"
        "task idle 1\ninfo journal\n! EINVAL task 1001\n! ESRCH task 77\ntask exit 1001\ninfo tasks\ncontinue 1 &\nstop\n",
    )
    asked = {row["command"]: row["result"] for row in rows if "result" in row}
    before, after, gone = (
        [task for task in row["result"]["tasks"] if task["tid"] == 1001]
        for row in rows
        if row["command"] == "info tasks"
    )
    assert [(task["kind"], task["state"], task["cpu"], task["pinned"], task["pc"]) for task in before] == [
        ("told", "waiting", None, [1], None)
    ]
    assert [(task["state"], task["cpu"], task["ran_ns"]) for task in after] == [("running", 1, 3)]
    assert gone == []
    hits = asked["info hits"]["hits"]
    assert [(hit["tid"], hit["cpu"], hit["mode"], hit["access"], hit["value"]) for hit in hits] == [
        (1001, 1, "user", "w", 0), (1001, 1, "kernel", "w", None),
    ]  # fmt: skip
    assert [hit["time"] for hit in hits] == [101, 103]
    assert [(cpu["tid"], cpu["db_count"]) for cpu in asked["info cpus"]["cpus"]] == [(1000, 0), (1001, 2)]
    sat = [
        (row["cpu"], row["slot"], row["start_ns"], row["end_ns"])
        for row in asked["info journal"]["occupancies"]
    ]
    assert sat == [(1, 0, 0, None), (1, 1, 100, 203)]


def test_slots_at_kernel_addresses_go_by_the_kernels_names(tmp_path: Path) -> None:
    lines = (
        "kgdb connect", "kgdb enter 0", "kgdb watch jiffies/4", "kgdb continue", "task access 0 jiffies/4:w kernel",
        "kgdb delete jiffies", "kgdb continue", "info slots", "perf event pid_max/4 -C 1 kernel", "cpu 1", "info slots",
    )  # fmt: skip
    printed = told([sys.executable, "-m", "tui", "script", "-", "--", COUNTER], lines)
    assert "CPU 0 DR0  w  4 0xffffffff82205000 G  jiffies  in nobody's books\n" in printed
    assert "every task, CPU 1, active, period 1\n" in printed
    assert re.search(r"CPU 1 DR.  w  4 0xffffffff82206040 G  pid_max  perf fd \d+, 0 hits\n", printed)
