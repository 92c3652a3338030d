"""The bare machine as a backend: one CPU, no kernel, the program's own debug registers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from backends import dr
from backends.base import Backend, HwbpError, Launch, Register
from backends.emulated.bare.cpu import BareCpu
from backends.emulated.bare.image import BareImage, load_bare
from backends.emulated.bare.ports import Ports
from backends.emulated.capture import Capture
from backends.emulated.engine import Engine, EngineError
from backends.emulated.icicle import IcicleEngine
from backends.emulated.linux.output import Output
from backends.emulated.stacks import StackTable
from backends.emulated.unwind import StackWalker
from backends.model import (
    Abilities,
    Breakpoint,
    BreakpointRequest,
    CpuView,
    DebugException,
    Frame,
    MachineView,
    Owner,
    RunState,
    Site,
    Slot,
    Stop,
    TaskView,
    WatchType,
)
from backends.ring import RingMemory

__all__ = ["BareBackend"]

_SLICE_SECONDS = 0.008
_FIRST_BUDGET = 2_000
_MOST_BUDGET = 1_000_000
_READ_LIMIT = 1 << 20
_ROWS = 4096
_OUTPUT_LIMIT = 1 << 16
_STEPS_LIMIT = 1_000_000
_HITS_A_SLICE = 4096
_TID = 0
_SHOWN = 12
"""#DB in each view, for the screen."""


class BareBackend(Backend):
    """See `backends.base.Backend`. `ring_fd` is the memfd that hits are written to; `engine` another engine than icicle.

    The slots belong to the program: they appear as breakpoints of the owner "program", and nobody else can have one.
    """

    def __init__(self, ring_fd: int, engine: Engine | None = None) -> None:
        self._capture = Capture(RingMemory(ring_fd))
        self._engine: Engine = IcicleEngine() if engine is None else engine
        self._output = Output()
        self.cpu = BareCpu(self._engine, self._capture, Ports(self._output))
        self.cpu.on_arm = self._armed
        self._image: BareImage | None = None
        self._stacks = StackTable(self._engine.read)
        self._argv: tuple[str, ...] = ()
        self._comm = ""
        self._state: RunState = "loaded"
        self._stop = Stop("none")
        self._generation = 0
        self._budget = _FIRST_BUDGET
        self._blocked = False
        self._ids: dict[tuple[int, int, int, str], int] = {}
        self._breakpoints: dict[int, Breakpoint] = {}
        self._in_slot: list[int | None] = [None] * 4

    def output_to(self, listener: Callable[[int, bytes], None]) -> None:
        """Call this with each piece of output as it is written: its stream, and the bytes."""
        self._output.on_output = listener

    # -- launching

    def launch(self, launch: Launch) -> MachineView:
        if self._image is not None:
            raise HwbpError("this machine has a program already", errno="EBUSY")
        for what, given in (
            ("arguments", launch.argv),
            ("an environment", launch.env),
            ("standard input", launch.stdin),
        ):
            if given:
                raise HwbpError(
                    f"a bare program takes no {what.removeprefix('an ')}: there is nobody to pass them on",
                    errno="EINVAL",
                )
        image = self._image = load_bare(launch, self._engine, self.cpu.state)
        if launch.stacks:
            self._stacks.set_walker(StackWalker(lambda: image.mappings, self._engine))
            self.cpu.recorder.stack = self._stack
        self._argv = (launch.program,)
        self._comm = os.path.basename(launch.program)
        if launch.lossless:
            self._capture.header(flow=1)
        self._stop = Stop("entry", "loaded, nothing has run yet")
        self._changed()
        return self.view()

    def _changed(self) -> None:
        self._generation += 1
        self._publish()

    def _publish(self) -> None:
        self._capture.publish()
        self._capture.header(
            generation=self._generation,
            instructions=self.cpu.instructions,
            sites=self._capture.site_count,
            stacks=len(self._stacks.stacks),
            output=self._output.total,
        )
        self._capture.set_state(self._state)

    def _need_program(self) -> BareImage:
        if self._image is None:
            raise HwbpError("no program is loaded", errno="ESRCH")
        return self._image

    def _need_stopped(self) -> None:
        self._need_program()
        if self._state == "exited":
            raise HwbpError("the program has ended", errno="ESRCH")
        if self._state == "failed":
            raise HwbpError(f"the machine cannot go on: {self._stop.text}", errno="ENOSYS")

    # -- running

    @property
    def running(self) -> bool:
        """Whether `run_slice` has anything to do."""
        return self._state == "running"

    def run_slice(self) -> float:
        """Run for about eight milliseconds. Returns how long to wait before the next slice, in seconds."""
        capture = self._capture
        allowed = capture.allowance(_HITS_A_SLICE)
        self._blocked = allowed <= 0
        start = time.perf_counter()
        total = self.cpu.exceptions.journal.total
        stop = None if self._blocked else self.cpu.run(self._budget, capture.head + allowed, capture)
        spent = time.perf_counter() - start
        if self.cpu.exceptions.journal.total != total:
            self._generation += 1
        if capture.at_limit:
            stop = stop or Stop("limit", "the limit of hits is reached")
            capture.header(limit=0)
        if stop is not None:
            self._stopped(stop)
        else:
            if spent < _SLICE_SECONDS / 2:
                self._budget = min(self._budget * 2, _MOST_BUDGET)
            elif spent > _SLICE_SECONDS * 2:
                self._budget = max(self._budget // 2, 500)
            self._publish()
        return 0.0005 if self._blocked else 0.0

    def _stopped(self, stop: Stop) -> None:
        self.cpu.forget_until()
        self._state = {"exit": "exited", "shutdown": "failed", "unsupported": "failed"}.get(
            stop.reason, "stopped"
        )  # type: ignore[assignment]
        self._stop = stop
        self._changed()

    def resume(self) -> None:
        self._need_stopped()
        self._state = "running"
        self._stop = Stop("none")
        self._changed()

    def stop(self) -> MachineView:
        self._need_program()
        if self._state == "running":
            self._stopped(Stop("user", "stopped by request"))
        return self.view()

    def step(self, count: int, over_calls: bool) -> MachineView:
        self._need_stopped()
        if not 0 < count <= _STEPS_LIMIT:
            raise HwbpError(f"{count} steps: between 1 and {_STEPS_LIMIT}", errno="EINVAL")
        stop: Stop | None = None
        for _ in range(count):
            if over_calls and (following := self.cpu.after_call()) is not None:
                self._run_until(following, self._engine.get("RSP") - 1)
                return self.view()
            stop = self.cpu.step()
            if stop is not None:
                break
        self._stopped(stop or Stop("step", f"stepped {count}"))
        return self.view()

    def _run_until(self, address: int, sp_above: int) -> None:
        self.cpu.run_until(address, sp_above)
        self.resume()

    def finish(self) -> MachineView:
        raise HwbpError(
            "a bare program's stack is its own affair: the return address is not known exactly",
            errno="EINVAL",
        )

    def run_to(self, address: int) -> MachineView:
        self._need_stopped()
        if not 0 <= address < 1 << 64:
            raise HwbpError(f"{address:#x} is not an address", errno="EINVAL")
        self._run_until(address, 0)
        return self.view()

    # -- the slots, which are the program's

    def _armed(self) -> None:
        """The registers have changed: each enabled slot is a breakpoint of the program's."""
        unit, cpu = self.cpu.unit, self.cpu
        for slot in range(4):
            self._in_slot[slot] = None
            kind = dr.slot_type(unit.dr7, slot)
            if not dr.enabled(unit.dr7, slot) or kind == "io":
                cpu.recorder.sinks[slot] = self._capture.sink(0)
                continue
            start, length = (
                (unit.dr[slot], 1) if kind == "x" else dr.slot_range(unit.dr7, slot, unit.dr[slot])
            )
            key = (slot, start, length, kind)
            number = self._ids.setdefault(key, len(self._ids) + 1)
            self._in_slot[slot] = number
            cpu.recorder.sinks[slot] = self._capture.sink(number)
            if number not in self._breakpoints:
                self._breakpoints[number] = self._breakpoint(number, slot, start, length, kind)
        self._generation += 1

    def _breakpoint(
        self, number: int, slot: int | None, start: int, length: int, kind: WatchType
    ) -> Breakpoint:
        return Breakpoint(
            id=number, address=start, length=length, type=kind, owner=Owner("program", comm=self._comm), enabled=True,
            tid=None, cpu=0, slot=slot, index=slot, watch=-1, window=0, text="", stop=False,
            hits=self._capture.sink(number).hits,
        )  # fmt: skip

    def _nobody_else(self) -> HwbpError:
        return HwbpError(
            "in bare mode the debug registers belong to the program: there is no kernel to reserve one from",
            errno="EOPNOTSUPP",
            remedy="write one by hand: dr7 toggle; or run it without --bare",
        )

    def arm(self, requests: tuple[BreakpointRequest, ...]) -> tuple[Breakpoint, ...]:
        raise self._nobody_else()

    def disarm(self, ids: tuple[int, ...]) -> None:
        raise self._nobody_else()

    def enable(self, id: int, on: bool) -> None:  # noqa: A002
        raise self._nobody_else()

    def write_dr(self, cpu: int, register: int, value: int) -> MachineView:
        self._need_program()
        if cpu != 0:
            raise HwbpError(f"no CPU {cpu}", errno="ENXIO")
        if register not in (0, 1, 2, 3, 6, 7):
            raise HwbpError(f"DR{register} cannot be written: 0 to 3, 6 and 7 can", errno="EINVAL")
        if not 0 <= value < 1 << 64 or (register > 3 and value >> 32):
            raise HwbpError(f"{value:#x} in DR{register}: bits 63:32 must be clear (#GP)", errno="EINVAL")
        self.cpu.write_dr(register, value, "hand")
        self._changed()
        return self.view()

    def show_disabled(self, on: bool) -> MachineView:
        self._need_program()
        self.cpu.recorder.show_disabled = on
        self._changed()
        return self.view()

    def ptrace_peek(self, tid: int | None, register: int) -> int:
        raise HwbpError("there is no ptrace in bare mode: no kernel, no task", errno="EOPNOTSUPP")

    def ptrace_poke(self, tid: int | None, register: int, value: int) -> None:
        raise HwbpError("there is no ptrace in bare mode: no kernel, no task", errno="EOPNOTSUPP")

    # -- looking

    def read(self, address: int, size: int) -> bytes:
        self._need_program()
        if not 0 < size <= _READ_LIMIT:
            raise HwbpError(f"{size} bytes: between 1 and {_READ_LIMIT}", errno="EINVAL")
        try:
            return self._engine.read(address, size)
        except EngineError as error:
            raise HwbpError(f"{address:#x}: nothing is mapped there", errno="EFAULT") from error

    def registers(self, tid: int | None) -> tuple[Register, ...]:
        self._need_program()
        if tid not in (None, _TID):
            raise HwbpError(f"no task {tid}", errno="ESRCH")
        return self.cpu.registers()

    def stacks(self, first: int) -> tuple[tuple[Frame, ...], ...]:
        return self._stacks.frames(max(0, first), _ROWS)

    def _stack(self, pc: int) -> int:
        read = self._engine.get
        return self._stacks.number(pc, read("RSP"), read("RBP"), read)

    def sites(self) -> tuple[Site, ...]:
        execute = {bp.id for bp in self._breakpoints.values() if bp.type == "x"}
        return self._capture.sites(_ROWS, execute)

    def output(self, first: int) -> tuple[tuple[int, bytes], ...]:
        self._need_program()
        return self._output.chunks(first, _OUTPUT_LIMIT)

    def debug_exceptions(self, first: int) -> tuple[DebugException, ...]:
        self._need_program()
        return self.cpu.exceptions.journal.since(first)

    def close(self) -> None:
        self._state = "exited"

    def _slots(self) -> tuple[Slot, ...]:
        unit = self.cpu.unit
        return tuple(
            Slot(
                index=n,
                address=unit.dr[n],
                length=dr.slot_length(unit.dr7, n),
                type=dr.slot_type(unit.dr7, n),
                local=bool(unit.dr7 >> 2 * n & 1),
                global_=bool(unit.dr7 >> 2 * n & 2),
                breakpoint=self._in_slot[n],
            )
            for n in range(4)
            if dr.enabled(unit.dr7, n)
        )

    def _cpu_view(self) -> CpuView:
        cpu, unit = self.cpu, self.cpu.unit
        slots = self._slots()
        return CpuView(
            cpu=0,
            tid=_TID,
            dr=(unit.dr[0], unit.dr[1], unit.dr[2], unit.dr[3]),
            dr6=unit.dr6,
            dr7=unit.dr7,
            cpu_dr7=unit.dr7 & ~dr.DR7_BASE,
            changed_dr7=cpu.changed_dr7,
            changed_by=cpu.changed_by,
            db_count=cpu.exceptions.journal.total,
            dr_writes=unit.writes,
            last_db=cpu.exceptions.last_db,
            free=4 - len(slots),
            slots=slots,
        )

    def view(self) -> MachineView:
        image = self._need_program()
        self._publish()
        cpu = self.cpu
        now = {number: slot for slot, number in enumerate(self._in_slot) if number is not None}
        breakpoints = tuple(
            self._breakpoint(bp.id, slot, bp.address, bp.length, bp.type)
            for bp in self._breakpoints.values()
            if (slot := now.get(bp.id)) is not None
        )
        task = TaskView(
            _TID, _TID, self._comm, self._engine.pc, self._engine.get("RSP"), cpu.unit.dr6, cpu.unit.dr7
        )
        return MachineView(
            generation=self._generation,
            backend="emulated",
            program=image.path,
            argv=self._argv,
            state=self._state,
            stop=self._stop,
            exit_status=cpu.exit_status,
            clock="instructions",
            time_ns=cpu.instructions,
            instructions=cpu.instructions,
            hits=self._capture.head,
            lost=0,
            engine=f"{self._engine.name}, bare",
            cpus=(self._cpu_view(),),
            tasks=(task,) if self._state != "exited" else (),
            breakpoints=breakpoints,
            mappings=image.mappings,
            comms=(self._comm,),
            can=Abilities(ptrace=False, why_not="in bare mode there is no kernel, and so no ptrace"),
            debug_exceptions=cpu.exceptions.journal.last(_SHOWN),
        )
