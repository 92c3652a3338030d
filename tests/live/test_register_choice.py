"""Which event sits in which register: this kernel's own books against the model's, after random changes to a running task."""

from __future__ import annotations

import fcntl
import os
import random
import time
from collections.abc import Iterator

import pytest

from backends.base import HwbpError
from backends.emulated.kernel.attr import Attr
from backends.emulated.kernel.config import CAPABILITIES
from backends.emulated.kernel.core import Kernel
from backends.kernelview.scanner import Scanner
from tests.live.bpf_here import needs_bpf
from tests.live.real_side import CPU, open_event

pytestmark = [pytest.mark.live, pytest.mark.root, pytest.mark.slow, pytest.mark.undisturbed, needs_bpf]
_PATIENCE = 2.0
_STEPS = 40


@pytest.fixture
def spinner() -> Iterator[int]:
    """A task that runs on one CPU, and leaves it for a moment every few milliseconds."""
    pid = os.fork()
    if pid == 0:
        os.sched_setaffinity(0, {CPU})
        while True:
            until = time.monotonic() + 0.003
            while time.monotonic() < until:
                pass
            time.sleep(0.0001)
    yield pid
    os.kill(pid, 9)
    os.waitpid(pid, 0)


class _Pair:
    """The same events on both sides. In the model the task has just been switched in."""

    def __init__(self, pid: int, scanner: Scanner) -> None:
        self.pid, self.scanner = pid, scanner
        self.kernel = Kernel(CPU + 1)
        self.opener = self.kernel.spawn("opener", capabilities=CAPABILITIES)
        self.task = self.kernel.spawn("task")
        self.kernel.switch(CPU, self.task)
        self.fds: list[tuple[int, int]] = []

    def open(self, address: int, pinned: bool, disabled: bool) -> None:
        attr = Attr(flags=0x60 | 4 * pinned | disabled, bp_type=2, bp_addr=address, bp_len=8, sample_period=0)
        model = self.kernel.perf.open(self.opener, attr, self.task.tid, -1)
        real = open_event(attr.pack(), self.pid, -1)
        assert real >= 0, "the model had room, the kernel had not"
        self.fds.append((real, model))

    def close(self, at: int) -> None:
        real, model = self.fds.pop(at)
        os.close(real)
        self.kernel.perf.close(self.opener, model)

    def switch(self, at: int, on: bool) -> None:
        real, model = self.fds[at]
        fcntl.ioctl(real, 0x2400 if on else 0x2401, 0)
        (self.kernel.perf.enable if on else self.kernel.perf.disable)(self.opener, model)

    def model(self) -> list[int | None]:
        """The registers once the task has left its CPU and come back."""
        self.kernel.switch(CPU, None)
        self.kernel.switch(CPU, self.task)
        return [event.address if event else None for event in self.kernel.cpus[CPU].bp_per_reg]

    def real(self) -> list[int | None] | None:
        """The same by the kernel's books; None where somebody else sits in one of this CPU's registers."""
        registers: list[int | None] = [None] * 4
        book = next(book for book in self.scanner.scan().cpus if book.cpu == CPU)
        for holding in book.slots:
            if holding.target is None or holding.target.tid != self.pid or holding.slot is None:
                return None
            registers[holding.slot] = holding.address
        return registers


@pytest.mark.parametrize("seed", range(4))
def test_events_sit_where_the_model_says(seed: int, spinner: int) -> None:
    try:
        scanner = Scanner.of_host()
    except HwbpError as error:
        pytest.skip(error.message)
    pair, rng = _Pair(spinner, scanner), random.Random(seed)
    compared = 0
    try:
        for step in range(_STEPS):
            kind = rng.choice(("open", "open", "close", "on", "off"))
            if kind == "open" and len(pair.fds) < 4:
                pair.open(0x7A00_0000_0000 + 8 * step, rng.random() < 0.5, rng.random() < 0.2)
            elif kind == "close" and pair.fds:
                pair.close(rng.randrange(len(pair.fds)))
            elif kind in ("on", "off") and pair.fds:
                pair.switch(rng.randrange(len(pair.fds)), kind == "on")
            else:
                continue
            wanted, deadline = pair.model(), time.monotonic() + _PATIENCE
            while (seen := pair.real()) != wanted and time.monotonic() < deadline:
                time.sleep(0.0005)
            if seen is None:
                continue  # somebody else's
            assert seen == wanted, f"step {step}, {kind}"
            compared += 1
    finally:
        scanner.close()
        while pair.fds:
            pair.close(0)
    if not compared:
        pytest.skip("somebody else sat in this CPU's registers all the time")
