"""Watches of libraries that a program loads later: armed when they are mapped, before any of their code runs."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.live.bpf_here import needs_bpf
from tests.live.tracing import ROOT, build, command, needs_breakpoints, script_text, trace

pytestmark = [pytest.mark.live, pytest.mark.undisturbed, pytest.mark.slow, needs_breakpoints]

PLUG = """
int plug_counter = 5, *plug_pointer = &plug_counter;
__attribute__((constructor)) static void start(void) { plug_counter = 100; }
void bump(void) { plug_counter++; }
"""
HOST = r"""
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static void *load(void *path) {
    void *plug = dlopen(path, RTLD_NOW);
    void (*bump)(void) = (void (*)(void))dlsym(plug, "bump");
    for (int i = 0; i < 3; i++) bump();
    usleep(atoi(getenv("THEN_MS") ? getenv("THEN_MS") : "0") * 1000);
    bump();
    return 0;
}
int main(int count, char **words) {
    pthread_t thread;
    char go;
    if (count > 3 && read(0, &go, 1) != 1) return 1;
    if (!strcmp(words[2], "thread")) { pthread_create(&thread, 0, load, words[1]); pthread_join(thread, 0); }
    else load(words[1]);
    return 0;
}
"""
CHANGES = [(100, "start"), (101, "bump"), (102, "bump"), (103, "bump"), (104, "bump")]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The program, and the library that it loads."""
    folder = tmp_path_factory.mktemp("pending")
    plug = build(folder, "plug.so", PLUG, "-shared", "-fPIC")
    return str(build(folder, "host", HOST, "-ldl")), str(plug)


@pytest.fixture
def waiting(programs: tuple[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """The program, which runs until it is given a byte, and then loads its library in a thread."""
    words = [*programs, "thread", "wait"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, env={**os.environ, "THEN_MS": "300"}) as process:
        yield process
        process.kill()


@needs_bpf
@pytest.mark.root
@pytest.mark.parametrize("where", ["main", "thread"])
def test_the_first_write_is_that_of_the_librarys_constructor(programs: tuple[str, str], where: str) -> None:
    traced = trace("bpf", ["plug_counter pending"], "--", *programs, where)
    assert [(hit["value"], hit["symbol"].partition("+")[0]) for hit in traced.hits] == CHANGES
    assert traced.summary["exit_status"] == 0
    assert traced.errors == ""


@needs_bpf
@pytest.mark.root
def test_even_what_the_loader_writes_into_the_new_library_is_seen(programs: tuple[str, str]) -> None:
    traced = trace("bpf", ["plug_pointer pending", "plug_counter limit 1 pending"], "--", *programs, "main")
    (relocated,) = traced.by_watch(0)
    assert relocated["symbol"].startswith("_dl_relocate_object") or "ld-" in relocated["symbol"]
    (first,) = traced.by_watch(1)
    assert (first["value"], relocated["hit"] < first["hit"]) == (100, True)


def until(condition: Callable[[], bool], patience: float = 20.0) -> None:
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def seized(pid: int) -> bool:
    return b"TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_bytes()


def go(process: subprocess.Popen[bytes]) -> None:
    """Let it load its library."""
    assert process.stdin is not None
    process.stdin.write(b"g")
    process.stdin.flush()


@needs_bpf
@pytest.mark.root
def test_a_running_process_is_met_when_it_loads_its_library(waiting: subprocess.Popen[bytes]) -> None:
    words = command("bpf", "trace", "-w", "plug_counter pending", "-p", str(waiting.pid))
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as tracer:
        assert tracer.stdout is not None
        assert "done by" in tracer.stdout.readline()  # it waits now
        go(waiting)
        *hits, _summary = tracer.stdout.read().splitlines()
    assert waiting.wait(10) == 0
    assert [name for _value, name in CHANGES] == ["start" if " start+" in hit else "bump" for hit in hits]
    assert " 100 " in hits[0]


@needs_bpf
@pytest.mark.root
def test_the_program_loads_its_library_when_the_one_that_waits_for_it_is_killed(
    waiting: subprocess.Popen[bytes],
) -> None:
    words = command("bpf", "trace", "-w", "plug_counter pending", "-p", str(waiting.pid))
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as tracer:
        assert tracer.stdout is not None
        tracer.stdout.readline()
        assert seized(waiting.pid)
        tracer.send_signal(signal.SIGKILL)
    until(lambda: not seized(waiting.pid))
    go(waiting)
    assert waiting.wait(10) == 0


@needs_bpf
@pytest.mark.root
def test_a_script_waits_stops_at_the_first_write_and_forgets(programs: tuple[str, str]) -> None:
    lines = ["watch plug_counter limit 2 pending stop", "watch nothing_at_all pending", "info watch"]
    lines += ["! EAGAIN condition 0 value > 3", "continue", "bt", "delete 1", "continue", "continue", ""]
    said = script_text([*programs, "main"], *lines)
    assert "plug_counter limit 2 pending  waits for a library" in said
    assert "hit of plug_counter" in said.partition("bt")[0]
    assert "start+" in said.partition("#0")[2]
    assert "nothing_at_all is gone, 0 slots freed" in said
    assert "exited: the program has ended: exit status 0" in said


@needs_bpf
@pytest.mark.root
def test_a_watch_that_waits_is_taken_back_and_brought_back(programs: tuple[str, str]) -> None:
    lines = [
        "watch plug_counter pending",
        "delete 0",
        "undo",
        "redo",
        "undo",
        "watch plug_pointer pending",
        "undo",
        "continue",
    ]
    said = script_text([*programs, "main"], *lines)
    assert "watch 1: plug_counter waits again, as watch 0 did" in said
    assert "watch 1: plug_counter waits no more" in said
    assert "watch 2: plug_counter waits again, as watch 0 did" in said
    assert "watch 3: plug_pointer waits no more" in said
    assert "5 hits" in said


def test_without_bpf_it_is_armed_when_the_news_comes_and_says_so(programs: tuple[str, str]) -> None:
    words = ["--env", "THEN_MS=1500", "--", *programs, "main"]
    traced = trace("rings", ["plug_counter pending"], *words)
    assert "armed only when the news of its library comes" in traced.errors
    assert traced.hits[-1]["symbol"].startswith("bump")


def test_a_name_that_nobody_asked_to_wait_for_is_refused(programs: tuple[str, str], tmp_path: Path) -> None:
    traced = trace("rings", ["plug_counter"], "--", *programs, "main")
    assert traced.status == 1
    assert "no symbol plug_counter" in traced.errors
    assert "`pending`" in traced.errors
    alone = build(tmp_path, "alone", "int main(void) { return 0; }", "-static")
    traced = trace("rings", ["plug_counter pending"], "--", str(alone))
    assert traced.status == 1
    assert "this program has no dynamic loader" in traced.errors


@needs_bpf
@pytest.mark.root
def test_what_never_came_is_told(programs: tuple[str, str]) -> None:
    traced = trace("bpf", ["plug_countr pending"], "--", *programs, "main")
    assert (traced.status, traced.hits) == (0, [])
    assert "watch 0: no library that knows plug_countr was seen" in traced.errors
