"""Watches that move in place, and values that a person stores: the same words on both machines."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from backends.base import HwbpError, Launch
from backends.model import BreakpointRequest
from backends.perf import events
from backends.perf.backend import PerfBackend
from backends.ring import create_memfd
from backends.ring_reader import RingReader
from symbols.elf import ElfImage
from symbols.table import SymbolTable
from tests.live.test_conditions import SOURCE
from tests.live.tracing import build, needs_breakpoints, script

pytestmark = [pytest.mark.live, pytest.mark.undisturbed, pytest.mark.slow, needs_breakpoints]

BACKENDS = ["emulated", pytest.param("perf", marks=pytest.mark.root)]
ENDLESS = r"""
volatile long first, second;
volatile int third;
int main(void) { for (;;) { first++; second++; third++; } }
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build(tmp_path_factory.mktemp("moving"), "p", SOURCE))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_watch_moves_without_giving_its_slot_back(program: str, backend: str) -> None:
    said = script(
        backend, program,
        "watch counter", "hbreak set stop", "hbreak bump", "hbreak main", "continue", "edit 0 counter/4:rw", "continue",
        "info watchpoints", "info hits 2",
    )  # fmt: skip
    moved = said[5]
    assert (moved["watch"], moved["breakpoints"]) == (4, said[0]["breakpoints"])
    watches = {row["watch"]: row for row in said[-2]["watches"]}
    assert (watches[4]["length"], watches[4]["type"]) == (4, "rw")
    hits = said[-1]["hits"]
    assert {hit["watch"] for hit in hits} <= {1, 2, 4}
    assert {hit["length"] for hit in hits if hit["watch"] == 4} == {4}


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_a_person_stores_makes_no_hit_and_is_told_as_unseen(program: str, backend: str) -> None:
    said = script(
        backend, program,
        "watch counter:rw", "hbreak set stop", "continue", "set var counter = 41", "set $rdi = 5", "print counter",
        "continue", "print counter", "set $rdi = 1", "hbreak bump stop", "continue", "set var counter = 7",
        "delete 2", "delete 1", "continue", "info hits 3",
    )  # fmt: skip
    assert (said[3]["value"], said[4]["value"], said[5]["value"], said[7]["value"]) == (41, 5, 41, 5)
    read = next(hit for hit in said[-1]["hits"] if hit["access"] == "r")
    assert (read["value"], read["unseen"]) == (7, True)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_was_stored_is_taken_back_and_callers_are_looked_at(program: str, backend: str) -> None:
    said = script(
        backend, program,
        "hbreak set stop", "continue", "print counter", "set var counter = 41", "set $rdi = 5", "undo", "undo", "print counter",
        "redo", "print counter", "up", "info registers", "! EINVAL set $rbx = 1", "frame 0", "info frames",
    )  # fmt: skip
    before, undone, redone = (said[n]["value"] for n in (2, 7, 9))
    assert (undone, redone) == (before, 41)
    caller = said[10]
    assert caller["symbol"].startswith("main")
    assert said[11]["registers"]["rip"] == caller["ip"]
    assert "rdi" not in said[11]["registers"]
    assert said[14]["frames"][1]["ip"] == caller["ip"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_cannot_be_stored_says_why(program: str, backend: str) -> None:
    script(
        backend, program,
        "hbreak set stop", "continue", "! EINVAL set var pair = 3", "! EINVAL set $nosuch = 3",
        "! EFAULT set var *(long *)8 = 3", "! EINVAL set var main = 3", "! ERANGE set var *(char *)&counter = 300",
    )  # fmt: skip


@pytest.mark.root
def test_a_running_program_is_watched_elsewhere_from_one_moment_on(tmp_path: Path) -> None:
    path = str(build(tmp_path, "endless", ENDLESS, "-no-pie"))
    table = SymbolTable(ElfImage.open(path))
    at = {name: table.find(name)[0].value for name in ("first", "second", "third")}
    fd = create_memfd(1 << 16)
    backend, ring = PerfBackend(fd, (1, 2)), RingReader(fd)
    try:
        pid = backend.launch(Launch(path)).tasks[0].pid
        (made,) = backend.arm((BreakpointRequest(at["first"], 8, "w", watch=0),))
        backend.resume()

        def some() -> int:
            head = ring.head
            while ring.head < head + 50:
                backend.run_slice()
            return ring.head

        some()
        with pytest.raises(HwbpError) as caught:
            backend.move((made.id,), (BreakpointRequest(at["second"] + 4, 8, "w"),))
        assert caught.value.errno == "EINVAL"
        before = some()
        assert set(ring.read(before - 20, 20)["address"].tolist()) == {at["first"]}
        (moved,) = backend.move((made.id,), (BreakpointRequest(at["third"], 4, "w", watch=1),))
        start = ring.head
        rows = ring.read(start, some() - start)
        assert (moved.id, moved.hits, moved.enabled) == (made.id, 0, True)
        assert set(rows["address"].tolist()) == {at["third"]}
        assert set(rows["length"].tolist()) == {4}
        assert (rows["value"][1:] == rows["value"][:-1] + 1).all()
        backend.release()
        view = backend.view()
        assert view.lost == 0
    finally:
        backend.close()
        os.kill(pid, signal.SIGKILL)  # a launched program runs on without us


def test_an_event_takes_no_other_change_than_its_window() -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        attr = events.breakpoint_attributes(0x1000, 8, "w", children=False, kernel=False, sampled=False)
        fd = events.open_event(attr, child.pid)
        events.modify(fd, events.moved(attr, 0x2000, 1, "x"))
        events.modify(fd, events.moved(attr, 0x2002, 2, "rw"))
        other = events.moved(attr, 0x2000, 8, "w")
        other.sample_period = 7
        with pytest.raises(OSError, match="Invalid argument"):
            events.modify(fd, other)
        with pytest.raises(OSError, match="Invalid argument"):
            events.modify(fd, events.moved(attr, 0x2001, 2, "w"))
        os.close(fd)
    finally:
        child.kill()
        child.wait()
