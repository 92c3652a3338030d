"""`--sudo` as an ordinary user meets it: three processes, of which one has a few of root's rights."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.bpf_here import needs_bpf
from tests.live.ordinary_user import USER, needs_sudo, ordinary
from tests.live.tracing import build, needs_breakpoints

pytestmark = [pytest.mark.live, pytest.mark.root, pytest.mark.slow, needs_bpf, needs_breakpoints, needs_sudo]

ROOT = Path(__file__).parents[2]
SOURCE = r"""
#include <stdlib.h>
#include <unistd.h>
long counter;
int main(int argc, char **argv) {
    for (long i = 0; argc < 2 || i < atol(argv[1]); i++) {
        counter++;
        if (argc < 2) usleep(2000);
    }
    return 7;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where that user may read it."""
    made = build(tmp_path_factory.mktemp("sudo"), "counts", SOURCE)
    place = Path(f"/tmp/hwbp-tui-test-{os.getpid()}")
    place.write_bytes(made.read_bytes())
    place.chmod(0o755)
    yield str(place)
    place.unlink()


@contextlib.contextmanager
def ours(program: str) -> Iterator[int]:
    """A process of root's."""
    with subprocess.Popen([program]) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def app(*words: str) -> list[str]:
    return ordinary(sys.executable, "-m", "tui.cli", *words)


def done(*words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        app(*words), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, **more
    )


def until(good: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not good():
        assert time.monotonic() < end
        time.sleep(0.01)


def children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def root_processes(target: int) -> list[int]:
    """Those that serve this target, or are about to."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
            if (
                any(word.endswith(b"backends/root/__main__.py") for word in words)
                and str(target).encode() in words
            ):
                found.append(int(name))
    return found


@contextlib.contextmanager
def watching(target: int, *more: str) -> Iterator[tuple[subprocess.Popen[str], int, int]]:
    """`trace` on a process: the front end, its backend, and the root process, once hits come."""
    command = app("trace", "--sudo", "-w", "counter", "-p", str(target), *more)
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as front:
        try:
            assert front.stdout is not None
            front.stdout.readline()
            assert "counter" in front.stdout.readline()
            (root,) = root_processes(target)
            (backend,) = children(front.pid)
            yield front, backend, root
        finally:
            front.kill()


def gone(pid: int) -> bool:
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


def held(target: int) -> int:
    done = subprocess.run(
        [sys.executable, "-m", "tui.cli", "slots", str(target), "--json"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    books = json.loads(done.stdout)
    return len(books["reserved"]) + sum(len(cpu["slots"]) for cpu in books["cpus"])


def test_a_launched_program_has_values_and_registers(program: str) -> None:
    run = done("trace", "--sudo", "--backend", "perf", "-w", "counter", "--json", "--", program, "3")
    assert run.returncode == 0, run.stderr
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    hits = [line for line in lines if "hit" in line]
    assert [hit["value"] for hit in hits] == [1, 2, 3]
    assert {hit["value_from"] for hit in hits} == {"trap"}
    assert all(hit["slot"] in range(4) for hit in hits)
    assert lines[-1]["summary"]["exit_status"] == 7


def test_another_users_process_is_watched_and_not_stopped(program: str) -> None:
    with ours(program) as target:
        assert done("trace", "-w", "counter", "--limit", "1", "-p", str(target)).returncode == 1
        script = "watch counter\nx/1 counter\n! EPERM stop\n"
        run = done("script", "-", "--sudo", "-p", str(target), "--json", input=script)
        assert run.returncode == 0, run.stdout + run.stderr
        assert [json.loads(line)["ok"] for line in run.stdout.splitlines()[1:]] == [True] * 3
        assert not held(target)


def test_slots_are_read_by_the_root_process(program: str) -> None:
    with ours(program) as target, watching(target) as (_front, backend, _root):
        run = done("slots", str(target), "--sudo", "--json")
        books = json.loads(run.stdout)
        assert books["source"] == "kernel books"
        (holding,) = books["reserved"] + [slot for cpu in books["cpus"] for slot in cpu["slots"]]
        # Opened by the root process, and held by whom it was handed to.
        assert holding["owner"]["pid"] == backend
        assert os.readlink(f"/proc/{backend}/fd/{holding['owner']['fd']}") == "anon_inode:[perf_event]"


def test_what_is_left_of_root_is_little(program: str) -> None:
    with ours(program) as target, watching(target) as (front, backend, root):
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{root}/status").read_text().splitlines())
        assert set(status["Uid"].split()) == {str(USER)}
        capabilities = {bit for bit in range(64) if int(status["CapPrm"], 16) >> bit & 1}
        assert capabilities == {2, 19, 34, 38, 39}
        assert status["CapBnd"] == status["CapEff"] == status["CapPrm"]
        assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
        assert status["NoNewPrivs"] == "1"
        limits = Path(f"/proc/{root}/limits").read_text()
        assert "Max processes             0" in limits
        assert "Max file size             0" in limits
        # Nobody else has any, and that user's other processes cannot take over the one that has.
        for pid in (front.pid, backend):
            assert f"CapPrm:\t{0:016x}" in Path(f"/proc/{pid}/status").read_text()
        tried = subprocess.run(
            ordinary("head", "-c1", f"/proc/{root}/environ"), capture_output=True, check=False
        )
        assert b"Permission denied" in tried.stderr


@pytest.mark.parametrize("which", ["front", "backend"])
def test_it_ends_with_whom_it_serves(program: str, which: str) -> None:
    with ours(program) as target, watching(target) as (front, backend, root):
        os.kill(front.pid if which == "front" else backend, signal.SIGKILL)
        until(lambda: gone(front.pid) and gone(backend) and gone(root))
        assert not held(target)
        assert not gone(target)


def test_without_it_the_watch_goes_on(program: str) -> None:
    with ours(program) as target, watching(target) as (front, backend, root):
        os.kill(root, signal.SIGKILL)
        until(lambda: gone(root))
        assert front.stdout is not None
        for _ in range(20):
            assert "counter" in front.stdout.readline()
        assert not gone(backend)


@pytest.mark.parametrize(
    ("sudo", "said"),
    [
        ("#!/bin/sh\necho no >&2; exit 1\n", "sudo did not start the root process (status 1)"),
        ("#!/bin/sh\nexit 0\n", "the root process did not call back"),
        (None, "--sudo needs sudo"),
    ],
)
def test_without_sudos_help_there_is_one_line(
    program: str, tmp_path: Path, sudo: str | None, said: str
) -> None:
    place = Path(f"/tmp/hwbp-tui-test-{os.getpid()}.bin")
    place.mkdir(mode=0o755)
    try:
        if sudo is not None:
            (place / "sudo").write_text(sudo)
            (place / "sudo").chmod(0o755)
        words = ["trace", "--sudo", "--backend", "perf", "-w", "counter", "--", program, "3"]
        command = ordinary("env", f"PATH={place}", sys.executable, "-m", "tui.cli", *words)
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    finally:
        if sudo is not None:
            (place / "sudo").unlink()
        place.rmdir()
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith("hwbp-tui: error: ")
    assert said in run.stderr
    assert not run.stdout
