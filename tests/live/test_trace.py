"""`trace` on live programs: launched and attached to, threads, children, limits, refusals, deaths."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.tracing import PLAIN, WAYS, build, command, needs_breakpoints, script_text, trace

pytestmark = [pytest.mark.live, pytest.mark.undisturbed, needs_breakpoints]

SOURCE = r"""
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
long counter;
static volatile int go = 0;
__attribute__((noinline)) void bump(void) { __atomic_add_fetch(&counter, 1, __ATOMIC_SEQ_CST); }
static void *many(void *n) { for (long i = 0; i < (long)n; i++) bump(); return 0; }
static void threads(int count, long each) {
    pthread_t all[64];
    for (int i = 0; i < count; i++) pthread_create(all + i, 0, many, (void *)each);
    for (int i = 0; i < count; i++) pthread_join(all[i], 0);
}
int main(int argc, char **argv) {
    const char *how = argc > 1 ? argv[1] : "";
    long n = argc > 2 ? atol(argv[2]) : 5;
    if (!strcmp(how, "loop")) { for (long i = 0; i < n; i++) bump(); }
    if (!strcmp(how, "threads")) threads(4, n);
    if (!strcmp(how, "fork")) {
        for (int i = 0; i < 3; i++) if (!fork()) { many((void *)n); _exit(0); }
        while (wait(0) > 0) ;
        many((void *)n);
    }
    if (!strcmp(how, "exec")) { many((void *)n); if (argc > 3) execl(argv[0], argv[0], "loop", argv[3], (char *)0); }
    if (!strcmp(how, "name")) { prctl(PR_SET_NAME, "\033[31m[b]\nx"); many((void *)n); }
    if (!strcmp(how, "die")) { many((void *)n); raise(SIGTERM); }
    if (!strcmp(how, "env")) { printf("%s\n", getenv("HERE")); many((void *)n); }
    if (!strcmp(how, "kernel")) { int fd = open("/dev/zero", O_RDONLY); (void)!read(fd, &counter, 8); }
    if (!strcmp(how, "wait")) { puts("ready"); fflush(stdout); getchar(); threads(2, n); many((void *)n); }
    if (!strcmp(how, "slow")) for (long i = 0; i < n; i++) { bump(); usleep(1000); }
    if (argc > 4) { FILE *f = fopen(argv[4], "w"); fprintf(f, "%ld", counter); fclose(f); }
    return 7;
}
"""


DESCRIPTORS = r"""
#include <fcntl.h>
long counter;
int main(void) {
    int open = 0;
    counter = 1;
    for (int fd = 0; fd < 4096; fd++) open += fcntl(fd, F_GETFD) >= 0;
    return open;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build(tmp_path_factory.mktemp("live"), "live", SOURCE))


@pytest.fixture
def waiting(program: str, way: str) -> Iterator[subprocess.Popen[str]]:
    """A process that does its work once it is told to, with the privileges of whoever traces it."""
    process = subprocess.Popen(
        [*(PLAIN if way == "rings" else []), program, "wait", "1000"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.communicate()


def gone(pid: int, patience: float = 20) -> bool:
    """Whether a process ends; one that nobody reaps has."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("way", WAYS)
def test_every_write_of_a_launched_program_is_reported(program: str, way: str) -> None:
    done = trace(way, ["counter"], "--", program, "loop", "5")
    assert [hit["hit"] for hit in done.hits] == [1, 2, 3, 4, 5]
    assert done.summary["exit_status"] == 7
    assert done.summary["lost"] == 0
    assert done.summary["clock"] == "monotonic"
    assert {hit["comm"] for hit in done.hits} == {"live"}
    assert {hit["access"] for hit in done.hits} == {"w"}
    values = [hit["value"] for hit in done.hits]
    assert values == ([1, 2, 3, 4, 5] if way == "bpf" else [None] * 5)


@pytest.mark.parametrize("way", WAYS)
def test_threads_that_begin_later_are_watched(program: str, way: str) -> None:
    done = trace(way, ["counter"], "--", program, "threads", "500")
    assert len(done.hits) == 2000
    assert len({hit["tid"] for hit in done.hits}) == 4
    times = [hit["time_ns"] for hit in done.hits]
    assert times == sorted(times)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("options", "hits"), [([], 50), (["--children"], 200)], ids=["alone", "children"])
def test_children_are_followed_when_asked(program: str, way: str, options: list[str], hits: int) -> None:
    done = trace(way, ["counter"], *options, "--", program, "fork", "50")
    assert len(done.hits) == hits
    assert done.summary["lost"] == 0
    if way == "bpf":  # each process has its own counter, and its own value before
        for pid in {hit["pid"] for hit in done.hits}:
            mine = [hit for hit in done.hits if hit["pid"] == pid]
            assert [hit["value"] for hit in mine] == list(range(1, 51))
            assert [hit["old"] for hit in mine] == [None, *range(1, 50)]


@pytest.mark.parametrize("way", WAYS)
def test_a_running_process_is_watched_and_left_as_it_was(waiting: subprocess.Popen[str], way: str) -> None:
    with subprocess.Popen(
        command(way, "trace", "-w", "counter", "--limit", "2500", "-p", str(waiting.pid)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as tracer:
        assert tracer.stdout is not None
        tracer.stdout.readline()  # its heading: the watches are armed
        assert waiting.stdin is not None
        waiting.stdin.write("\n")
        waiting.stdin.flush()
        lines = tracer.stdout.read().splitlines()
    assert lines[-1].startswith("2500 hits, 0 lost")
    assert waiting.wait(5) == 7


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_at_the_limit_a_launched_program_runs_on(program: str, way: str, tmp_path: Path) -> None:
    note = tmp_path / "note"
    done = trace(way, ["counter"], "--limit", "3", "--", program, "slow", "1500", "-", str(note))
    assert len(done.hits) == 3
    assert done.summary["exit_status"] is None
    assert gone(done.hits[0]["pid"])
    assert note.read_text() == "1500"


@pytest.mark.parametrize("way", WAYS)
def test_a_watch_ends_with_the_image_that_it_was_for(program: str, way: str) -> None:
    done = trace(way, ["counter"], "--", program, "exec", "3", "5")
    assert len(done.hits) == 3
    assert done.summary["exit_status"] == 7


@pytest.mark.parametrize("way", WAYS)
def test_a_name_made_to_mislead_is_escaped(program: str, way: str) -> None:
    done = trace(way, ["counter"], "--", program, "name", "1")
    assert [hit["comm"] for hit in done.hits] == ["\\x1b[31m[b]\\x0ax"]


@pytest.mark.parametrize("way", WAYS)
def test_death_by_a_signal_is_the_exit_status(program: str, way: str) -> None:
    done = trace(way, ["counter"], "--", program, "die", "2")
    assert done.summary["exit_status"] == -signal.SIGTERM


@pytest.mark.slow
def test_our_environment_is_the_programs_and_its_output_our_standard_error(
    program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HERE", "found")
    assert trace("bpf", ["counter"], "--", program, "env", "1").errors == "found\n"
    assert trace("bpf", ["counter"], "--env", "HERE=given", "--", program, "env", "1").errors == "given\n"


@pytest.mark.root
@pytest.mark.parametrize("options", [[], ["--sudo"]])
def test_a_launched_program_has_none_of_our_descriptors(tmp_path: Path, options: list[str]) -> None:
    """Through one of them it could speak to the root process, or write hits of its own."""
    program = build(tmp_path, "descriptors", DESCRIPTORS)
    traced = trace("bpf", ["counter"], *options, "--", str(program))
    assert len(traced.hits) == 1
    assert traced.summary["exit_status"] == 3


@pytest.mark.slow
@pytest.mark.root
def test_kernel_mode_hits_come_when_asked_for(program: str) -> None:
    assert not trace("bpf", ["counter"], "--", program, "kernel").hits
    hits = trace("bpf", ["counter"], "--kernel", "--", program, "kernel").hits
    assert hits
    assert {hit["mode"] for hit in hits} == {"kernel"}
    assert {hit["insn_ip"] for hit in hits} == {None}


@pytest.mark.parametrize("way", WAYS)
def test_stacks_lead_to_main(program: str, way: str) -> None:
    (hit,) = trace(way, ["counter"], "--stack", "--", program, "loop", "1").hits
    assert [name.partition("+")[0] for _, name in hit["stack"][:2]] == ["bump", "main"]


@pytest.mark.parametrize(
    ("watches", "arguments", "said"),
    [
        (["nothing"], ["--", "PROGRAM"], "no symbol nothing"),
        (["counter"], ["--", "/no/such/program"], "no such file"),
        (["counter"], ["--", "/tmp"], "is a directory"),
        (["counter"], ["--", "/etc/passwd"], "may not be executed"),
        (["0x7fffffffe000"], ["--", "PROGRAM"], ""),
        (["0x1000:x"], ["-p", "2"], "kernel thread"),
        (["0x1000"], ["-p", "4194304"], "no process 4194304"),
        (["counter"] * 5, ["--", "PROGRAM"], "ENOSPC"),
        (["0xffff888000000000"], ["--", "PROGRAM"], "kernel address"),
        (["0x800000000000"], ["--", "PROGRAM"], "no address of a program"),
    ],
)
@pytest.mark.parametrize("way", WAYS)
def test_what_cannot_be_is_one_line(
    program: str, way: str, watches: list[str], arguments: list[str], said: str
) -> None:
    done = trace(way, watches, *[program if part == "PROGRAM" else part for part in arguments])
    if not said:
        assert done.status == 0
        return
    assert done.status == 1
    assert said in done.errors
    assert done.errors.startswith("hwbp-tui: error: ")
    assert done.errors.count("\n") == 1
    assert not done.hits


@pytest.mark.parametrize("way", WAYS)
def test_a_zombie_cannot_be_watched(way: str) -> None:
    pid = os.fork()
    if not pid:
        os._exit(0)
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert "zombie" in trace(way, ["0x1000"], "-p", str(pid)).errors
    finally:
        os.waitpid(pid, 0)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("victim", ["front end", "backend"])
def test_killing_us_leaves_the_program_running(program: str, way: str, victim: str, tmp_path: Path) -> None:
    note = tmp_path / "note"
    asked = ["trace", "--backend", "perf", "-w", "counter", "--", program, "slow", "400", "-", str(note)]
    with subprocess.Popen(
        command(way, *asked), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=Path(__file__).parents[2]
    ) as tracer:
        assert tracer.stdout is not None
        for _ in range(3):
            tracer.stdout.readline()
        host = int(Path(f"/proc/{tracer.pid}/task/{tracer.pid}/children").read_text().split()[0])
        os.kill(tracer.pid if victim == "front end" else host, signal.SIGKILL)
        tracer.stdout.read()
    assert gone(host)
    until = time.monotonic() + 20
    while time.monotonic() < until and not (note.exists() and note.read_text()):
        time.sleep(0.01)
    assert note.read_text() == "400"


@pytest.mark.root
def test_a_script_stops_steps_and_lets_go(program: str, tmp_path: Path) -> None:
    note = tmp_path / "note"
    lines = ["watch counter stop", "continue", "stepi", "detach", "! continue"]
    said = script_text([program, "loop", "9", "-", str(note)], *lines)
    assert "hit of counter" in said
    assert "the program runs on by itself" in said
    until = time.monotonic() + 20
    while time.monotonic() < until and not (note.exists() and note.read_text()):
        time.sleep(0.01)
    assert note.read_text() == "9"


@pytest.mark.parametrize("way", WAYS)
def test_a_script_file_is_what_its_interpreter_runs(tmp_path: Path, way: str) -> None:
    path = tmp_path / "script"
    path.write_text("#!/bin/sh\nexit 4\n")
    path.chmod(0o755)
    done = trace(way, ["environ"], "--", str(path))
    assert done.summary["exit_status"] == 4
    assert done.hits
