"""Requests a second to the emulated kernel's layer, with its journal on and a thousand tasks with four breakpoints each."""

from __future__ import annotations

import os
import time

from backends.emulated.kernel.attr import Attr
from backends.emulated.kernel.config import CAPABILITIES
from backends.emulated.kernel.core import Kernel
from tests.bench.programs import Built
from tests.bench.report import Report, Row, Spread
from tests.live.real_side import open_event

__all__ = ["bench"]

_TASKS = 1000
_GOAL = 20_000
_ATTR = Attr(sample_period=1, flags=0x60, bp_type=2, bp_addr=0x1000, bp_len=8)


def _crowded() -> Kernel:
    """A kernel in which a thousand tasks have four breakpoints each; each four have an opener of their own."""
    kernel = Kernel(2)
    for number in range(_TASKS):
        opener = kernel.spawn(f"o{number}", capabilities=CAPABILITIES)
        task = kernel.spawn(f"t{number}")
        for _ in range(4):
            kernel.perf.open(opener, _ATTR, task.tid, -1)
    return kernel


def _ours(kernel: Kernel, seconds: float) -> float:
    """open, disable, enable, close of an event of the running task: each is a request."""
    opener, task = kernel.spawn("opener", capabilities=CAPABILITIES), kernel.spawn("task")
    kernel.switch(0, task)
    done, begin = 0, time.perf_counter()
    while (spent := time.perf_counter() - begin) < seconds:
        for _ in range(100):
            fd = kernel.perf.open(opener, _ATTR, task.tid, -1)
            kernel.perf.disable(opener, fd)
            kernel.perf.enable(opener, fd)
            kernel.perf.close(opener, fd)
        done += 400
    kernel.switch(0, None)
    return done / spent


def _real(seconds: float) -> float | None:
    """open and close of a disabled event on ourselves, through this kernel; None where it has none for us."""
    data = Attr(flags=0x61, bp_type=2, bp_addr=0x1000, bp_len=8).pack()
    done, begin = 0, time.perf_counter()
    while (spent := time.perf_counter() - begin) < seconds:
        fd = open_event(data, 0, -1)
        if fd < 0:
            return None
        os.close(fd)
        done += 2
    return done / spent


def bench(built: Built, quick: bool) -> Report:
    """The goal is absolute: a script that draws 20,000 requests must not wait for the model."""
    runs, seconds = (3, 0.3) if quick else (5, 1.0)
    kernel = _crowded()
    ours, real = [], []
    for _ in range(runs):
        ours.append(_ours(kernel, seconds))
        real.append(_real(seconds / 4))
    rates = Spread.of(ours)
    peer = Spread.of([rate for rate in real if rate is not None] or [0.0])
    known = all(rate is not None for rate in real)
    return Report(
        (
            Row(
                f"requests to the layer, {_TASKS} tasks with 4 breakpoints each",
                rates.text("/s"),
                peer.text("/s, this kernel") if known else "",
                rates.over(peer).text("") if known else "",
                f">= {_GOAL:,}/s",
                rates.middle >= _GOAL,
            ),
        )
    )
