"""The kernel's books while breakpoints come and go: what is held is in every scan, and what is in a scan has its holder."""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.kernelview.scanner import Scanner
from tests.live.bpf_here import needs_bpf
from tests.live.holders import Puppet, needs_gcc, perf_open
from tests.live.rolling import FIRST

pytestmark = [pytest.mark.root, pytest.mark.live, pytest.mark.undisturbed, needs_bpf, needs_gcc]

RESTLESS = """
import contextlib, os, sys
from tests.live.holders import perf_open
while True:
    with contextlib.suppress(OSError):
        os.close(perf_open(int(sys.argv[2]), pid=int(sys.argv[1]), disabled=True))
"""


@pytest.fixture(scope="module", params=["the PMU's list", "the lists of tasks"])
def scanner(request: pytest.FixtureRequest) -> Iterator[Scanner]:
    """Also as on a kernel that keeps no list of a PMU's events."""
    scanner = Scanner.of_host()
    if request.param == "the lists of tasks":
        scanner._layout.pmu_events = None
    yield scanner
    scanner.close()


@contextlib.contextmanager
def running(*arguments: str, **options: int) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_what_is_held_is_in_every_scan_while_others_come_and_go(
    scanner: Scanner, victim: Puppet, counter: int
) -> None:
    fd = perf_open(counter, 4, 3, pid=victim.pid)
    try:
        with (
            running("-c", RESTLESS, str(victim.pid), str(counter)),
            running("-c", RESTLESS, str(victim.pid), str(counter)),
        ):
            for _ in range(300):
                held = scanner.scan().of_process(victim.pid).holdings
                assert fd in {holding.owner.fd for holding in held if holding.owner.pid == os.getpid()}
    finally:
        os.close(fd)


@pytest.mark.slow
@pytest.mark.parametrize("targets", ["sleep", "ended"])
def test_a_list_that_its_own_holder_changes_is_whole_and_each_has_its_descriptor(
    scanner: Scanner, targets: str
) -> None:
    seen = 0
    with tempfile.TemporaryFile() as file:
        file.truncate(mmap.PAGESIZE)
        words = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        with running("-m", "tests.live.rolling", targets, stdin=file.fileno()) as process:
            assert process.stdout is not None
            pid = int(process.stdout.readline())
            for _ in range(150):
                (coming,) = struct.unpack_from("Q", words, 8)
                found = [h for h in scanner.scan().holdings if h.owner.pid == pid]
                (oldest,) = struct.unpack_from("Q", words, 0)
                lasting = set(range(oldest, coming))
                seen += len(lasting)
                assert lasting <= {(holding.address - FIRST) // 8 for holding in found}
                assert [h for h in found if h.owner.fd is None or h.orphan] == []
    assert seen > 100
