"""What an access hits: the instruction is finished, the slots asked, the hits recorded, the #DB delivered.

Everything but plain hits, which `backends.emulated.hot` has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import iced_x86 as ic

from backends.emulated.access_faults import crosses, first_fault, memory_fault
from backends.emulated.capture import ACCESS_R, ACCESS_W, ACCESS_X
from backends.emulated.decode import AccessList, Decoded
from backends.emulated.engine import EXEC, EventKind
from backends.emulated.sleigh_floats import TRAP
from backends.emulated.sse.running import run_float
from backends.ring import FLAG_KERNEL, FLAG_SAME_DB

if TYPE_CHECKING:
    from backends.emulated.cpu import Cpu
    from backends.emulated.debug_unit import DataSlot

__all__ = [
    "POINTERS",
    "Held",
    "after_element",
    "data_access",
    "execute_hit",
    "faulted_after_all",
    "kernel_hit",
    "report",
    "report_held",
    "take_back",
]

POINTERS = {
    ic.OpKind.MEMORY_SEG_RSI: "RSI", ic.OpKind.MEMORY_SEG_ESI: "RSI", ic.OpKind.MEMORY_ESRDI: "RDI", ic.OpKind.MEMORY_ESEDI: "RDI",
}  # fmt: skip


Held = tuple["DataSlot", int, int, int, int]
"""A slot that was hit in the shadow of MOV SS: kinds of access, the bytes before, the instruction, its call stack."""


def _as_before(cpu: Cpu, decoded: Decoded, accesses: AccessList) -> tuple[AccessList, int]:
    """Accesses as they were before the instruction, and by how much rsp has moved since.

    When they fault, a string instruction has advanced RSI and RDI already, and `pop [m]` RSP if its store faults.
    """
    engine = cpu.engine
    if decoded.is_string:
        shift = -decoded.element if engine.read_register("DF") else decoded.element
        if decoded.is_narrow:
            return _narrow_before(cpu, decoded, shift), 0
        return tuple([(address - shift, size, kind) for address, size, kind in accesses]), 0
    if decoded.mnemonic == ic.Mnemonic.POP and len(accesses) == 2 and engine.event().write:
        size = accesses[0][1]
        on_stack = decoded.instruction.memory_base == ic.Register.RSP
        moved = [(at - size if kind == 1 or on_stack else at, n, kind) for at, n, kind in accesses]
        return tuple(moved), size
    return accesses, 0


def _narrow_before(cpu: Cpu, decoded: Decoded, shift: int) -> AccessList:
    """The accesses of a string instruction with 32-bit addresses, whose pointers have moved, perhaps past an end of the 32 bits."""
    read, instruction = cpu.engine.read_register, decoded.instruction
    found = []
    if ic.OpKind.MEMORY_ESEDI in (instruction.op0_kind, instruction.op1_kind):
        kind = 2 if instruction.op0_kind == ic.OpKind.MEMORY_ESEDI else 1  # the second operand is compared
        found.append((read("RDI") - shift & 0xFFFF_FFFF, decoded.element, kind))
    if ic.OpKind.MEMORY_SEG_ESI in (instruction.op0_kind, instruction.op1_kind):
        base = read(decoded.segment) if decoded.segment else 0
        source = base + (read("RSI") - shift & 0xFFFF_FFFF) & 0xFFFF_FFFF_FFFF_FFFF
        found.append((source, decoded.element, 1))
    return tuple(found)


def take_back(cpu: Cpu) -> None:
    """The instruction at pc faults for good: registers are as they were before it (SDM 3A, 6.5, Faults).

    Only what the engine has moved by then: pointers of a string instruction, and RSP where the store of `pop [m]` faults.
    """
    engine, pc = cpu.engine, cpu.engine.pc
    if not cpu.space.prot_at(pc) & EXEC:
        return
    decoded = cpu.decode(pc)
    if decoded.is_string:
        shift = -decoded.element if engine.get("DF") else decoded.element
        for kind in (decoded.instruction.op0_kind, decoded.instruction.op1_kind):
            if (register := POINTERS.get(kind)) is not None:
                whole = 0xFFFF_FFFF if decoded.is_narrow else 0xFFFF_FFFF_FFFF_FFFF
                engine.set(register, engine.get(register) - shift & whole)
    elif decoded.mnemonic == ic.Mnemonic.POP and (
        (event := engine.event()).write or event.kind is EventKind.REWRITTEN
    ):
        engine.set("RSP", engine.get("RSP") - decoded.accesses()[0][1] & 0xFFFF_FFFF_FFFF_FFFF)


def touched_by(cpu: Cpu, accesses: AccessList) -> list[tuple[DataSlot, int, int]]:
    """The data slots that these accesses touch: slot, kinds of access (1 read, 2 write), what its window holds now."""
    touched = []
    for slot in cpu.unit.data:
        kinds = 0
        for address, size, kind in accesses:
            if address < slot.end and slot.start < address + size:
                kinds |= kind
        if kinds:
            touched.append((slot, kinds, slot.current(cpu.engine.raw_read)))
    return touched


def data_access(cpu: Cpu, faulted: bool) -> None:
    """Finish the instruction at pc, which touches a data slot's bytes, and report what it hit.

    Nothing may write pc before it is finished. `faulted`: the engine came back from the middle of it.
    """
    engine, unit = cpu.engine, cpu.unit
    pc = engine.pc
    decoded = cpu.decoded.get(pc) or cpu.decode(pc)
    accesses = decoded.accesses()
    plain = len(accesses) == 1 and decoded.is_plain and not unit.overlapping
    if plain and not cpu.stepping and not engine.has_breakpoint(pc):
        cpu.quick[pc] = decoded.accesses
    if faulted:
        cpu.surplus += 1
        accesses, popped = _as_before(cpu, decoded, accesses)
    else:
        popped = 0
    if crosses(accesses) and first_fault(cpu.space, accesses) is not None:
        _fault_now(cpu)
        return
    touched = touched_by(cpu, accesses)
    stack = cpu.stack(pc, popped) if touched else 0
    edges = cpu.mm.edges
    lifted = [edges.lift(address, address + size) for address, size, _ in accesses]
    if len(touched) == len(unit.data) == 1 and not any(lifted):
        slot = touched[0][0]
        slot.lift()
        event = engine.single()
        slot.deny()
    else:
        unit.lift_all()
        event = engine.single()
        if any(lifted):
            edges.deny()
        unit.deny_all()
    if event is EventKind.UNMAPPED and engine.event().address == TRAP:
        if not run_float(cpu, pc, decoded):
            return
    elif event is not EventKind.LIMIT:
        faulted_after_all(cpu, event)
        return
    cpu.rf_pc = -1
    unit.forget_values()
    if decoded.rep:
        after_element(cpu, pc, decoded)
    report(cpu, pc, touched, stack)


def _hold_against(cpu: Cpu, slots: Sequence[DataSlot], ip: int) -> None:
    """Which of these slots' hits their takers do not want, by their condition and limit: no record, and no stop."""
    cpu.unwanted = 0
    for slot in slots:
        sink = cpu.sinks[slot.index]
        restricted = sink.condition is not None or sink.limit is not None or sink.ignore[0]
        if restricted and cpu.capture.refuses(sink, slot.current(cpu.engine.raw_read), ip):
            cpu.unwanted |= 1 << slot.index


def report(cpu: Cpu, pc: int, touched: Sequence[tuple[DataSlot, int, int]], stack: int) -> None:
    """The instruction at `pc` has finished: record what it hit, in the order of the registers."""
    hit = [row for row in touched if row[1] & row[0].kinds]
    if not hit:
        return
    if cpu.held is not None:
        cpu.held.extend((slot, kinds, old, pc, stack) for slot, kinds, old in hit)
        return
    ip, time, sinks = cpu.engine.pc, cpu.instructions, tuple(cpu.sinks)
    _hold_against(cpu, [slot for slot, _, _ in hit], ip)
    wanted = cpu.deliver(sum(1 << slot.index for slot, _, _ in hit), "trap: data") & ~cpu.unwanted
    flags = 0
    for slot, kinds, old in hit:
        if wanted >> slot.index & 1:
            cpu.capture.hit(
                sinks[slot.index], time, ip, pc, slot.start, slot.length, slot.index,
                ACCESS_W if kinds & 2 else ACCESS_R, slot.current(cpu.engine.raw_read), old, stack, flags,
            )  # fmt: skip
            flags = FLAG_SAME_DB


def report_held(cpu: Cpu, held: Sequence[Held]) -> None:
    """What MOV SS and the instruction in its shadow have hit, as one #DB; a slot that both hit is recorded once."""
    rows = {row[0].index: row for row in reversed(held)}
    if not rows:
        return
    ip, time, sinks = cpu.engine.pc, cpu.instructions, tuple(cpu.sinks)
    _hold_against(cpu, [row[0] for row in rows.values()], ip)
    wanted = cpu.deliver(sum(1 << index for index in rows), "trap: data") & ~cpu.unwanted
    flags = 0
    for index in sorted(rows):
        slot, kinds, old, pc, stack = rows[index]
        if wanted >> index & 1:
            cpu.capture.hit(
                sinks[index], time, ip, pc, slot.start, slot.length, index,
                ACCESS_W if kinds & 2 else ACCESS_R, slot.current(cpu.engine.raw_read), old, stack, flags,
            )  # fmt: skip
            flags = FLAG_SAME_DB


def kernel_hit(cpu: Cpu, touched: Sequence[tuple[DataSlot, int, int]]) -> None:
    """The kernel accessed watched bytes of user memory: a #DB in kernel mode, for those who want to know of it.

    The emulated kernel has no code of its own, so the hit shows the system call instruction.
    """
    pc, time, sinks = cpu.engine.pc, cpu.instructions, tuple(cpu.sinks)
    hits = sum(1 << slot.index for slot, _, _ in touched)
    cpu.db(hits, "trap: data, in kernel mode")
    for slot, _, _ in touched:
        slot.value = None
    cpu.unwanted = 0
    stop = cpu.stop
    wanted = cpu.on_db(hits, False, False)
    _hold_against(cpu, [slot for slot, _, _ in touched if wanted >> slot.index & 1], pc)
    if cpu.unwanted == wanted:  # who wants hits in the kernel is known only now
        cpu.stop = stop
    wanted &= ~cpu.unwanted
    flags = FLAG_KERNEL
    for slot, kinds, old in touched:
        if wanted >> slot.index & 1:
            cpu.capture.hit(
                sinks[slot.index], time, pc, pc, slot.start, slot.length, slot.index,
                ACCESS_W if kinds & 2 else ACCESS_R, slot.current(cpu.engine.raw_read), old, 0, flags,
            )  # fmt: skip
            flags = FLAG_KERNEL | FLAG_SAME_DB


def faulted_after_all(cpu: Cpu, kind: EventKind) -> None:
    """Its other operand is not accessible either: the instruction's own fault, and its data matches are dropped."""
    if kind is EventKind.DENIED:
        _fault_now(cpu)
    else:
        cpu.event(kind)


def _fault_now(cpu: Cpu) -> None:
    address = cpu.engine.event().address
    take_back(cpu)
    memory_fault(cpu, address)


def after_element(cpu: Cpu, pc: int, decoded: Decoded) -> None:
    """Bookkeeping after one element of a `rep`; after the last one, go on to the next instruction."""
    engine = cpu.engine
    if engine.pc != pc:  # a comparison ended it
        cpu.rep_pc = -1
        return
    cpu.surplus += 1
    cpu.rep_pc = pc
    read = engine.read_register
    ended = not read("RCX") or (decoded.condition is not None and read("ZF") != decoded.condition)
    if ended:
        engine.single()
        cpu.rep_pc = -1


def execute_hit(cpu: Cpu, pc: int, hits: int) -> None:
    """pc is at an address that these slots break at: a fault before the instruction.

    Linux's handler sets RF, so that the instruction then runs (x86 hw_breakpoint.c hw_breakpoint_handler).
    """
    cpu.rf_pc = pc
    stack, time, sinks = cpu.stack(pc), cpu.instructions, tuple(cpu.sinks)
    cpu.unwanted = 0
    for slot in range(4):
        if hits >> slot & 1 and cpu.capture.refuses(sinks[slot], None, pc):
            cpu.unwanted |= 1 << slot
    wanted = cpu.deliver(hits, "fault: execute") & ~cpu.unwanted
    flags = 0
    for slot in range(4):
        if wanted >> slot & 1:
            cpu.capture.hit(sinks[slot], time, pc, pc, pc, 1, slot, ACCESS_X, 0, 0, stack, flags)
            flags = FLAG_SAME_DB
