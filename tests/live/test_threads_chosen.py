"""Another thread of a stopped live program is looked at: its registers and its stack, until the next stop."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.base import Launch
from backends.spawn import spawn
from tests.live.bpf_here import reason as no_bpf
from tests.live.tracing import build, needs_breakpoints
from tui.session.open import open_session
from tui.session.session import Session

pytestmark = [
    *(pytest.mark.live, pytest.mark.slow, pytest.mark.root, needs_breakpoints),
    pytest.mark.skipif(bool(no_bpf()), reason=no_bpf() or ""),
]

SOURCE = r"""
#include <pthread.h>
#include <unistd.h>
volatile long counter;
static void *sleeper(void *unused) { for (;;) pause(); return unused; }
int main(void)
{
    pthread_t thread;
    pthread_create(&thread, 0, sleeper, 0);
    usleep(50000);
    for (;;) { counter++; usleep(1000); }
}
"""


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    opened = open_session(spawn("perf"), Launch(str(build(tmp_path, "threads", SOURCE))), patient=True)
    pid = opened.view.tasks[0].pid
    try:
        yield opened
    finally:
        opened.close()
        os.kill(pid, signal.SIGKILL)  # a launched program runs on without us


def test_a_thread_that_stands_is_looked_at(session: Session) -> None:
    for line in ("watch counter stop", "continue"):
        assert session.execute(line).ok
    hitter = session.view.current
    assert hitter is not None
    other = next(task for task in session.view.tasks if task.tid != hitter.tid)
    assert session.execute(f"task {other.tid}").ok
    assert session.view.current == other
    rip = {register.name: register.value for register in session.backend.registers(None)}["rip"]
    assert rip == other.pc != hitter.pc
    assert any("sleeper" in line for line in session.execute("info frames").lines)
    refused = session.execute("task 1")
    assert (refused.ok, refused.errno) == (False, "ESRCH")
    assert str(other.tid) in refused.remedy
    assert session.execute("continue").ok, "to the next hit, which is of the first thread"
    assert session.view.current is not None
    assert session.view.current.tid == hitter.tid
    for line in ("disable 0", "continue &"):
        assert session.execute(line).ok
    running = session.execute(f"task {other.tid}")
    assert (running.ok, running.errno) == (False, "EBUSY")
