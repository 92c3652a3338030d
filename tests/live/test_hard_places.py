"""Targets and machines that do not make it easy: who holds the slots, what is forbidden, how many threads there are."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
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
from backends.model import BreakpointRequest
from backends.perf import events
from backends.perf.backend import PerfBackend
from backends.perf.process import comm_of, is_kernel_thread, is_over, standing, status_of, threads_of
from backends.ring import create_memfd
from backends.ring_reader import RingReader
from symbols.elf import ElfImage
from symbols.table import SymbolTable
from tests.live import seccomp
from tests.live.bpf_here import needs_bpf
from tests.live.tracing import PLAIN, build, connected, needs_breakpoints, trace

pytestmark = [pytest.mark.live, pytest.mark.undisturbed, pytest.mark.root, needs_bpf, needs_breakpoints]

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


BRIEF = r"""
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
volatile long counter;
static void *once(void *n) { counter++; return n; }
static void *on(void *n) { for (;;) { counter++; usleep(500); } return n; }
int main(int argc, char **argv) {
    long left = atol(argv[2]);
    int pause = atoi(argv[3]);
    char less[30];
    pthread_t t;
    switch (argv[1][2]) {
    case 'e': /* exec */
        usleep(pause);
        counter++;
        sprintf(less, "%ld", left - 1);
        if (left) execl("/proc/self/exe", argv[0], argv[1], less, argv[3], (char *)0);
        break;
    case 'i': /* exit */
        usleep(20 * pause);
        counter++;
        break;
    case 'r': /* threads */
        for (long i = 0; i < left; i++) {
            pthread_create(&t, 0, once, 0);
            if (i % 2) pthread_join(t, 0); else pthread_detach(t);
            if (pause) usleep(pause);
        }
        break;
    default: /* headless */
        pthread_create(&t, 0, on, 0);
        usleep(3000);
        pthread_exit(0);
    }
    return 4;
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


def test_without_the_kernels_books_a_refusal_names_our_own_watches(program: str, counter: int) -> None:
    plain = connected("rings")
    try:
        plain.launch(Launch(program, ("1",)))
        for _ in range(4):
            plain.arm((write(counter),))
        with pytest.raises(HwbpError) as caught:
            plain.arm((write(counter),))
    finally:
        plain.close()
    assert caught.value.errno == "ENOSPC"
    assert [line.partition(" of this session: ")[2] for line in caught.value.holders[:4]] == [
        hex(counter)
    ] * 4
    assert not [line for line in caught.value.holders if f" {plain.pid} " in line]


def test_the_front_end_is_no_program_to_watch(backend: ClientBackend) -> None:
    with pytest.raises(HwbpError, match="would have to watch itself"):
        backend.attach(Attach(os.getpid()))


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
        assert "has capabilities that we lack" in done.errors
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


def test_a_process_whose_first_thread_has_ended_is_not_called_ended(tmp_path: Path) -> None:
    source = r"""
    #include <pthread.h>
    #include <unistd.h>
    static void *on(void *n) { pause(); return n; }
    int main(void) { pthread_t t; pthread_create(&t, 0, on, 0); pthread_exit(0); }
    """
    with subprocess.Popen([build(tmp_path, "headless", source)]) as process:
        try:
            until = time.monotonic() + 20
            while "State:\tZ" not in Path(f"/proc/{process.pid}/status").read_text():
                assert time.monotonic() < until
                time.sleep(0.005)
            said = trace("bpf", ["0x1000"], "-p", str(process.pid)).errors
            assert "the others run on" in said
        finally:
            process.kill()


INSIDE = """
set -e
"$2" &
"$1" -m tui.cli trace --json --limit 1 -w counter -p $! $3
echo "inside $!"
"""


def namespaces() -> str:
    """Why there is no PID namespace to be had, if there is none."""
    try:
        done = subprocess.run(
            ["unshare", "--pid", "--fork", "--mount-proc", "true"],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return "no unshare: apt-get install util-linux"
    return done.stderr.strip()


@pytest.mark.slow
@pytest.mark.skipif(bool(why := namespaces()), reason=why or "there are PID namespaces")
@pytest.mark.parametrize("sudo", ["", "--sudo"])
def test_in_a_pid_namespace_of_our_own_numbers_are_those_of_that_namespace(tmp_path: Path, sudo: str) -> None:
    source = "#include <unistd.h>\nlong counter;\nint main(void) { for (;;) { counter++; usleep(1000); } }"
    program = str(build(tmp_path, "counts", source))
    command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "bash", "-c", INSIDE, "bash"]
    done = subprocess.run(
        [*command, sys.executable, program, sudo],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    *lines, last = done.stdout.splitlines()
    (hit,) = [line for line in map(json.loads, lines) if "hit" in line]
    assert f"inside {hit['pid']}" == last
    assert hit["comm"] == "counts"


@pytest.mark.skipif(bool(why), reason=why or "there are PID namespaces")
def test_a_process_of_another_pid_namespace_has_our_numbers(
    backend: ClientBackend, program: str, counter: int
) -> None:
    with waiting(program, 1, "unshare", "--pid", "--fork", "--mount-proc", "--kill-child") as unshare:
        (inner,) = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children").read_text().split()
        backend.attach(Attach(int(inner)))
        backend.arm((write(counter),))
        assert unshare.stdin is not None
        unshare.stdin.write(b"\n")
        unshare.stdin.flush()
        until_ended(backend)
        reader = RingReader(backend.ring_fd)
        assert reader.consume(8)["pid"].tolist() == [int(inner)]


def test_an_address_without_memory_is_armed_and_said_to_have_none(program: str, counter: int) -> None:
    with waiting(program, 1) as process:
        done = trace("bpf", ["0x10", f"{counter:#x}"], "-p", str(process.pid), "--duration", "0.05")
        assert done.status == 0
        assert done.errors == (
            "hwbp-tui: note: nothing is mapped at 0x10 now; the watch is armed all the same\n"
        )


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
@pytest.mark.parametrize(
    ("call", "said"),
    [
        (seccomp.PERF_EVENT_OPEN, "perf_event_open"),
        (seccomp.PTRACE, "ptrace may be forbidden here (seccomp)"),
    ],
)
def test_what_a_filter_forbids_is_one_line_and_leaves_nothing(
    program: str, tmp_path: Path, number: int, call: int, said: str
) -> None:
    mark = str(tmp_path / "mark")
    command = [
        sys.executable,
        "-m",
        "tui.cli",
        "trace",
        "--backend",
        "perf",
        "-w",
        "counter",
        "--",
        program,
        "1",
        mark,
    ]
    done = subprocess.run(
        [*seccomp.refusing(number, call), *command],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    assert not [pid for pid in os.listdir("/proc") if pid.isdecimal() and mark in words_of(pid)]


def words_of(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except OSError:
        return ""


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
@pytest.mark.parametrize(
    ("call", "slot"), [(seccomp.BPF, None), (seccomp.PTRACE, 0)], ids=["without bpf", "without ptrace"]
)
def test_without_bpf_or_ptrace_a_process_is_watched_as_far_as_it_goes(
    program: str, number: int, call: int, slot: int | None
) -> None:
    with waiting(program, 1) as process:
        command = [
            sys.executable,
            "-m",
            "tui.cli",
            "trace",
            "--json",
            "-w",
            "counter",
            "-p",
            str(process.pid),
        ]
        with subprocess.Popen(
            [*seccomp.refusing(number, call), *command],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            text=True,
        ) as traced:
            assert traced.stdout is not None
            assert "schema" in traced.stdout.readline()
            process.communicate(b"\n")
            hit = json.loads(traced.stdout.readline())
            assert (hit["slot"] is None) == (slot is None)
            assert json.loads(traced.stdout.readline())["summary"]["hits"] == 1
            traced.wait(20)


def test_more_threads_than_descriptors_are_watched_by_cpu_and_it_says_so(program: str) -> None:
    command = ["trace", "-w", "counter", "-o", os.devnull, "--duration", "0.1", "-p"]
    with waiting(program, 400) as process:
        done = subprocess.run(
            ["prlimit", "--nofile=256:256", sys.executable, "-m", "tui.cli", *command, str(process.pid)],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1
    assert "events of whole CPUs, filtered by process" in done.stderr


def test_where_next_to_nothing_may_be_open_it_says_so(program: str) -> None:
    command = [sys.executable, "-m", "tui.cli", "trace", "-w", "counter", "--backend", "perf", "--", program]
    done = subprocess.run(
        ["prlimit", "--nofile=24:24", *command],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == (
        "hwbp-tui: error: too few descriptors may be open to watch anything (raise `ulimit -n`)\n"
    )


def test_a_process_without_memory_is_a_kernel_thread_only_if_the_kernel_says_so() -> None:
    assert not is_kernel_thread(os.getpid())
    if comm_of(2) == "kthreadd":
        assert is_kernel_thread(2)
    pid = os.fork()
    if not pid:
        os._exit(0)
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert "VmSize" not in status_of(pid)
        assert not is_kernel_thread(pid)
    finally:
        os.waitpid(pid, 0)


def test_rings_that_get_less_memory_are_smaller_and_say_so(program: str) -> None:
    command = ["trace", "--backend", "perf", "-w", "counter", "-o", os.devnull, "--", program, "1"]
    limited = ["prlimit", "--memlock=0", *PLAIN, sys.executable, "-m", "tui.cli", *command]
    done = subprocess.run(
        limited,
        cwd=Path(__file__).parents[2],
        input="\n",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    # What may be locked is counted for the user: others' rings may leave nothing at all.
    assert done.stderr.count("\n") == 1
    if done.returncode:
        assert "no memory may be locked for hits" in done.stderr
    else:
        assert re.search(
            r"hwbp-tui: note: memory was refused: .* ring of \d+ KiB a CPU instead of 4096", done.stderr
        )


def test_a_process_whose_memory_is_gone_already_is_no_kernel_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """As /proc shows one for some microseconds of its end: no VmSize, and not a zombie yet."""

    def without_memory(pid: int) -> dict[str, str]:
        return {name: value for name, value in status_of(pid).items() if not name.startswith("Vm")}

    monkeypatch.setattr("backends.perf.target.status_of", without_memory)
    machine = PerfBackend(create_memfd(1 << 12), (1, 2))
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            with pytest.raises(HwbpError, match="is ending") as caught:
                machine.attach(Attach(process.pid))
        finally:
            process.kill()
            machine.close()
    assert caught.value.errno == "ESRCH"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["exec", "exit", "threads", "headless"])
def test_a_program_that_goes_its_own_way_between_our_steps(tmp_path: Path, kind: str) -> None:
    """Every step is done, or refused in a line that says why; the program ends as it would have."""
    program = build(tmp_path, "brief", BRIEF, "-no-pie")
    counter = SymbolTable(ElfImage.open(program)).find("counter")[0].value
    chance = random.Random(kind)
    refusals: list[tuple[str | None, str]] = []
    for _ in range(6):
        process = subprocess.Popen(
            [program, kind, str(chance.choice([5, 300])), str(chance.choice([0, 200]))]
        )
        time.sleep(chance.random() * 0.004)
        machine = PerfBackend(create_memfd(1 << 12), (1, 2))
        try:
            machine.attach(Attach(process.pid))
            machine.arm((BreakpointRequest(counter, 8, "w", stop=chance.random() < 0.3),))
            for _ in range(20):
                machine.run_slice()
                if machine.view().state == "stopped":
                    machine.resume()
                elif chance.random() < 0.3 and machine.running:
                    machine.stop()
                    machine.registers(None)
                    machine.resume()
            machine.release()
        except HwbpError as error:
            refusals.append((error.errno, error.message))
        machine.close()
        for tid in threads_of(process.pid):
            assert standing(process.pid, tid)[1] != os.getpid()
        if kind == "headless":
            process.kill()
        until = time.monotonic() + 30
        while not is_over(process.pid, process.pid) or threads_of(process.pid)[1:]:
            assert time.monotonic() < until, "the program hangs"
            time.sleep(0.005)
        process.wait()
    assert not [said for said in refusals if said[0] not in ("ESRCH", "EOPNOTSUPP")]


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
