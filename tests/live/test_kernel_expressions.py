"""`kernel(...)`: what a task is in the running kernel's memory, against what /proc says; and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.tracing import command, needs_breakpoints

pytestmark = [pytest.mark.live, needs_breakpoints]


def script(*lines: str, way: str = "bpf") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(way, "script", "-", "--backend", "perf", "--", "/bin/sleep", "1"),
        input="\n".join(lines),
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.root
def test_a_task_is_what_proc_says() -> None:
    comm = Path(f"/proc/{os.getpid()}/comm").read_text().strip()
    done = script(
        f"print kernel($task_{os.getpid()}->comm)",
        f"print kernel($task_{os.getpid()}->real_parent->tgid)",
        "print kernel(sizeof(struct list_head))",
        "ptype kernel(struct list_head)",
        f"whatis kernel($task_{os.getpid()}->mm)",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f'->comm) = "{comm}"' in done.stdout
    assert f"->real_parent->tgid) = {os.getppid()}" in done.stdout
    assert "kernel(sizeof(struct list_head)) = 16" in done.stdout
    assert "struct list_head *next;" in done.stdout
    assert "->mm) is struct mm_struct *" in done.stdout


@pytest.mark.root
@pytest.mark.parametrize(
    ("expr", "message", "fault"),
    [
        ("kernel($task_1->parrent)", "has no member parrent: did you mean parent?", "parrent"),
        ("kernel(((struct task_struct *)0)->comm)", "is a null pointer", None),
        ("kernel($task_999999999->comm)", "no task has the number 999999999", "$task_999999999"),
        ("kernel(struct)", "", None),
        ("kernel(*(long *)0xffff000000000000)", "", None),
    ],
)
def test_what_is_wrong_is_said_with_the_word_at_fault(expr: str, message: str, fault: str | None) -> None:
    done = script(f"print {expr}")
    assert done.returncode == 1
    assert message in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    if fault is not None:
        *_, text, carets = [line for line in done.stdout.splitlines() if expr in line or "^" in line]
        assert text[carets.index("^") :][: carets.count("^")] == fault


def test_without_the_right_it_is_one_line() -> None:
    done = script("print kernel($task_1->comm)", way="rings")
    assert done.returncode == 1
    refused = [line for line in done.stdout.splitlines() if "refused" in line]
    assert len(refused) == 1
    assert "cannot be read" in refused[0]


def test_an_emulated_program_has_no_kernel_to_ask() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tui", "script", "-", "--", "/bin/true"],
        input="print kernel(jiffies)",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "this program is emulated" in done.stdout
