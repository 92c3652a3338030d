"""What every machine is made of: frozen data, no behaviour beyond itself.

Addresses are integers. Text that comes from a watched program (names, paths) is kept as it is and is escaped
where it is shown (`tui.session.escape`), never here.
"""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from backends.condition import Condition
from symbols.dataclass import dataclass

__all__ = [
    "Abilities",
    "Breakpoint",
    "BreakpointRequest",
    "CpuView",
    "DebugException",
    "Frame",
    "Journal",
    "MachineView",
    "Mapping",
    "Mark",
    "Occupancy",
    "Owner",
    "OwnerKind",
    "Refusal",
    "RegisterWrite",
    "RunState",
    "Site",
    "Slot",
    "Stop",
    "TaskKind",
    "TaskState",
    "TaskView",
    "WatchType",
]

WatchType = Literal["x", "w", "rw"]
"""What a slot watches: R/W field 00, 01 and 11 of DR7. There is no read-only encoding (SDM 3B 17.2.4)."""

OwnerKind = Literal["perf", "ptrace", "kgdb", "ftrace", "module", "kvm", "hand", "program", "unknown"]
"""Who holds a slot. `hand` is a register written by hand, past the kernel's books; `program` is the program itself,
where it runs at privilege level 0 without a kernel."""

RunState = Literal["loaded", "running", "stopped", "exited", "failed", "detached"]
"""`loaded`: nothing has run yet. `failed`: a task met what the machine cannot do; it stays open to inspection.
`detached`: a live program goes on by itself, unwatched."""


TaskState = Literal["running", "runnable", "waiting", "stopped", "unknown"]
"""`running`: on a CPU; `runnable`: waits for one; `waiting`: in a system call; `stopped`: by a signal or by a person."""

TaskKind = Literal["program", "pattern", "told", "nothing"]
"""What a task does: a real program, accesses that somebody asked for, or nothing at all, ever."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a machine can be asked, beyond arming and recording.

    `stops`: it can stand still, and then has registers; `steps`: it runs single instructions; `writes_dr`: its debug
    registers can be written by hand; `reads_dr`: they can be read, else what is shown is the kernel's books, where those are open; `detaches`: its
    program can go on without us; `maps_later`: its program is waited for when it maps a library; `ptrace`: it has a ptrace interface to peek and poke;
    `why_not` says, in one sentence, why it lacks what it lacks.
    """

    stops: bool = True
    steps: bool = True
    writes_dr: bool = True
    reads_dr: bool = True
    ptrace: bool = True
    detaches: bool = False
    maps_later: bool = False
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds a breakpoint: the interface, and the process and descriptor behind it where there is one."""

    kind: OwnerKind
    pid: int | None = None
    comm: str | None = None
    fd: int | None = None


@dataclass(frozen=True, slots=True)
class BreakpointRequest:
    """One window that one register can cover.

    `address` and `length` follow the hardware: 1, 2, 4 or 8 bytes, aligned; 1 for execute.
    `watch` and `window` say which watch of the session it belongs to and which of its windows (from 0).
    `tid` is the task it follows (None: the machine's first task), `cpu` one CPU (None: all).
    `stop` asks that the task stops at each hit. Hits that do not meet `condition` are counted only: not recorded, and no
    reason to stop; of those that do, the first `ignore` of all windows of the watch are counted only too. After `limit` recorded hits
    of all windows no more are recorded, and it is disabled. `again`: it was asked before, and another refusal is no news.
    """

    address: int
    length: int
    type: WatchType
    owner: OwnerKind = "perf"
    watch: int = -1
    window: int = 0
    text: str = ""
    tid: int | None = None
    cpu: int | None = None
    enabled: bool = True
    stop: bool = False
    condition: Condition | None = None
    limit: int | None = None
    ignore: int = 0
    again: bool = False


@dataclass(frozen=True, slots=True)
class Breakpoint:
    """A breakpoint that the layer accepted: it counts against the slots until it is removed, even while disabled.

    `slot` is the register it sits in on CPU 0 now, None while it is in none. `index` is the owner's own number
    (ptrace's u_debugreg index), None where the owner has none. `hits` are those that were recorded, `filtered` those that
    did not meet the condition or were ignored; `ignore` is how many of the next ones will be.
    """

    id: int
    address: int
    length: int
    type: WatchType
    owner: Owner
    enabled: bool
    tid: int | None
    cpu: int | None
    slot: int | None
    index: int | None
    watch: int
    window: int
    text: str
    stop: bool
    hits: int
    filtered: int = 0
    condition: Condition | None = None
    limit: int | None = None
    ignore: int = 0


@dataclass(frozen=True, slots=True)
class Slot:
    """One debug register of one CPU as the hardware has it. `breakpoint` is None for one that nobody's books own."""

    index: int
    address: int
    length: int
    type: Literal["x", "w", "rw", "io"]
    local: bool
    global_: bool
    breakpoint: int | None


@dataclass(frozen=True, slots=True)
class CpuView:
    """The debug registers of one CPU.

    `dr` holds DR0 to DR3. `dr7` is the hardware's value, `dr6` what the last #DB delivered (Linux's handler then resets
    the register to 0xffff0ff0), `cpu_dr7` the kernel's copy of DR7 without fixed bit 10 (x86 hw_breakpoint.c), `changed_dr7` the bits that the last write to DR7 changed and
    `changed_by` who made it. `db_count` counts #DB exceptions, `dr_writes` writes to any debug register.
    `last_db` says in words what the last #DB was. `free` is what a CPU-wide request would still get.

    `writes` are the register writes by cause, `switches` counts context switches. `guest` is the virtual CPU whose registers are
    in the hardware now, empty where the host's are: its slots are nobody's here.

    `readable` is False on a live machine, where nobody in user space can read the registers themselves: `dr`, `slots` and
    `cpu_dr7` are the kernel's books then, `dr7` is `cpu_dr7`, and `dr6` and the counts mean nothing. A front end shows
    none of them as the hardware's.
    """

    cpu: int
    tid: int | None
    dr: tuple[int, int, int, int]
    dr6: int
    dr7: int
    cpu_dr7: int
    changed_dr7: int
    changed_by: str
    db_count: int
    dr_writes: int
    last_db: str
    free: int
    slots: tuple[Slot, ...]
    readable: bool = True
    writes: tuple[tuple[str, int], ...] = ()
    switches: int = 0
    guest: str = ""


@dataclass(frozen=True, slots=True)
class Stop:
    """Why the machine stands still: one short word, and a sentence for people.

    `hit` is the sequence number of the hit that stopped it, None where it was not a hit.
    """

    reason: Literal[
        "none", "entry", "mapped", "user", "hit", "step", "exit", "signal", "unsupported", "limit", "shutdown"
    ]
    text: str = ""
    hit: int | None = None


@dataclass(frozen=True, slots=True)
class DebugException:
    """One #DB as a bare CPU delivered it, numbered from 0.

    `ip` is what the frame says, `insn_ip` the instruction that caused it; `cause` is a sentence for people. `dr6` is DR6 on
    entry to the handler; `dr7` is DR7 before GD was cleared. `rf` is RF in the frame, `cpl` the privilege level that was interrupted,
    `time_ns` the machine's clock.
    """

    number: int
    time_ns: int
    ip: int
    insn_ip: int
    kind: Literal["fault", "trap"]
    cause: str
    dr6: int
    dr7: int
    rf: bool
    cpl: int


@dataclass(frozen=True, slots=True)
class TaskView:
    """One task. `virtual_dr6` and `ptrace_dr7` are what PTRACE_PEEKUSER would give for u_debugreg[6] and [7].

    None where it is not known: a live task that runs has no registers to show. `cpu` is the CPU it runs on or ran on last,
    `pinned` those it may run on (empty: all), `ran_ns` how long it ran, `switches` how often it was given a CPU,
    `waits_for` what it waits for, in words.
    """

    pid: int
    tid: int
    comm: str
    pc: int | None
    sp: int | None
    virtual_dr6: int | None
    ptrace_dr7: int | None
    state: TaskState = "unknown"
    waits_for: str = ""
    cpu: int | None = None
    pinned: tuple[int, ...] = ()
    ran_ns: int | None = None
    switches: int | None = None
    kind: TaskKind = "program"


@dataclass(frozen=True, slots=True)
class Occupancy:
    """A breakpoint sat in a register of a CPU from `start_ns` to `end_ns`, None while it still does."""

    cpu: int
    slot: int
    breakpoint: int
    owner: OwnerKind
    start_ns: int
    end_ns: int | None


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened on a CPU besides: "switch" (`tid` comes, 0 for the idle task), "nmi", "nmi end", "kgdb stop",
    "guest entry" and the like."""

    time_ns: int
    cpu: int
    kind: str
    tid: int


@dataclass(frozen=True, slots=True)
class RegisterWrite:
    """One write to a debug register: 0-3, 6 or 7, and why."""

    time_ns: int
    cpu: int
    register: int
    value: int
    cause: str


@dataclass(frozen=True, slots=True)
class Journal:
    """What happened to the debug registers in a span of time, oldest first.

    `first_ns` is the oldest moment that the journal still knows all of, `now_ns` the machine's time.
    """

    first_ns: int
    now_ns: int
    occupancies: tuple[Occupancy, ...]
    marks: tuple[Mark, ...]
    writes: tuple[RegisterWrite, ...]


@dataclass(frozen=True, slots=True)
class Mapping:
    """One line of /proc/PID/maps. `path` is empty for anonymous memory, "[stack]" or "[heap]" for those."""

    start: int
    end: int
    perms: str
    offset: int
    path: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that was refused: errno's name, the rule in one sentence, and who holds the slots."""

    what: str
    errno: str
    why: str
    holders: tuple[str, ...] = ()
    time_ns: int = 0


@dataclass(frozen=True, slots=True)
class Site:
    """One instruction that hit one breakpoint. Counts are exact for every hit, however many the ring has dropped.

    Times are in the machine's clock; `value` and `old` are those of the last hit, None where unknown.
    """

    breakpoint: int
    insn_ip: int
    count: int
    first_ns: int
    last_ns: int
    value: int | None
    old: int | None
    stack: int


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of an interned stack. `guessed`: no unwind rule said so, it was found by frame pointer or by search."""

    ip: int
    guessed: bool


@dataclass(frozen=True, slots=True)
class MachineView:
    """The whole state of a machine at one moment. `generation` grows with every change worth a new picture.
    `blind_ns` is how long the rate guard kept the watches disarmed: totals are lower bounds where it is not 0. `filtered` are
    the hits that did not meet their breakpoint's condition, since the beginning.

    `debug_exceptions` are the last few #DB of a bare machine, None where a kernel takes them.
    `disagreements` say where the books of a live kernel do not have what was asked for, a sentence each.
    `notice` is what a person should know of how it watches, empty where all is as wanted.
    `bits` are those of the program's code: 64, or 32 for a live program of i386.
    `task` is the task whose registers, memory and mappings are looked at, `quantum` what a task runs, in instructions, before
    another that waits has its turn; None where there is no such thing.
    """

    @property
    def current(self) -> TaskView | None:
        """The task that is looked at."""
        first = self.tasks[0] if self.tasks else None
        return next((task for task in self.tasks if task.tid == self.task), first)

    generation: int
    backend: str
    program: str
    argv: tuple[str, ...]
    state: RunState
    stop: Stop
    exit_status: int | None
    clock: Literal["monotonic", "perf", "instructions"]
    time_ns: int
    instructions: int | None
    hits: int
    lost: int | None
    engine: str
    cpus: tuple[CpuView, ...]
    tasks: tuple[TaskView, ...]
    breakpoints: tuple[Breakpoint, ...]
    mappings: tuple[Mapping, ...]
    refusals: tuple[Refusal, ...] = ()
    refused: int = 0
    task: int | None = None
    quantum: int | None = None
    comms: tuple[str, ...] = field(default=())
    debug_exceptions: tuple[DebugException, ...] | None = None
    can: Abilities = Abilities()
    notice: str = ""
    disagreements: tuple[str, ...] = ()
    blind_ns: int = 0
    filtered: int = 0
    bits: Literal[32, 64] = 64
