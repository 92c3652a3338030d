"""The emulated machine as a backend: one CPU, one task, perf and ptrace on Linux's layer."""

from __future__ import annotations

import time
from collections.abc import Callable

from backends import dr
from backends.base import Backend, HwbpError, Launch, Register
from backends.emulated.capture import Capture
from backends.emulated.cpu import Cpu
from backends.emulated.debug_unit import DebugUnit
from backends.emulated.engine import EngineError
from backends.emulated.icicle import IcicleEngine
from backends.emulated.kernel.attr import FLAGS, Attr
from backends.emulated.kernel.config import CAPABILITIES
from backends.emulated.kernel.core import Kernel
from backends.emulated.kernel.events import PerfEvent
from backends.emulated.kernel.registers import CpuRegisters
from backends.emulated.kernel.slots import SLOTS, bp_len, bp_type
from backends.emulated.kernel.tasks import Task
from backends.emulated.linux import Linux
from backends.emulated.loader import Image, enter, load
from backends.emulated.memory import AddressSpace
from backends.emulated.stacks import StackTable
from backends.emulated.unwind import StackWalker
from backends.emulated.views import breakpoint_view, cpu_view
from backends.model import (
    Breakpoint,
    BreakpointRequest,
    Frame,
    MachineView,
    Owner,
    Refusal,
    RunState,
    Site,
    Stop,
    TaskView,
)
from backends.ring import RingMemory

__all__ = ["EmulatedBackend"]

HOT_AFTER = 1_000_000
"""Interpreted instructions after which a program is worth translating."""
_SLICE_SECONDS = 0.008
_FIRST_BUDGET = 50_000
_MOST_BUDGET = 20_000_000
_READ_LIMIT = 1 << 20
_PAGE_OF_ROWS = 4096
_OUTPUT_LIMIT = 1 << 16
_REFUSALS_KEPT = 64
_REGISTERS = (
    *("RAX", "RBX", "RCX", "RDX", "RSI", "RDI", "RBP", "RSP"),
    *(f"R{n}" for n in range(8, 16)),
)
_STEPS_LIMIT = 1_000_000
_OPENER = 900
"""The pid of the process that opens the session's own perf events."""
_SESSION_FLAGS = sum(1 << FLAGS[name] for name in ("pinned", "exclude_kernel", "exclude_hv"))


class _Entry:
    """The kernel as the CPU enters it; notices when the task changes its name."""

    def __init__(self, linux: Linux, renamed: Callable[[str], None]) -> None:
        self._linux = linux
        self._comm = linux.comm
        self._renamed = renamed

    @property
    def exit_status(self) -> int | None:
        return self._linux.exit_status

    def syscall(self) -> None:
        self._linux.syscall()
        if self._linux.comm != self._comm:
            self._comm = self._linux.comm
            self._renamed(self._comm)

    def deliver_fault(self, signal_number: int, address: int) -> None:
        self._linux.deliver_fault(signal_number, address)


class EmulatedBackend(Backend):
    """See `backends.base.Backend`. `ring_fd` is the memfd that hits are written to."""

    def __init__(self, ring_fd: int) -> None:
        self._capture = Capture(RingMemory(ring_fd))
        self._engine = IcicleEngine()
        self._space = AddressSpace(self._engine)
        self._unit = DebugUnit(self._engine, self._true_prot)
        self._stacks = StackTable(self._engine.raw_read)
        self._cpu = Cpu(self._engine, self._unit, self._space, self._capture, self._stacks)
        self._kernel = Kernel([self._unit], clock=lambda: self._cpu.instructions)
        self._registers = self._kernel.cpus[0]
        self._layer = self._kernel.layer
        self._opener = self._kernel.spawn("hwbp-tui", tid=_OPENER, capabilities=CAPABILITIES)
        self._kernel.set_on_change(self._installed)
        self._walker = StackWalker(self._space, self._engine)
        self._space.on_exec = self._code_appeared
        self._space.on_change = self._memory_changed
        self._generation = 0
        self._state: RunState = "loaded"
        self._stop = Stop("none")
        self._budget = _FIRST_BUDGET
        self._cold_until = HOT_AFTER
        self._refusals: list[Refusal] = []
        self._refused = 0
        self._comms: list[str] = []
        self._execute_ids: set[int] = set()
        self._launch: Launch | None = None
        self._image: Image
        self._linux: Linux
        self._task: Task

    def _true_prot(self, address: int) -> int:
        return self._space.prot_at(address) if self._space.mapped(address) else -1

    def _code_appeared(self, start: int, end: int) -> None:
        self._cpu.places.code_appeared(start, end)
        self._walker.forget()
        self._stacks.set_walker(self._walker)

    def _memory_changed(self, start: int, end: int) -> None:
        self._unit.memory_changed(start, end)
        self._generation += 1

    def _changed(self) -> None:
        """Something worth a new picture happened: publish it."""
        self._generation += 1
        self._publish()

    def _publish(self) -> None:
        self._capture.publish()
        self._capture.header(
            generation=self._generation,
            instructions=self._cpu.instructions,
            stacks=len(self._stacks.stacks),
            sites=self._capture.site_count,
            output=self._linux.output.total if self._launch else 0,
        )
        self._capture.set_state(self._state)

    def _need_program(self) -> None:
        if self._launch is None:
            raise HwbpError("no program is loaded", errno="ESRCH")

    def _need_stopped(self) -> None:
        self._need_program()
        if self._state == "exited":
            raise HwbpError("the program has ended", errno="ESRCH")
        if self._state == "failed":
            raise HwbpError(f"the task cannot go on: {self._stop.text}", errno="ENOSYS")

    # -- launching

    def launch(self, launch: Launch) -> MachineView:
        if self._launch is not None:
            raise HwbpError("this machine has a program already", errno="EBUSY")
        self._image = load(launch, self._space)
        enter(self._engine, self._image)
        self._linux = Linux(self._engine, self._space, self._image, launch, lambda: self._cpu.instructions)
        self._cpu.kernel = _Entry(self._linux, self._renamed)
        self._cpu.with_stacks = launch.stacks
        self._task = self._kernel.spawn(self._linux.comm, tid=self._linux.tid, uid=1000)
        self._cpu.on_db = self._db
        self._capture.pid, self._capture.tid = self._linux.pid, self._linux.tid
        self._launch = launch
        self._renamed(self._linux.comm)
        if launch.lossless:
            self._capture.header(flow=1)
        self._kernel.switch(0, self._task)
        self._stop = Stop("entry", "loaded, nothing has run yet")
        self._changed()
        return self.view()

    def _renamed(self, comm: str) -> None:
        self._comms.append(comm)
        self._capture.comm = len(self._comms) - 1
        self._generation += 1

    # -- running

    @property
    def running(self) -> bool:
        """Whether `run_slice` has anything to do."""
        return self._state == "running"

    def run_slice(self) -> float:
        """Run for about eight milliseconds. Returns how long to wait before the next slice, in seconds."""
        if (
            not self._engine.jit
            and self._cpu.instructions > self._cold_until
            and self._cpu.between_instructions
        ):
            self._engine.move(jit=True)
            self._budget = _FIRST_BUDGET
        start = time.perf_counter()
        stop = self._cpu.run(self._budget)
        spent = time.perf_counter() - start
        if self._cpu.went_cold:
            self._cpu.went_cold = False
            self._cold_until = self._cpu.instructions + HOT_AFTER
        if self._capture.at_limit:
            stop = stop or Stop("limit", "the limit of hits is reached")
            self._capture.header(limit=0)
        if stop is not None:
            self._stopped(stop)
        else:
            if spent < _SLICE_SECONDS / 2:
                self._budget = min(self._budget * 2, _MOST_BUDGET)
            elif spent > _SLICE_SECONDS * 2:
                self._budget = max(self._budget // 2, 1000)
            self._publish()
        return 0.0005 if self._cpu.blocked else 0.0

    def _stopped(self, stop: Stop) -> None:
        self._cpu.places.clear_stop_at()
        if stop.reason == "exit":
            self._state = "exited"
            status = self._linux.exit_status
            assert status is not None
            died = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
            stop = Stop("exit", f"the program has ended: {died}")
            self._linux.close()
            self._kernel.exit(self._task)
        else:
            self._state = "failed" if stop.reason == "unsupported" else "stopped"
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
            following = self._cpu.after_call() if over_calls else None
            if following is not None:
                self._run_until(following, self._engine.get("RSP") - 1)
                return self.view()
            stop = self._cpu.step()
            if stop is not None:
                break
        self._stopped(stop or Stop("step", f"stepped {count}"))
        return self.view()

    def _run_until(self, address: int, sp_above: int) -> None:
        self._cpu.stop_at(address, sp_above)
        self.resume()

    def finish(self) -> MachineView:
        self._need_stopped()
        frames = self._walker.walk(self._engine)
        if len(frames) < 2 or frames[1][1]:
            raise HwbpError("the caller of this function is not known exactly", errno="EINVAL")
        self._run_until(frames[1][0], self._engine.get("RSP"))
        return self.view()

    def run_to(self, address: int) -> MachineView:
        self._need_stopped()
        if not 0 <= address < 1 << 64:
            raise HwbpError(f"{address:#x} is not an address", errno="EINVAL")
        self._run_until(address, 0)
        return self.view()

    # -- breakpoints

    def arm(self, requests: tuple[BreakpointRequest, ...]) -> tuple[Breakpoint, ...]:
        self._need_program()
        made: list[PerfEvent] = []
        try:
            made.extend(self._arm_one(request) for request in requests)
        except HwbpError as error:
            for event in made:
                self._remove(event)
            what = requests[0].text or f"{requests[0].address:#x}"
            raise self._refusal(error, f"{requests[0].owner}: {what}") from error
        self._changed()
        return tuple(self._breakpoint(event) for event in made)

    def _arm_one(self, request: BreakpointRequest) -> PerfEvent:
        if self._state == "exited":
            raise HwbpError("the program has ended", errno="ESRCH")
        if request.owner == "perf":
            event = self._perf_open(request)
        elif request.owner == "ptrace":
            event = self._kernel.ptrace.watch(
                self._task, request.address, request.length, request.type, request.text
            )
            event.watch, event.window = request.watch, request.window
        else:
            raise HwbpError(f"{request.owner} is not an owner of this machine yet", errno="EOPNOTSUPP")
        if event.type == "x":
            self._execute_ids.add(event.id)
        self._installed(self._registers)
        return event

    def _perf_open(self, request: BreakpointRequest) -> PerfEvent:
        """perf_event_open of the session's own: pinned, without the kernel, every hit a sample."""
        length = request.length
        if request.type == "x" and length != 1:
            raise HwbpError(
                "an execute breakpoint covers the first byte of an instruction only", errno="EINVAL"
            )
        attr = Attr(
            sample_period=1,
            flags=_SESSION_FLAGS | (not request.enabled),
            bp_type=bp_type(request.type),
            bp_addr=request.address,
            bp_len=bp_len(request.type, length),
        )
        pid = self._task.tid if request.tid is None else request.tid
        cpu = -1 if request.cpu is None else request.cpu
        perf = self._kernel.perf
        fd = perf.open(self._opener, attr, pid, cpu, owner=Owner("perf", comm="hwbp-tui"))
        event = perf.event(self._opener, fd)
        event.watch, event.window, event.text = request.watch, request.window, request.text
        event.stop = request.stop
        return event

    def _remove(self, event: PerfEvent) -> None:
        if event.owner.kind == "ptrace":
            assert event.index is not None
            self._kernel.ptrace.forget(self._task, event.index)
        else:
            assert event.owner.fd is not None
            self._kernel.perf.close(self._opener, event.owner.fd)

    def _refusal(self, error: HwbpError, what: str) -> HwbpError:
        self._refused += 1
        row = Refusal(what, error.errno or "", error.message, error.holders, self._cpu.instructions)
        self._refusals = [*self._refusals, row][-_REFUSALS_KEPT:]
        self._changed()
        return error

    def _find(self, id_: int) -> PerfEvent:
        event = next((event for event in self._layer.events if event.id == id_), None)
        if event is None:
            raise HwbpError(f"no breakpoint {id_}", errno="ENOENT")
        return event

    def disarm(self, ids: tuple[int, ...]) -> None:
        for event in [self._find(id_) for id_ in ids]:
            if event.owner.kind == "ptrace":
                self._kernel.ptrace.drop(event)
            else:
                self._remove(event)
        self._changed()

    def enable(self, id: int, on: bool) -> None:  # noqa: A002
        event = self._find(id)
        if on:
            self._kernel.scheduler.enable(event)
        else:
            self._kernel.scheduler.disable(event)
        self._changed()

    def _installed(self, registers: CpuRegisters) -> None:
        """Who sits in which register has changed: hits go to the new holders."""
        cpu = self._cpu
        cpu.stop_slots = cpu.notify_slots = 0
        for slot, event in enumerate(registers.bp_per_reg):
            cpu.sinks[slot] = self._capture.sink(event.id if event else 0)
            cpu.labels[slot] = (
                (event.text or f"{event.address:#x}") if event else "a register nobody's books own"
            )
            if event is not None:
                cpu.stop_slots |= event.stop << slot
                cpu.notify_slots |= (event.owner.kind == "ptrace") << slot

    def _db(self, hits: int, step: bool) -> None:
        """exc_debug_user: earlier virtual DR6 bits are discarded; ptrace's own hits are noted under ptrace's index."""
        dr6 = dr.DR6_BASE | hits | (dr.DR6_BS if step else 0)
        self._kernel.debug_exception(0, dr6, self._engine.pc)
        self._task.signals.clear()

    def write_dr(self, cpu: int, register: int, value: int) -> MachineView:
        self._need_program()
        if cpu != 0:
            raise HwbpError(f"no CPU {cpu}", errno="ENXIO")
        if register not in (0, 1, 2, 3, 6, 7):
            raise HwbpError(f"DR{register} cannot be written: 0 to 3, 6 and 7 can", errno="EINVAL")
        if not 0 <= value < 1 << 64 or (register > 3 and value >> 32):
            raise HwbpError(f"{value:#x} in DR{register}: bits 63:32 must be clear (#GP)", errno="EINVAL")
        if register == 7 and value & dr.DR7_GD:
            raise HwbpError(
                "DR7.GD: general detect needs code at CPL 0, which this machine does not run yet",
                errno="EINVAL",
            )
        self._kernel.write(cpu, register, value)
        if register == 6:
            self._cpu.last_dr6 = self._unit.dr6
        self._changed()
        return self.view()

    def _need_tid(self, tid: int | None) -> None:
        self._need_program()
        if tid not in (None, self._linux.tid):
            raise HwbpError(f"no task {tid}", errno="ESRCH")

    def ptrace_peek(self, tid: int | None, register: int) -> int:
        self._need_tid(tid)
        return self._kernel.ptrace.peek(self._task, register)

    def ptrace_poke(self, tid: int | None, register: int, value: int) -> None:
        self._need_tid(tid)
        try:
            self._kernel.ptrace.poke(self._task, register, value)
        except HwbpError as error:
            raise self._refusal(error, f"ptrace: u_debugreg[{register}] = {value:#x}") from error
        self._execute_ids.update(
            event.id for event in self._layer.events if event.type == "x" and event.enabled
        )
        self._installed(self._registers)
        self._changed()

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
        self._need_tid(tid)
        engine = self._engine
        rows = [Register(name.lower(), engine.get(name)) for name in _REGISTERS]
        rows.append(Register("rip", engine.pc))
        rows.extend(
            Register(shown, engine.get(name))
            for shown, name in (("eflags", "RFLAGS"), ("fs_base", "FS_BASE"), ("gs_base", "GS_BASE"))
        )
        return tuple(rows)

    def stacks(self, first: int) -> tuple[tuple[Frame, ...], ...]:
        return self._stacks.frames(max(0, first), _PAGE_OF_ROWS)

    def sites(self) -> tuple[Site, ...]:
        return self._capture.sites(_PAGE_OF_ROWS, self._execute_ids)

    def output(self, first: int) -> tuple[tuple[int, bytes], ...]:
        self._need_program()
        return self._linux.output.chunks(first, _OUTPUT_LIMIT)

    def close(self) -> None:
        if self._launch is not None:
            self._linux.close()
        self._state = "exited"

    def _breakpoint(self, event: PerfEvent) -> Breakpoint:
        return breakpoint_view(event, self._registers, self._capture)

    def view(self) -> MachineView:
        self._need_program()
        linux, cpu = self._linux, self._cpu
        self._publish()
        task = TaskView(
            linux.pid,
            linux.tid,
            self._comms[-1],
            self._engine.pc,
            self._engine.get("RSP"),
            self._kernel.ptrace.peek(self._task, 6),
            self._kernel.ptrace.peek(self._task, 7),
        )
        return MachineView(
            generation=self._generation,
            backend="emulated",
            program=self._image.path,
            argv=self._image.argv,
            state=self._state,
            stop=self._stop,
            exit_status=linux.exit_status,
            clock="instructions",
            time_ns=cpu.instructions,
            instructions=cpu.instructions,
            hits=self._capture.head,
            lost=0,
            engine="icicle, translated" if self._engine.jit else "icicle, interpreted",
            cpus=(
                cpu_view(cpu, self._registers, self._layer, None if self._state == "exited" else linux.tid),
            ),
            tasks=(task,) if self._state != "exited" else (),
            breakpoints=tuple(self._breakpoint(event) for event in self._layer.events),
            mappings=self._space.mappings(),
            refusals=tuple(self._refusals),
            refused=self._refused,
            comms=tuple(self._comms),
        )


assert SLOTS == 4
