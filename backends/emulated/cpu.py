"""One emulated CPU: its debug unit, and the loop that turns what an engine reports into #DB, system calls and signals.

The rules, each with its source, are in docs/semantics.md. In short: an execute slot is a fault before the instruction,
a data slot a trap after it; all slots that one instruction hits come as one #DB; a `rep` traps after each element,
at the `rep` itself, except the last, which traps at the next instruction; an instruction that faults drops its
data matches; a failing cmpxchg writes.

What an access hits is in `backends.emulated.hits`, what an exception becomes in `backends.emulated.exceptions`, the
path of plain hits in `backends.emulated.hot`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import iced_x86 as ic

from backends.dr import DR6_BASE
from backends.emulated.capture import Capture, HitSink
from backends.emulated.debug_unit import DataSlot, DebugUnit
from backends.emulated.decode import Decoded, decode
from backends.emulated.engine import EngineError, EventKind, Unsupported
from backends.emulated.exceptions import exception, rewritten, run_special_at, unmapped
from backends.emulated.hits import Held, data_access, execute_hit, faulted_after_all, kernel_hit
from backends.emulated.hot import run_hot
from backends.emulated.memory import CodeRewritten
from backends.emulated.mm import Mm
from backends.model import Stop

__all__ = ["Cpu", "Kernel", "Running"]

SIGTRAP = 5
_HITS_A_SLICE = 4096
_UNDECODED = (EventKind.INVALID, EventKind.UNSUPPORTED)
_M = ic.Mnemonic


class Kernel(Protocol):
    """What the CPU enters from user mode. Both return whether its task goes on now."""

    def syscall(self) -> bool:
        """The SYSCALL instruction at pc."""
        ...

    def deliver_fault(self, signal_number: int, address: int, code: int) -> bool:
        """An exception of user mode; `code` is the signal's si_code."""
        ...


class Running(Protocol):
    """A task, as far as a CPU knows it."""

    context: list[int] | None
    rf_pc: int
    rep_pc: int
    guest_tf: bool


class Cpu:
    """Runs one task at a time, wherever its address space is.

    `sinks[n]` takes the hits of slot n, `labels[n]` is its name. `attentive` are the slots (as bits) whose hits the
    kernel has to know of at once: `on_db(hits, step, user)` is called with each #DB that has one of them, and returns the
    slots whose hits are to be recorded; it may set `stop`. The others' hits only count: `quiet` has them by slot and
    `quiet_dbs` their exceptions, until `on_settle`.
    `unwanted` are the slots whose hit of the last #DB did not meet its condition, or came after its limit.
    After `run` or `step`, `stop` says why the machine stands still, None if the budget was all or the task gave the CPU
    up (`yielding`). `blocked`: nothing ran, for a reader that must miss no hit is behind.
    """

    def __init__(self, number: int, capture: Capture) -> None:
        self.number = number
        self.unit = DebugUnit()
        self.capture = capture
        self.kernel: Kernel
        self.mm: Mm
        self.with_stacks = True
        self.sinks: list[HitSink] = [capture.sink(0)] * 4
        self.unwanted = 0
        self.labels: list[str] = [""] * 4
        self.attentive = 0xF
        self.quiet = [0, 0, 0, 0]
        self.quiet_dbs = 0
        self.on_db: Callable[[int, bool, bool], int] = lambda hits, step, user: hits
        self.on_settle: Callable[[], None] = lambda: None
        self.stop: Stop | None = None
        self.yielding = False
        self.db_count = 0
        self.switches = 0
        self.last_db = ""
        self.last_dr6 = DR6_BASE
        self.blocked = False
        self.surplus = 0
        self.stepping = False
        self.hits_here = 0
        self.rf_pc = -1
        self.rep_pc = -1
        self.guest_tf = False
        self.asked_pc = -1
        self.held: list[Held] | None = None
        self.entered_kernel = False
        self._attached = False
        self.unit.on_arm = self._armed

    # -- which task

    def enter(self, mm: Mm, task: Running, clock: int) -> None:
        """Go on with this task; the machine's clock shows `clock` now."""
        if not self._attached or self.mm is not mm or mm.unit is not self.unit:
            self._attach(mm)
        mm.enter(task)
        self.rf_pc, self.rep_pc, self.guest_tf = task.rf_pc, task.rep_pc, task.guest_tf
        self.surplus = self.engine.instructions_counted - clock

    def leave(self, task: Running) -> None:
        """The task gives the CPU up, for now or for good."""
        task.rf_pc, task.rep_pc, task.guest_tf = self.rf_pc, self.rep_pc, self.guest_tf

    def _attach(self, mm: Mm) -> None:
        watches = bool(self.unit.data or self.unit.execute)
        if self._attached and self.mm.unit is self.unit:
            self.mm.space.kernel_watch = None
            if watches:
                self.mm.unwatch()
            else:
                self.mm.unit = None
        self.mm = mm
        self._attached = True
        self.engine, self.space, self.places, self.stacks = mm.engine, mm.space, mm.places, mm.stacks
        self.decoded, self.quick = mm.decoded, mm.quick
        mm.watch(self.unit)
        if watches:
            self._armed()
        else:
            self.space.kernel_watch = None

    @property
    def instructions(self) -> int:
        """The machine's clock: instructions run on all CPUs while this one runs.

        An element of a `rep` is none, an instruction that was refused or faulted counts once.
        """
        return self.engine.instructions_counted - self.surplus

    @property
    def between_instructions(self) -> bool:
        """Whether the engine may be replaced now: not in the middle of a `rep`."""
        return self.rep_pc == -1

    def after_call(self) -> int | None:
        """The address after the instruction at pc, if that is a call."""
        try:
            decoded = self.decode(self.engine.pc)
        except EngineError:
            return None
        return self.engine.pc + decoded.length if decoded.mnemonic == _M.CALL else None

    def _armed(self) -> None:
        """The slots have changed, or what they are held against."""
        if not self._attached or self.mm.unit is not self.unit:
            return
        self.quick.clear()
        edges = self.mm.edges
        edges.deny()  # a slot that is gone gave its bytes back
        self.unit.deny_all()
        self.unit.overlapping |= any(edges.overlap(slot.start, slot.end) for slot in self.unit.data)
        self.places.armed(self.unit.execute, bool(self.unit.data))
        self.space.kernel_watch = self if self.unit.data else None

    def stop_at(self, address: int, sp_above: int) -> None:
        """Stop before this instruction once rsp is above a bound, besides everything else that stops."""
        self.quick.clear()
        self.places.stop_at(address, sp_above)

    # -- running

    def run(self, budget: int, kind: EventKind = EventKind.LIMIT) -> Stop | None:
        """Run about `budget` instructions, fewer where many hits come or the task gives the CPU up.

        `kind` is what the engine has just come back with, where it already ran in this turn.
        """
        engine = self.engine
        self.stop = None
        self.yielding = False
        allowed = self.capture.allowance(_HITS_A_SLICE)
        self.blocked = allowed <= 0
        last_head = self.capture.head + allowed
        end = self.instructions + budget
        try:
            if kind is not EventKind.LIMIT:
                self._came_back(kind)
            while self.stop is None and not self.yielding and self.capture.head < last_head:
                left = end - self.instructions  # by the clock, which counts what we run for the engine too
                if left <= 0:
                    break
                if self.guest_tf:
                    self._trap_flag()
                    continue
                if self.unit.data:
                    engine.start()
                    kind = run_hot(self, left, engine.instructions_counted + left, last_head)
                else:
                    kind = engine.run(left)
                if kind is not EventKind.LIMIT:
                    self._came_back(kind)
                self.unit.forget_values()
        except (Unsupported, CodeRewritten, EngineError) as error:
            self._unsupported(error)
        return self.stop

    def _came_back(self, kind: EventKind) -> None:
        if kind is EventKind.BREAKPOINT:
            self._breakpoint(self.engine.pc)
        else:
            self.event(kind)

    def plain_hits(self, count: int, last: int, before: Sequence[int]) -> None:
        """`run_hot` had this many hits, the last one in these slots: each was a #DB whose owners wanted no more.

        `before` are the sinks' totals as they were.
        """
        self.rf_pc = -1
        self.db_count += count
        self.quiet_dbs += count
        for slot in self.unit.data:
            self.quiet[slot.index] += self.sinks[slot.index].hits - before[slot.index]
        self.last_dr6 = DR6_BASE | last
        self.last_db = "trap: data"

    def fault_after_hit(self, kind: EventKind) -> EventKind:
        """An instruction that hit could not be finished; nothing is left to do for the caller."""
        faulted_after_all(self, kind)
        return EventKind.LIMIT

    def step(self) -> Stop | None:
        """Run one instruction (or one element of a `rep`) with the trap flag set: BS in DR6, beside any Bn of data.

        SYSCALL clears TF (IA32_FMASK): it has no #DB, and Linux says by itself that the step is over.

        An execute slot there has a #DB of its own before, unless it has had it.
        """
        self.stop = None
        self.yielding = False
        self.hits_here = 0
        pc = self.engine.pc
        hits = self.unit.execute.get(pc, 0)
        if hits and pc not in (self.rf_pc, self.rep_pc):
            execute_hit(self, pc, hits)
            if self.stop is not None or self.yielding:
                return self.stop
        self.rf_pc = pc
        self.stepping = True
        self.entered_kernel = False
        try:
            self.one()
            if not self.entered_kernel:
                self.db(self.hits_here, "trap: single step", step=True)
            self.on_db(self.hits_here, True, True)
        except (Unsupported, CodeRewritten, EngineError) as error:
            self._unsupported(error)
        finally:
            self.stepping = False
        return self.stop

    def one(self) -> None:
        """Run the instruction at pc, whatever it is; what it hits is recorded."""
        pc = self.engine.pc
        if pc in self.places.special or pc in self.places.unseen or pc in self.unit.execute:
            self._breakpoint(pc)
            return
        self.rf_pc = -1
        self.event(self.engine.single())

    def _trap_flag(self) -> None:
        """The program has TF set: #DB after the next instruction, and SIGTRAP. SYSCALL has none: it clears TF (IA32_FMASK), and
        the return to user mode, which sets it again, traps after the instruction that follows (as found on Linux 6.18)."""
        self.hits_here = 0
        self.stepping = True
        self.entered_kernel = False
        try:
            self.one()
        finally:
            self.stepping = False
        if self.stop is None and not self.yielding and not self.entered_kernel:
            self.db(self.hits_here, "trap: single step", step=True)
            if self.hits_here:
                self.on_db(self.hits_here, True, True)
            self.signal(SIGTRAP, self.engine.pc, 2, trap=True)  # TRAP_TRACE

    def event(self, kind: EventKind) -> None:
        """The engine came back with something else than an access to watched bytes, or also with that."""
        engine = self.engine
        if kind is EventKind.LIMIT:
            return
        if kind is EventKind.DENIED:
            data_access(self, True)
        elif kind is EventKind.SYSCALL:
            self.rf_pc = -1
            self.entered_kernel = True
            if self.held:
                self.held.clear()
            if not self.kernel.syscall():
                self.yielding = True
        elif kind is EventKind.UNMAPPED:
            address = engine.event().address
            if self.space.grow_stack(address):
                self.surplus += 1
                self.rf_pc = engine.pc
            else:
                unmapped(self, address)  # SEGV_MAPERR
        elif kind is EventKind.REWRITTEN:
            rewritten(self)
        elif (
            kind in _UNDECODED
            and engine.pc in self.unit.execute
            and engine.pc not in (self.rf_pc, self.asked_pc)
        ):
            execute_hit(
                self, engine.pc, self.unit.execute[engine.pc]
            )  # the engine says this before it looks for breakpoints
        else:
            exception(self, kind)

    def signal(self, number: int, address: int, code: int, *, trap: bool = False) -> None:
        """The task earned a signal by an exception. A fault saves EFLAGS with RF set, a trap without (SDM 3B 17.3.1.1)."""
        self.rf_pc = -1 if trap else self.engine.pc
        if self.held:
            self.held.clear()
        if not self.kernel.deliver_fault(number, address, code):
            self.yielding = True

    def _unsupported(self, error: Exception) -> None:
        pc = self.engine.pc
        try:
            data = self.engine.read(pc, 15)
            decoded = decode(data, pc, self.engine.read_register)
            text = f"{decoded.instruction}", data[: decoded.length].hex(" ")
        except EngineError:
            text = "nothing mapped", ""
        self.stop = Stop("unsupported", f"stopped at {pc:#x}: {text[0]} ({text[1]}): {error}")

    def decode(self, pc: int) -> Decoded:
        """The instruction at an address (EngineError where nothing is mapped)."""
        decoded = self.decoded.get(pc)
        if decoded is None:
            size = 15
            while True:
                try:
                    data = self.engine.read(pc, size)
                    break
                except EngineError:
                    size -= 1  # the last instruction before unmapped memory
                    if not size:
                        raise
            decoded = self.decoded[pc] = decode(data, pc, self.engine.read_register)
        return decoded

    def stack(self, pc: int, popped: int = 0) -> int:
        """The number of the call stack at pc; `popped` bytes have left it since."""
        if not self.with_stacks:
            return 0
        read = self.engine.read_register
        return self.stacks.number(pc, read("RSP") - popped, read("RBP"), read)

    # -- #DB

    def deliver(self, hits: int, what: str) -> int:
        """#DB in user mode; the slots whose hits are to be recorded. In a single step it comes with BS, when that ends."""
        if self.stepping:
            self.hits_here |= hits
            return hits
        self.db(hits, what)
        if hits & self.attentive:
            return self.on_db(hits, False, True)
        self.quiet_dbs += 1
        for slot in range(4):
            self.quiet[slot] += hits >> slot & 1
        return hits

    def db(self, hits: int, what: str, *, step: bool = False) -> None:
        """A #DB: DR6 takes it up, and Linux's handler reads and resets it (traps.c debug_read_reset_dr6)."""
        self.unit.db(hits, step=step)
        self.db_count += 1
        self.last_dr6 = self.unit.dr6
        self.last_db = what
        self.unit.dr6 = DR6_BASE

    def touched(self, address: int, size: int, prot: int) -> Sequence[tuple[DataSlot, int, int]]:
        """The kernel is about to read (1) or write (2) user memory on this CPU: the slots that will see it."""
        return [
            (slot, prot, slot.current(self.engine.raw_read))
            for slot in self.unit.touched(address, address + size)
            if prot & slot.kinds
        ]

    def accessed(self, touched: Sequence[tuple[DataSlot, int, int]]) -> None:
        """It has: a #DB in kernel mode."""
        if touched:
            kernel_hit(self, touched)

    def _breakpoint(self, pc: int) -> None:
        """pc is at a place we asked the engine to stop at."""
        hits = self.unit.execute.get(pc, 0)
        if hits and pc not in (self.rf_pc, self.rep_pc):
            execute_hit(self, pc, hits)
            if self.stop is not None or self.yielding:
                return
        self.asked_pc = pc
        self._run_at(pc)
        self.asked_pc = -1

    def _run_at(self, pc: int) -> None:
        """Run the instruction at pc, whose execute slots have been asked."""
        bound = self.places.temporary.get(pc)
        if bound is not None and self.engine.get("RSP") > bound and not self.stepping:
            self.stop = Stop("step", "")
            return
        if pc in self.places.special:
            run_special_at(self, pc)
            return
        if pc in self.places.unseen and self.unit.data and self.decode(pc).is_unseen:
            accesses = self.decode(pc).accesses()
            if accesses and self.unit.touched(accesses[0][0], accesses[0][0] + accesses[0][1]):
                data_access(self, False)
                return
        self.rf_pc = -1
        self.event(self.engine.single())
