"""The root process of `--sudo`: what it does for its one target, and what it cannot be talked into."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backends.perf.program import HitProgram, Layout
from backends.root import asked as ask
from backends.root.session import Allowed, Session
from tests.live.bpf_here import needs_bpf
from tests.live.tracing import needs_breakpoints

pytestmark = [pytest.mark.live, pytest.mark.undisturbed, pytest.mark.root, needs_bpf, needs_breakpoints]

ADDRESS = 0x7000_0000


@pytest.fixture
def target() -> Iterator[int]:
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            yield process.pid
        finally:
            process.kill()


@pytest.fixture
def session(target: int) -> Iterator[Session]:
    session = Session(Allowed(pid=target, uid=os.getuid(), front=os.getpid()))
    asked(session, ask.Target(target))
    yield session
    session.close()


def asked(session: Session, question: ask.Asked) -> tuple[Any, list[int]]:
    answer, fds = session.answer(question)
    assert not answer.failed, answer.text
    return answer.value, list(fds)


def refused(session: Session, question: ask.Asked) -> str:
    answer, fds = session.answer(question)
    assert not fds
    assert answer.failed == "refused", answer
    return answer.text


def program(number: int = 1, **more: Any) -> HitProgram:
    return replace(
        HitProgram(line=0, limit_line=0, breakpoint=number, length=8, type="w", layout=Layout(False)), **more
    )


def with_maps(session: Session) -> None:
    _size, fds = asked(session, ask.Buffers())
    for fd in fds:
        os.close(fd)


def test_a_breakpoint_of_its_target_is_handed_over(session: Session, target: int) -> None:
    with_maps(session)
    asked(session, ask.Load(1, ADDRESS, False, program()))
    _value, (fd,) = asked(session, ask.Open(1, target, -1))
    assert os.readlink(f"/proc/self/fd/{fd}") == "anon_inode:[perf_event]"
    os.close(fd)


def test_another_process_is_refused(target: int) -> None:
    session = Session(Allowed(pid=target, uid=os.getuid(), front=os.getpid()))
    assert str(target) in refused(session, ask.Target(os.getpid()))
    asked(session, ask.Target(target))
    refused(session, ask.Target(target))
    session.close()


def test_a_thread_of_another_process_is_refused(session: Session) -> None:
    with_maps(session)
    asked(session, ask.Load(1, ADDRESS, False, program()))
    for question in (
        ask.Open(1, os.getpid(), -1),
        ask.StopAt(os.getpid(), ADDRESS, 0),
        ask.Follow(os.getpid(), 0),
    ):
        answer, fds = session.answer(question)
        assert (answer.failed, answer.errno, fds) == ("os", 3, ())


def test_without_a_target_nothing_is_opened() -> None:
    session = Session(Allowed(pid=0, uid=os.getuid(), front=os.getpid()))
    refused(session, ask.Buffers())
    refused(session, ask.File("mem"))
    refused(session, ask.Target(os.getpid()))
    value, _fds = asked(session, ask.Books())
    assert value["source"] == "kernel books"
    session.close()


def test_only_what_this_front_end_launched_is_a_launched_program(target: int) -> None:
    # The target is our child: one level too near to be a program that a backend of ours has started.
    for front in (os.getpid(), 1 << 22):  # the other is nobody: pids end below it
        session = Session(Allowed(pid=None, uid=os.getuid(), front=front))
        refused(session, ask.Target(target))
        session.close()
    with subprocess.Popen(
        ["sh", "-c", "sleep 60 & echo $!; wait"], stdout=subprocess.PIPE, process_group=0
    ) as shell:
        try:
            assert shell.stdout is not None
            grandchild = int(shell.stdout.readline())
            other = Session(Allowed(pid=None, uid=os.getuid() + 1, front=os.getpid()))
            refused(other, ask.Target(grandchild))
            session = Session(Allowed(pid=None, uid=os.getuid(), front=os.getpid()))
            asked(session, ask.Target(grandchild))
            session.close()
        finally:
            os.killpg(shell.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("question", "said"),
    [
        (ask.Load(1, 0xFFFF_FFFF_8000_0000, False, program(kernel_address=True)), "--kernel"),
        (ask.Load(1, ADDRESS, False, program(kernel_address=True)), "do not fit"),
        (ask.Load(1, 1 << 48, False, program()), "no address"),
        (ask.Load(1, -8, False, program()), "no address"),
        (ask.Load(1, 1 << 70, False, program()), "no address"),
        (ask.Load(1, ADDRESS, True, program()), "another process"),
        (ask.Load(1, ADDRESS, True, program(tgid=1)), "another process"),
        (ask.Load(1, ADDRESS, False, program(signal=9)), "SIGURG"),
        (ask.Load(1, ADDRESS, False, program(length=4096)), "length"),
        (ask.Load(1, ADDRESS, False, program(line=8)), "control line"),
        (ask.Load(1, ADDRESS, False, program(line=-64)), "control line"),
        (ask.Load(1, ADDRESS, False, program(line=1 << 30)), "control line"),
        (ask.Load(1, ADDRESS, False, program(limit_line=8)), "control line"),
        (ask.Load(2, ADDRESS, False, program()), "another breakpoint"),
        (ask.Load(1 << 40, ADDRESS, False, program(1 << 40)), "number"),
        (ask.Open(7, 1, -1), "no such breakpoint"),
        (ask.StopAt(-1, ADDRESS, 0), "no thread"),
        (ask.Follow(0, 0), "no thread"),
    ],
)
def test_what_it_is_not_there_for_is_refused(session: Session, question: ask.Asked, said: str) -> None:
    with_maps(session)
    assert said in refused(session, question)


def test_a_step_stops_in_user_code_only(session: Session, target: int) -> None:
    for address in (1 << 47, 0xFFFF_FFFF_8100_0000, -1):
        assert "user address" in refused(session, ask.StopAt(target, address, 0))


def test_whole_cpus_are_for_programs_that_look_whose_hit_it_is(session: Session, target: int) -> None:
    with_maps(session)
    asked(session, ask.Load(1, ADDRESS, False, program()))
    refused(session, ask.Open(1, -1, 0))
    asked(session, ask.Load(2, ADDRESS, True, program(2, tgid=target)))
    refused(session, ask.Open(2, target, -1))
    answer, fds = session.answer(ask.Open(2, -1, 0))
    assert answer.errno == errno.ENOSPC or len(fds) == 1  # somebody else's task may have every slot
    for fd in fds:
        os.close(fd)


def test_memory_is_handed_over_for_reading_alone(session: Session) -> None:
    _value, (fd,) = asked(session, ask.File("mem"))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.pwrite(fd, b"\0", ADDRESS)
    os.close(fd)


def test_a_target_that_has_ended_is_gone_whoever_has_its_number(session: Session, target: int) -> None:
    with_maps(session)
    asked(session, ask.Load(1, ADDRESS, False, program()))
    os.kill(target, signal.SIGKILL)
    os.waitid(os.P_PID, target, os.WEXITED | os.WNOWAIT)
    for question in (ask.Open(1, target, -1), ask.File("mem"), ask.Buffers()):
        assert session.answer(question)[0].errno == 3


def test_what_it_opened_is_closed_with_the_session(target: int) -> None:
    before = set(os.listdir("/proc/self/fd"))
    session = Session(Allowed(pid=target, uid=os.getuid(), front=os.getpid()))
    asked(session, ask.Target(target))
    with_maps(session)
    for number in range(1, 20):
        asked(session, ask.Load(number, ADDRESS, False, program(number)))
    asked(session, ask.Books())
    session.close()
    assert set(os.listdir("/proc/self/fd")) == before


# The process

_MAIN = "import sys; from backends.root.process import main; sys.exit(main(sys.argv[1:]))"


@contextlib.contextmanager
def running(folder: Any, target: str) -> Iterator[socket.socket]:
    """The process as sudo starts it, and its control socket."""
    path = str(folder / "root")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(1)
        environment = {**os.environ, "SUDO_UID": str(os.getuid()), "SUDO_GID": str(os.getgid())}
        subprocess.run([sys.executable, "-c", _MAIN, path, target], check=True, env=environment)
        control, _where = listener.accept()
    with control:
        got = ask.receive_answer(control)
        assert got is not None
        assert not got[0].failed
        yield control


def connect(control: socket.socket) -> socket.socket:
    ours, theirs = socket.socketpair()
    with theirs:
        socket.send_fds(control, [b"\0"], [theirs.fileno()])
    ours.settimeout(20)
    return ours


@pytest.mark.parametrize(
    "sent",
    [
        b"\0\0\0\2{}",
        b"\0\0\0\4null",
        b"\0\0\0\5[[[[[",
        b"\xff\xff\xff\xff",
        b"\0\0\0\x16" + b'{"kind":"Shell","x":1}',
        b"\0\0\0\x21" + b'{"kind":"RingOwner","cpu":"zero"}',
        b"\0\0\0\x29" + b'{"kind":"File","name":"../../etc/shadow"}',
        b"\0\0\0\x24" + b'{"kind":"RingOwner","cpu":0,"pid":1}',
    ],
)
def test_nonsense_ends_its_own_connection_and_no_other(tmp_path: Any, sent: bytes) -> None:
    with running(tmp_path, "none") as control, connect(control) as good, connect(control) as bad:
        bad.sendall(sent)
        assert bad.recv(1) == b""
        ask.send_asked(good, ask.Books())
        got = ask.receive_answer(good)
        assert got is not None
        assert got[0].value["source"] == "kernel books"


def test_a_socket_of_another_user_is_left_alone(tmp_path: Any) -> None:
    path = str(tmp_path / "root")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(1)
        environment = {**os.environ, "SUDO_UID": "1234", "SUDO_GID": "1234"}
        done = subprocess.run(
            [sys.executable, "-c", _MAIN, path, "none"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "hwbp-tui's root process: the socket belongs to another user\n"


_ASKING = """
import sys
from backends.root import start
start._sudo = lambda: ["sh", "-c", "echo asks; exec sleep 60", "sudo"]
start.start_root("none")
"""


def test_a_front_end_that_is_killed_while_sudo_asks_leaves_no_socket_behind(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", _ASKING],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as front:
        try:
            assert front.stderr is not None
            assert front.stderr.readline() == "asks\n"
            front.kill()
            front.wait()
        finally:
            os.killpg(front.pid, signal.SIGKILL)
    assert list(tmp_path.iterdir()) == []
