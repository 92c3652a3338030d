"""One emulated CPU: the engine, its debug unit, and the loop that turns what the engine reports into #DB and signals.

The rules, each with its source, are in docs/semantics.md. In short: an execute slot is a fault before the instruction,
a data slot a trap after it; all slots that one instruction hits come as one #DB; a `rep` traps after each element,
at the `rep` itself, except the last, which traps at the next instruction; an instruction that faults drops its
data matches; a failing cmpxchg writes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import iced_x86 as ic

from backends.dr import DR6_BASE
from backends.emulated.capture import ACCESS_R, ACCESS_W, ACCESS_X, Capture, HitSink
from backends.emulated.debug_unit import DataSlot, DebugUnit
from backends.emulated.decode import IN_USER_FAULTS, UNSEEN, AccessList, Decoded, decode
from backends.emulated.division import DIVISIONS, overflows
from backends.emulated.engine import EXEC, READ, WRITE, EngineError, EventKind, Unsupported
from backends.emulated.hot import run_hot
from backends.emulated.icicle import IcicleEngine
from backends.emulated.memory import AddressSpace, CodeRewritten
from backends.emulated.places import Places
from backends.emulated.rep import run_in_bulk
from backends.emulated.special import Privileged, UndefinedInstruction, run_special
from backends.emulated.stacks import StackTable
from backends.model import Stop
from backends.ring import FLAG_SAME_DB

__all__ = ["Cpu", "Kernel"]

SIGILL, SIGTRAP, SIGFPE, SIGSEGV = 4, 5, 8, 11
_HITS_A_SLICE = 4096
_REP_STEPS = 4096
_TF = 1 << 8
_M = ic.Mnemonic
_PUSHES_FLAGS = {_M.PUSHFQ, _M.PUSHF}
_CACHE_HINTS = {_M.CLFLUSH, _M.CLFLUSHOPT, _M.CLWB}


class Kernel(Protocol):
    """What the CPU enters: system calls and exceptions."""

    @property
    def exit_status(self) -> int | None:
        """How the program ended, None while it has not."""
        ...

    def syscall(self) -> None:
        """The SYSCALL instruction at pc."""
        ...

    def deliver_fault(self, signal_number: int, address: int) -> None:
        """An exception of user mode."""
        ...


class Cpu:
    """Runs one task.

    `sinks[n]` takes the hits of slot n; `stop_slots` are the slots (as bits) whose hits stop the task. `on_db` is
    called with the hits of each #DB that is not a perf event's alone (`notify_slots`), before the stop is decided.
    After `run` or `step`, `stop` says why the CPU stands still, None if the budget was all. `blocked`: nothing ran, for
    a reader that must miss no hit is behind. `went_cold`: the engine has gone back to interpreting.
    """

    def __init__(
        self, engine: IcicleEngine, unit: DebugUnit, space: AddressSpace, capture: Capture, stacks: StackTable
    ) -> None:
        self.engine = engine
        self.unit = unit
        self.space = space
        self.capture = capture
        self.stacks = stacks
        self.places = Places(engine)
        self.kernel: Kernel
        self.with_stacks = True
        self.sinks: list[HitSink] = [capture.sink(0)] * 4
        self.labels: list[str] = [""] * 4
        self.stop_slots = 0
        self.notify_slots = 0
        self.on_db: Callable[[int, bool], None] = lambda hits, step: None
        self.stop: Stop | None = None
        self.db_count = 0
        self.last_db = ""
        self.last_dr6 = DR6_BASE
        self.blocked = False
        self.went_cold = False
        self.surplus = 0
        self._decoded: dict[int, Decoded] = {}
        self.quick: dict[int, Callable[[], AccessList]] = {}
        self._rf_pc = -1
        self._rep_pc = -1
        self._stepping = False
        self._guest_tf = False
        self._hits_here = 0
        engine.set_on_move(self._moved)
        unit.on_arm = self._armed

    @property
    def instructions(self) -> int:
        """Instructions run; an element of a `rep` is none, a refused or faulting one counts once."""
        return self.engine.instructions_counted - self.surplus

    @property
    def between_instructions(self) -> bool:
        """Whether the engine may be replaced now: not in the middle of a `rep`."""
        return self._rep_pc == -1

    def after_call(self) -> int | None:
        """The address after the instruction at pc, if that is a call."""
        try:
            decoded = self._decode(self.engine.pc)
        except EngineError:
            return None
        return self.engine.pc + decoded.length if decoded.mnemonic == _M.CALL else None

    # -- code and permissions

    def _armed(self) -> None:
        """The slots have changed."""
        self.quick.clear()
        self.places.armed(self.unit.execute, bool(self.unit.data))

    def _moved(self) -> None:
        self.went_cold = not self.engine.jit
        self._decoded.clear()
        self.quick.clear()
        self.stacks.set_read(self.engine.raw_read)
        self.unit.deny_all()

    def stop_at(self, address: int, sp_above: int) -> None:
        """Stop before this instruction once rsp is above a bound, besides everything else that stops."""
        self.quick.clear()
        self.places.stop_at(address, sp_above)

    # -- running

    def run(self, budget: int) -> Stop | None:
        """Run about `budget` instructions, fewer where many hits come."""
        engine = self.engine
        self.stop = None
        allowed = self.capture.allowance(_HITS_A_SLICE)
        self.blocked = allowed <= 0
        last_head = self.capture.head + allowed
        deadline = engine.instructions_counted + budget
        left = budget
        try:
            while self.stop is None and left > 0 and self.capture.head < last_head:
                if self._guest_tf:
                    self._trap_flag()
                    continue
                engine.start()
                kind = run_hot(self, left, deadline, last_head)
                if kind is EventKind.DENIED:
                    self._data_access(True)
                elif kind is EventKind.BREAKPOINT:
                    self._breakpoint(engine.pc)
                elif kind is not EventKind.LIMIT:
                    self._event(kind)
                self.unit.forget_values()
                left = deadline - engine.instructions_counted
        except (Unsupported, CodeRewritten, EngineError) as error:
            self._unsupported(error)
        return self.stop

    def plain_hits(self, count: int, last: int) -> None:
        """`run_hot` had this many hits, the last one in these slots: each was a #DB whose owners wanted no more."""
        self._rf_pc = -1
        self.db_count += count
        self.last_dr6 = DR6_BASE | last
        self.last_db = "trap: data"

    def fault_after_hit(self, kind: EventKind) -> EventKind:
        """An instruction that hit could not be finished; nothing is left to do for the caller."""
        self._faulted_after_all(kind)
        return EventKind.LIMIT

    def step(self) -> Stop | None:
        """Run one instruction (or one element of a `rep`) with the trap flag set: BS in DR6, beside any Bn."""
        self.stop = None
        self._stepping = True
        self._hits_here = 0
        self._rf_pc = self.engine.pc
        try:
            self._one()
            self._db(self._hits_here, "trap: single step", step=True)
            self.on_db(self._hits_here, True)
        except (Unsupported, CodeRewritten, EngineError) as error:
            self._unsupported(error)
        finally:
            self._stepping = False
        return self.stop

    def _one(self) -> None:
        pc = self.engine.pc
        if pc in self.places.special or pc in self.places.unseen or pc in self.unit.execute:
            self._breakpoint(pc)
            return
        self._rf_pc = -1
        self._event(self.engine.single())

    def _trap_flag(self) -> None:
        """The program set TF by popf: #DB after the next instruction, and nobody handles its SIGTRAP."""
        self._guest_tf = False
        self._hits_here = 0
        self._stepping = True
        self._one()
        self._stepping = False
        if self.stop is None and self.kernel.exit_status is None:
            self._db(self._hits_here, "trap: single step", step=True)
            self._signal(SIGTRAP, self.engine.pc)

    def _event(self, kind: EventKind) -> None:
        engine = self.engine
        if kind is EventKind.LIMIT:
            return
        if kind is EventKind.DENIED:
            self._data_access(True)
        elif kind is EventKind.SYSCALL:
            self._rf_pc = -1
            self.kernel.syscall()
            self._look_for_exit()
        elif kind is EventKind.UNMAPPED:
            address = engine.event().address
            if self.space.grow_stack(address):
                self.surplus += 1
            else:
                self._signal(SIGSEGV, address)
        elif kind is EventKind.NO_EXEC:
            self._signal(SIGSEGV, engine.pc)
        elif kind is EventKind.DIVIDE:
            self._signal(SIGFPE, engine.pc)
        elif kind is EventKind.INTERRUPT:
            self._interrupt(engine.event().value)
        elif kind is EventKind.REWRITTEN:
            raise Unsupported("code that has already run is being rewritten")
        else:
            self._refused(kind)

    def _refused(self, kind: EventKind) -> None:
        """The engine would not run the instruction: is that the program's fault, or ours?"""
        pc = self.engine.pc
        if self.space.prot_at(pc) & EXEC == 0:
            self._signal(SIGSEGV, pc)
            return
        decoded = self._decode(pc)
        if decoded.mnemonic in IN_USER_FAULTS or decoded.touches_system_register:
            self._signal(SIGSEGV, pc)
        elif decoded.mnemonic in (_M.UD0, _M.UD1, _M.UD2, _M.INVALID) and kind is EventKind.INVALID:
            self._signal(SIGILL, pc)
        elif decoded.mnemonic in _CACHE_HINTS:
            self._cache_hint(pc, decoded)
        else:
            raise Unsupported("the engine lacks this instruction")

    def _cache_hint(self, pc: int, decoded: Decoded) -> None:
        """Changes nothing that a program can see, but is a load of one byte to the debug registers."""
        engine = self.engine
        address = decoded.accesses()[0][0]
        if not self.space.prot_at(address) & READ:
            self._signal(SIGSEGV, address)
            return
        engine.pc += decoded.length
        self._report(
            pc, [(s, 1, s.current(engine.raw_read)) for s in self.unit.touched(address, address + 1)], 0
        )

    def _interrupt(self, vector: int) -> None:
        engine = self.engine
        decoded = self._decode(engine.pc)
        if vector == 3:
            engine.pc += decoded.length
            self._signal(SIGTRAP, engine.pc)
        elif vector == 1:
            engine.pc += decoded.length
            self._db(0, "trap: icebp")
            self._signal(SIGTRAP, engine.pc)
        elif vector == 0x80:
            raise Unsupported("32-bit system calls are not emulated")
        else:
            self._signal(SIGSEGV, engine.pc)

    def _signal(self, number: int, address: int) -> None:
        self._rf_pc = -1
        self.kernel.deliver_fault(number, address)
        self._look_for_exit()

    def _look_for_exit(self) -> None:
        if self.kernel.exit_status is not None:
            self.stop = Stop("exit", "the program has ended")

    def _unsupported(self, error: Exception) -> None:
        pc = self.engine.pc
        try:
            data = self.engine.read(pc, 15)
            decoded = decode(data, pc, self.engine.read_register)
            text = f"{decoded.instruction}", data[: decoded.length].hex(" ")
        except EngineError:
            text = "nothing mapped", ""
        self.stop = Stop("unsupported", f"stopped at {pc:#x}: {text[0]} ({text[1]}): {error}")

    # -- hits

    def _decode(self, pc: int) -> Decoded:
        decoded = self._decoded.get(pc)
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
            decoded = self._decoded[pc] = decode(data, pc, self.engine.read_register)
        return decoded

    def _stack(self, pc: int, popped: int = 0) -> int:
        if not self.with_stacks:
            return 0
        read = self.engine.read_register
        return self.stacks.number(pc, read("RSP") - popped, read("RBP"), read)

    def _as_before(self, decoded: Decoded, accesses: AccessList) -> tuple[AccessList, int]:
        """Accesses as they were before the instruction, and by how much rsp has moved since.

        When they fault, a string instruction has advanced RSI and RDI already, and `pop [m]` RSP if its store faults.
        """
        engine = self.engine
        if decoded.is_string:
            shift = -decoded.element if engine.read_register("DF") else decoded.element
            return tuple([(address - shift, size, kind) for address, size, kind in accesses]), 0
        if decoded.mnemonic == _M.POP and len(accesses) == 2 and engine.event().write:
            size = accesses[0][1]
            on_stack = decoded.instruction.memory_base == ic.Register.RSP
            return tuple(
                [(at - size if kind == 1 or on_stack else at, n, kind) for at, n, kind in accesses]
            ), size
        return accesses, 0

    def _data_access(self, faulted: bool) -> None:
        """Finish the instruction at pc, which touches a data slot's bytes, and report what it hit.

        Nothing may write pc before it is finished. `faulted`: the engine came back from the middle of it.
        """
        engine, unit = self.engine, self.unit
        pc = engine.pc
        decoded = self._decoded.get(pc) or self._decode(pc)
        accesses = decoded.accesses()
        plain = len(accesses) == 1 and not decoded.is_string and not unit.overlapping
        if plain and not self._stepping and not engine.has_breakpoint(pc):
            self.quick[pc] = decoded.accesses
        if faulted:
            self.surplus += 1
            accesses, popped = self._as_before(decoded, accesses)
        else:
            popped = 0
        touched: list[tuple[DataSlot, int, int]] = []
        for slot in unit.data:
            kinds = 0
            for address, size, kind in accesses:
                if address < slot.end and slot.start < address + size:
                    kinds |= kind
            if kinds:
                touched.append((slot, kinds, slot.current(engine.raw_read)))
        stack = self._stack(pc, popped) if touched else 0
        if len(touched) == len(unit.data) == 1:
            slot = touched[0][0]
            slot.lift()
            event = engine.single()
            slot.deny()
        else:
            unit.lift_all()
            event = engine.single()
            unit.deny_all()
        if event is not EventKind.LIMIT:
            self._faulted_after_all(event)
            return
        self._rf_pc = -1
        unit.forget_values()
        if decoded.rep:
            self._after_element(pc, decoded)
        self._report(pc, touched, stack)

    def _report(self, pc: int, touched: list[tuple[DataSlot, int, int]], stack: int) -> None:
        """The instruction at `pc` has finished: record what it hit, in the order of the registers."""
        engine = self.engine
        ip = engine.pc
        time = engine.instructions_counted - self.surplus
        hits = 0
        for slot, kinds, old in touched:
            if kinds & slot.kinds:
                flags = FLAG_SAME_DB if hits else 0
                hits |= 1 << slot.index
                self.capture.hit(
                    self.sinks[slot.index], time, ip, pc, slot.start, slot.length, slot.index,
                    ACCESS_W if kinds & 2 else ACCESS_R, slot.current(engine.raw_read), old, stack, flags,
                )  # fmt: skip
        if hits:
            self._deliver(hits, "trap: data")

    def _faulted_after_all(self, kind: EventKind) -> None:
        """Its other operand is not accessible either: the instruction's own fault, and its data matches are dropped."""
        if kind is EventKind.DENIED:
            self._signal(SIGSEGV, self.engine.event().address)
        else:
            self._event(kind)

    def _after_element(self, pc: int, decoded: Decoded) -> None:
        """Bookkeeping after one element of a `rep`; after the last one, go on to the next instruction."""
        engine = self.engine
        if engine.pc != pc:  # a comparison ended it
            self._rep_pc = -1
            return
        self.surplus += 1
        self._rep_pc = pc
        read = engine.read_register
        ended = not read("RCX") or (decoded.condition is not None and read("ZF") != decoded.condition)
        if ended:
            engine.single()
            self._rep_pc = -1

    def _deliver(self, hits: int, what: str) -> None:
        """#DB. The perf events among the owners have been served: their hits are in the ring."""
        self._hits_here |= hits
        if not self._stepping:
            self._db(hits, what)
            if hits & self.notify_slots:
                self.on_db(hits, False)
        if hits & self.stop_slots:
            slot = (hits & self.stop_slots & -(hits & self.stop_slots)).bit_length() - 1
            self.stop = Stop("hit", f"{self.labels[slot]} hit (DR{slot})", self.capture.head - 1)

    def _db(self, hits: int, what: str, *, step: bool = False) -> None:
        """A #DB: DR6 takes it up, and Linux's handler reads and resets it (traps.c debug_read_reset_dr6)."""
        self.unit.db(hits, step=step)
        self.db_count += 1
        self.last_dr6 = self.unit.dr6
        self.last_db = what
        self.unit.dr6 = DR6_BASE

    def _breakpoint(self, pc: int) -> None:
        """pc is at a place we asked the engine to stop at."""
        hits = self.unit.execute.get(pc, 0)
        if hits and pc not in (self._rf_pc, self._rep_pc):
            # Linux's handler sets RF, so that the instruction then runs (x86 hw_breakpoint.c hw_breakpoint_handler).
            self._rf_pc = pc
            stack, time = self._stack(pc), self.engine.instructions_counted - self.surplus
            flags = 0
            for slot in range(4):
                if hits >> slot & 1:
                    self.capture.hit(
                        self.sinks[slot], time, pc, pc, pc, 1, slot, ACCESS_X, 0, 0, stack, flags
                    )
                    flags = FLAG_SAME_DB
            self._deliver(hits, "fault: execute")
            if self.stop is not None:
                return
        bound = self.places.temporary.get(pc)
        if bound is not None and self.engine.get("RSP") > bound and not self._stepping:
            self.stop = Stop("step", "")
            return
        if pc in self.places.special:
            self._run_special(pc)
            return
        if pc in self.places.unseen and self.unit.data and self._decode(pc).mnemonic in UNSEEN:
            accesses = self._decode(pc).accesses()
            if accesses and self.unit.touched(accesses[0][0], accesses[0][0] + accesses[0][1]):
                self._data_access(False)
                return
        self._rf_pc = -1
        self._event(self.engine.single())

    def _run_special(self, pc: int) -> None:
        engine = self.engine
        decoded = self._decode(pc)
        if decoded.rep:
            self._repeat(pc, decoded)
            self._clear_upper_half(decoded)
            return
        try:
            if run_special(engine, decoded, self.instructions):
                self.surplus -= 1
                self._rf_pc = -1
                return
        except Privileged:
            self._signal(SIGSEGV, pc)
            return
        except UndefinedInstruction:
            self._signal(SIGILL, pc)
            return
        if decoded.mnemonic in _PUSHES_FLAGS and self._push_flags(pc, decoded):
            return
        if decoded.mnemonic in DIVISIONS and self._divide(pc, decoded):
            return
        sets_tf = decoded.mnemonic in (_M.POPFQ, _M.POPF) and self._top_of_stack() & _TF
        self._rf_pc = -1
        self._event(engine.single())
        self._clear_upper_half(decoded)
        if sets_tf and not self._stepping:
            self._guest_tf = True

    def _clear_upper_half(self, decoded: Decoded) -> None:
        """lodsd clears bits 63:32 of RAX, which the engine leaves."""
        if decoded.mnemonic == _M.LODSD:
            self.engine.set("RAX", self.engine.get("RAX") & 0xFFFF_FFFF)

    def _divide(self, pc: int, decoded: Decoded) -> bool:
        """div and idiv whose quotient does not fit: #DE, which the engine does not raise. False for all others."""
        if not overflows(decoded, self.engine, self.space):
            return False
        self.surplus -= 1
        self._signal(SIGFPE, pc)
        return True

    def _push_flags(self, pc: int, decoded: Decoded) -> bool:
        """pushf, whose image the engine makes without bit 1; False where the store faults."""
        engine = self.engine
        address, size, _ = decoded.accesses()[0]
        try:
            self.space.check(address, size, WRITE)
        except OSError:
            return False
        stack = self._stack(pc) if self.unit.data else 0
        touched = [
            (slot, 2, slot.current(engine.raw_read)) for slot in self.unit.touched(address, address + size)
        ]
        engine.write(address, engine.get("RFLAGS").to_bytes(8, "little")[:size])
        engine.set("RSP", address)
        engine.pc += decoded.length
        self.surplus -= 1
        self._rf_pc = -1
        self._report(pc, touched, stack)
        return True

    def _top_of_stack(self) -> int:
        try:
            return int.from_bytes(self.engine.read(self.engine.get("RSP"), 8), "little")
        except EngineError:
            return 0

    def _repeat(self, pc: int, decoded: Decoded) -> None:
        """A repeated string instruction: in bulk where nothing is watched, else element by element."""
        engine = self.engine
        self._rf_pc = -1
        if engine.get("RCX") == 0:
            self._rep_pc = -1
            self._event(engine.single())
            return
        if not self._stepping and run_in_bulk(decoded, engine, self.space, self.unit):
            self.surplus -= 1
            self._rep_pc = -1
            return
        self._rep_pc = pc
        for _ in range(1 if self._stepping else _REP_STEPS):
            head = self.capture.head
            kind = engine.single()
            if kind is not EventKind.LIMIT:
                self._event(kind)
            else:
                self._after_element(pc, decoded)
            if engine.pc != pc or self.stop is not None or self.capture.head - head > 1:
                return
