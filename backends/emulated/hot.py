"""The per-hit path: one plain operand that touches one data slot, hit after hit, in one loop.

Everything it needs is a local variable, it makes no objects that stay, and leaves every other case to
`backends.emulated.cpu`, which knows all the rules. It is written out at length because calls are what costs here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backends.dr import DR6_BASE
from backends.emulated.capture import ACCESS_R, ACCESS_W, EXACT
from backends.emulated.engine import EventKind
from backends.ring import FLAG_SEEN, FLAG_UNSEEN, PUBLISH_EVERY, RECORD

if TYPE_CHECKING:
    from backends.emulated.cpu import Cpu

__all__ = ["run_hot"]


def run_hot(cpu: Cpu, left: int, deadline: int, last_head: int) -> EventKind:
    """Run until something else than a plain hit happens, and say what; LIMIT when budget or allowance are used up.

    `left` instructions may be run now, until the raw count passes `deadline` or the ring's head reaches `last_head`.
    """
    engine, capture = cpu.engine, cpu.capture
    vm = engine.vm
    step, read, native, limit = vm.step, vm.mem_read, engine.native, engine.limit
    denied_write, denied_read, at_breakpoint = native.DENIED_WRITE, native.DENIED_READ, native.BREAK
    quick, slots, sinks = cpu.quick, cpu.unit.data, cpu.sinks
    special = cpu.attentive | (0xF if cpu.unit.dr6 != DR6_BASE else 0)
    for number_of_slot, taker in enumerate(sinks):
        if taker.condition is not None or taker.limit is not None or taker.ignore[0]:
            special |= 1 << number_of_slot
    counted_before, surplus = engine.counted_before, cpu.surplus
    records, words, mask = capture.records, capture.words, capture.mask
    pack, size_of_record, from_bytes = RECORD.pack_into, RECORD.size, int.from_bytes
    pid, tid, comm, cpu_number = capture.pid, capture.tid, capture.comm, capture.cpu
    number, register = (cpu.stacks.number if cpu.with_stacks else None), vm.reg_read
    head = capture.head
    before = head
    seen, unseen = FLAG_SEEN, FLAG_UNSEEN
    totals = tuple([sink.hits for sink in sinks])
    last = 0
    try:
        while True:
            status = step(left)
            if status == limit:
                return EventKind.LIMIT
            if status == at_breakpoint:
                return EventKind.BREAKPOINT
            code = vm.exception_code
            if code != denied_write and code != denied_read:
                return engine.event_kind()
            pc = vm.pc
            operand = quick.get(pc)
            if operand is None:
                return EventKind.DENIED
            address, size, kind = operand()[0]
            end = address + size
            hit = None
            for slot in slots:
                if address < slot.end and slot.start < end:
                    if hit is not None:
                        return EventKind.DENIED
                    hit = slot
            if hit is None or not kind & hit.kinds or special >> hit.index & 1:
                return EventKind.DENIED
            start, length = hit.start, hit.length
            sink = sinks[hit.index]
            old = hit.value
            flags = 0
            if old is None:
                old = from_bytes(read(start, length), "little")
            if sink.last_pid == pid:
                flags = seen if old == sink.last else unseen
            stack = number(pc, register("RSP"), register("RBP"), register) if number is not None else 0
            hit.lift()
            status = step(1)
            hit.deny()
            surplus += 1
            if status != limit:
                # The instruction has another operand that faults: its own fault, its data match is dropped.
                cpu.surplus = surplus
                event = cpu.fault_after_hit(engine.event_kind())
                surplus = cpu.surplus
                return event
            value = hit.value = from_bytes(read(start, length), "little")
            counted = counted_before + vm.icount
            time = counted - surplus
            sink.last, sink.last_pid = value, pid
            pack(
                records, (head & mask) * size_of_record,
                head, time, vm.pc, pc, start, value, old, sink.breakpoint, pid, tid, stack, comm, cpu_number,
                length, hit.index, ACCESS_W if kind & 2 else ACCESS_R, EXACT, EXACT, flags,
            )  # fmt: skip
            head += 1
            if not head % PUBLISH_EVERY:
                words[2] = head
            last = 1 << hit.index
            sink.hits += 1
            site = sink.sites.get(pc)
            if site is None:
                capture.new_site(sink, pc, time, value, old, stack)
            else:
                site[0] += 1
                site[2] = time
                site[3] = value
                site[4] = old
                site[5] = stack
            if head >= last_head or counted >= deadline:
                return EventKind.LIMIT
            left = deadline - counted
    finally:
        cpu.surplus = surplus
        capture.head = head
        if last:
            cpu.plain_hits(head - before, last, totals)
