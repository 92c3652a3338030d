"""Thread-local variables of a live program: those of the threads that there are, and a word on those that come later."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.live.bpf_here import needs_bpf
from tests.live.tracing import build, needs_breakpoints, trace

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.root, needs_bpf, needs_breakpoints]

PROGRAM = """
#include <pthread.h>
#include <unistd.h>
__thread long own;
static void *work(void *none) { for (int i = 0; i < 3; i++) own++; return none; }
int main(void) {
    for (;;) {
        pthread_t thread;
        own++;
        pthread_create(&thread, 0, work, 0);
        pthread_join(thread, 0);
        usleep(2000);
    }
}
"""


def test_of_threads_that_begin_later_it_is_said_that_theirs_is_not_watched(tmp_path: Path) -> None:
    program = build(tmp_path, "own", PROGRAM, "-O0")
    with subprocess.Popen([program]) as process:
        try:
            done = trace("bpf", ["own"], "-p", str(process.pid), "--limit", "12")
        finally:
            process.kill()
    # A thread that gets the place of one that was there at that moment is seen too.
    assert process.pid in {hit["tid"] for hit in done.hits}
    assert done.errors == (
        "hwbp-tui: note: own is thread-local: each thread that begins later has its own, and that is not watched\n"
    )
