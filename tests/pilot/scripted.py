"""The source that the app's tests replace: a machine whose state the test sets, with a real hit ring and a real session.

Nothing of the app is replaced. Memory holds real machine code, so the disassembly is capstone's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, Literal

from backends import dr
from backends.base import Backend, HwbpError, Launch, Register
from backends.model import (
    Breakpoint,
    BreakpointRequest,
    CpuView,
    Frame,
    MachineView,
    Mapping,
    Owner,
    Refusal,
    RunState,
    Site,
    Slot,
    Stop,
    TaskView,
)
from backends.ring import ACCESS_CODES, FROM_CODES, HEADER, RECORD, RUN_STATES, RingMemory, create_memfd
from backends.ring_reader import RingReader
from symbols.lines import Frame as SourceFrame
from symbols.scope import Context
from symbols.value import Value
from tui.app.app import HwbpApp
from tui.session.session import Session

__all__ = ["ADD", "RESET", "FakeSpace", "Machine", "app_on", "busy_machine", "screen_text", "settle"]

PROGRAM = "/tmp/programs/counter"
TEXT = 0x401000
ADD = (0x40120C, 0x401211)
"""The instruction in add_limit that writes, and the ip that the CPU reports for it."""
RESET = (0x401240, 0x401248)
LIMITS = 0x404020

SYMBOLS: dict[str, tuple[int, int, str]] = {
    "main": (0x401100, 0x80, "code"),
    "worker": (0x401180, 0x40, "code"),
    "worker_step": (0x4011C0, 0x40, "code"),
    "add_limit": (0x401200, 0x40, "code"),
    "reset_one": (0x401240, 0x40, "code"),
    "cfg": (LIMITS - 0x10, 16, "data"),
    "cfg.limits": (LIMITS, 64, "data"),
    **{f"cfg.limits[{n}]": (LIMITS + 8 * n, 8, "data") for n in range(8)},
    "lock": (0x404100, 4, "data"),
    "panic_timeout": (0x404108, 4, "data"),
}
LINES = {"add_limit": 36, "reset_one": 61, "worker_step": 80, "worker": 97, "main": 120}


@dataclass(frozen=True)
class Place:
    module: str | None
    module_offset: int | None
    symbol: str | None
    symbol_offset: int | None
    source: str | None
    line: int | None


@dataclass(frozen=True)
class Target:
    address: int
    size: int | None
    kind: str
    type_name: str | None
    also: tuple[int, ...] = ()
    frame: int | None = None
    per_thread: bool = False


class FakeSpace:
    """Names from a table. `rename` lets a test give a function a hostile name."""

    bits: Literal[32, 64] = 64

    def __init__(self, rename: dict[str, str] | None = None) -> None:
        self.rename = rename or {}

    def _symbol(self, address: int) -> tuple[str, int] | None:
        found = [
            (name, address - start)
            for name, (start, size, _kind) in SYMBOLS.items()
            if start <= address < start + size
        ]
        return min(found, key=lambda each: each[1], default=None)

    def lookup(self, address: int) -> Place:
        name, offset = self._symbol(address) or (None, None)
        line = LINES.get(name or "")
        return Place(PROGRAM, address, name, offset, "counter.c" if line else None, line)

    def name(self, address: int) -> str:
        found = self._symbol(address)
        return f"{self.rename.get(found[0], found[0])}+{found[1]:#x}" if found else f"{address:#x}"

    def frames(self, address: int) -> tuple[SourceFrame, ...]:
        return ()

    def data_name(self, address: int) -> str | None:
        found = self._symbol(address)
        return (self.rename.get(found[0], found[0]) + (f"+{found[1]}" if found[1] else "")) if found else None

    def evaluate(self, expr: str, context: Context) -> tuple[Value, None, None]:
        found = self.resolve(expr)
        return Value(None, address=found.address, size=found.size, code=found.kind == "code"), None, None

    def resolve(
        self,
        expr: str,
        read: object = None,
        *,
        typed: bool = True,
        context: Context | None = None,
    ) -> Target:
        if expr in SYMBOLS:
            start, size, kind = SYMBOLS[expr]
            return Target(start, size, kind, None)
        try:
            return Target(int(expr, 0), None, "data", None)
        except ValueError:
            raise HwbpError(f"no symbol {expr!r}; near: cfg", errno="ENOENT") from None

    def starting_with(self, prefix: str, limit: int = 100) -> list[str]:
        return [name for name in SYMBOLS if name.startswith(prefix)][:limit]

    @property
    def modules(self) -> tuple[()]:
        """None: completion comes from elsewhere."""
        return ()

    def module_at(self, address: int) -> None:
        """A table has no modules: the disassembly begins at the culprit."""

    def update(self, mappings: Sequence[Mapping]) -> None:
        """A table has no mappings."""


def _memory() -> bytearray:
    memory = bytearray(b"\x90" * 0x1000 + b"\0" * 0x3000)

    def put(address: int, code: str) -> None:
        raw = bytes.fromhex(code)
        memory[address - TEXT : address - TEXT + len(raw)] = raw

    put(0x401200, "488b3de92e0000 4885ff 7405 4883471801 c3")
    put(0x401240, "48c7471800000000 c3")
    return memory


class Machine(Backend):
    """One CPU, one task, four slots that run out. Tests write hits with `hit` and change anything else with `set`."""

    def __init__(self, capacity: int = 4096, comm: str = "counter") -> None:
        self.fd = create_memfd(capacity)
        self.memory = RingMemory(self.fd)
        self.reader = RingReader(self.fd)
        self.ram = _memory()
        self.calls: list[str] = []
        self.views = 0
        self.dead: HwbpError | None = None
        self.closed = False
        self.stack_list: list[tuple[Frame, ...]] = [
            (),
            (Frame(ADD[0], False), Frame(0x4011F3, False), Frame(0x401195, False), Frame(0x40118A - 0, True)),
            (Frame(RESET[0], False), Frame(0x40118A, False)),
        ]
        self.state: MachineView = MachineView(
            generation=1,
            backend="emulated",
            program=PROGRAM,
            argv=(PROGRAM,),
            state="loaded",
            stop=Stop("entry", "before the first instruction"),
            exit_status=None,
            clock="instructions",
            time_ns=0,
            instructions=0,
            hits=0,
            lost=0,
            engine="script",
            cpus=(self._cpu(dr.DR7_BASE, (0, 0, 0, 0)),),
            tasks=(TaskView(1000, 1000, comm, 0x401100, 0x7FFFF0001000, dr.DR6_BASE, 0),),
            breakpoints=(),
            mappings=(Mapping(TEXT, TEXT + 0x4000, "rwxp", 0, PROGRAM),),
            comms=(comm,),
        )
        self.totals: dict[tuple[int, int], Any] = {}
        self._next = 1
        self._publish()

    @staticmethod
    def _cpu(dr7: int, addresses: tuple[int, int, int, int], **more: Any) -> CpuView:
        fields: dict[str, Any] = {
            "cpu": 0,
            "tid": 1000,
            "dr": addresses,
            "dr6": dr.DR6_BASE,
            "dr7": dr7,
            "cpu_dr7": dr7 & ~dr.DR7_BASE,
            "changed_dr7": 0,
            "changed_by": "",
            "db_count": 0,
            "dr_writes": 0,
            "last_db": "",
            "free": 4,
            "slots": (),
        }
        return CpuView(**(fields | more))

    # What tests do

    def set(self, **changes: Any) -> None:
        """Another state; the generation grows."""
        self.state = replace(self.state, generation=self.state.generation + 1, **changes)
        self._publish()

    def set_cpu(self, **changes: Any) -> None:
        self.set(cpus=(replace(self.state.cpus[0], **changes),))

    def run_state(self, state: RunState, stop: Stop = Stop("none")) -> None:  # noqa: B008 - frozen
        self.set(state=state, stop=stop)

    def hit(
        self, event: int, old: int, value: int, *, by: tuple[int, int] = ADD, stack: int = 1, **more: int
    ) -> None:
        """Write one hit as the backend's process does."""
        bp = next(b for b in self.state.breakpoints if b.id == event)
        head = self.memory.words[HEADER["head"]]
        exact = FROM_CODES.index(None if bp.type == "x" else "exact")
        insn_ip, ip = by
        fields = (head, more.get("time", 1000 + 37 * head), ip, insn_ip, bp.address, value, old)
        RECORD.pack_into(
            self.memory.records,
            (head & self.memory.capacity - 1) * RECORD.size,
            *fields,
            *(bp.id, 1000, 1000, stack, 0, 0, bp.length, 0xFF if bp.slot is None else bp.slot),
            *(ACCESS_CODES.index(bp.type), exact, exact, more.get("flags", 0)),
        )
        self.memory.words[HEADER["head"]] = head + 1
        count, first = self.totals.get((bp.id, insn_ip), (0, fields[1]))[:2]
        known = (None, None) if bp.type == "x" else (value, old)
        self.totals[bp.id, insn_ip] = (count + 1, first, fields[1], *known, stack)
        self.state = replace(
            self.state,
            hits=head + 1,
            breakpoints=tuple(
                replace(b, hits=b.hits + 1) if b.id == event else b for b in self.state.breakpoints
            ),
        )

    def _publish(self) -> None:
        words = self.memory.words
        words[HEADER["state"]] = RUN_STATES.index(self.state.state)
        words[HEADER["generation"]] = self.state.generation

    # What the session asks

    def _called(self, name: str, *arguments: object) -> None:
        if self.dead is not None:
            raise self.dead
        self.calls.append(f"{name}({', '.join(map(str, arguments))})")

    def launch(self, launch: Launch) -> MachineView:
        return self.state

    def view(self) -> MachineView:
        if self.dead is not None:
            raise self.dead
        self.views += 1
        return self.state

    def arm(self, requests: tuple[BreakpointRequest, ...]) -> tuple[Breakpoint, ...]:
        self._called("arm", *(request.text for request in requests))
        held = self.state.breakpoints
        if len(held) + len(requests) > 4:
            holders = tuple(f"DR{b.slot} {b.owner.kind} {b.text}" for b in held)
            refusal = Refusal(requests[0].text, "ENOSPC", "0 pinned + 4 of task 1000", holders)
            if not requests[0].again:
                self.set(refusals=(*self.state.refusals, refusal), refused=self.state.refused + 1)
            raise HwbpError("all 4 slots of CPU 0 are held", errno="ENOSPC", holders=holders)
        return tuple(self.add(request) for request in requests)

    def add(self, request: BreakpointRequest, owner: Owner | None = None) -> Breakpoint:
        """Put a breakpoint into the first free register."""
        used = {b.slot for b in self.state.breakpoints}
        slot = next(n for n in range(4) if n not in used)
        made = Breakpoint(
            id=self._next,
            address=request.address,
            length=request.length,
            type=request.type,
            owner=owner or Owner(request.owner, 1000 if request.owner == "perf" else None),
            enabled=True,
            tid=request.tid if request.owner in ("kgdb", "ftrace") else 1000,
            cpu=None,
            slot=slot,
            index=None,
            watch=request.watch,
            window=request.window,
            text=request.text,
            stop=request.stop,
            hits=0,
        )
        self._next += 1
        self._install((*self.state.breakpoints, made))
        return made

    def _install(self, held: tuple[Breakpoint, ...]) -> None:
        dr7 = dr.DR7_BASE
        addresses = [0, 0, 0, 0]
        for b in held:
            if b.slot is not None:
                addresses[b.slot] = b.address
                if b.enabled:
                    dr7 |= dr.dr7_encode(b.slot, b.length, b.type)
        self.set(breakpoints=held)
        self._write(dr7, (addresses[0], addresses[1], addresses[2], addresses[3]), "perf")

    def _write(self, dr7: int, addresses: tuple[int, int, int, int], by: str) -> None:
        held = {b.slot: b for b in self.state.breakpoints}
        slots = tuple(
            Slot(
                n,
                addresses[n],
                dr.slot_length(dr7, n),
                dr.slot_type(dr7, n),
                bool(dr7 >> 2 * n & 1),
                bool(dr7 >> 2 * n & 2),
                held[n].id if n in held else None,
            )
            for n in range(4)
        )
        changed = dr7 ^ self.state.cpus[0].dr7
        books = dr7 & ~dr.DR7_BASE if by == "perf" else self.state.cpus[0].cpu_dr7
        self.set_cpu(
            dr=addresses,
            dr7=dr7,
            cpu_dr7=books,
            changed_dr7=changed,
            changed_by=by,
            free=4 - len(held),
            slots=slots,
        )

    def disarm(self, ids: tuple[int, ...]) -> None:
        self._called("disarm", *ids)
        self._install(tuple(b for b in self.state.breakpoints if b.id not in ids))

    def enable(self, id: int, on: bool) -> None:  # noqa: A002 - the protocol's word
        self._called("enable", id, on)
        self._install(tuple(replace(b, enabled=on) if b.id == id else b for b in self.state.breakpoints))

    def resume(self) -> None:
        self._called("resume")
        self.run_state("running")

    def stop(self) -> MachineView:
        self._called("stop")
        self.run_state("stopped", Stop("user", "stopped by hand"))
        return self.state

    def step(self, count: int, over_calls: bool) -> MachineView:
        self._called("step", count, over_calls)
        self.run_state("stopped", Stop("step", "one instruction"))
        return self.state

    def finish(self) -> MachineView:
        raise HwbpError("the return address is not known exactly", errno="EINVAL")

    def run_to(self, address: int) -> MachineView:
        self._called("run_to", hex(address))
        return self.state

    def read(self, address: int, size: int) -> bytes:
        offset = address - TEXT
        if offset < 0 or offset + size > len(self.ram):
            raise HwbpError(f"cannot read {size} bytes at {address:#x}", errno="EFAULT")
        return bytes(self.ram[offset : offset + size])

    def registers(self, tid: int | None) -> tuple[Register, ...]:
        return (Register("rax", 7), Register("rip", 0x401100))

    def write_dr(self, cpu: int, register: int, value: int) -> MachineView:
        self._called("write_dr", cpu, register, hex(value))
        if register == 7:
            self._write(dr.dr7_written(value), self.state.cpus[0].dr, "hand")
        elif register == 6:
            self.set_cpu(dr6=dr.dr6_written(value))
        else:
            a, b, c, d = (value if n == register else old for n, old in enumerate(self.state.cpus[0].dr))
            self._write(self.state.cpus[0].dr7, (a, b, c, d), "hand")
        return self.state

    def ptrace_peek(self, tid: int | None, register: int) -> int:
        return 0

    def ptrace_poke(self, tid: int | None, register: int, value: int) -> None:
        self._called("ptrace_poke", register, hex(value))

    def stacks(self, first: int) -> tuple[tuple[Frame, ...], ...]:
        return tuple(self.stack_list[first:])

    def sites(self) -> tuple[Site, ...]:
        sites = (Site(*key, *facts) for key, facts in self.totals.items())
        return tuple(sorted(sites, key=lambda site: -site.count))

    def output(self, first: int) -> tuple[tuple[int, bytes], ...]:
        return ()

    def close(self) -> None:
        self.closed = True
        os.close(self.fd)


def app_on(machine: Machine, *, space: FakeSpace | None = None, **options: Any) -> HwbpApp:
    """The real app on a scripted machine, with a clock that stands still unless one is given."""
    opening: Future[Session] = Future()
    names = space or FakeSpace()
    clock: Callable[[], float] = options.pop("clock", lambda: 100.0)
    opening.set_result(Session(machine, machine.reader, space=lambda _mappings, _program: names))
    return HwbpApp(opening, clock=clock, fps=0, **options)


def busy_machine(hits: int = 60, machine: Machine | None = None) -> Machine:
    """perf, ptrace and kgdb each hold a slot, and the program has hit them."""
    machine = machine or Machine()
    machine.add(BreakpointRequest(LIMITS + 24, 8, "w", text="cfg.limits[3]"))
    lock = BreakpointRequest(0x404100, 4, "rw", owner="ptrace", text="lock")
    machine.add(lock, Owner("ptrace", 812, "gdb"))
    machine.add(BreakpointRequest(0x401200, 1, "x", owner="kgdb", text="add_limit"))
    for number in range(hits):
        if number % 7 == 6:
            machine.hit(1, number, 0, by=RESET, stack=2)
        else:
            machine.hit(1, number, number + 1)
        if number % 9 == 4:
            machine.hit(2, 0, 1)
        if number % 5 == 3:
            machine.hit(3, 0, 0, by=(0x401200, 0x401200))
    machine.run_state("stopped", Stop("hit", "hit 3 of add_limit"))
    machine.set_cpu(dr6=dr.DR6_BASE | 1, last_db="trap: data", db_count=79, dr_writes=6)
    return machine


def screen_text(app: HwbpApp) -> str:
    """What stands on the screen, line by line."""
    strips = app.screen._compositor.render_strips(app.size)
    return "\n".join(strip.text.rstrip() for strip in strips)


async def settle(pilot: Any) -> None:
    """Until the machine has answered everything and the screen shows it."""
    app: HwbpApp = pilot.app
    for _ in range(10):
        await pilot.pause()
        for _ in range(1000):
            if app.machine.idle:
                break
            await pilot.pause(0.001)
        app.tick()  # after the last answer, or nobody draws it
        await pilot.pause()
        view, ring = app.scene.view, app.scene.ring
        fresh = view is None or ring is None or ring.word("generation") == view.generation
        if not app.scene.names.wanted and (fresh or app.machine.broken):
            return
    raise AssertionError("the machine never came to rest")
