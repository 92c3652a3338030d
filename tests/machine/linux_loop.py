"""The shortest machine that runs a program: engine, loader, system calls; no debug registers, no CPUID of our own."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

import iced_x86 as ic

from backends.base import Launch
from backends.emulated.decode import REGISTER_NAMES, decode
from backends.emulated.engine import EventKind
from backends.emulated.icicle import IcicleEngine
from backends.emulated.linux import Linux, Unsupported
from backends.emulated.loader import Image, enter, load
from backends.emulated.memory import AddressSpace
from backends.emulated.mm import Mm
from backends.emulated.sleigh_floats import TRAP
from backends.emulated.sse.running import compute

__all__ = ["Finished", "boot", "float_left_to_us", "run", "settle"]

_FAULTS = {
    EventKind.DENIED: signal.SIGSEGV,
    EventKind.UNMAPPED: signal.SIGSEGV,
    EventKind.NO_EXEC: signal.SIGSEGV,
    EventKind.DIVIDE: signal.SIGFPE,
    EventKind.INVALID: signal.SIGILL,
}
_BUDGET = 1_000_000


@dataclass(frozen=True, slots=True)
class Finished:
    """A program that has ended."""

    out: bytes
    err: bytes
    status: int
    instructions: int
    linux: Linux


def boot(launch: Launch, *, jit: bool = False) -> tuple[IcicleEngine, AddressSpace, Image, Linux]:
    """Load a program and stand before its first instruction."""
    mm = Mm.fresh()
    mm.space.on_exec = mm.space.on_change = lambda start, end: (
        None
    )  # the engine runs every instruction by itself here
    image = load(launch, mm.space)
    enter(mm.engine, image)
    if jit:
        mm.engine.move(jit=True)
    linux = Linux(mm, image, launch, lambda: mm.engine.instructions_counted)
    assert linux.scheduler.turn() == 0
    return mm.engine, mm.space, image, linux


def settle(linux: Linux) -> None:
    """Let the one task's sleep end, and answer its system call."""
    task = linux.current
    while task.wait is not None:
        if not linux.idle():
            raise Unsupported(f"a wait for {task.wait.what} that nobody can end")
        linux.scheduler.turn()
        linux.enter(task)


def float_left_to_us(engine: IcicleEngine) -> None:
    """Run the instruction on floats at pc, which the engine would not."""
    decoded = decode(engine.read(engine.pc, 15), engine.pc, engine.read_register)
    if decoded.instruction.op1_kind == ic.OpKind.REGISTER:
        source = engine.get(REGISTER_NAMES[decoded.instruction.op1_register])
    else:
        ((address, size, _),) = decoded.accesses()
        source = int.from_bytes(engine.read(address, size), "little")
    assert compute(engine, decoded, source) == 0, "an exception that is not masked"
    engine.pc += decoded.length


def run(
    program: str | Path, *argv: str, jit: bool = False, limit: int = 400_000_000, **launch: object
) -> Finished:
    """Run a program to its end."""
    engine, space, _, linux = boot(Launch(str(program), argv, **launch), jit=jit)  # type: ignore[arg-type]
    while linux.exit_status is None:
        kind = engine.run(_BUDGET)
        if kind is EventKind.SYSCALL:
            linux.syscall()
            settle(linux)
        elif kind is EventKind.UNMAPPED and engine.event().address == TRAP:
            float_left_to_us(engine)
        elif kind is EventKind.UNMAPPED and space.grow_stack(engine.event().address):
            continue
        elif kind in _FAULTS:
            linux.deliver_fault(_FAULTS[kind], engine.event().address)
        elif kind is not EventKind.LIMIT:
            raise AssertionError(f"{kind.name} at {engine.pc:#x}: {engine.read(engine.pc, 12).hex(' ')}")
        assert engine.instructions_counted < limit, "the program does not end"
    linux.close()
    out, err = linux.output.bytes_of(1), linux.output.bytes_of(2)
    return Finished(out, err, linux.exit_status, engine.instructions_counted, linux)
