"""The emulated machine inside this process, driven as its own process drives it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from backends.base import Launch
from backends.emulated.backend import EmulatedBackend
from backends.model import BreakpointRequest, WatchType
from backends.ring import create_memfd
from backends.ring_reader import RingReader

__all__ = ["Slot", "in_process", "requests", "run_for"]

Slot = tuple[int, int, WatchType]
"""Address, length, type."""


def requests(slots: Sequence[Slot]) -> tuple[BreakpointRequest, ...]:
    """What `Backend.arm` takes."""
    return tuple(BreakpointRequest(address, length, kind) for address, length, kind in slots)


@contextmanager
def in_process(
    program: str,
    slots: Sequence[Slot],
    *,
    stacks: bool = False,
    jit: bool | None = None,
    capacity: int = 1 << 16,
) -> Iterator[tuple[EmulatedBackend, RingReader]]:
    """A machine that runs a program with slots armed. `jit` None: as it decides itself, else translated or not."""
    fd = create_memfd(capacity)
    backend = EmulatedBackend(fd)
    ring = RingReader(fd)
    os.close(fd)
    backend.launch(Launch(program, stacks=stacks))
    if slots:
        backend.arm(requests(slots))
    if jit:
        backend.translate()
    backend.resume()
    try:
        yield backend, ring
    finally:
        backend.close()
        ring.close()


def run_for(backend: EmulatedBackend, seconds: float) -> float:
    """Slices for some seconds; returns how long it was."""
    start = time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds and backend.running:
        backend.run_slice()
    return spent
