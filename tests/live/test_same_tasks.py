"""Programs that make other tasks, executed programs and signals make the same hits on both machines (docs/cli.md)."""

from __future__ import annotations

import functools
from collections import defaultdict
from typing import Any

import pytest

from tests.live.test_same_hits import compared
from tests.live.tracing import WAYS, Traced, build, needs_breakpoints, trace

pytest.importorskip("icicle", reason="icicle-emu is not installed: pip install icicle-emu")
pytestmark = [pytest.mark.live, pytest.mark.slow, needs_breakpoints]

SOURCE = r"""
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
extern char **environ;
volatile long counter;
volatile int place[4];
sigjmp_buf back;
static int ended(int pid) { int status; waitpid(pid, &status, 0); return WEXITSTATUS(status); }
static void noted(int number) { counter ^= number; }
static void fault(int number) { counter = number * 100; siglongjmp(back, 1); }
static void *work(void *n) { for (int i = 0; i < 9; i++) place[(long)n] += i; return n; }
int main(int argc, char **argv) {
    char *again[] = {argv[0], "x", "9", 0};
    int pid;
    pthread_t t[3];
    switch (argv[1][0]) {
    case 'x': counter += 7; place[1] = atoi(argv[2]); return 3;
    case 'e': counter = 1; place[1]++; execv(argv[0], again); return 99;
    case 'E': pthread_create(t, 0, work, (void *)2); pthread_join(t[0], 0); execv(argv[0], again); return 99;
    case 'f':
        for (int i = 0; i < 3; i++) {
            counter += i;
            if (!(pid = fork())) { place[1] = i; counter *= 2; _exit(counter & 15); }
            counter += ended(pid);
        }
        return 5;
    case 'v':
        for (int i = 0; i < 2; i++) {
            if (!(pid = vfork())) { counter += 5; place[1]++; _exit(4); }
            counter += ended(pid);
        }
        counter = posix_spawn(&pid, argv[0], 0, 0, again, environ);
        return ended(pid);
    case 't':
        for (long i = 0; i < 3; i++) pthread_create(t + i, 0, work, (void *)(i + 1));
        for (int i = 0; i < 3; i++) pthread_join(t[i], 0);
        return 6;
    default:
        signal(SIGUSR1, noted); signal(SIGURG, noted); signal(SIGSEGV, fault);
        for (int i = 0; i < 4; i++) { counter += i; raise(i & 1 ? SIGURG : SIGUSR1); place[1] = i; }
        if (!sigsetjmp(back, 1)) { counter = 5; *(volatile int *)0 = 1; }
        counter++;
        raise(SIGTERM);
    }
    return 1;
}
"""
CASES = [
    ("pie", "e", (), 3, 1),  # the executed program is not watched any more
    ("fixed", "e", ("--children",), 3, 1),  # though its variables are where they were
    ("pie", "E", (), 3, 0),
    ("pie", "f", (), 5, 6),
    ("fixed", "f", ("--children",), 5, 9),
    ("pie", "v", (), 3, 3),
    ("fixed", "v", ("--children",), 3, 5),  # nor is one that a child executes
    ("pie", "t", (), 6, 0),
    ("pie", "signals", (), -15, 11),
]
WATCHES = ("counter", "place[1]:rw")


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("tasks")
    return {
        "pie": str(build(folder, "pie", SOURCE)),
        "fixed": str(build(folder, "fixed", SOURCE, "-static", "-no-pie")),
    }


def by_task(traced: Traced) -> list[Traced]:
    """Each task's hits, in the order in which the tasks began."""
    tasks: defaultdict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    for hit in traced.hits:
        tasks[hit["pid"], hit["tid"]].append(hit)
    return [Traced(tasks[task], {}, "", 0) for task in sorted(tasks)]


@functools.cache
def emulated_trace(*rest: str) -> Traced:
    return trace("bpf", list(WATCHES), "--allow", "exec", *rest, backend="emulated")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("kind", "part", "options", "status", "written"), CASES)
def test_both_machines_report_the_same(
    programs: dict[str, str],
    kind: str,
    part: str,
    options: tuple[str, ...],
    status: int,
    written: int,
    way: str,
) -> None:
    rest = [*options, "--", programs[kind], part]
    emulated, live = emulated_trace(*rest), trace(way, list(WATCHES), "--compat", *rest)
    assert live.summary["exit_status"] == emulated.summary["exit_status"] == status, live.errors
    assert live.summary["lost"] == 0
    assert len(live.by_watch(0)) == written
    here, there = by_task(emulated), by_task(live)
    assert len(here) == len(there)
    assert [pair for mine, theirs in zip(here, there, strict=True) for pair in compared(mine, theirs)] == []
