"""The machine that runs: CPUs that take turns, the tasks on them, and the kernel they enter.

One thread of the host runs everything, one CPU at a time, so that the same programs make the same schedule. The clock
counts the instructions of all CPUs.
"""

from __future__ import annotations

from collections.abc import Callable

from backends.base import Launch
from backends.emulated.capture import Capture
from backends.emulated.cpu import Cpu
from backends.emulated.engine import EventKind
from backends.emulated.linux import Linux, Task
from backends.emulated.loader import enter, load
from backends.emulated.mm import Mm
from backends.emulated.scheduler import Scheduler
from backends.emulated.stacks import StackTable
from backends.emulated.turns import run_plain_turns
from backends.model import Stop

__all__ = ["Machine"]

_UNBOUNDED = 1 << 62
_MOST_BORN = 4
"""Tasks that begin in one run: a process of its own takes as long as very many instructions."""


class _Entry:
    """The kernel as one CPU enters it, for the task that runs there."""

    def __init__(self, machine: Machine, cpu: Cpu) -> None:
        self._machine = machine
        self._cpu = cpu
        self.task: Task

    def _enter(self, call: Callable[[], bool]) -> bool:
        machine, cpu, task = self._machine, self._cpu, self.task
        runnable = machine.scheduler.runnable
        cpu.leave(task)
        goes_on = call()
        cpu.rf_pc, cpu.rep_pc, cpu.guest_tf = task.rf_pc, task.rep_pc, task.guest_tf
        if machine.capture.comm != machine.comm_number(task.comm):
            machine.capture.comm = machine.comm_number(task.comm)
            machine.on_change()
        return (
            goes_on
            and task.process.mm is cpu.mm
            and machine.scheduler.runnable == runnable
            and machine.scheduler.left[cpu.number] > 0
            and machine.scheduler.current[cpu.number] is task
            and cpu.stop is None
        )

    def syscall(self) -> bool:
        return self._enter(self._machine.linux.syscall)

    def deliver_fault(self, signal_number: int, address: int, code: int) -> bool:
        return self._enter(lambda: self._machine.linux.deliver_fault(signal_number, address, code))


class Machine:
    """`on_switch(cpu, task)` is called at each context switch (None: the CPU goes idle), `on_change` when something
    worth a new picture happened. `on_cpus[n]` is the task whose breakpoints are in CPU n's registers. `blocked`: nothing
    ran, for a reader that must miss no hit is behind.
    """

    def __init__(self, capture: Capture, cpus: int, quantum: int) -> None:
        self.capture = capture
        self.cpus = tuple(Cpu(number, capture) for number in range(cpus))
        self.scheduler: Scheduler[Task] = Scheduler(cpus, quantum)
        self.on_switch: Callable[[Cpu, Task | None], None] = lambda cpu, task: None
        self.on_change: Callable[[], None] = lambda: None
        self.blocked = False
        self.comms: list[str] = []
        self.linux: Linux
        self._comm_numbers: dict[str, int] = {}
        self.on_cpus: list[Task | None] = [None] * cpus
        self._entries = tuple(_Entry(self, cpu) for cpu in self.cpus)
        for cpu, entry in zip(self.cpus, self._entries, strict=True):
            cpu.kernel = entry
        self._active: Cpu | None = None
        self._clock = 0

    # -- beginning

    def load(self, launch: Launch) -> Task:
        """Load the first program; HwbpError says why that cannot be."""
        mm = Mm.fresh()
        image = load(launch, mm.space)
        enter(mm.engine, image)
        mm.on_change = self.on_change
        self.linux = Linux(mm, image, launch, self.clock, self.scheduler)
        for cpu in self.cpus:
            cpu.with_stacks = launch.stacks
        return self.linux.first

    def place(self, task: Task) -> None:
        """Put a task on its CPU, which then stands before its next instruction."""
        number = self.scheduler.turn()
        assert number is not None
        cpu = self.cpus[number]
        self.switch(cpu, self.scheduler.current[number])
        cpu.enter(task.process.mm, task, self._clock)
        self._entries[number].task = task

    @property
    def stacks(self) -> StackTable:
        """The call stacks of all hits; every process has a table of its own that hands out the same numbers."""
        return self.linux.first.process.mm.stacks

    @property
    def instructions(self) -> int:
        """The clock: instructions run so far, on all CPUs."""
        return self.clock()

    def clock(self) -> int:
        """`instructions`, as what others are given."""
        return self._clock if self._active is None else self._active.instructions

    def advance(self, nanoseconds: int) -> None:
        """The clock goes on without the engine: somebody who runs no program did something. Only between turns."""
        assert self._active is None
        self._clock += nanoseconds

    def comm_number(self, comm: str) -> int:
        """The index of a task's name in `comms`."""
        number = self._comm_numbers.get(comm)
        if number is None:
            number = self._comm_numbers[comm] = len(self.comms)
            self.comms.append(comm)
        return number

    def on_cpu(self, number: int) -> Task | None:
        """The task whose breakpoints are in a CPU's registers; None while it is idle."""
        return self.on_cpus[number]

    def address_spaces(self) -> tuple[Mm, ...]:
        """Those of all living processes."""
        processes = self.linux.system.processes.values()
        return tuple(dict.fromkeys(process.mm for process in processes if process.exit_status is None))

    def cpu_for(self, task: Task) -> Cpu:
        """The CPU of a task, with the task's registers in the engine, before its next instruction."""
        cpu = self.cpus[task.cpu]
        if self.scheduler.current[task.cpu] is task:
            self.switch(cpu, task)
            self._enter(cpu, task)
            cpu.leave(task)
        else:
            task.process.mm.enter(task)
        return cpu

    # -- running

    def run(self, budget: int) -> Stop | None:
        """Run about `budget` instructions, fewer where processes begin; why the machine stands still, None if that was all."""
        deadline = self._clock + budget
        system = self.linux.system
        last_tid = system.last_tid + _MOST_BORN
        self.blocked = False
        while (left := deadline - self._clock) > 0 and not self.blocked and system.last_tid < last_tid:
            stop = self._turn(left)
            if stop is None and not self.blocked and self.scheduler.runnable > 1:
                stop = run_plain_turns(self, deadline)
            if stop is not None:
                return stop
            if self.capture.at_limit:
                return Stop("limit", "the limit of hits is reached")
        return None

    def _turn(self, most: int) -> Stop | None:
        """One CPU's turn, or as much of it as `most` instructions are."""
        scheduler, system = self.scheduler, self.linux.system
        if system.has_deadlines:
            system.expire()
        number = scheduler.turn()
        if number is None or not system.programs:
            return self._idle()
        task = scheduler.current[number]
        assert task is not None
        cpu = self.cpus[number]
        if self.on_cpus[number] is not task:
            self.switch(cpu, task)
        self._enter(cpu, task)
        alone = scheduler.alone()
        if alone:
            scheduler.left[number] = scheduler.quantum
        start = self._clock
        task.on_cpu_since = start
        self._active = cpu
        stop: Stop | None = None
        if self.linux.enter(task):
            cpu.rf_pc, cpu.rep_pc, cpu.guest_tf = task.rf_pc, task.rep_pc, task.guest_tf
            limit = most if alone else min(most, scheduler.left[number])
            if system.has_deadlines and (deadline := system.next_deadline()) is not None:
                limit = min(limit, max(1, deadline - system.now()))
            mm = task.process.mm
            if not mm.engine.jit:
                if cpu.between_instructions:
                    mm.warm_up()
                limit = min(limit, mm.most_at_once)
            stop = cpu.run(limit)
            self.blocked = cpu.blocked
        self._left(cpu, task, start, alone)
        return stop

    def resume(self, cpu: Cpu, task: Task, most: int, counted: int, kind: EventKind) -> Stop | None:
        """Finish a turn of at most `most` instructions that began at the engine's raw count `counted` and met `kind`."""
        start = self._clock
        self._enter(cpu, task)
        cpu.surplus = counted - start
        task.on_cpu_since = start
        self._active = cpu
        self.linux.enter(task)
        stop = cpu.run(most - (cpu.instructions - start), kind)
        self.blocked = cpu.blocked
        self._left(cpu, task, start, False)
        return stop

    def _enter(self, cpu: Cpu, task: Task) -> None:
        capture = self.capture
        capture.pid, capture.tid, capture.cpu = task.process.pid, task.tid, cpu.number
        comm = self._comm_numbers.get(task.comm)
        capture.comm = self.comm_number(task.comm) if comm is None else comm
        self._entries[cpu.number].task = task
        mm = task.process.mm
        if mm.space.shares:
            mm.space.catch_up()
        cpu.enter(mm, task, self._clock)

    def _left(self, cpu: Cpu, task: Task, start: int, alone: bool) -> None:
        """The slice has ended, for whatever reason."""
        number = cpu.number
        self._clock = cpu.instructions
        self._active = None
        ran = self._clock - start
        task.ran += ran
        task.on_cpu_since = self._clock
        cpu.leave(task)
        cpu.on_settle()
        scheduler = self.scheduler
        if scheduler.current[number] is not task or not alone:
            scheduler.ran(number, ran)
        if scheduler.current[number] is not task:
            scheduler.fill(number)
            self.switch(cpu, scheduler.current[number])

    def switch(self, cpu: Cpu, task: Task | None) -> None:
        if self.on_cpus[cpu.number] is not task:
            self.on_cpus[cpu.number] = task
            cpu.switches += 1
            if task is not None:
                task.switches += 1
            self.on_switch(cpu, task)

    def _idle(self) -> Stop | None:
        """Nothing is runnable."""
        for cpu in self.cpus:
            self.switch(cpu, None)
        if not self.linux.system.programs:
            return Stop("exit", "the program has ended")
        if self.linux.idle():
            return None
        waits = sorted(
            f"task {task.tid} for {task.wait.what}" if task.wait else f"task {task.tid} is stopped"
            for task in self.linux.system.tasks.values()
        )
        return Stop(
            "unsupported", f"deadlock: nobody will wake {', '.join(waits[:4])}{', ...' * (len(waits) > 4)}"
        )

    # -- tasks that a person adds, holds back and pins

    def add(self, task: Task) -> None:
        """A task that was made is runnable now, unless it does nothing."""
        if task.process.kind != "nothing":
            self.scheduler.add(task)

    def hold(self, task: Task, on: bool) -> None:
        """Keep a task from running, or let it run again."""
        if task.process.kind == "nothing" or on == task.stopped:
            return
        task.stopped = on
        if task.wait is None:
            if on:
                self.scheduler.remove(task)
            else:
                self.scheduler.add(task)
        self._reconcile()

    def pin(self, task: Task, affinity: frozenset[int] | None) -> None:
        """Say which CPUs a task may run on; None is all."""
        self.scheduler.pin(task, affinity)
        self._reconcile()

    def _reconcile(self) -> None:
        """A CPU that was left without its task goes on with another, or becomes idle."""
        for cpu in self.cpus:
            if self.on_cpus[cpu.number] is not None and self.scheduler.current[cpu.number] is None:
                self.scheduler.fill(cpu.number)
                self.switch(cpu, self.scheduler.current[cpu.number])

    # -- one step

    def step(self, task: Task) -> Stop | None:
        """Run one instruction of a task with the trap flag set, on its CPU."""
        number = task.cpu
        cpu = self.cpus[number]
        if not self.scheduler.bring(task):
            return None
        self.switch(cpu, task)
        self._enter(cpu, task)
        start = self._clock
        task.on_cpu_since = start
        self._active = cpu
        stop: Stop | None = None
        if self.linux.enter(task):
            cpu.rf_pc, cpu.rep_pc, cpu.guest_tf = task.rf_pc, task.rep_pc, task.guest_tf
            stop = cpu.step()
        self._left(cpu, task, start, self.scheduler.alone())
        return stop
