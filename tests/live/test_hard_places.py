"""Targets and machines that do not make it easy: who holds the slots, what is forbidden, how many threads there are."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.base import Attach, HwbpError
from backends.client import ClientBackend, start
from backends.model import BreakpointRequest
from backends.perf import events
from backends.ring_reader import RingReader
from symbols.elf import ElfImage
from symbols.table import SymbolTable
from tests.live.bpf_here import needs_bpf
from tests.live.tracing import build, needs_breakpoints, trace

pytestmark = [pytest.mark.live, pytest.mark.root, needs_bpf, needs_breakpoints]

SOURCE = r"""
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
long counter;
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static void *one(void *n) {
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
    __atomic_add_fetch(&counter, 1, 5);
    return n;
}
int main(int argc, char **argv) {
    int n = atoi(argv[1]);
    pthread_t *all = calloc(n, sizeof *all);
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    pthread_mutex_lock(&gate);
    for (int i = 0; i < n; i++) pthread_create(all + i, &small, one, 0);
    puts("ready");
    fflush(stdout);
    getchar();
    pthread_mutex_unlock(&gate);
    for (int i = 0; i < n; i++) pthread_join(all[i], 0);
    return 9;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build(tmp_path_factory.mktemp("hard"), "hard", SOURCE, "-no-pie"))


@pytest.fixture(scope="module")
def counter(program: str) -> int:
    return SymbolTable(ElfImage.open(program)).find("counter")[0].value


@pytest.fixture
def backend() -> Iterator[ClientBackend]:
    client = start("perf", 1 << 14)
    yield client
    client.close()


@contextlib.contextmanager
def waiting(program: str, threads: int, *prefix: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose threads all wait for a line."""
    with subprocess.Popen(
        [*prefix, program, str(threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def held(pid: int, count: int) -> Iterator[None]:
    """Slots of a process that this one holds."""
    attr = events.breakpoint_attributes(0x1000, 8, "w", children=False, kernel=False, sampled=False)
    fds = [events.open_event(attr, pid) for _ in range(count)]
    try:
        yield
    finally:
        for fd in fds:
            os.close(fd)


def until_ended(backend: ClientBackend) -> None:
    ring = RingReader(backend.ring_fd)
    until = time.monotonic() + 30
    while ring.state == "running":
        assert time.monotonic() < until
        time.sleep(0.005)


def write(address: int) -> BreakpointRequest:
    return BreakpointRequest(address, 8, "w")


def test_slots_that_others_hold_are_refused_with_their_names(
    backend: ClientBackend, program: str, counter: int
) -> None:
    with waiting(program, 2) as process, held(process.pid, 3):
        backend.attach(Attach(process.pid))
        with pytest.raises(HwbpError) as caught:
            backend.arm((write(counter), write(counter)))
        assert caught.value.errno == "ENOSPC"
        mine = [line for line in caught.value.holders if f"perf {os.getpid()} " in line]
        assert mine
        assert all("0x1000/8:w" in line for line in mine)
        assert not [bp for bp in backend.view().breakpoints if bp.owner.pid == backend.pid]
        assert len(backend.arm((write(counter),))) == 1  # the one that is left


def test_a_refused_request_leaves_every_slot_free(backend: ClientBackend, program: str, counter: int) -> None:
    with waiting(program, 2) as process:
        backend.attach(Attach(process.pid))
        with pytest.raises(HwbpError):
            backend.arm(tuple(write(counter) for _ in range(5)))
        with held(process.pid, 4):
            pass


def test_how_an_attached_process_ended_is_known_where_the_kernel_tells(
    backend: ClientBackend, program: str, counter: int
) -> None:
    with waiting(program, 1) as process:
        backend.attach(Attach(process.pid))
        backend.arm((write(counter),))
        process.communicate(b"\n")
        assert process.wait() == 9
        until_ended(backend)
        view = backend.view()
        assert view.hits == 1
        assert view.exit_status in (9, None)


def test_a_thread_is_not_a_process(program: str) -> None:
    with waiting(program, 1) as process:
        (other,) = [int(name) for name in os.listdir(f"/proc/{process.pid}/task") if int(name) != process.pid]
        said = trace("bpf", ["0x1000"], "-p", str(other)).errors
        assert f"{other} is a thread of process {process.pid}" in said


def test_somebody_elses_process_is_refused_in_one_line(program: str) -> None:
    with waiting(program, 1) as process:
        done = trace("rings", ["0x1000"], "-p", str(process.pid))
        assert done.status == 1
        assert done.errors.count("\n") == 1
        assert "CAP_SYS_PTRACE" in done.errors


def test_a_process_that_a_debugger_holds_is_watched_all_the_same(
    backend: ClientBackend, program: str, counter: int
) -> None:
    with waiting(program, 3) as process:
        debugger = subprocess.Popen(
            ["gdb", "-nx", "-q", "-p", str(process.pid), "-ex", "continue"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            until = time.monotonic() + 20
            status = Path(f"/proc/{process.pid}/status")
            while (
                f"TracerPid:\t{debugger.pid}" not in status.read_text() or "t (tracing" in status.read_text()
            ):
                assert time.monotonic() < until
                time.sleep(0.02)
            backend.attach(Attach(process.pid))
            backend.arm((write(counter),))
            with pytest.raises(HwbpError) as caught:
                backend.stop()
            assert caught.value.errno == "EPERM"
            assert process.stdin is not None
            process.stdin.write(b"\n")
            process.stdin.flush()
            ring = RingReader(backend.ring_fd)
            until = time.monotonic() + 20
            while ring.head < 3 and time.monotonic() < until:
                time.sleep(0.01)
            assert ring.head == 3
        finally:
            debugger.send_signal(signal.SIGKILL)
            debugger.wait()


@pytest.mark.slow
def test_thousands_of_threads_are_all_watched(backend: ClientBackend, program: str, counter: int) -> None:
    with waiting(program, 2000) as process:
        backend.attach(Attach(process.pid, stacks=False))
        backend.arm((write(counter),))
        process.communicate(b"\n")
        until_ended(backend)
        assert backend.view().hits == 2000
        assert backend.view().lost == 0


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.ENOSPC, "no debug register"), (errno.EACCES, "perf_event_paranoid"), (errno.EPERM, "seccomp")],
)
def test_what_the_kernel_says_no_with_is_explained(number: int, said: str) -> None:
    error = events.refusal(OSError(number, os.strerror(number)), "counter", "process 1")
    assert error.errno == errno.errorcode[number]
    assert said in error.message
    assert error.remedy
