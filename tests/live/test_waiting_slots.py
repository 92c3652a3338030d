"""Watches that wait until another process gives its slots back: armed then, whether the kernel's books can be read or not."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.tracing import PLAIN, ROOT, WAYS, build, command, needs_breakpoints

pytestmark = [pytest.mark.live, pytest.mark.undisturbed, pytest.mark.slow, needs_breakpoints]

SOURCE = """
#include <unistd.h>
long first, second, third, fourth, fifth;
int main(int count, char **words) {
    for (int i = 0; count < 2 || i < 200; i++) { first++; second++; third++; fourth++; fifth++; usleep(2000); }
}
"""
FOUR = [word for name in ("first", "second", "third", "fourth") for word in ("-w", name)]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build(tmp_path_factory.mktemp("slots"), "five", SOURCE))


@pytest.fixture
def running(program: str, way: str) -> Iterator[int]:
    """A process that never ends by itself, with the privileges of whoever traces it."""
    with subprocess.Popen([*(PLAIN if way == "rings" else []), program]) as process:
        yield process.pid
        process.kill()


@pytest.mark.parametrize("way", WAYS)
def test_a_watch_has_the_slot_that_another_tracer_gives_back(running: int, way: str, tmp_path: Path) -> None:
    holding = command(way, "trace", *FOUR, "-p", str(running))
    asking = command(way, "trace", "-w", "fifth pending", "--limit", "5", "-p", str(running))
    said = tmp_path / "said"
    with subprocess.Popen(holding, cwd=ROOT, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert "done by" in holder.stdout.readline()  # it has all four
        with (
            said.open("w") as errors,
            subprocess.Popen(asking, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True) as waiter,
        ):
            assert waiter.stdout is not None
            assert "done by" in waiter.stdout.readline()
            end = time.monotonic() + 20
            while "watch 0: fifth waits for 1 slot" not in said.read_text():
                assert time.monotonic() < end, "it never said that it waits"
                time.sleep(0.01)
            holder.kill()
            holder.communicate()
            *hits, summary = waiter.stdout.read().splitlines()
    assert len(hits) == 5
    assert all(" fifth " in hit for hit in hits)
    assert summary.startswith("5 hits, 0 lost")


@pytest.mark.parametrize("way", WAYS[:1])
def test_a_session_arms_it_by_itself_and_the_kernel_is_not_refusing_all_the_while(
    running: int, way: str
) -> None:
    from backends.base import Attach
    from backends.spawn import spawn
    from tui.session.open import open_session
    from tui.session.watch import Watch

    watches = tuple(Watch.parse(name) for name in (*FOUR[1::2], "fifth"))
    session = open_session(spawn("perf"), Attach(running), watches, fitting=True)
    try:
        assert [row.label for row in session.watches.waiting] == ["fifth"]
        refused = session.view.refused
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            session.refresh(counters=True)
            time.sleep(0.05)
        assert session.view.refused == refused
        assert session.execute("delete 0").ok
        end = time.monotonic() + 20
        while session.watches.waiting:
            assert time.monotonic() < end, "it was never armed"
            session.refresh(counters=True)
            time.sleep(0.02)
        assert [row.label for row in session.watches.armed] == ["second", "third", "fourth", "fifth"]
        while not any(bp.hits for bp in session.look().breakpoints if bp.watch == 4):
            assert time.monotonic() < end, "it never hit"
            time.sleep(0.02)
    finally:
        session.close()


def test_what_waits_in_vain_is_told(program: str) -> None:
    watches = [*FOUR, "-w", "fifth pending"]
    done = subprocess.run(
        [sys.executable, "-m", "tui.cli", "trace", "--backend", "perf", *watches, "--limit", "8", "--", program, "ends"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "watch 4: fifth waits for 1 slot to come free" in done.stderr
    assert "watch 4: fifth was never armed, 1 slot did not come free" in done.stderr
    assert "8 hits" in done.stdout
