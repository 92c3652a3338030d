"""One scan of the running kernel's books: each CPU's registers, the events behind them, and those in no register.

The kernel goes on meanwhile. Events are read first, registers last and all CPUs' at once, so that which register an event is
in is true of one short moment; what does not fit together after that is read again, and left out where it still does not.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from backends import dr
from backends.base import HwbpError
from backends.kernelview.books import SLOTS, Books, CpuBook, Holding, used_slots
from backends.kernelview.btf import Btf
from backends.kernelview.counters import Counters
from backends.kernelview.events import Events
from backends.kernelview.handlers import Handlers
from backends.kernelview.layout import Layout
from backends.kernelview.memory import BpfMemory, Memory, UnreadableError
from backends.kernelview.ownership import Ownership
from backends.kernelview.percpu import PerCpu
from backends.kernelview.tasks import Tasks
from backends.model import Owner
from symbols.dataclass import dataclass

__all__ = ["Scanner"]

_ATTEMPTS: Final = 3
_ONE_READ: Final = 4096
_SECOND_LOOK: Final = 0.002
"""Seconds. Longer than perf_event_open() and close() need between an event's list and its descriptor."""


@dataclass(frozen=True, slots=True)
class _Registers:
    """What the kernel keeps of one CPU's debug registers."""

    cpu: int
    owners: tuple[int, ...]
    addresses: tuple[int, ...]
    dr7: int


class Scanner:
    """Reads a kernel's books again and again. Not for several threads at once.

    `Scanner.of_host()` raises `HwbpError` where this process may not read the kernel's memory or the kernel does not
    describe itself.
    """

    def __init__(self, btf: Btf, memory: Memory, handlers: Handlers | None = None) -> None:
        self._memory = memory
        self._layout = Layout(btf)
        self.per_cpu = PerCpu.of(btf, memory)
        self._tasks = Tasks(self._layout, memory)
        self._events = Events(self._layout, memory, self.per_cpu, self._tasks)
        self._owners = Ownership(self._events, self._tasks, handlers or Handlers())
        self._counters = Counters(btf, memory, self.per_cpu)
        self._reserved: list[Holding] = []
        self._sorted: tuple[Holding, ...] = ()
        self._searched: set[int] = set()  # events that are not among their maker's descriptors

    @classmethod
    def of_host(cls) -> Scanner:
        """The running kernel's books."""
        memory = BpfMemory()
        try:
            return cls(Btf.load(), memory)
        except BaseException:
            memory.close()
            raise

    def close(self) -> None:
        """Give the way to the kernel's memory back."""
        self._memory.close()

    def scan(self) -> Books:
        """What the books say now. Raises `HwbpError` where memory cannot be read any more."""
        began = time.perf_counter()
        try:
            cpus, reserved, unknown = self._scan()
        except (UnreadableError, OSError) as error:
            raise HwbpError(f"the kernel's books could not be read: {error}", errno="EFAULT") from error
        taken = time.monotonic_ns()
        elapsed = (time.perf_counter() - began) * 1e3
        return Books("kernel books", taken, elapsed, tuple(cpus), reserved, tuple(unknown))

    def _scan(self) -> tuple[list[CpuBook], tuple[Holding, ...], list[str]]:
        self._tasks.forget()
        self._events.forget()
        counts = {cpu: self._counters.read(cpu) for cpu in self.per_cpu.bases}
        holdings = self._holdings()
        registers = [self._registers(cpu) for cpu in self.per_cpu.bases]
        places = self._places(registers)
        for address in places:
            if address not in holdings and (holding := self._newcomer(address, *places[address])) is not None:
                holdings[address] = holding
        used = used_slots(self.per_cpu.bases, holdings.values())
        cpus: list[CpuBook] = []
        unknown: list[str] = []
        for book in registers:
            slots = [
                replace(holdings[event], slot=slot)
                for event, (cpu, slot) in places.items()
                if cpu == book.cpu and event in holdings
            ]
            slots += self._ownerless(book)
            free, note = self._free(book.cpu, used[book.cpu], counts[book.cpu])
            unknown += note
            cpus.append(CpuBook(book.cpu, book.dr7, free, tuple(sorted(slots, key=lambda h: h.slot or 0))))
        reserved = [holding for event, holding in holdings.items() if event not in places]
        if reserved != self._reserved:
            self._reserved, self._sorted = reserved, tuple(sorted(reserved, key=_order))
        return cpus, self._sorted, unknown

    # Registers

    def _registers(self, cpu: int) -> _Registers:
        at = {name: self.per_cpu.address(name, cpu) for name in ("bp_per_reg", "cpu_debugreg", "cpu_dr7")}
        first = min(at.values())
        size = max(at["bp_per_reg"] + 8 * SLOTS, at["cpu_debugreg"] + 8 * SLOTS, at["cpu_dr7"] + 8) - first
        if size <= _ONE_READ:  # they usually lie side by side: one read is one moment
            data = self._memory.read(first, size)
            words = {name: data[where - first : where - first + 8 * SLOTS] for name, where in at.items()}
        else:
            words = {
                name: self._memory.read(where, 8 if name == "cpu_dr7" else 8 * SLOTS)
                for name, where in at.items()
            }
        owners, addresses = (
            tuple(int.from_bytes(words[name][n : n + 8], "little") for n in range(0, 8 * SLOTS, 8))
            for name in ("bp_per_reg", "cpu_debugreg")
        )
        return _Registers(cpu, owners, addresses, int.from_bytes(words["cpu_dr7"][:8], "little"))

    def _places(self, registers: Iterable[_Registers]) -> dict[int, tuple[int, int]]:
        """(CPU, slot) of each event in a register. A task that moved between two reads seems to be on two CPUs: the one
        that still has the event counts."""
        places: dict[int, tuple[int, int]] = {}
        for book in registers:
            for slot, event in enumerate(book.owners):
                if event and (event not in places or not self._still(event, *places[event])):
                    places[event] = (book.cpu, slot)
        return places

    def _still(self, event: int, cpu: int, slot: int) -> bool:
        return self._memory.word(self.per_cpu.address("bp_per_reg", cpu) + 8 * slot) == event

    def _ownerless(self, book: _Registers) -> list[Holding]:
        """Registers that are armed though the kernel's table has nobody for them, and stay so when looked at again.

        While an event is installed or removed table and DR7 differ for a moment.
        """
        found: list[Holding] = []
        for slot in range(SLOTS):
            if book.owners[slot] or not dr.enabled(book.dr7, slot):
                continue
            again = [self._registers(book.cpu) for _ in range(_ATTEMPTS)]
            if all(not b.owners[slot] and dr.enabled(b.dr7, slot) for b in again):
                found.append(
                    Holding(
                        slot=slot,
                        address=book.addresses[slot],
                        length=dr.slot_length(book.dr7, slot),
                        type=dr.slot_type(book.dr7, slot),
                        enabled=True,
                        owner=Owner("unknown"),
                        target=None,
                        cpu=book.cpu,
                        index=None,
                        hits=None,
                        orphan=True,
                    )
                )
        return found

    # Events

    def _holdings(self) -> dict[int, Holding]:
        """Every breakpoint event that takes a slot, by its address."""
        events = {event.address: event for event in self._events.all()}
        found, unsure = self._owners.describe_all(events, self._searched)
        unsure -= self._searched  # most that seem to have no descriptor are just being opened or closed
        for _ in range(_ATTEMPTS):
            if not unsure:
                break
            time.sleep(_SECOND_LOOK)
            self._tasks.look_again()
            for address in unsure:
                found.pop(address)
                if (again := self._events.there(address)) is None:
                    continue
                holding = self._owners.describe(again, events, everybody=False)
                if holding is not None and holding.without_descriptor:
                    holding = self._owners.describe(again, events)
                    self._searched.add(address)
                if holding is not None:
                    found[address] = holding
            unsure = {address for address in unsure & found.keys() if found[address].without_descriptor}
        self._searched &= found.keys()
        return found

    def _newcomer(self, address: int, cpu: int, slot: int) -> Holding | None:
        """An event that was not listed, or held no slot then, and is in a register; None if it is gone again."""
        event = self._events.at(address)
        if event is None or not self._still(address, cpu, slot):
            return None
        return self._owners.describe(event, {})

    # Accounting

    def _free(self, cpu: int, found: tuple[int, int], before: tuple[int, int]) -> tuple[int, list[str]]:
        """What a CPU-wide request would still get.

        The kernel's own numbers win over what was found. They can differ only while breakpoints come and go, or for
        holders that are on no list that was read: those get a sentence.
        """
        found_bound, found_task = found
        bound, task = self._counters.read(cpu)
        notes: list[str] = []
        if (bound, task) == before and bound > found_bound:
            missing = bound - found_bound
            notes.append(
                f"cpu{cpu}: the kernel counts {bound} CPU-bound breakpoints; of {missing} the holder was not found"
            )
        return max(0, SLOTS - max(bound, found_bound) - max(task, found_task)), notes


def _order(holding: Holding) -> tuple[int, int, str, int, int, int, int]:
    """By what is watched, then by who watches, then as they were made."""
    target, owner = holding.target, holding.owner
    return (
        (target.pid or 0) if target else 0,
        (target.tid or 0) if target else 0,
        owner.kind,
        owner.pid or 0,
        owner.fd or 0,
        holding.index or 0,
        holding.address,
    )
