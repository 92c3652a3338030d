"""The backend's process: it ends with its front end, and its own end is one clear error."""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backends import client as client_module
from backends.base import HwbpError, Launch
from backends.client import ClientBackend, start
from backends.emulated.programs import PROGRAMS
from backends.model import BreakpointRequest
from backends.protocol import VERSION, Call, Failure, Hello, Reply, pack, receive
from backends.ring import create_memfd
from backends.ring_reader import RingReader

pytest.importorskip("icicle", reason="icicle-emu is not installed: pip install icicle-emu")

ROOT = Path(__file__).parents[2]
COUNTER = str(PROGRAMS["counter"].path)
CAPACITY = 1024


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> float:
    """How long it took; fails after `seconds`."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it did not happen"
        time.sleep(0.002)
    return time.monotonic() - began


def gone(pid: int) -> bool:
    """Whether a process has ended (one that waits for its parent to notice has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def ask_for_ever(machine: ClientBackend) -> None:
    """Ask for views until that fails."""
    while True:
        machine.view()


def counter_address() -> int:
    from symbols.elf import ElfImage
    from symbols.table import SymbolTable

    return SymbolTable(ElfImage.open(COUNTER)).find("counter")[0].value


@pytest.fixture
def machine() -> Iterator[ClientBackend]:
    made = start("emulated", CAPACITY)
    yield made
    made.close()


def launch(machine: ClientBackend, *, lossless: bool = False, armed: bool = True) -> RingReader:
    machine.launch(Launch(COUNTER, stacks=False, lossless=lossless))
    if armed:
        machine.arm((BreakpointRequest(counter_address(), 8, "w"),))
    return RingReader(machine.ring_fd)


FRONT_END = """
import sys, time
from backends.base import Launch
from backends.client import start
from backends.model import BreakpointRequest
from backends.ring_reader import RingReader
machine = start("emulated", 1024)
how = sys.argv[1]
if how != "starting":
    machine.launch(Launch(sys.argv[2], stacks=False, lossless=how == "flow"))
    if how == "flow":
        machine.arm((BreakpointRequest(int(sys.argv[3]), 8, "w"),))
    if how != "loaded":
        machine.resume()
    ring = RingReader(machine.ring_fd)
    if how == "flow":
        while ring.head < 900:
            time.sleep(0.001)
    elif how == "flat out":
        while ring.word("instructions") < 100_000:
            time.sleep(0.001)
print(machine.pid, flush=True)
time.sleep(1000)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "number"),
    [
        ("starting", signal.SIGKILL),
        ("loaded", signal.SIGKILL),
        ("flat out", signal.SIGKILL),
        ("flow", signal.SIGKILL),
        ("flow", signal.SIGTERM),
    ],
)
def test_the_machine_ends_with_a_front_end_that_is_killed(how: str, number: int) -> None:
    command = [sys.executable, "-c", FRONT_END, how, COUNTER, str(counter_address())]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as front:
        assert front.stdout is not None
        pid = int(front.stdout.readline())
        assert not gone(pid)
        front.send_signal(number)
        front.wait()
        assert wait_for(lambda: gone(pid)) < (3 if how == "starting" else 1.5)


def test_a_machine_that_is_killed_is_one_error_that_says_so_and_stays_so(machine: ClientBackend) -> None:
    launch(machine)
    machine.resume()
    os.kill(machine.pid, signal.SIGKILL)
    with pytest.raises(HwbpError) as caught:
        ask_for_ever(machine)
    assert caught.value.message == "the machine's process died by SIGKILL"
    assert caught.value.errno == "EPIPE"
    with pytest.raises(HwbpError, match="died by SIGKILL"):
        machine.resume()
    machine.close()
    assert gone(machine.pid)


def test_a_real_time_signal_has_no_name_and_is_told_by_its_number(machine: ClientBackend) -> None:
    launch(machine)
    os.kill(machine.pid, 40)
    with pytest.raises(HwbpError, match="died by signal 40"):
        ask_for_ever(machine)


def test_a_machine_that_is_killed_before_its_first_answer_is_an_error_too() -> None:
    machine = start("emulated", CAPACITY)
    os.kill(machine.pid, signal.SIGKILL)
    with pytest.raises(HwbpError, match="died by SIGKILL"):
        machine.launch(Launch(COUNTER))
    machine.close()


def test_a_call_that_waits_for_its_answer_ends_when_the_machine_is_killed(machine: ClientBackend) -> None:
    launch(machine)
    os.kill(machine.pid, signal.SIGSTOP)
    errors: list[HwbpError] = []

    def ask() -> None:
        try:
            machine.view()
        except HwbpError as error:
            errors.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    wait_for(lambda: machine._lock.locked())
    os.kill(machine.pid, signal.SIGKILL)
    thread.join(5)
    assert [error.message for error in errors] == ["the machine's process died by SIGKILL"]


@pytest.mark.parametrize("how", ["untouched", "flat out", "flow"])
def test_closing_is_quick_and_leaves_no_process_and_no_descriptor(how: str) -> None:
    gc.collect()  # what other tests forgot to close goes now, and not in between
    before = set(os.listdir("/proc/self/fd"))
    machine = start("emulated", CAPACITY)
    if how != "untouched":
        ring = launch(machine, lossless=how == "flow", armed=how == "flow")
        if how == "flow":
            machine.resume()
            wait_for(lambda: ring.head > 900)
        elif how == "flat out":
            machine.resume()
            wait_for(lambda: ring.word("instructions") > 100_000)
        ring.close()
    began = time.monotonic()
    machine.close()
    spent = time.monotonic() - began
    assert gone(machine.pid)
    assert not Path(f"/proc/{machine.pid}").exists(), "the process should have been waited for"
    assert spent < 2
    assert set(os.listdir("/proc/self/fd")) <= before
    machine.close()  # a second time does nothing
    with pytest.raises(HwbpError, match="has been closed"):
        machine.view()


def test_a_machine_that_does_not_answer_is_killed_when_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_PATIENCE", 0.1)
    machine = start("emulated", CAPACITY)
    launch(machine)
    os.kill(machine.pid, signal.SIGSTOP)
    machine.close()
    assert not Path(f"/proc/{machine.pid}").exists()


def test_closing_ends_a_call_that_another_thread_waits_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_PATIENCE", 0.1)
    machine = start("emulated", CAPACITY)
    launch(machine)
    os.kill(machine.pid, signal.SIGSTOP)
    told: list[str] = []

    def ask() -> None:
        with contextlib.suppress(HwbpError):
            machine.view()
        told.append("ended")

    thread = threading.Thread(target=ask)
    thread.start()
    wait_for(lambda: machine._lock.locked())
    machine.close()
    thread.join(5)
    assert told == ["ended"]
    assert gone(machine.pid)


@pytest.mark.slow
def test_two_machines_at_once_know_nothing_of_each_other() -> None:
    first, second = start("emulated", CAPACITY), start("emulated", 2 * CAPACITY)
    with contextlib.closing(first), contextlib.closing(second):
        rings = [launch(first), launch(second, armed=False)]
        for machine in (first, second):
            machine.resume()
        wait_for(lambda: rings[0].head > 100 and rings[1].word("instructions") > 1_000_000)
        assert rings[1].head == 0
        assert (rings[0].capacity, rings[1].capacity) == (CAPACITY, 2 * CAPACITY)
        shared = {os.readlink(f"/proc/{second.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{second.pid}/fd")}
        assert f"socket:[{os.fstat(first._connection.fileno()).st_ino}]" not in shared
        first.close()
        assert second.stop().state == "stopped"


def test_the_machine_holds_no_descriptor_of_the_front_end_but_its_socket_and_the_ring(
    machine: ClientBackend,
) -> None:
    reading, writing = os.pipe()
    os.set_inheritable(reading, True)
    another = start("emulated", CAPACITY)
    another.launch(Launch(COUNTER))
    links = [os.readlink(f"/proc/{another.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{another.pid}/fd")]
    assert f"pipe:[{os.fstat(reading).st_ino}]" not in links
    rings = [
        fd
        for fd in os.listdir(f"/proc/{another.pid}/fd")
        if "hwbp-ring" in os.readlink(f"/proc/{another.pid}/fd/{fd}")
    ]
    assert {os.stat(f"/proc/{another.pid}/fd/{fd}").st_ino for fd in rings} == {
        os.fstat(another.ring_fd).st_ino
    }
    assert machine.pid != another.pid
    another.close()
    os.close(reading)
    os.close(writing)


@pytest.mark.slow
def test_sigint_of_the_terminal_does_not_end_the_machine_not_even_while_it_starts() -> None:
    for when in range(3):
        machine = start("emulated", CAPACITY)
        if when:
            machine.launch(Launch(COUNTER))
        if when == 2:
            machine.resume()
        for _ in range(3):
            os.kill(machine.pid, signal.SIGINT)
        if not when:
            machine.launch(Launch(COUNTER))
        assert machine.view().program == COUNTER
        machine.close()


def test_the_front_end_keeps_its_own_sigint(machine: ClientBackend) -> None:
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, set())
    assert machine.pid


@pytest.mark.parametrize("module", ["socket.py", "backends/__init__.py"])
def test_code_in_the_working_directory_is_not_run(tmp_path: Path, module: str) -> None:
    (tmp_path / "backends").mkdir()
    (tmp_path / module).write_text("raise SystemExit('hijacked')")
    if module != "backends/__init__.py":
        (tmp_path / "backends").rmdir()
    before = os.getcwd()
    os.chdir(tmp_path)
    try:
        machine = start("emulated", CAPACITY)
        assert machine.launch(Launch(COUNTER)).state == "loaded"
        machine.close()
    finally:
        os.chdir(before)


def test_an_unknown_backend_is_refused_by_name() -> None:
    machine = start("abacus", CAPACITY)
    with pytest.raises(HwbpError, match="no backend 'abacus'"):
        machine.view()
    machine.close()
    assert gone(machine.pid)


class Host:
    """The process as it sees a front end that we play ourselves."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.fd = create_memfd(capacity)
        self.connection, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "backends.host", str(theirs.fileno()), "emulated"],
                pass_fds=[theirs.fileno()],
                stderr=subprocess.PIPE,
                cwd=ROOT,
            )
        self.connection.settimeout(20)

    def greet(
        self, version: int = VERSION, fds: list[int] | None = None
    ) -> Hello | Call | Reply | Failure | None:
        socket.send_fds(self.connection, [b"\0"], [self.fd] if fds is None else fds)
        self.connection.sendall(pack(Hello(version, "emulated")))
        return receive(self.connection)

    def ended(self) -> int:
        return self.process.wait(20)

    def close(self) -> None:
        self.connection.close()
        self.process.wait(20)
        assert self.process.stderr is not None
        self.process.stderr.close()
        os.close(self.fd)


@pytest.fixture
def host() -> Iterator[Host]:
    made = Host()
    yield made
    made.close()


@pytest.mark.parametrize("version", [0, VERSION + 1, -1])
def test_a_front_end_of_another_version_is_told_both_versions(host: Host, version: int) -> None:
    answer = host.greet(version)
    assert isinstance(answer, Failure)
    assert f"version {version} " in answer.message
    assert str(VERSION) in answer.message
    assert host.ended() == 1


def test_a_host_of_another_version_is_an_error_of_the_client() -> None:
    ours, theirs = socket.socketpair()
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        machine = ClientBackend(ours, child, create_memfd(64))
        theirs.sendall(pack(Hello(VERSION + 1, "emulated")))
        with pytest.raises(HwbpError, match="another version"):
            machine.view()
        machine.close()
        theirs.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"\0\0\0\x02{}",
        b"\xff\xff\xff\xff",
        pack(Reply(99, None)),
        pack(Call(1, "view", [])),
        pack(Reply(1, 5)),
        pack(Reply(1, {"generation": 1})),
    ],
    ids=["no message", "too long", "another number", "a call", "no view", "half a view"],
)
def test_a_host_that_answers_nonsense_is_one_error_and_is_ended(answer: bytes) -> None:
    ours, theirs = socket.socketpair()
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        machine = ClientBackend(ours, child, create_memfd(64))
        theirs.sendall(pack(Hello(VERSION, "emulated")) + answer)
        with pytest.raises(HwbpError, match=r"nonsense|out of turn") as caught:
            machine.view()
        assert caught.value.errno == "EPIPE"
        assert child.poll() is not None
        machine.close()
        theirs.close()


@pytest.mark.parametrize(
    "sent",
    [
        pack(Call(1, "__init__", [])),
        pack(Call(1, "nosuch", [])),
        pack(Call(1, "view", [1])),
        pack(Call(1, "view", {})),
        pack(Call(1, "read", ["0", 1])),
        pack(Reply(1, None)),
        b"\xff\xff\xff\xff",
        b"\0\0\0\x05junk!",
    ],
    ids=["private", "unknown", "too many", "no list", "wrong type", "a reply", "too long", "junk"],
)
def test_a_front_end_that_sends_nonsense_ends_the_process(host: Host, sent: bytes) -> None:
    assert isinstance(host.greet(), Hello)
    host.connection.sendall(sent)
    assert receive(host.connection) is None
    assert host.ended() == 1
    assert host.process.stderr is not None
    assert b"ProtocolError" in host.process.stderr.read()


def test_a_front_end_without_a_ring_is_not_served(host: Host) -> None:
    host.connection.sendall(b"\0" + pack(Hello(VERSION, "emulated")))
    assert host.ended() == 1


def test_a_front_end_that_goes_in_the_middle_of_a_message_ends_the_process(host: Host) -> None:
    assert isinstance(host.greet(), Hello)
    host.connection.sendall(b"\0\0\0\x50{")
    host.connection.shutdown(socket.SHUT_WR)
    assert host.ended() == 0


BROKEN = """
import sys, time
from backends import host
from backends.emulated.backend import EmulatedBackend
def broken(self, *args):
    {does}
setattr(EmulatedBackend, {where!r}, broken)
sys.exit(host.main(sys.argv[1:]))
"""


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ClientBackend]:
    """A machine with a method that raises what nobody expects, or does what else is said."""

    def make(where: str, does: str = "raise ZeroDivisionError('a wheel came off')") -> ClientBackend:
        script = tmp_path / "broken"
        text = BROKEN.format(where=where, does=does).replace("sys.argv[1:]", "sys.argv[-2:]")
        script.write_text(f"#!{sys.executable}\n{text}")
        script.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(script))
        try:
            return start("emulated", CAPACITY)
        finally:
            monkeypatch.undo()

    return make


def test_a_fault_in_an_answer_is_a_message_with_its_cause_and_the_machine_goes_on(
    broken: Callable[..., ClientBackend],
) -> None:
    machine = broken("sites")
    launch(machine)
    with pytest.raises(HwbpError) as caught:
        machine.sites()
    assert caught.value.errno == "EIO"
    assert caught.value.message.startswith("fault in the machine: ZeroDivisionError: a wheel came off (")
    assert machine.view().state == "loaded"
    machine.close()


def test_a_fault_while_the_program_runs_is_one_line_with_its_cause(
    broken: Callable[..., ClientBackend],
) -> None:
    machine = broken("run_slice")
    launch(machine)
    machine.resume()
    with pytest.raises(HwbpError) as caught:
        ask_for_ever(machine)
    assert caught.value.message == (
        "the machine's process ended with status 1: ZeroDivisionError: a wheel came off"
    )
    machine.close()
    assert gone(machine.pid)


def test_the_machine_does_not_finish_an_answer_that_nobody_waits_for(
    broken: Callable[..., ClientBackend],
) -> None:
    machine = broken("sites", "print('begun', file=sys.stderr, flush=True) or time.sleep(60)")
    launch(machine)
    machine._connection.sendall(pack(Call(99, "sites", [])))
    assert machine._process.stderr is not None
    assert machine._process.stderr.readline() == b"begun\n"
    machine._connection.shutdown(socket.SHUT_RDWR)
    assert wait_for(lambda: gone(machine.pid)) < 5
    machine.close()


def test_a_machine_that_cannot_be_started_is_an_error_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = set(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(HwbpError, match="cannot be started: No such file"):
        start("emulated", CAPACITY)
    assert set(os.listdir("/proc/self/fd")) <= before


def test_a_machine_whose_program_is_missing_a_module_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    machine = start("emulated", CAPACITY)
    monkeypatch.undo()
    with pytest.raises(HwbpError, match="ended with status 1"):
        machine.view()
    machine.close()


def test_while_the_program_runs_flat_out_calls_are_answered_in_turn(machine: ClientBackend) -> None:
    launch(machine)
    machine.resume()
    instructions = [machine.view().instructions or 0 for _ in range(20)]
    assert instructions == sorted(instructions)
    assert instructions[0] < instructions[-1]


@pytest.mark.slow
def test_a_machine_that_waits_for_its_reader_answers_and_goes_on_when_it_reads(
    machine: ClientBackend,
) -> None:
    ring = launch(machine, lossless=True)
    machine.resume()
    room = CAPACITY - 64
    wait_for(lambda: ring.head >= room - 1)
    stuck = machine.view()
    assert stuck.state == "running"
    assert stuck.hits <= room
    assert machine.view().hits == stuck.hits
    seen = 0
    while seen < 3 * CAPACITY:
        rows = ring.consume(100)
        for row in rows:
            assert row["seq"] == seen
            seen += 1
    assert machine.stop().state == "stopped"


def test_idle_it_uses_no_processor_time(machine: ClientBackend) -> None:
    launch(machine)

    def ticks() -> int:
        fields = Path(f"/proc/{machine.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    machine.view()
    before = ticks()
    select.select([], [], [], 0.2)  # time has to pass: this is about what happens when nothing does
    assert ticks() - before <= 2
