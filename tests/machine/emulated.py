"""Run a program on the emulated machine inside the test's own process."""

from __future__ import annotations

import os
from dataclasses import dataclass

from backends.base import Launch
from backends.emulated.backend import EmulatedBackend
from backends.model import BreakpointRequest, MachineView, OwnerKind
from backends.ring import ACCESS_CODES, FLAG_SAME_DB, create_memfd
from backends.ring_reader import RingReader

__all__ = ["EmulatedHit", "Run", "run"]


@dataclass(frozen=True)
class EmulatedHit:
    """One record of the ring, in the words of `tests.live.silicon`."""

    ip: int
    insn_ip: int
    slot: int
    address: int
    access: str
    old: int
    value: int
    time: int
    same_db: bool


@dataclass(frozen=True)
class Run:
    """What a run left behind."""

    view: MachineView
    hits: list[EmulatedHit]
    output: bytes
    backend: EmulatedBackend


def run(
    argv: list[str],
    slots: list[tuple[int, int, str]],
    *,
    owner: OwnerKind = "perf",
    stacks: bool = False,
    jit: bool = False,
    slices: int = 100_000,
) -> Run:
    """Run to the end with `slots` (address, length, "x" | "w" | "rw") armed from the first instruction."""
    fd = create_memfd(1 << 17)
    backend = EmulatedBackend(fd)
    ring = RingReader(fd)
    os.close(fd)
    backend.launch(Launch(argv[0], tuple(argv[1:]), stacks=stacks))
    if slots:
        backend.arm(
            tuple(BreakpointRequest(address, length, kind, owner) for address, length, kind in slots)  # type: ignore[arg-type]
        )
    if jit:
        backend.translate()
    backend.resume()
    for _ in range(slices):
        if not backend.running:
            break
        backend.run_slice()
    rows = ring.read(0, 1 << 17)
    hits = [
        EmulatedHit(
            int(row["ip"]),
            int(row["insn_ip"]),
            int(row["slot"]),
            int(row["address"]),
            str(ACCESS_CODES[row["access"]]),
            int(row["old"]),
            int(row["value"]),
            int(row["time"]),
            bool(row["flags"] & FLAG_SAME_DB),
        )
        for row in rows
    ]
    output = b"".join(data for _, data in backend.output(0))
    return Run(backend.view(), hits, output, backend)
