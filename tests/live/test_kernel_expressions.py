"""`kernel(...)`: what a task is in the running kernel's memory, against what /proc says; and what is refused."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.live.tracing import needs_breakpoints, script_text
from tests.machine.scripts import told

pytestmark = [pytest.mark.live, needs_breakpoints]

SLEEP = ["/bin/sleep", "1"]


@pytest.mark.root
def test_a_task_is_what_proc_says() -> None:
    comm = Path(f"/proc/{os.getpid()}/comm").read_text().strip()
    said = script_text(
        SLEEP,
        f"print kernel($task_{os.getpid()}->comm)",
        f"print kernel($task_{os.getpid()}->real_parent->tgid)",
        "print kernel(sizeof(struct list_head))",
        "ptype kernel(struct list_head)",
        f"whatis kernel($task_{os.getpid()}->mm)",
    )
    assert f'->comm) = "{comm}"' in said
    assert f"->real_parent->tgid) = {os.getppid()}" in said
    assert "kernel(sizeof(struct list_head)) = 16" in said
    assert "struct list_head *next;" in said
    assert "->mm) is struct mm_struct *" in said


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
    said = script_text(SLEEP, f"print {expr}", status=1)
    assert message in said
    if fault is not None:
        *_, text, carets = [line for line in said.splitlines() if expr in line or "^" in line]
        assert text[carets.index("^") :][: carets.count("^")] == fault


def test_without_the_right_it_is_one_line() -> None:
    said = script_text(SLEEP, "print kernel($task_1->comm)", way="rings", status=1)
    refused = [line for line in said.splitlines() if "refused" in line]
    assert len(refused) == 1
    assert "cannot be read" in refused[0]


def test_an_emulated_program_has_no_kernel_to_ask() -> None:
    words = [sys.executable, "-m", "tui", "script", "-", "--", "/bin/true"]
    assert "this program is emulated" in told(words, ["print kernel(jiffies)"], status=1)
