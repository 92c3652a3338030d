"""What Linux keeps about the processes and tasks of the emulated machine, and what every system call may use."""

from __future__ import annotations

import errno
import heapq
import os
import random
import struct
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backends.base import HwbpError, Launch
from backends.emulated.engine import Unsupported
from backends.emulated.icicle import IcicleEngine
from backends.emulated.linux.descriptors import Descriptors, open_standard_input
from backends.emulated.linux.output import Output
from backends.emulated.loader import Image
from backends.emulated.memory import AddressSpace
from backends.emulated.mm import Mm
from backends.emulated.scheduler import Scheduler
from backends.model import TaskKind

if TYPE_CHECKING:
    from backends.emulated.kernel.core import Kernel
    from backends.emulated.kernel.events import PerfEvent

__all__ = [
    "EPOCH_NS",
    "GID",
    "NO_ACTION",
    "NO_STACK",
    "PID",
    "PPID",
    "TRANSFER_LIMIT",
    "UID",
    "Blocked",
    "Handler",
    "Process",
    "System",
    "Task",
    "Unsupported",
    "Wait",
    "fail",
]

PID, PPID, UID, GID = 1000, 999, 1000, 1000
EPOCH_NS = 1_704_067_200 * 10**9
"""CLOCK_REALTIME when the machine starts: 2024-01-01 00:00 UTC."""
LATEST_NS = 100 * 365 * 86_400 * 10**9
TRANSFER_LIMIT = 1 << 20
"""The most that one read or write moves; a short transfer is what POSIX allows."""


NO_ACTION = bytes(32)
"""`struct kernel_sigaction` of a signal whose action is the default."""
NO_STACK = (0, 2, 0)
"""`stack_t` without a stack: ss_sp, SS_DISABLE, ss_size."""


@dataclass(slots=True, eq=False)
class Wait:
    """What a task waits for. Whoever makes one of `keys` happen wakes it.

    `woken` and `timed_out` are what the system call then answers; None makes it be tried again. `restarts`: a
    signal whose action has SA_RESTART lets it be tried again too; otherwise it answers EINTR. `rest` is where
    nanosleep(2) writes what was left of it (0: nowhere).
    """

    what: str
    keys: tuple[Hashable, ...] = ()
    deadline: int | None = None
    woken: int | None = None
    timed_out: int | None = None
    restarts: bool = False
    rest: int = 0


class Blocked(Exception):
    """Raised by a system call that has to wait: the task gives up its CPU, with pc still at the instruction."""

    def __init__(self, wait: Wait) -> None:
        super().__init__(wait.what)
        self.wait = wait


@dataclass(slots=True, eq=False)
class Process:
    """What the threads of one process share.

    `actions` are `struct kernel_sigaction` by signal, `pending` the signals sent to the whole process, with their
    siginfo. `exit_status` is 0-255, or -N for death by signal N, None while it lives; `vforked` the task that waits
    until it executes a program or ends.
    """

    pid: int
    parent: Process | None
    mm: Mm
    image: Image
    files: Descriptors
    cwd: str
    umask: int = 0o022
    pgid: int = 0
    sid: int = 0
    limits: dict[int, tuple[int, int]] = field(default_factory=dict)
    actions: dict[int, bytes] = field(default_factory=dict)
    pending: list[tuple[int, bytes]] = field(default_factory=list)
    threads: list[Task] = field(default_factory=list)
    children: list[Process] = field(default_factory=list)
    exit_status: int | None = None
    exit_signal: int = 17
    vforked: Task | None = None
    timer: int | None = None
    timer_interval: int = 0
    kind: TaskKind = "program"

    def handler(self, number: int) -> int:
        """sa_handler: 0 default, 1 ignored, else an address."""
        return int.from_bytes(self.actions.get(number, NO_ACTION)[:8], "little")


class System:
    """What the whole machine shares: its clock, tasks, output, random bytes, and what was refused.

    `clock` gives the instructions run so far, one a nanosecond; `slept_ns` is what passed while nothing ran; `programs`
    counts the living processes that run one. `kernel` is the hw-breakpoint layer (None: built without perf events).
    `on_breakpoints` is called after a program has changed its own, `on_refusal` when the layer refused it something,
    `on_resume` before a task that asked for it (`notify_resume`) goes back to user mode.
    """

    def __init__(self, launch: Launch, clock: Callable[[], int], scheduler: Scheduler[Task]) -> None:
        self.allow = frozenset(launch.allow)
        self.output = Output()
        self.random = random.Random(0xD1CE)
        self.refusals: list[str] = []
        self.slept_ns = 0
        self.clock = clock
        self.scheduler = scheduler
        self.tasks: dict[int, Task] = {}
        self.processes: dict[int, Process] = {}
        self.waiters: dict[Hashable, list[Task]] = {}
        self.last_tid = PID - 1
        self.pipes = 0
        self.programs = 0
        self._deadlines: list[tuple[int, int, Wait | Process, Task | None]] = []
        self._order = 0
        self.on_timer: Callable[[Process], None] = lambda process: None
        self.on_new: Callable[[int, Task, int], None] = lambda tid, parent, flags: None
        self.taken: Callable[[int], bool] = lambda tid: False
        self.on_exec: Callable[[Task], None] = lambda task: None
        self.on_exit: Callable[[Task], None] = lambda task: None
        self.on_reap: Callable[[Process], None] = lambda process: None
        self.on_rename: Callable[[int, int], None] = lambda old, new: None
        self.on_resume: Callable[[Task], None] = lambda task: None
        self.on_breakpoints: Callable[[], None] = lambda: None
        self.on_refusal: Callable[[str, HwbpError], None] = lambda what, error: None
        self.kernel: Kernel | None = None

    def now(self) -> int:
        """Nanoseconds since the machine started: what it computed and what it slept."""
        return self.clock() + self.slept_ns

    def new_tid(self) -> int:
        """The next task's number; numbers are not used twice, and never those of tasks that others made."""
        self.last_tid += 1
        while self.taken(self.last_tid):
            self.last_tid += 1
        return self.last_tid

    def rename(self, task: Task, tid: int) -> None:
        """de_thread: a thread that executes a program takes its process's number, whose first thread has ended."""
        del self.tasks[task.tid]
        self.on_rename(task.tid, tid)
        task.tid = tid
        self.tasks[tid] = task

    def wake(self, key: Hashable, most: int = 1 << 31) -> int:
        """Wake tasks that wait for this, the longest waiting first; returns how many."""
        woken = 0
        for task in tuple(self.waiters.get(key, ()))[:most]:
            assert task.wait is not None
            self.end_wait(task, task.wait.woken)
            woken += 1
        return woken

    def end_wait(self, task: Task, result: int | None) -> None:
        """The task is runnable again; with a result its system call answers that, else it is made again."""
        self._forget_wait(task)
        task.result = result
        if not task.stopped:
            self.scheduler.add(task)

    def _forget_wait(self, task: Task) -> None:
        assert task.wait is not None
        for key in task.wait.keys:
            queue = self.waiters[key]
            queue.remove(task)
            if not queue:
                del self.waiters[key]
        task.wait = None

    def block(self, task: Task, wait: Wait) -> None:
        """Take a task from its CPU until what it waits for has happened."""
        task.wait = wait
        for key in wait.keys:
            self.waiters.setdefault(key, []).append(task)
        if wait.deadline is not None:
            self._remember(wait.deadline, wait, task)
        self.scheduler.remove(task)

    def drop(self, task: Task) -> None:
        """A task that ended waits for nothing and runs no more."""
        if task.wait is not None:
            self._forget_wait(task)
        elif self.scheduler.is_runnable(task):
            self.scheduler.remove(task)
        self.tasks.pop(task.tid, None)

    def set_timer(self, process: Process, when: int | None, interval: int = 0) -> None:
        """ITIMER_REAL: SIGALRM at this time of `now`, and again every interval (0: once); None takes it back."""
        process.timer, process.timer_interval = when, interval
        if when is not None:
            self._remember(when, process)

    def _remember(self, when: int, what: Wait | Process, task: Task | None = None) -> None:
        self._order += 1
        heapq.heappush(self._deadlines, (when, self._order, what, task))

    @property
    def has_deadlines(self) -> bool:
        """Whether there may be sleeps or timers."""
        return bool(self._deadlines)

    def next_deadline(self) -> int | None:
        """When the next sleep or timer ends, in nanoseconds of `now`; None where there is none."""
        while self._deadlines:
            when, _, what, task = self._deadlines[0]
            if task.wait is what if task is not None else isinstance(what, Process) and what.timer == when:
                return when
            heapq.heappop(self._deadlines)
        return None

    def expire(self) -> None:
        """End the sleeps and timers whose time has come."""
        now = self.now()
        while (when := self.next_deadline()) is not None and when <= now:
            _, _, what, task = heapq.heappop(self._deadlines)
            if task is not None and isinstance(what, Wait):
                self.end_wait(task, what.timed_out)
            elif isinstance(what, Process):
                interval = what.timer_interval
                self.set_timer(what, when + interval if interval else None, interval)
                self.on_timer(what)

    def refuse(self, word: str, what: str, code: int = errno.EACCES) -> OSError:
        """Record that something was refused, once for each kind, and give the error that says so."""
        if word in self.allow:
            code = errno.ENOSYS
            line = f"{what}: ENOSYS (the machine cannot do this, --allow {word} or not)"
        else:
            line = f"{what}: {errno.errorcode[code]} (refused without --allow {word})"
        if line not in self.refusals and len(self.refusals) < 1000:
            self.refusals.append(line)
        return fail(code)


class Task:
    """One task (a thread), and through it its process: what a system call works on.

    `context` holds its registers while another task has the engine (`backends.emulated.mm`). `blocked` is its signal
    mask, `saved_mask` the one that a handler's return restores (sigsuspend), `result` what an ended wait answers.
    `rf_pc` is the instruction that runs with EFLAGS.RF set, -1 for none; `rep_pc` the repeated string instruction it
    is in the middle of; `guest_tf` whether it set EFLAGS.TF. `ran` counts its instructions up to its last turn.
    `signalled` (TIF_SIGPENDING): it is to look at its signals and its process's. `opened` are the perf events it made.
    """

    def __init__(self, system: System, process: Process, tid: int, comm: str) -> None:
        self.system = system
        self.process = process
        self.tid = tid
        self.comm = comm
        self.cpu = 0
        self.affinity: frozenset[int] | None = None
        self.context: list[int] | None = None
        self.wait: Wait | None = None
        self.result: int | None = None
        self.until: int | None = None
        self.stopped = False
        self.blocked = 0
        self.saved_mask: int | None = None
        self.pending: list[tuple[int, bytes]] = []
        self.altstack: tuple[int, ...] = NO_STACK
        self.clear_child_tid = self.robust_list = 0
        self.rf_pc = -1
        self.rep_pc = -1
        self.guest_tf = False
        self.ran = 0
        self.on_cpu_since = 0
        self.switches = 0
        self.ended = False
        self.signalled = False
        self.notify_resume = False
        self.opened: list[PerfEvent] = []

    @property
    def engine(self) -> IcicleEngine:
        """The engine that runs its process."""
        return self.process.mm.engine

    @property
    def space(self) -> AddressSpace:
        """The mappings of its process."""
        return self.process.mm.space

    @property
    def image(self) -> Image:
        """The program its process executes."""
        return self.process.image

    @property
    def files(self) -> Descriptors:
        """The open files of its process."""
        return self.process.files

    @property
    def limits(self) -> dict[int, tuple[int, int]]:
        """What setrlimit(2) set."""
        return self.process.limits

    @property
    def allow(self) -> frozenset[str]:
        """What programs may do by themselves."""
        return self.system.allow

    @property
    def random(self) -> random.Random:
        """Where random bytes come from."""
        return self.system.random

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self.process.pid

    @property
    def ppid(self) -> int:
        """The number of the process that started it; 1 once that has ended."""
        if self.process.parent is not None:
            return self.process.parent.pid
        return PPID if self.process.pid == PID else 1

    def now(self) -> int:
        """Nanoseconds since the machine started."""
        return self.system.now()

    def cpu_time(self) -> int:
        """Nanoseconds that the task itself ran."""
        return self.ran + self.system.clock() - self.on_cpu_since

    def process_time(self) -> int:
        """Nanoseconds that all threads of its process ran."""
        others = sum(thread.ran for thread in self.process.threads if thread is not self)
        return self.cpu_time() + others

    def sleep_until(self, when_ns: int, *, rest: int = 0) -> None:
        """Wait until then (Blocked, unless it is past), and answer 0."""
        if when_ns > LATEST_NS:
            raise Unsupported("a sleep of more than a hundred years")
        if when_ns > self.now():
            raise Blocked(Wait("sleep", deadline=when_ns, timed_out=0, rest=rest))

    def wait_for(
        self, what: str, *keys: Hashable, timeout: int | None = None, restarts: bool = True
    ) -> Blocked:
        """A wait after which the system call is made again; `timeout` in nanoseconds counts from its first try."""
        if timeout is not None and self.until is None:
            self.until = min(self.now() + timeout, LATEST_NS)
        return Blocked(Wait(what, keys, deadline=self.until, restarts=restarts))

    def waited(self, timeout: int | None) -> bool:
        """Whether a call with this timeout (None: none) has waited long enough."""
        return timeout is not None and (not timeout or (self.until is not None and self.now() >= self.until))

    def refuse(self, word: str, what: str, code: int = errno.EACCES) -> OSError:
        """Record a refusal; see `System.refuse`."""
        return self.system.refuse(word, what, code)

    def path(self, address: int) -> str:
        """A path argument (EFAULT, ENAMETOOLONG)."""
        return os.fsdecode(self.space.text(address))

    def unpack(self, layout: str, address: int) -> tuple[int, ...]:
        """Integers from the program's memory (EFAULT)."""
        values: tuple[int, ...] = struct.unpack(layout, self.space.copy_out(address, struct.calcsize(layout)))
        return values

    def pack(self, layout: str, address: int, *values: int) -> None:
        """Integers into the program's memory (EFAULT)."""
        self.space.copy_in(address, struct.pack(layout, *values))


def first_process(system: System, mm: Mm, image: Image, launch: Launch) -> Task:
    """The process that the machine was launched with, and its one thread."""
    files = Descriptors(system.output, open_standard_input(launch.stdin))
    pid = system.new_tid()
    process = Process(pid, None, mm, image, files, os.getcwd(), pgid=pid, sid=pid)
    return add_thread(system, process, pid, os.path.basename(image.argv[0])[:15])


def add_thread(system: System, process: Process, tid: int, comm: str) -> Task:
    """A new task of a process, known to the machine but not runnable yet."""
    task = Task(system, process, tid, comm)
    process.threads.append(task)
    system.tasks[tid] = task
    if process.pid not in system.processes:
        system.processes[process.pid] = process
        system.programs += process.kind == "program"
    return task


Handler = Callable[[Task, int, int, int, int, int, int], int | None]
"""A system call: six raw 64-bit arguments, the result or None where there is none (the task has ended, or its
registers are already what they shall be)."""


def fail(code: int) -> OSError:
    """The error with this number, to be raised."""
    return OSError(code, os.strerror(code))
