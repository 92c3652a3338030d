"""How much of the bare engine's speed is left with four quiet slots armed."""

from __future__ import annotations

import time

from backends.base import Launch
from backends.emulated.icicle import IcicleEngine
from backends.emulated.loader import enter, load
from backends.emulated.memory import AddressSpace
from tests.bench.machine import Slot, in_process
from tests.bench.programs import Built
from tests.bench.report import Report, Row, Spread

__all__ = ["bench"]

_INSTRUCTIONS = 100_000_000
_STEP = 10_000_000
_GOAL = 0.8


class _Bare:
    """The engine with the same program in it, and nothing of ours while it runs."""

    def __init__(self, program: str) -> None:
        engine = IcicleEngine()
        enter(engine, load(Launch(program), AddressSpace(engine)))
        engine.move(jit=True)
        self._vm = engine.vm

    def rate(self, instructions: int) -> float:
        """Millions of instructions a second."""
        vm = self._vm
        before, start = vm.icount, time.perf_counter()
        while (done := vm.icount - before) < instructions:
            vm.step(min(_STEP, instructions - done))
        return float(vm.icount - before) / (time.perf_counter() - start) / 1e6


def bench(built: Built, quick: bool) -> Report:
    """Warm, and from a cold start."""
    program = built.program("quiet")
    watched = built.address(program, "page") + 32
    slots: list[Slot] = [(watched + 8 * n, 8, "w" if n % 2 == 0 else "rw") for n in range(4)]
    rounds = 5 if quick else 9
    return _warm(program, slots, rounds) + _cold(program, slots, rounds)


def _warm(program: str, slots: list[Slot], rounds: int) -> Report:
    ours, peer = [], []
    with in_process(program, slots, jit=True) as (backend, ring):
        bare = _Bare(program)
        bare.rate(_INSTRUCTIONS // 4)
        _ours(backend, _INSTRUCTIONS // 4)
        quiet_from = ring.head
        for number in range(rounds):
            if number % 2:
                peer.append(bare.rate(_INSTRUCTIONS))
                ours.append(_ours(backend, _INSTRUCTIONS))
            else:
                ours.append(_ours(backend, _INSTRUCTIONS))
                peer.append(bare.rate(_INSTRUCTIONS))
        if ring.head != quiet_from:
            raise RuntimeError("the slots were not quiet")
    return _row("quiet: 4 armed slots, warm", ours, peer, _GOAL)


def _ours(backend: object, instructions: int) -> float:
    from backends.emulated.backend import EmulatedBackend

    assert isinstance(backend, EmulatedBackend)
    cpu = backend._machine
    before, start = cpu.instructions, time.perf_counter()
    while cpu.instructions - before < instructions and backend.running:
        backend.run_slice()
    return (cpu.instructions - before) / (time.perf_counter() - start) / 1e6


def _cold(program: str, slots: list[Slot], rounds: int) -> Report:
    """The first hundred million, each time in a new machine: ours begins interpreted, the peer translates at once."""
    ours, peer = [], []
    for _ in range(rounds):
        with in_process(program, slots) as (backend, _ring):
            ours.append(_ours(backend, _INSTRUCTIONS))
        peer.append(_Bare(program).rate(_INSTRUCTIONS))
    return _row("quiet: the same from the first instruction", ours, peer, None)


def _row(what: str, ours: list[float], peer: list[float], goal: float | None) -> Report:
    mine, theirs = Spread.of(ours), Spread.of(peer)
    ratio = mine.over(theirs)
    met = ratio.middle >= goal if goal is not None else None
    return Report(
        (
            Row(
                what,
                mine.text("M instr/s"),
                theirs.text("M instr/s, bare engine"),
                ratio.text("x"),
                f">= {goal}x" if goal is not None else "",
                met,
            ),
        )
    )
