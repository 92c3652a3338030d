"""Stopping and stepping a live program, and what is left of it when we are killed."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.base import Attach, HwbpError, Launch
from backends.client import ClientBackend, start
from backends.model import BreakpointRequest, MachineView
from backends.perf import events
from backends.ring_reader import RingReader
from symbols.elf import ElfImage
from symbols.table import SymbolTable
from tests.live.bpf_here import needs_bpf
from tests.live.tracing import build, needs_breakpoints

pytestmark = [pytest.mark.live, pytest.mark.undisturbed, pytest.mark.root, needs_bpf, needs_breakpoints]

SOURCE = r"""
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
volatile long counter, urgent, other;
__attribute__((noinline)) void bump(void) { counter++; }
__attribute__((noinline)) long outer(long n) { bump(); return n + 1; }
static void note(int s, siginfo_t *i, void *c) { (void)s; (void)i; (void)c; urgent++; }
static void *loop(void *n) { for (;;) bump(); return n; }
int main(int argc, char **argv) {
    struct sigaction how = { .sa_sigaction = note, .sa_flags = SA_SIGINFO };
    if (!strcmp(argv[1], "urgent")) sigaction(SIGURG, &how, 0);
    if (!strcmp(argv[1], "handler")) sigaction(SIGUSR1, &how, 0);
    if (!strcmp(argv[1], "flat")) for (;;) bump();
    if (!strcmp(argv[1], "threads")) {
        pthread_t t;
        for (int i = 0; i < 3; i++) pthread_create(&t, 0, loop, 0);
        for (;;) bump();
    }
    for (long i = 0; i < 1000000; i++) { other = outer(i); if (!strcmp(argv[1], "urgent")) raise(SIGURG); if (!strcmp(argv[1], "handler")) raise(SIGUSR1); usleep(500); }
    return 0;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build(tmp_path_factory.mktemp("control"), "control", SOURCE, "-no-pie"))


@pytest.fixture(scope="module")
def symbols(program: str) -> dict[str, int]:
    table = SymbolTable(ElfImage.open(program))
    return {name: table.find(name)[0].value for name in ("counter", "urgent", "other", "bump", "outer")}


@pytest.fixture
def backend() -> Iterator[ClientBackend]:
    client = start("perf", 1 << 12)
    yield client
    pids = {task.pid for task in client.view().tasks}
    client.close()
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def watch(address: int, *, stop: bool, type: str = "w") -> BreakpointRequest:  # noqa: A002
    return BreakpointRequest(address, 8 if type == "w" else 1, type, stop=stop)  # type: ignore[arg-type]


def until_still(backend: ClientBackend, patience: float = 10) -> MachineView:
    ring = RingReader(backend.ring_fd)
    until = time.monotonic() + patience
    while ring.state == "running":
        assert time.monotonic() < until, "it runs on and on"
        time.sleep(0.001)
    return backend.view()


def word(pid: int, address: int) -> int:
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        return int.from_bytes(memory.read(8), "little")


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "RS"
    except OSError:
        return False


def free_slots(pid: int) -> int:
    attr = events.breakpoint_attributes(0x1000, 8, "w", children=False, kernel=False, sampled=False)
    fds = []
    try:
        for _ in range(4):
            fds.append(events.open_event(attr, pid))
    except OSError:
        pass
    for fd in fds:
        os.close(fd)
    return len(fds)


def test_each_hit_stops_right_behind_its_store(
    backend: ClientBackend, program: str, symbols: dict[str, int]
) -> None:
    view = backend.launch(Launch(program, ("slow",)))
    backend.arm((watch(symbols["counter"], stop=True),))
    for expected in range(1, 30):
        backend.resume()
        view = until_still(backend)
        assert view.stop.reason == "hit"
        assert view.stop.hit == expected - 1
        assert word(view.tasks[0].pid, symbols["counter"]) == expected
        assert symbols["bump"] < (view.tasks[0].pc or 0) < symbols["bump"] + 32
        registers = {row.name: row.value for row in backend.registers(None)}
        assert registers["rip"] == view.tasks[0].pc
    assert view.hits == 29


def test_an_execute_watch_stops_before_its_instruction(
    backend: ClientBackend, program: str, symbols: dict[str, int]
) -> None:
    backend.launch(Launch(program, ("slow",)))
    backend.arm((watch(symbols["bump"], stop=True, type="x"),))
    for expected in range(5):
        backend.resume()
        view = until_still(backend)
        assert view.tasks[0].pc == symbols["bump"]
        assert word(view.tasks[0].pid, symbols["counter"]) == expected


def test_stops_of_a_watch_that_is_gone_are_not_taken_for_anothers(
    backend: ClientBackend, program: str, symbols: dict[str, int]
) -> None:
    backend.launch(Launch(program, ("quiet",)))
    (first,) = backend.arm((watch(symbols["counter"], stop=True),))
    for _ in range(3):
        backend.resume()
        until_still(backend)
    backend.arm((watch(symbols["other"], stop=True),))
    backend.disarm((first.id,))
    before = backend.view().hits
    for _ in range(2):
        backend.resume()
        view = until_still(backend)
        assert view.stop.reason == "hit"
    assert view.hits == before + 2


def test_steps_lead_through_a_function_and_out_of_it(
    backend: ClientBackend, program: str, symbols: dict[str, int]
) -> None:
    backend.launch(Launch(program, ("slow",)))
    (made,) = backend.arm((watch(symbols["outer"], stop=True, type="x"),))
    backend.resume()
    assert until_still(backend).tasks[0].pc == symbols["outer"]
    backend.disarm((made.id,))
    seen = set()
    for _ in range(40):
        view = backend.step(1, False)
        assert view.stop.reason == "step"
        seen.add(view.tasks[0].pc)
    assert symbols["bump"] in seen
    assert word(view.tasks[0].pid, symbols["counter"]) == 1


def test_steps_lead_out_of_a_signal_handler(backend: ClientBackend, program: str) -> None:
    """The system call that ends a handler comes back where its frame says, not behind it."""
    handler = SymbolTable(ElfImage.open(program)).find("note")[0].value
    backend.launch(Launch(program, ("handler",)))
    (first,) = backend.arm((watch(handler, stop=True, type="x"),))
    backend.resume()
    assert until_still(backend).tasks[0].pc == handler
    backend.disarm((first.id,))
    sp = backend.view().tasks[0].sp
    assert sp is not None
    for _ in range(40):
        backend.step(1, False)
        view = until_still(backend)
        assert view.stop.reason == "step"
        if (view.tasks[0].sp or 0) > sp + 256:  # the frame is gone from the stack
            return
    pytest.fail("still in the handler")


def test_finish_stops_in_the_caller(backend: ClientBackend, program: str, symbols: dict[str, int]) -> None:
    backend.launch(Launch(program, ("slow",)))
    (made,) = backend.arm((watch(symbols["bump"], stop=True, type="x"),))
    backend.resume()
    until_still(backend)
    backend.disarm((made.id,))
    view = backend.finish()
    assert view.stop.reason == "step"
    assert symbols["outer"] < (view.tasks[0].pc or 0) < symbols["outer"] + 64
    assert word(view.tasks[0].pid, symbols["counter"]) == 1


def test_a_step_without_a_free_slot_is_refused_before_anything_runs(
    backend: ClientBackend, program: str, symbols: dict[str, int]
) -> None:
    view = backend.launch(Launch(program, ("slow",)))
    backend.arm(tuple(watch(symbols["counter"], stop=False) for _ in range(4)))
    at = view.tasks[0].pc
    with pytest.raises(HwbpError) as caught:
        backend.step(1, False)
    assert caught.value.errno == "ENOSPC"
    assert len(caught.value.holders) == 4
    assert backend.view().tasks[0].pc == at


def test_the_programs_own_signals_of_that_number_reach_it(
    backend: ClientBackend, program: str, symbols: dict[str, int]
) -> None:
    view = backend.launch(Launch(program, ("urgent",)))
    backend.arm((watch(symbols["other"], stop=True),))
    for expected in range(10):
        backend.resume()
        view = until_still(backend)
        assert view.stop.reason == "hit"
        assert word(view.tasks[0].pid, symbols["urgent"]) == expected


def test_a_process_that_stands_stands_with_all_its_threads_and_goes_on(
    program: str, symbols: dict[str, int], backend: ClientBackend
) -> None:
    process = subprocess.Popen([program, "threads"])
    try:
        while len(os.listdir(f"/proc/{process.pid}/task")) < 4:
            time.sleep(0.001)
        backend.attach(Attach(process.pid))
        assert backend.stop().state == "stopped"
        before = word(process.pid, symbols["counter"])
        time.sleep(0.02)
        assert word(process.pid, symbols["counter"]) == before
        assert {task.pc is not None for task in backend.view().tasks} == {True}
        backend.resume()
        time.sleep(0.02)
        assert word(process.pid, symbols["counter"]) > before
    finally:
        process.kill()
        process.wait()


def _script(lines: Path, program: str) -> list[str]:
    live = ["--backend", "perf", "--", program, "slow"]
    return [sys.executable, "-m", "tui.cli", "script", str(lines), *live]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["end", "interrupt"])
def test_a_script_that_ends_tells_of_the_program_that_it_leaves(
    program: str, tmp_path: Path, how: str
) -> None:
    lines = "watch counter\ncontinue 1\n" if how == "end" else "watch counter\ncontinue 100000000\n"
    (tmp_path / "lines").write_text(lines)
    with subprocess.Popen(
        _script(tmp_path / "lines", program),
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as script:
        assert script.stdout is not None
        script.stdout.readline()
        if how == "interrupt":
            time.sleep(0.2)
            script.send_signal(signal.SIGINT)
        try:
            _, said = script.communicate(timeout=30)
        finally:
            script.kill()
    assert script.returncode == 0
    found = re.fullmatch(
        rf"hwbp-tui: note: {program} runs on by itself, unwatched: `kill (\d+)` ends it\n", said
    )
    assert found is not None, said
    pid = int(found[1])
    try:
        assert "TracerPid:\t0" in Path(f"/proc/{pid}/status").read_text()
    finally:
        os.kill(pid, signal.SIGKILL)


def test_a_script_that_never_let_its_program_begin_leaves_none(program: str, tmp_path: Path) -> None:
    (tmp_path / "lines").write_text("watch counter\n")
    done = subprocess.run(
        _script(tmp_path / "lines", program),
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stderr
