"""One CPU at privilege level 0: instruction after instruction, with everything that lies between two of them.

At each boundary (SDM 3A 6.9, 3B 17.2 and 17.3): what is pending from the instruction before comes as one #DB; then, if
RF is clear, execute slots are compared, a fault; then the instruction runs, with RF clear. MOV SS holds its own hits, the single step
and execute slots back for one instruction. Where nothing of that can happen the engine runs a whole stretch.
"""

from __future__ import annotations

from collections.abc import Callable

import iced_x86 as ic

from backends.base import Register
from backends.emulated.bare import state as at
from backends.emulated.bare.code import CodeCache, Instruction
from backends.emulated.bare.exceptions import Exceptions
from backends.emulated.bare.faults import DE, GP, PF, GeneralDetect, GuestFault, MachineEnds
from backends.emulated.bare.memory import GuestMemory
from backends.emulated.bare.ports import Ports
from backends.emulated.bare.privileged import run_ours
from backends.emulated.bare.recorder import Recorder
from backends.emulated.bare.state import SystemState
from backends.emulated.capture import Capture
from backends.emulated.debug_unit import DebugUnit
from backends.emulated.decode import AccessList
from backends.emulated.engine import Engine, EngineError, EventKind, Unsupported
from backends.emulated.rflags import RF, TF
from backends.model import Stop

__all__ = ["BareCpu"]

_PAGE = 4096
_SLOW_FLAGS = TF | RF


class BareCpu(GuestMemory):
    """Runs one bare program. After `run` or `step`, `stop` says why the CPU stands still, None if the budget was all.

    `instructions` counts finished ones, an element of a `rep` being none. `changed_dr7` are the bits that the last write
    to DR7 changed. `last_pc` is the instruction that ran last.
    """

    def __init__(self, engine: Engine, capture: Capture, ports: Ports) -> None:
        self.engine = engine
        self.unit = DebugUnit(
            engine, lambda address: -1
        )  # hits come from decoded accesses, not from denied bytes
        self.state = SystemState()
        self.unit.cr4 = self.state.control[4]
        self.code = CodeCache(engine)
        self.ports = ports
        self.recorder = Recorder(self.unit, capture, self.peek)
        self.exceptions = Exceptions(self)
        self.on_arm: Callable[[], None] = lambda: None
        self.stop: Stop | None = None
        self.exit_status: int | None = None
        self.instructions = 0
        self.last_pc = 0
        self.changed_dr7 = 0
        self.changed_by = ""
        self._pending = 0
        self._pending_step = False
        self._shadow = False
        self._begins_shadow = False
        self._no_step = False
        self._in_rep = False
        self._until: dict[int, int] = {}
        self.unit.on_arm = self._armed

    # -- what the boundary knows

    @property
    def wakes_at_once(self) -> bool:
        """Whether a #DB is about to end a HLT."""
        return bool(self._pending) or self._stepping

    def begin_shadow(self) -> None:
        """MOV SS or POP SS: the next boundary holds #DB back. Of several in a row only the first does (SDM 2A, MOV)."""
        self._begins_shadow = True

    def entered_by_instruction(self) -> None:
        """SYSCALL: its single step is lost where it cleared TF."""
        self._no_step = not self.state.flags & TF

    def frame_left(self, frame: int) -> None:
        """IRET from the frame there."""
        self.exceptions.frame_left()

    def element_done(self, *, ended: bool) -> None:
        """A repeated string instruction has done an element; RF goes into a frame between two of them."""
        self._in_rep = not ended
        if not ended:
            self.state.flags |= RF

    def touched_port(self, port: int, size: int) -> None:
        """IN or OUT has happened."""
        self.recorder.note_port(self.unit.io_hits(port, size))

    def selector(self, name: str) -> int:
        """A segment register's visible part."""
        return self.state.cs if name == "CS" else self.state.ss if name == "SS" else self.state.segments[name]

    # -- registers that more than one thing follows

    def write_dr(self, register: int, value: int, by: str) -> None:
        """MOV to a debug register, or a person's hand; the value has been checked."""
        before = self.unit.dr7
        self.unit.write(register, value)
        if self.unit.dr7 != before or register in (5, 7):
            self.dr7_changed(before, by)

    def dr7_changed(self, before: int, by: str) -> None:
        """DR7 was `before`."""
        self.changed_dr7 = before ^ self.unit.dr7
        self.changed_by = by

    def write_cr4(self, value: int) -> None:
        """CR4.DE decides about DR4, DR5 and I/O slots."""
        self.unit.cr4 = value
        self.unit.rearm()

    def _armed(self) -> None:
        self.code.stop_before({*self.unit.execute, *self._until})
        self.on_arm()

    def run_until(self, address: int, sp_above: int) -> None:
        """Stop before this instruction once RSP is above a bound."""
        self._until = {address: sp_above}
        self._armed()

    def forget_until(self) -> None:
        """Take that back."""
        if self._until:
            self._until = {}
            self._armed()

    # -- running

    @property
    def _stepping(self) -> bool:
        return bool(self.state.flags & TF)

    def run(self, budget: int, last_head: int, capture: Capture) -> Stop | None:
        """Run about `budget` instructions, until the ring's head reaches `last_head`."""
        self.stop = None
        try:
            while budget > 0 and self.stop is None and capture.head < last_head:
                if self._until and self.engine.pc in self._until and self._at_end_of_step():
                    break
                if self._pending or self._pending_step or self._shadow or self.state.flags & _SLOW_FLAGS:
                    self._boundary()
                    budget -= 4
                else:
                    budget -= self._stretch(budget)
        except MachineEnds as end:
            self._ended(end)
        except (Unsupported, EngineError) as error:
            self._unsupported(error)
        return self.stop

    def _at_end_of_step(self) -> bool:
        if self.engine.get("RSP") > self._until[self.engine.pc] and not self._in_rep:
            self.stop = Stop("step", "")
            return True
        return False

    def step(self) -> Stop | None:
        """One instruction, or one exception."""
        self.stop = None
        try:
            self._boundary()
        except MachineEnds as end:
            self._ended(end)
        except (Unsupported, EngineError) as error:
            self._unsupported(error)
        return self.stop

    def _ended(self, end: MachineEnds) -> None:
        self.exit_status = end.status
        self.stop = Stop("exit" if end.status is not None else "shutdown", end.text)

    def _unsupported(self, error: Exception) -> None:
        pc = self.engine.pc
        try:
            decoded = self.code.at(pc)
            what = f"{decoded.instruction} ({self.engine.read(pc, max(decoded.length, 1)).hex(' ')})"
        except (GuestFault, EngineError):
            what = "nothing mapped"
        self.stop = Stop("unsupported", f"stopped at {pc:#x}: {what}: {error}")

    def _stretch(self, budget: int) -> int:
        """Let the engine run as far as nothing but memory and registers is involved; returns how many ran."""
        engine = self.engine
        pc = engine.pc
        stretch = self.code.stretch(pc)
        count = min(stretch.quiet if self.unit.data or self.recorder.show_disabled else stretch.plain, budget)
        if count < 2:
            self._boundary()
            return 1
        kind = engine.run(count)
        if kind is EventKind.LIMIT:
            self.instructions += count
            self.last_pc = stretch.addresses[count - 1]
            return count
        at_fault, addresses = engine.pc, stretch.addresses
        done = (
            addresses.index(at_fault) if at_fault in addresses else count
        )  # else a branch out of it ran last
        self.instructions += done
        self.last_pc = stretch.addresses[done - 1] if done else pc
        self._boundary()  # it faults again there, with everything known about it
        return done + 1

    def _boundary(self) -> None:
        """One boundary and the instruction behind it, or the #DB that comes first."""
        engine, state, recorder = self.engine, self.state, self.recorder
        pc = engine.pc
        shadowed = self._shadow
        if not shadowed and (self._pending or self._pending_step):
            hits, step = self._pending, self._pending_step
            self._pending, self._pending_step = 0, False
            self._deliver(lambda: self.exceptions.trap(hits, step))
            return
        if not shadowed and not state.flags & RF and (hits := self.unit.execute.get(pc, 0)):
            recorder.execute_hit(hits, pc, self.instructions)
            self._deliver(lambda: self.exceptions.execute(hits))
            return
        stepping, branch_only = bool(state.flags & TF), state.msr[at.DEBUGCTL] & at.DEBUGCTL_BTF
        self._shadow = self._begins_shadow = self._no_step = False
        recorder.begin(pc)
        state.flags &= ~RF
        self.last_pc = pc
        try:
            decoded = self.code.at(pc)
            if decoded.ours:
                run_ours(self, decoded)
            else:
                self.run_on_engine(decoded)
        except GuestFault as error:
            fault = error
            engine.pc = pc
            if shadowed:
                self._pending = 0  # what MOV SS held back is lost when the next instruction faults
            if fault.vector == PF and state.cpl == 3 and fault.error is not None:
                fault.error |= 4
            self._deliver(lambda: self.exceptions.fault(fault))
            return
        except GeneralDetect:
            engine.pc = pc
            hits, self._pending = self._pending, 0
            self._deliver(lambda: self.exceptions.general_detect(hits))
            return
        self.instructions += not self._in_rep
        self.exceptions.retired(pc)
        self._pending |= recorder.finish(pc, engine.pc, self.instructions)
        if self._pending:
            self._pending |= recorder.also
        self._shadow = self._begins_shadow and not shadowed
        if stepping and not self._shadow and not self._no_step:
            self._pending_step = not branch_only or engine.pc != pc + decoded.length

    def _deliver(self, enter: Callable[[], None]) -> None:
        """An exception; the frame it pushes may hit slots itself, and its handler then begins with that #DB."""
        pc = self.engine.pc
        self.recorder.begin(pc)
        self._in_rep = False
        enter()
        self.last_pc = pc
        self._pending |= self.recorder.finish(pc, self.engine.pc, self.instructions)

    # -- for a person

    def after_call(self) -> int | None:
        """The address after the instruction at pc, if that is a call."""
        try:
            decoded = self.code.at(self.engine.pc)
        except GuestFault:
            return None
        return self.engine.pc + decoded.length if decoded.mnemonic == ic.Mnemonic.CALL else None

    def registers(self) -> tuple[Register, ...]:
        """The general registers, then what only level 0 sees."""
        state, engine = self.state, self.engine
        rows = [Register(name.lower(), engine.get(name)) for name in at.general_registers]
        rows += [Register("rip", engine.pc), Register("eflags", state.rflags(engine))]
        rows += [Register("cs", state.cs), Register("ss", state.ss)]
        rows += [Register(name.lower(), value) for name, value in state.segments.items()]
        rows += [Register("fs_base", engine.get("FS_BASE")), Register("gs_base", engine.get("GS_BASE"))]
        rows += [Register(f"cr{number}", value) for number, value in state.control.items()]
        rows += [
            Register("idtr", state.idt.base),
            Register("gdtr", state.gdt.base),
            Register("tr", state.tss.selector),
        ]
        return tuple(rows)

    # -- for `privileged`

    def icebp(self) -> None:
        """INT1: what is held back joins it, and its single step is lost with TF."""
        hits, self._pending, self._no_step = self._pending, 0, True
        self.exceptions.icebp(hits)

    def software_interrupt(self, vector: int) -> None:
        """INT n: what is held back waits for the handler's first instruction."""
        self._no_step = True
        self.exceptions.software(vector)

    def run_on_engine(self, decoded: Instruction, restore: tuple[str, ...] = ()) -> None:
        """Let the engine run the instruction at pc. `restore`: what it may have changed when it faults."""
        accesses = decoded.accesses() if decoded.touches_memory else ()
        for address, size, kinds in accesses:
            self.recorder.note(address, size, kinds)
        before = [self.engine.get(name) for name in restore]
        kind = self.engine.single()
        if kind is EventKind.DENIED:
            kind = self._write_beside_code(decoded)
        if kind is not EventKind.LIMIT:
            for name, value in zip(restore, before, strict=True):
                self.engine.set(name, value)
            raise self._fault_of(kind, accesses)

    def run_string(self, decoded: Instruction) -> None:
        """One element of a string instruction, repeated or not."""
        engine, pc = self.engine, self.engine.pc
        if decoded.rep and engine.get("RCX") == 0:
            engine.pc = pc + decoded.length
            self._in_rep = False
            return
        self.run_on_engine(decoded, ("RSI", "RDI", "RCX"))
        if not decoded.rep:
            return
        ended = engine.pc != pc or engine.get("RCX") == 0
        if not ended and decoded.condition is not None:
            ended = engine.get("RFLAGS") >> 6 & 1 != decoded.condition
        self.element_done(ended=ended)
        if ended:
            engine.pc = pc + decoded.length

    def _write_beside_code(self, decoded: Instruction) -> EventKind:
        """A store into a page that code was decoded from: into that code, or only near it?"""
        address = self.engine.event().address
        size = max([size for _, size, kinds in decoded.accesses() if kinds & 2] or [1])
        if self.code.overlaps(address, size):
            raise Unsupported("code that has already run is being rewritten")
        pages = self.code.open_pages(address, size)
        try:
            return self.engine.single()
        finally:
            self.code.close_pages(pages)

    def _fault_of(self, kind: EventKind, accesses: AccessList) -> GuestFault:
        """What the engine met, with the address by our own decoder: engines report parts of it, or less."""
        if kind is EventKind.UNMAPPED:
            for address, size, kinds in accesses:
                if not self.mapped(address, size):
                    page_end = address - address % -_PAGE
                    starts_well = page_end < address + size and self.mapped(address, page_end - address)
                    return self.fault_at(page_end if starts_well else address, bool(kinds & 2))
            return GuestFault(
                GP, 0, why="an operand is not aligned, or where the branch goes is not canonical"
            )
        if kind is EventKind.DIVIDE:
            return GuestFault(DE, why="division by zero")
        if kind in (EventKind.REWRITTEN, EventKind.DENIED):
            raise Unsupported("code that has already run is being rewritten")
        raise Unsupported("the engine lacks this instruction")  # what is undefined was told by the decoder
