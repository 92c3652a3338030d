"""Memory once the ring is full, and after it was overwritten many times."""

from __future__ import annotations

import time

from backends.base import Launch
from backends.client import start
from backends.ring_reader import RingReader
from tests.bench import flood
from tests.bench.first_picture import set_running
from tests.bench.machine import requests
from tests.bench.programs import Built
from tests.bench.report import Report, Row
from tests.bench.terminal import Terminal, resident

__all__ = ["bench"]

_CAPACITY = 1 << 16
_GOAL = 1.02
_PATIENCE = 120.0


def bench(built: Built, quick: bool) -> Report:
    """The machine's process at its own rate, the front end in a flood."""
    times = 12 if quick else 30
    return _machine(built, times) + _front_end(times)


def _row(what: str, first: float, last: float, times: float) -> Report:
    ratio = last / first
    return Report(
        (
            Row(
                f"memory: {what}",
                f"{last:.1f} MiB",
                f"{first:.1f} MiB, ring full once",
                f"{ratio:.3f} x",
                f"<= {_GOAL}x",
                ratio <= _GOAL,
            ),
        ),
        (f"memory: {what}: the ring was overwritten {times:.0f} times",),
    )


def _machine(built: Built, times: int) -> Report:
    program = built.program("hits", "deep")
    client = start("emulated", _CAPACITY)
    try:
        ring = RingReader(client.ring_fd)
        client.launch(Launch(program))
        client.arm(requests([(built.address(program, "hot"), 8, "w")]))
        client.resume()
        end = time.monotonic() + _PATIENCE
        while (
            ring.head < _CAPACITY or "interpreted" in client.view().engine
        ):  # the hand-over takes memory too
            _wait(end)
        from_, first = ring.head, resident(client.pid)
        while ring.head < from_ + times * _CAPACITY:
            _wait(end)
        last, overwritten = resident(client.pid), (ring.head - from_) / _CAPACITY
        ring.close()
    finally:
        client.close()
    return _row("the machine's process", first, last, overwritten)


def _wait(end: float) -> None:
    if time.monotonic() > end:
        raise RuntimeError("the ring was not filled in time")
    time.sleep(0.05)


def _front_end(times: int) -> Report:
    with Terminal(flood.command(flood.RATE, _CAPACITY)) as terminal:
        set_running(terminal)
        terminal.until(lambda text: f"(the last {_CAPACITY:,} kept)" in text, "a full ring")
        terminal.watch(
            4.0
        )  # names, disassembly and their modules come with the first hits, wide searches every 2 s
        first = resident(terminal.pid)
        seconds = times * _CAPACITY / flood.RATE
        terminal.watch(seconds)
        last = resident(terminal.pid)
    return _row("the front end", first, last, times)
