"""A machine that plays a script: four slots that really run out, memory, and a real hit ring.

`resume` plays the accesses at once, in order, until one stops it or the script ends. With `endless` it then stays
running until `stop`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Literal

from backends.base import Backend, HwbpError, Launch, Register
from backends.dr import DR6_BASE, DR7_BASE, dr7_encode, dr7_written, slot_length, slot_type
from backends.dr import enabled as dr7_enabled
from backends.model import (
    Breakpoint,
    BreakpointRequest,
    CpuView,
    Frame,
    Journal,
    MachineView,
    Mapping,
    Mark,
    Occupancy,
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
from symbols.ctype import BUILTIN, Type
from symbols.lines import Frame as SourceFrame
from symbols.scope import Context
from symbols.target import ExpressionError
from symbols.value import Value
from tui.session.session import Session

__all__ = ["MAPPINGS", "PROGRAM", "Access", "FakeSpace", "ScriptedBackend", "open_session"]

PROGRAM = "/tmp/programs/counter"
MAPPINGS = (
    Mapping(0x400000, 0x402000, "r-xp", 0, PROGRAM),
    Mapping(0x404000, 0x406000, "rw-p", 0x3000, PROGRAM),
    Mapping(0x7FFFF0000000, 0x7FFFF0021000, "rw-p", 0, "[stack]"),
)
SYMBOLS = {
    "main": (0x401100, 64, "code", None),
    "add_limit": (0x401200, 64, "code", None),
    "counter": (0x404000, 8, "data", "long"),
    "small": (0x404008, 4, "data", "unsigned int"),
    "text": (0x404010, 16, "data", "char [16]"),
    "limits": (0x404020, 64, "data", "long [8]"),
    "odd": (0x404065, 20, "data", "char [20]"),
}


@dataclass(frozen=True)
class Access:
    """One access of the script. `access` is x, r or w; a write changes memory."""

    address: int
    size: int = 8
    access: str = "w"
    value: int = 0
    insn_ip: int = 0x401210
    ip: int = 0x401214
    stack: int = 1


@dataclass(frozen=True)
class FakePlace:
    module: str | None
    module_offset: int | None
    symbol: str | None
    symbol_offset: int | None
    source: str | None
    line: int | None


@dataclass(frozen=True)
class FakeObject:
    address: int
    size: int | None
    kind: str
    type_name: str | None
    also: tuple[int, ...] = ()
    frame: int | None = None
    per_thread: bool = False


class FakeSpace:
    """Names from a table: what `symbols.space.AddressSpace` answers for a small program."""

    bits: Literal[32, 64] = 64

    def __init__(self, mappings: Sequence[Mapping] = MAPPINGS, program: str = PROGRAM) -> None:
        self.mappings = tuple(mappings)

    def _symbol(self, address: int) -> tuple[str, int] | None:
        for name, (start, size, _kind, _type) in SYMBOLS.items():
            if start <= address < start + size:
                return name, address - start
        return None

    def lookup(self, address: int) -> FakePlace:
        mapping = next((m for m in self.mappings if m.start <= address < m.end), None)
        symbol = self._symbol(address) or (None, None)
        code = symbol[0] in ("main", "add_limit")
        return FakePlace(
            mapping.path if mapping else None,
            address if mapping else None,
            symbol[0],
            symbol[1],
            "counter.c" if code else None,
            address & 0xFF if code else None,
        )

    def name(self, address: int) -> str:
        found = self._symbol(address)
        return f"{found[0]}+{found[1]:#x}" if found else f"{address:#x}"

    def frames(self, address: int) -> tuple[SourceFrame, ...]:
        return ()

    def data_name(self, address: int) -> str | None:
        found = self._symbol(address)
        if not found:
            return None
        return f"{found[0]}+{found[1]}" if found[1] else found[0]

    def evaluate(self, expr: str, context: Context) -> tuple[Value, None, None]:
        if expr.startswith("$"):
            try:
                assert context.registers is not None
                return Value(BUILTIN["unsigned long"], number=context.registers(expr[1:])), None, None
            except KeyError:
                raise ExpressionError(f"there is no register {expr}", (), (0, len(expr))) from None
        found = self.resolve(expr)
        name, _, count = (found.type_name or "").partition(" [")
        kind = BUILTIN.get(name)
        if kind is not None and count:
            element = kind
            kind = Type("array", counts=(int(count[:-1]),), refers=lambda: element)
        return Value(kind, address=found.address, size=found.size, code=found.kind == "code"), None, None

    def resolve(
        self,
        expr: str,
        read: object = None,
        *,
        typed: bool = True,
        context: Context | None = None,
    ) -> FakeObject:
        if expr.startswith("$") and context is not None:
            number = self.evaluate(expr, context)[0].number
            assert isinstance(number, int)
            return FakeObject(number, None, "data", None)
        if expr in SYMBOLS:
            return FakeObject(*SYMBOLS[expr])
        name, plus, offset = expr.partition("+")
        if plus and name in SYMBOLS:
            address, size, kind, _type = SYMBOLS[name]
            return FakeObject(address + int(offset, 0), size - int(offset, 0), kind, None)
        try:
            return FakeObject(int(expr, 0), None, "data", None)
        except ValueError:
            raise ExpressionError(f"no symbol {expr}: did you mean counter?") from None

    @property
    def modules(self) -> list[SimpleNamespace]:
        table = SimpleNamespace(
            names=lambda prefix, limit: [n for n in SYMBOLS if n.startswith(prefix)][:limit]
        )
        return [SimpleNamespace(path=PROGRAM, names=SimpleNamespace(table=table))]

    def update(self, mappings: Sequence[Mapping]) -> None:
        self.mappings = tuple(mappings)


class ScriptedBackend(Backend):
    """Four slots, one task, one CPU."""

    def __init__(
        self,
        script: Sequence[Access] = (),
        *,
        exit_status: int | None = 0,
        endless: bool = False,
        capacity: int = 4096,
    ) -> None:
        self.owner_calls: list[tuple[str, str, tuple[str, ...]]] = []
        self.script = list(script)
        self.exit_status = exit_status
        self.endless = endless
        self.fd = create_memfd(capacity)
        self.memory = RingMemory(self.fd)
        self.reader = RingReader(self.fd)
        self.ram = bytearray(0x2000)
        self.points: dict[int, Breakpoint] = {}
        self.refusals: tuple[Refusal, ...] = ()
        self.next_id = 1
        self.state: RunState = "loaded"
        self.why = Stop("none", "")
        self.generation = 0
        self.instructions = 0
        self.pc = 0x401000
        self.dr7 = DR7_BASE
        self.ptrace_dr7 = 0
        self.printed = b""
        self.views = 0
        self.closed = False
        self._moved()

    def _moved(self) -> MachineView:
        self.generation += 1
        words = self.memory.words
        words[HEADER["generation"]] = self.generation
        words[HEADER["state"]] = RUN_STATES.index(self.state)
        words[HEADER["instructions"]] = self.instructions
        words[HEADER["output"]] = len(self.printed)
        return self._view()

    def launch(self, launch: Launch) -> MachineView:
        return self._moved()

    def view(self) -> MachineView:
        self.views += 1
        return self._view()

    def _view(self) -> MachineView:
        slots = tuple(
            Slot(
                bp.slot,
                bp.address,
                slot_length(self.dr7, bp.slot),
                slot_type(self.dr7, bp.slot),
                bool(self.dr7 >> 2 * bp.slot & 1),
                bool(self.dr7 >> 2 * bp.slot & 2),
                bp.id,
            )
            for bp in self.points.values()
            if bp.slot is not None
        )
        dr = [0, 0, 0, 0]
        for slot in slots:
            dr[slot.index] = slot.address
        cpu = CpuView(
            cpu=0,
            tid=41,
            dr=(dr[0], dr[1], dr[2], dr[3]),
            dr6=DR6_BASE,
            dr7=self.dr7,
            cpu_dr7=self.dr7 & ~DR7_BASE,
            changed_dr7=0,
            changed_by="",
            db_count=self.memory.words[HEADER["head"]],
            dr_writes=0,
            last_db="",
            free=4 - len(self.points),
            slots=slots,
        )
        head = self.memory.words[HEADER["head"]]
        return MachineView(
            generation=self.generation,
            backend="scripted",
            program=PROGRAM,
            argv=(PROGRAM,),
            state=self.state,
            stop=self.why,
            exit_status=self.exit_status if self.state == "exited" else None,
            clock="instructions",
            time_ns=self.instructions,
            instructions=self.instructions,
            hits=head,
            lost=0,
            engine="script",
            cpus=(cpu,),
            tasks=(TaskView(41, 41, "counter", self.pc, 0x7FFFF0001000, DR6_BASE, self.ptrace_dr7),),
            breakpoints=tuple(self.points.values()),
            mappings=MAPPINGS,
            refusals=self.refusals,
            refused=len(self.refusals),
            comms=("counter",),
        )

    def _refuse(self, what: str, known: bool = False) -> HwbpError:
        holders = tuple(f"DR{bp.slot}: {bp.owner.kind} {bp.text}" for bp in self.points.values())
        if known:
            return HwbpError(f"{what}: the 4 slots of CPU 0 are held", errno="ENOSPC", holders=holders)
        self.refusals += (Refusal(what, "ENOSPC", "the 4 slots are held", holders),)
        self._moved()
        return HwbpError(f"{what}: the 4 slots of CPU 0 are held", errno="ENOSPC", holders=holders)

    def arm(self, requests: tuple[BreakpointRequest, ...]) -> tuple[Breakpoint, ...]:
        if len(self.points) + len(requests) > 4:
            raise self._refuse(requests[0].text, requests[0].again)
        made = tuple(self._add(request) for request in requests)
        self._moved()
        return made

    def _add(self, request: BreakpointRequest, index: int | None = None) -> Breakpoint:
        assert request.address % request.length == 0
        used = {bp.slot for bp in self.points.values()}
        slot = next(n for n in range(4) if n not in used)
        owner = Owner("ptrace", 812, "gdb") if request.owner == "ptrace" else Owner(request.owner)
        bp = Breakpoint(
            id=self.next_id,
            address=request.address,
            length=request.length,
            type=request.type,
            owner=owner,
            enabled=request.enabled,
            tid=41,
            cpu=None,
            slot=slot,
            index=index,
            watch=request.watch,
            window=request.window,
            text=request.text,
            stop=request.stop,
            hits=0,
        )
        self.next_id += 1
        self.points[bp.id] = bp
        self.dr7 |= dr7_encode(slot, bp.length, bp.type)
        return bp

    def disarm(self, ids: tuple[int, ...]) -> None:
        for id_ in ids:
            if id_ not in self.points:
                raise HwbpError(f"no event {id_}", errno="ENOENT")
            if self.points[id_].owner.kind == "ptrace":
                raise HwbpError("ptrace gives a slot back only at exec or exit", errno="EBUSY")
        for id_ in ids:
            slot = self.points.pop(id_).slot or 0
            self.dr7 &= ~(0xF << 16 + 4 * slot | 3 << 2 * slot)
        self._moved()

    def enable(self, id: int, on: bool) -> None:  # noqa: A002
        self.points[id] = replace(self.points[id], enabled=on)
        self._moved()

    def resume(self) -> None:
        self.state, self.why = "running", Stop("none")
        while self.script:
            access = self.script.pop(0)
            self.instructions += 1
            if self._play(access):
                self.state, self.why = "stopped", Stop("hit", "hit", self.memory.words[HEADER["head"]] - 1)
                break
        else:
            if not self.endless:
                self.state, self.why = "exited", Stop("exit", f"exit status {self.exit_status}")
        self._moved()

    def _play(self, access: Access) -> bool:
        stop = False
        before = {bp.id: self._value(bp) for bp in self.points.values()}
        if access.access == "w":
            offset = access.address - 0x404000
            self.ram[offset : offset + access.size] = access.value.to_bytes(access.size, "little")
        for bp in list(self.points.values()):
            if not bp.enabled or not (
                bp.address < access.address + access.size and access.address < bp.address + bp.length
            ):
                continue
            if (access.access == "x") != (bp.type == "x") or (access.access == "r" and bp.type == "w"):
                continue
            self._record(bp, access, before[bp.id])
            self.points[bp.id] = replace(bp, hits=bp.hits + 1)
            stop = stop or bp.stop
        return stop

    def _value(self, bp: Breakpoint) -> int:
        offset = bp.address - 0x404000
        return int.from_bytes(self.ram[offset : offset + bp.length], "little") if offset >= 0 else 0

    def _record(self, bp: Breakpoint, access: Access, old: int) -> None:
        head = self.memory.words[HEADER["head"]]
        exact = FROM_CODES.index(None if access.access == "x" else "exact")
        ip = access.insn_ip if access.access == "x" else access.ip
        RECORD.pack_into(
            self.memory.records,
            (head & self.memory.capacity - 1) * RECORD.size,
            *(head, self.instructions, ip, access.insn_ip, bp.address, self._value(bp), old),
            *(bp.id, 41, 41, access.stack, 0, 0, bp.length, bp.slot),
            *(ACCESS_CODES.index(access.access), exact, exact, 0),
        )
        self.memory.words[HEADER["head"]] = head + 1

    def stop(self) -> MachineView:
        self.state, self.why = "stopped", Stop("user", "stopped by hand")
        return self._moved()

    def step(self, count: int, over_calls: bool) -> MachineView:
        self.instructions += count
        self.pc += count
        self.state, self.why = "stopped", Stop("step")
        return self._moved()

    def finish(self) -> MachineView:
        raise HwbpError("the return address is not known exactly", errno="EINVAL")

    def run_to(self, address: int) -> MachineView:
        self.pc = address
        self.state, self.why = "stopped", Stop("entry")
        return self._moved()

    def read(self, address: int, size: int) -> bytes:
        offset = address - 0x404000
        if address >= 0x400000 and address + size <= 0x402000:
            return b"\x90" * size
        if offset < 0 or offset + size > len(self.ram):
            raise HwbpError(f"cannot read {size} bytes at {address:#x}", errno="EFAULT")
        return bytes(self.ram[offset : offset + size])

    def registers(self, tid: int | None) -> tuple[Register, ...]:
        return (Register("rax", 7), Register("rsp", 0x7FFFF0001000), Register("rip", self.pc))

    def write_dr(self, cpu: int, register: int, value: int) -> MachineView:
        if register == 7:
            self.dr7 = dr7_written(value)
        return self._moved()

    def ptrace_peek(self, tid: int | None, register: int) -> int:
        if register == 7:
            return self.ptrace_dr7
        return next((bp.address for bp in self.points.values() if bp.index == register), 0)

    def owner(self, owner: str, verb: str, arguments: tuple[str, ...]) -> tuple[str, ...]:
        self.owner_calls.append((owner, verb, arguments))
        return (f"{owner} {verb}: done",)

    def ptrace_poke(self, tid: int | None, register: int, value: int) -> None:
        if register in (4, 5):
            raise HwbpError(f"u_debugreg[{register}] cannot be written", errno="EIO")
        mine = {bp.index: bp for bp in self.points.values() if bp.index is not None}
        if register < 4 and register not in mine:
            if len(self.points) == 4:
                raise self._refuse(f"ptrace poke {register}")
            self._add(BreakpointRequest(value, 1, "w", owner="ptrace", enabled=False), register)
        elif register < 4:
            self.points[mine[register].id] = replace(mine[register], address=value)
        elif register == 7:
            for index, bp in mine.items():
                kind = slot_type(value, index)
                assert kind != "io"
                on = dr7_enabled(value, index)
                self.points[bp.id] = replace(
                    bp, length=slot_length(value, index), type=kind, enabled=on, stop=True
                )
            self.ptrace_dr7 = value
        self._moved()

    def stacks(self, first: int) -> tuple[tuple[Frame, ...], ...]:
        return ((), (Frame(0x401210, False), Frame(0x401120, False), Frame(0x401130, True)))[first:]

    def journal(self, start_ns: int, end_ns: int) -> Journal:
        rows = tuple(
            Occupancy(0, slot, bp.id, "perf", 0, None) for slot, bp in enumerate(self.points.values())
        )
        return Journal(0, self.instructions, rows, (Mark(0, 0, "switch", 1000),), ())

    def sites(self) -> tuple[Site, ...]:
        return tuple(
            Site(bp.id, 0x401210, bp.hits, 0, self.instructions, None, None, 1)
            for bp in self.points.values()
            if bp.hits
        )

    def output(self, first: int) -> tuple[tuple[int, bytes], ...]:
        return ((1, self.printed[first:]),) if self.printed[first:] else ()

    def close(self) -> None:
        self.closed = True
        os.close(self.fd)


def open_session(backend: ScriptedBackend, *, patient: bool = True) -> Session:
    """A session on a scripted machine, with names from a table."""
    return Session(
        backend, backend.reader, patient=patient, space=lambda mappings, program: FakeSpace(mappings, program)
    )
