"""A scan that follows others says what a first one says: nothing of what it kept is older than the kernel's books."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backends.kernelview.books import Holding
from backends.kernelview.scanner import Scanner
from tests.live.bpf_here import needs_bpf
from tests.live.holders import Puppet, needs_gcc, perf_open, puppet, until

pytestmark = [pytest.mark.root, pytest.mark.live, pytest.mark.undisturbed, needs_bpf, needs_gcc]

COMM = Path(sys.executable).name[:15]  # as the kernel cuts it
_SET_NAME = 15  # PR_SET_NAME
HOLDER = """
import os, signal, sys
from tests.live.holders import perf_open
print(perf_open(int(sys.argv[2]), pid=int(sys.argv[1])), flush=True)
for line in sys.stdin:
    word, *numbers = line.split()
    if word == "dup":
        os.dup2(int(numbers[0]), int(numbers[1]))
    if word == "close":
        os.close(int(numbers[0]))
    if word == "name":
        open("/proc/self/comm", "w").write("renamed")
    print("done", flush=True)
"""


@pytest.fixture
def scanner() -> Iterator[Scanner]:
    scanner = Scanner.of_host()
    yield scanner
    scanner.close()


def held(scanner: Scanner, pid: int) -> list[Holding]:
    """What concerns a process, without the register that each was in at that moment."""
    return sorted(
        (replace(h, slot=None) for h in scanner.scan().of_process(pid).holdings), key=lambda h: h.event
    )


def held_anew(pid: int) -> list[Holding]:
    scanner = Scanner.of_host()
    try:
        return held(scanner, pid)
    finally:
        scanner.close()


@contextlib.contextmanager
def holder(pid: int, address: int) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a breakpoint, and does with its descriptor what it is told."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(pid), str(address)],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
    assert process.stdout.readline() == "done\n"


def test_another_descriptor_and_another_name_are_seen(scanner: Scanner, victim: Puppet, counter: int) -> None:
    with holder(victim.pid, counter) as process:
        assert process.stdout is not None
        fd = int(process.stdout.readline())
        for _ in range(2):
            (held_now,) = held(scanner, victim.pid)
            assert (held_now.owner.pid, held_now.owner.fd) == (process.pid, fd)
        tell(process, f"dup {fd} 60")
        tell(process, f"close {fd}")
        assert [h.owner.fd for h in held(scanner, victim.pid)] == [60]
        tell(process, "name")
        assert [h.owner.comm for h in held(scanner, victim.pid)] == ["renamed"]
        tell(process, "close 60")
        assert held(scanner, victim.pid) == []


def test_another_name_of_the_target_is_seen(scanner: Scanner, victim: Puppet, counter: int) -> None:
    with holder(victim.pid, counter) as target:
        assert target.stdout is not None
        tell(target, f"close {int(target.stdout.readline())}")
        fd = perf_open(counter, pid=target.pid)
        try:
            for name in (COMM, "renamed"):
                if name == "renamed":
                    tell(target, "name")
                shown = [h.target for h in held(scanner, os.getpid())]
                assert [(t.pid, t.comm) for t in shown if t] == [(target.pid, name)]
        finally:
            os.close(fd)


def test_hits_and_the_end_of_the_target_are_seen(scanner: Scanner, programs: Path, counter: int) -> None:
    with puppet(programs / "victim") as child:
        fd = perf_open(counter, pid=child.pid)
        try:
            assert [(h.hits, h.enabled) for h in held(scanner, child.pid)] == [(0, True)]
            child.ask("h")
            assert [h.hits for h in held(scanner, child.pid)] == [1]
            child.kill()
            assert [(h.hits, h.enabled) for h in held(scanner, child.pid)] == [(1, False)]
        finally:
            os.close(fd)


def test_a_tracer_that_goes_leaves_an_orphan_also_in_a_later_scan(
    scanner: Scanner, programs: Path, victim: Puppet, counter: int
) -> None:
    with puppet(programs / "tracer", victim.pid, 0, counter, 7, 0xD_0001) as tracer:
        for _ in range(2):
            assert [(h.owner.pid, h.orphan) for h in held(scanner, victim.pid)] == [(tracer.pid, False)]
    until(scanner.scan, lambda books: all(h.orphan for h in books.of_process(victim.pid).holdings))
    assert [(h.owner.pid, h.orphan) for h in held(scanner, victim.pid)] == [(None, True)]


@pytest.mark.slow
def test_whatever_comes_and_goes_a_later_scan_is_like_a_first_one(
    scanner: Scanner, programs: Path, counter: int
) -> None:
    """Threads enough for several runs of the programs that read; each step changes something, at random."""
    say = random.Random(20)
    prctl = ctypes.CDLL(None).prctl
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(puppet(programs / "victim", 15)) for _ in range(20)]
        tids = [tid for child in children for tid in child.tids]
        events = {perf_open(counter + 8 * say.randrange(4), pid=tid): tid for tid in tids}
        stack.callback(lambda: list(map(os.close, events)))
        assert len(held(scanner, os.getpid())) == len(tids) == 320
        for step in range(45):
            what = step % 9
            if what in (0, 3):
                for fd in say.sample(list(events), 5):
                    os.close(fd)
                    del events[fd]
            elif what in (1, 4):
                for tid in say.sample(tids, 3):
                    with contextlib.suppress(OSError):  # ENOSPC
                        events[perf_open(counter, 4, pid=tid, disabled=True)] = tid
            elif what == 2:
                say.choice(children).ask("h")
            elif what == 5:
                fd = say.choice(list(events))
                other = os.dup(fd)
                os.close(fd)
                events[other] = events.pop(fd)
            elif what == 6:  # the same descriptor, and most likely the same file in the kernel's memory
                for fd in say.sample(list(events), 5):
                    os.close(fd)
                    tid = events.pop(fd)
                    with contextlib.suppress(OSError):  # ESRCH
                        events[perf_open(counter, 2, pid=tid)] = tid
            elif what == 7:
                prctl(_SET_NAME, b"python%d" % step)
            else:
                child = children.pop(say.randrange(len(children)))
                child.kill()
            assert held(scanner, os.getpid()) == held_anew(os.getpid())
        assert {h.owner.fd for h in held(scanner, os.getpid())} == set(events)
