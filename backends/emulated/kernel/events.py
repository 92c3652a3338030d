"""The perf event: the one carrier of a breakpoint, whoever owns it (struct perf_event, as far as breakpoints use it)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from backends.emulated.kernel.attr import FLAGS, SAMPLE, Attr
from backends.model import Owner, WatchType

if TYPE_CHECKING:
    from backends.emulated.kernel.ringbuffer import RingBuffer
    from backends.emulated.kernel.tasks import Context, Task

__all__ = ["Async", "Frequency", "Hardware", "PerfEvent", "Regs", "State"]

_EXCLUDE_USER: Final = 1 << FLAGS["exclude_user"]
_EXCLUDE_KERNEL: Final = 1 << FLAGS["exclude_kernel"]
_FREQ: Final = 1 << FLAGS["freq"]
_SIGTRAP: Final = 1 << FLAGS["sigtrap"]


class State(IntEnum):
    """enum perf_event_state. Only an ACTIVE event is in a register by perf's doing; kgdb's stay OFF."""

    DEAD = -5
    EXIT = -3
    ERROR = -2
    OFF = -1
    INACTIVE = 0
    ACTIVE = 1


@dataclass(frozen=True, slots=True)
class Hardware:
    """struct arch_hw_breakpoint: what goes into a register. `length` is the LEN field's, 1 for execute.

    `mask` is AMD's address mask (0 without BPEXT), which a longer range needs.
    """

    address: int
    length: int
    type: WatchType
    mask: int = 0


@dataclass(frozen=True, slots=True)
class Regs:
    """What a handler gets of struct pt_regs: where, and in which mode."""

    ip: int
    user: bool = True


@dataclass(frozen=True, slots=True)
class Async:
    """fcntl O_ASYNC: `signal` (0: SIGIO without particulars) goes to the task `owner`, or to the process of that number;
    `fd` is si_fd."""

    signal: int
    owner: int
    fd: int = -1
    to_process: bool = False


@dataclass(slots=True)
class Frequency:
    """What perf_adjust_period looks back at: when the event overflowed last, in nanoseconds, and its count at the last tick.
    `tick_ns` is the time between two ticks (TICK_NSEC)."""

    tick_ns: int
    stamp: int = 0
    tick: int = 0
    count: int = 0


@dataclass(slots=True, eq=False, repr=False)
class PerfEvent:
    """One event. It holds a slot from its creation to its destruction, in whatever state.

    `target` is the task it follows (None: CPU-bound), `cpu` one CPU or -1. `index` is the owner's own number
    (ptrace's u_debugreg index, kgdb's breakinfo). `count` is what this event object itself has counted; a reader
    gets `total`. `children` are inherited copies, which belong to their `parent`'s descriptor. `reserved` says whether it
    counts: kgdb's pre-made events do not until they are set. `handler` is called at each overflow with the event, the
    registers and the CPU. `limit` is event_limit: overflows left until it disables itself, 0 for no limit. `fasync` says
    who is sent what at an overflow. `ring` takes its records, `lost` counts those
    that found no room; `notify` wakes whoever polls it. `enabled_ns` and `running_ns` are its times up to `stamp`, by its
    context's clock. A group's leader has `siblings`, which are in registers only while it is. `frequency` is what attr.freq
    needs to adapt the period. `stop` asks the machine to stand still at a hit. `owned`: prctl of the task that opened it
    reaches it and its copies.
    """

    id: int
    attr: Attr
    owner: Owner
    hardware: Hardware
    target: Task | None
    cpu: int
    state: State = State.OFF
    stopped: bool = False
    ctx: Context | None = None
    index: int | None = None
    parent: PerfEvent | None = None
    children: list[PerfEvent] = field(default_factory=list)
    handler: Callable[[PerfEvent, Regs, int], None] | None = None
    reserved: bool = False
    count: int = 0
    child_count: int = 0
    period: int = 0
    last_period: int = 0
    period_left: int = 0
    limit: int = 0
    overflows: int = 0
    pending_sigtrap: bool = False
    group_leader: PerfEvent | None = None
    siblings: list[PerfEvent] = field(default_factory=list)
    fasync: Async | None = None
    ring: RingBuffer | None = None
    lost: int = 0
    notify: Callable[[], object] | None = None
    stamp: int = 0
    enabled_ns: int = 0
    running_ns: int = 0
    child_enabled_ns: int = 0
    child_running_ns: int = 0
    frequency: Frequency | None = None
    watch: int = -1
    window: int = 0
    text: str = ""
    stop: bool = False
    owned: bool = True

    def __repr__(self) -> str:
        return f"<{self.described()}, {self.state.name}, count {self.count}>"

    @property
    def address(self) -> int:
        """The configured address."""
        return self.hardware.address

    @property
    def length(self) -> int:
        """Bytes, as a register covers them: 1 for execute."""
        return self.hardware.length

    @property
    def type(self) -> WatchType:
        """x, w or rw."""
        return self.hardware.type

    @property
    def tid(self) -> int | None:
        """The task it follows; None for a CPU-bound event."""
        return None if self.target is None else self.target.tid

    @property
    def enabled(self) -> bool:
        """Whether it is on: it sits in a register whenever its task and CPU say so."""
        return self.state >= State.INACTIVE

    @property
    def switched_on(self) -> bool:
        """The same as a person sees it: kgdb puts its events into registers past perf, which knows them as off."""
        return self.enabled or self.owner.kind == "kgdb"

    @property
    def total(self) -> int:
        """What read(2) gives: its own count and its inherited children's, the dead ones' included."""
        return self.count + self.child_count + sum(child.count for child in self.children)

    @property
    def total_overflows(self) -> int:
        """Overflows of the event and of its living children."""
        return self.overflows + sum(child.overflows for child in self.children)

    def counts_on(self, cpu: int) -> bool:
        """Whether it takes a slot of this CPU's budget."""
        return self.cpu < 0 or self.cpu == cpu

    @property
    def quiet(self) -> bool:
        """A user-mode hit does nothing but count: the machine may count several and tell the kernel later."""
        original = self.parent or self
        return (
            self.handler is None
            and not self.stopped
            and not self.attr.flags & (_EXCLUDE_USER | _SIGTRAP | _FREQ)
            and original.fasync is None
            and original.ring is None
            and not self.limit
            and not self.stop
        )

    def add_sibling(self, event: PerfEvent) -> None:
        """perf_group_attach: this event leads it."""
        event.group_leader = self
        self.siblings.append(event)

    def leave_group(self) -> None:
        """perf_group_detach: a sibling leaves its leader; a leader's siblings are events of their own."""
        if self.group_leader is not None:
            self.group_leader.siblings.remove(self)
            self.group_leader = None
        for sibling in self.siblings:
            sibling.group_leader = None
        self.siblings.clear()

    def wake(self) -> None:
        """perf_event_wakeup: whoever polls the event looks again."""
        if self.notify is not None:
            self.notify()

    def excludes(self, user: bool) -> bool:
        """perf_exclude_event: whether a hit in this mode is not this event's business."""
        return bool(self.attr.flags & (_EXCLUDE_USER if user else _EXCLUDE_KERNEL))

    @property
    def overflows_always(self) -> bool:
        """Every hit overflows, whatever the period: sample_type has PERIOD and the period is fixed."""
        return bool(self.attr.sample_type & SAMPLE["period"]) and not self.attr.flags & _FREQ

    @property
    def by_frequency(self) -> bool:
        """attr.freq: the kernel adapts the period to reach a rate."""
        return bool(self.attr.flags & _FREQ)

    def set_disabled(self, disabled: bool) -> None:
        """attr.disabled, which says what a modification leaves behind."""
        self.attr = self.attr.changed(flags=self.attr.flags & ~1 | disabled)

    def described(self, *, asked: bool = False) -> str:
        """For a list of holders; `asked`: it is a window of the request that is being refused, and will be gone."""
        name = (
            f"{self.text} ({self.address:#x})"
            if self.text
            else f"{self.address:#x}/{self.length}:{self.type}"
        )
        numbers = {"ptrace": "u_debugreg", "kgdb": "breakinfo"}
        if self.index is not None:
            number = f" {numbers.get(self.owner.kind, self.owner.kind)}[{self.index}]"
        elif self.parent is not None:
            number = f" event {self.parent.owner.fd}'s child"
        else:
            whose = f" of {self.owner.comm} {self.owner.pid}" if self.owner.pid is not None else ""
            number = f" event {self.owner.fd}{whose}" if self.owner.fd is not None else ""
        where = f"task {self.tid}" if self.target is not None else ""
        if self.cpu >= 0:
            where += f"{' on ' if where else ''}CPU {self.cpu}"
        if self.target is not None and self.target.dead:
            where += ", which is dead"
        if asked:
            return f"this request: {name}, {where}"
        if self.watch >= 0:  # the number that people meet everywhere; the descriptor is perf's own
            fd = f", perf fd {self.owner.fd}" if self.owner.fd is not None else ""
            return f"watch {self.watch}: {name}{fd}, {where}{'' if self.enabled else ', disabled'}"
        return f"{self.owner.kind}{number}: {name}, {where}{'' if self.switched_on else ', disabled'}"
