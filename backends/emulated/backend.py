"""The emulated machine as a backend: CPUs, tasks, and perf and ptrace on Linux's layer."""

from __future__ import annotations

from backends import dr
from backends.base import Backend, HwbpError, Launch, Register, Spawn, no_task
from backends.condition import Condition
from backends.emulated.breakpoints import Breakpoints, capabilities_of
from backends.emulated.capture import Capture
from backends.emulated.engine import Engine
from backends.emulated.kernel.config import CAPABILITIES
from backends.emulated.kernel.core import Kernel
from backends.emulated.kernel.slots import SLOTS
from backends.emulated.kernel.tasks import Task as Tracked
from backends.emulated.life import Life
from backends.emulated.linux import Process, Task
from backends.emulated.machine import Machine
from backends.emulated.owner_words import OwnerWords
from backends.emulated.requests import Requests
from backends.emulated.scheduler import MOST_CPUS
from backends.emulated.spawning import spawn as make_task
from backends.emulated.standing import read_memory, read_registers, write_memory, write_register
from backends.emulated.told import Told
from backends.emulated.views import cpu_views, journal_view, task_view, task_views
from backends.model import (
    Breakpoint,
    BreakpointRequest,
    Frame,
    Journal,
    MachineView,
    Refusal,
    Site,
    TaskView,
)
from backends.ring import RingMemory

__all__ = ["EmulatedBackend"]

_PAGE_OF_ROWS = 4096
_OUTPUT_LIMIT = 1 << 16
_REFUSALS_KEPT = 64
_MOST_QUANTUM = 1 << 40
_OPENER = 900
"""The pid of the process that opens the session's own perf events."""


class EmulatedBackend(Backend):
    """See `backends.base.Backend`. `ring_fd` is the memfd that hits are written to."""

    def __init__(self, ring_fd: int) -> None:
        self._capture = Capture(RingMemory(ring_fd))
        self._generation = 0
        self._refusals: list[Refusal] = []
        self._refused = 0
        self._launch: Launch | None = None
        self._machine: Machine
        self._breakpoints: Breakpoints
        self._kernel: Kernel
        self._opener: Tracked
        self._owners: OwnerWords
        self._requests: Requests
        self._life: Life

    def _changed(self) -> None:
        """Something worth a new picture happened: publish it."""
        self._generation += 1
        self._publish()

    def _publish(self) -> None:
        self._capture.publish()
        self._capture.header(
            generation=self._generation,
            instructions=self._machine.instructions,
            stacks=len(self._machine.stacks.stacks),
            sites=self._capture.site_count,
            output=self._machine.linux.output.total,
        )
        self._capture.set_state(self._life.state)

    def _need_program(self) -> None:
        if self._launch is None:
            raise HwbpError("no program is loaded", errno="ESRCH")

    def _need_alive(self) -> None:
        self._need_program()
        self._life.need_alive()

    # -- launching

    def launch(self, launch: Launch) -> MachineView:
        if self._launch is not None:
            raise HwbpError("this machine has a program already", errno="EBUSY")
        if not 1 <= launch.cpus <= MOST_CPUS:
            raise HwbpError(f"{launch.cpus} CPUs: between 1 and {MOST_CPUS}", errno="EINVAL")
        if not 1 <= launch.quantum <= _MOST_QUANTUM:
            raise HwbpError(f"a quantum of {launch.quantum}: between 1 and {_MOST_QUANTUM}", errno="EINVAL")
        machine = self._machine = Machine(self._capture, launch.cpus, launch.quantum)
        machine.on_change = self._moved
        self._breakpoints = Breakpoints(machine, self._capture)
        self._kernel = self._breakpoints.kernel
        self._opener = self._kernel.spawn("hwbp-tui", tid=_OPENER, capabilities=CAPABILITIES)
        first = machine.load(launch)
        self._breakpoints.begin(first)
        first.system.on_refusal = self._note_refusal
        machine.place(first)
        self._requests = Requests(
            self._breakpoints, self._capture, self._opener, self._task, follow_children=launch.children
        )
        self._life = Life(
            machine,
            self._breakpoints,
            self._requests,
            self._capture,
            current=lambda: self._task(None),
            changed=self._changed,
        )
        self._owners = OwnerWords(
            self._kernel,
            self._opener,
            lambda: self._breakpoints.tracked(self._task(None).tid),
            Told(machine, self._breakpoints, self._capture),
        )
        self._launch = launch
        if launch.lossless:
            self._capture.header(flow=1)
        self._changed()
        return self.view()

    def _moved(self) -> None:
        self._generation += 1

    @property
    def _first(self) -> Task:
        return self._machine.linux.first

    def _task(self, tid: int | None) -> Task:
        """A task by number; None is the one that is looked at, or another where that has ended (ESRCH)."""
        self._need_program()
        tasks = self._machine.linux.system.tasks
        if tid is None:
            tid = next((each for each in (self._life.selected, self._first.tid) if each in tasks), None)
            if tid is None:
                tid = min(tasks, default=self._first.tid)
        task = tasks.get(tid)
        if task is None:
            if self._kernel.tasks.get(tid) is not None:
                raise HwbpError(
                    f"task {tid} runs no program: it does what it is told",
                    errno="EINVAL",
                    remedy="`task run`, `task access`",
                )
            raise no_task(tid, tasks)
        return task

    # -- running

    @property
    def running(self) -> bool:
        """Whether `run_slice` has anything to do."""
        return self._launch is not None and self._life.state == "running"

    def run_slice(self) -> float:
        """Run for about eight milliseconds. Returns how long to wait before the next slice, in seconds."""
        wait = self._life.run_slice()
        self._publish()
        return wait

    def translate(self) -> None:
        """Let the translator have all programs now, however short they are."""
        self._need_program()
        for mm in self._machine.address_spaces():
            mm.engine.move(jit=True)

    def stay_cold(self) -> None:
        """Let the programs that run now be interpreted, however long they are."""
        for mm in self._machine.address_spaces():
            mm.warmth = None

    def resume(self) -> None:
        self._need_program()
        self._life.resume()

    def stop(self) -> MachineView:
        self._need_program()
        self._life.hold()
        return self.view()

    def step(self, count: int, over_calls: bool) -> MachineView:
        self._need_program()
        self._life.step(count, over_calls)
        return self.view()

    def finish(self) -> MachineView:
        self._need_program()
        self._life.finish()
        return self.view()

    def run_to(self, address: int) -> MachineView:
        self._need_program()
        self._life.run_to(address)
        return self.view()

    # -- breakpoints

    def arm(self, requests: tuple[BreakpointRequest, ...]) -> tuple[Breakpoint, ...]:
        self._need_program()
        try:
            if self._life.state == "exited":
                raise HwbpError("the program has ended", errno="ESRCH")
            made = self._requests.arm(requests)
        except HwbpError as error:
            if requests[0].again:
                raise
            what = requests[0].text or f"{requests[0].address:#x}"
            raise self._refusal(error, f"{requests[0].owner}: {what}") from error
        self._changed()
        return made

    def restrict(self, ids: tuple[int, ...], condition: Condition | None, limit: int | None) -> None:
        self._need_program()
        self._requests.restrict(ids, condition, limit)

    def ignore(self, ids: tuple[int, ...], count: int) -> None:
        self._need_program()
        self._requests.ignore(ids, count)
        self._changed()

    def move(self, ids: tuple[int, ...], requests: tuple[BreakpointRequest, ...]) -> tuple[Breakpoint, ...]:
        self._need_program()
        moved = self._requests.move(ids, requests)
        self._changed()
        return moved

    def disarm(self, ids: tuple[int, ...]) -> None:
        self._need_program()
        self._requests.disarm(ids)
        self._changed()

    def enable(self, id: int, on: bool) -> None:  # noqa: A002
        self._need_program()
        self._requests.enable(id, on)
        self._changed()

    def _note_refusal(self, what: str, error: HwbpError) -> None:
        """The layer refused a running program something: a picture soon enough shows it."""
        self._refused += 1
        row = Refusal(what, error.errno or "", error.message, error.holders, self._machine.instructions)
        self._refusals = [*self._refusals, row][-_REFUSALS_KEPT:]
        self._generation += 1

    def _refusal(self, error: HwbpError, what: str) -> HwbpError:
        self._note_refusal(what, error)
        self._publish()
        return error

    def write_dr(self, cpu: int, register: int, value: int) -> MachineView:
        self._need_program()
        if cpu not in range(len(self._machine.cpus)):
            raise HwbpError(f"no CPU {cpu}", errno="ENXIO")
        if register not in (0, 1, 2, 3, 6, 7):
            raise HwbpError(f"DR{register} cannot be written: 0 to 3, 6 and 7 can", errno="EINVAL")
        if not 0 <= value < 1 << 64 or (register > 3 and value >> 32):
            raise HwbpError(f"{value:#x} in DR{register}: bits 63:32 must be clear (#GP)", errno="EINVAL")
        if register == 7 and value & dr.DR7_GD:
            raise HwbpError(
                "DR7.GD: general detect needs code at CPL 0, which this machine does not run", errno="EINVAL"
            )
        self._kernel.write(cpu, register, value)
        if register == 6:
            self._machine.cpus[cpu].last_dr6 = self._machine.cpus[cpu].unit.dr6
        self._breakpoints.refresh()
        self._changed()
        return self.view()

    def ptrace_peek(self, tid: int | None, register: int) -> int:
        return self._kernel.ptrace.peek(self._breakpoints.tracked(self._task(tid).tid), register)

    def ptrace_poke(self, tid: int | None, register: int, value: int) -> None:
        task = self._breakpoints.tracked(self._task(tid).tid)
        try:
            self._kernel.ptrace.poke(task, register, value)
        except HwbpError as error:
            raise self._refusal(error, f"ptrace: u_debugreg[{register}] = {value:#x}") from error
        self._breakpoints.execute_ids.update(
            event.id for event in self._kernel.layer.events if event.type == "x" and event.enabled
        )
        self._breakpoints.refresh()
        self._changed()

    def kallsyms(self) -> bytes:
        self._need_program()
        return self._kernel.kallsyms().encode()

    def owner(self, owner: str, verb: str, arguments: tuple[str, ...]) -> tuple[str, ...]:
        self._need_program()
        if self.running:
            raise HwbpError("the machine runs", errno="EBUSY", remedy="stop it first")
        try:
            lines = self._owners.do(owner, verb, arguments)
        except HwbpError as error:
            self._breakpoints.refresh()
            raise self._refusal(error, f"{owner} {verb} {' '.join(arguments)}".rstrip()) from error
        self._breakpoints.execute_ids.update(
            event.id for event in self._kernel.layer.events if event.type == "x"
        )
        self._breakpoints.refresh()
        self._changed()
        return lines

    # -- tasks

    def select(self, tid: int) -> MachineView:
        self._life.selected = self._task(tid).tid
        self._changed()
        return self.view()

    def spawn(self, spawn: Spawn) -> TaskView:
        self._need_program()
        machine = self._machine
        cpus = self._cpus(spawn.cpus)
        task = make_task(machine.linux.system, spawn, self._first.process.mm)
        task.affinity = cpus
        if cpus is not None:
            task.cpu = min(cpus)
        self._kernel.spawn(task.comm, tid=task.tid, uid=1000, capabilities=capabilities_of(task.system.allow))
        self._breakpoints.refresh()
        machine.add(task)
        self._changed()
        return task_view(task, self._machine, self._kernel)

    def _cpus(self, cpus: tuple[int, ...]) -> frozenset[int] | None:
        if unknown := [cpu for cpu in cpus if cpu not in range(len(self._machine.cpus))]:
            last = len(self._machine.cpus) - 1
            raise HwbpError(f"no CPU {unknown[0]}", errno="EINVAL", remedy=f"there are 0 to {last}")
        return frozenset(cpus) if cpus else None

    def pin(self, tid: int, cpus: tuple[int, ...]) -> TaskView:
        task = self._task(tid)
        self._machine.pin(task, self._cpus(cpus))
        self._changed()
        return task_view(task, self._machine, self._kernel)

    def hold(self, tid: int, on: bool) -> TaskView:
        task = self._task(tid)
        if task.process.kind == "nothing":
            raise HwbpError(f"task {tid} never runs", errno="EINVAL")
        self._machine.hold(task, on)
        self._changed()
        return task_view(task, self._machine, self._kernel)

    def journal(self, start_ns: int, end_ns: int) -> Journal:
        self._need_program()
        now = self._machine.instructions
        return journal_view(self._kernel.journal, start_ns, end_ns, now, self._breakpoints.origin)

    # -- looking

    def read(self, address: int, size: int) -> bytes:
        self._need_program()
        return read_memory(self._process().mm, address, size)

    def _process(self) -> Process:
        """The process that is looked at: the first one, as long as it lives."""
        return self._task(None).process if self._machine.linux.alive else self._first.process

    def write(self, address: int, data: bytes) -> None:
        self._need_alive()
        self._stands_still()
        write_memory(self._process().mm, self._machine.cpus, address, data)
        self._changed()

    def set_register(self, tid: int | None, name: str, value: int) -> None:
        self._need_alive()
        self._stands_still()
        write_register(self._engine(tid), name, value)
        self._changed()

    def _engine(self, tid: int | None) -> Engine:
        """With the registers of that task in it."""
        if self._machine.linux.alive:
            self._machine.cpu_for(self._task(tid))
        return self._process().mm.engine

    def _stands_still(self) -> None:
        if self.running:
            raise HwbpError("the program is running", errno="EBUSY", remedy="`stop` it first")

    def registers(self, tid: int | None) -> tuple[Register, ...]:
        return read_registers(self._engine(tid))

    def stacks(self, first: int) -> tuple[tuple[Frame, ...], ...]:
        return self._machine.stacks.frames(max(0, first), _PAGE_OF_ROWS)

    def sites(self) -> tuple[Site, ...]:
        return self._capture.sites(_PAGE_OF_ROWS, self._breakpoints.execute_ids)

    def output(self, first: int) -> tuple[tuple[int, bytes], ...]:
        self._need_program()
        return self._machine.linux.output.chunks(first, _OUTPUT_LIMIT)

    def close(self) -> None:
        if self._launch is not None:
            self._life.close()

    def view(self) -> MachineView:
        self._need_program()
        machine = self._machine
        self._publish()
        process = self._process()
        jit = process.mm.engine.jit
        return MachineView(
            generation=self._generation,
            backend="emulated",
            program=process.image.path,
            argv=process.image.argv,
            state=self._life.state,
            stop=self._life.stop,
            exit_status=machine.linux.exit_status,
            clock="instructions",
            time_ns=machine.instructions,
            instructions=machine.instructions,
            hits=self._capture.head,
            filtered=sum(sink.filtered for sink in self._capture.sinks.values()),
            lost=0,
            engine="icicle, translated" if jit else "icicle, interpreted",
            cpus=cpu_views(machine, self._kernel),
            tasks=task_views(machine, self._kernel),
            breakpoints=tuple(
                self._requests.shown(event) for event in self._kernel.layer.events if event.parent is None
            ),
            mappings=process.mm.space.mappings(),
            refusals=tuple(self._refusals),
            refused=self._refused,
            comms=tuple(machine.comms),
            task=self._task(None).tid if machine.linux.system.tasks else None,
            quantum=machine.scheduler.quantum,
        )


assert SLOTS == 4
