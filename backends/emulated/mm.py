"""One address space on an engine of its own: what all tasks share that run in it, on whichever CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from backends.emulated.icicle import IcicleEngine
from backends.emulated.memory import AddressSpace
from backends.emulated.places import Places
from backends.emulated.stacks import StackTable
from backends.emulated.unwind import StackWalker

if TYPE_CHECKING:
    from backends.emulated.debug_unit import DebugUnit
    from backends.emulated.decode import AccessList, Decoded

__all__ = ["HOT_AFTER", "Mm", "Resident"]

HOT_AFTER = 1_000_000
"""Interpreted instructions after which a program is worth translating."""


class Resident(Protocol):
    """A task: its registers while it does not have the engine."""

    context: list[int] | None


class Mm:
    """An engine, its mappings, and what is known of its code.

    `decoded` are instructions by address, `quick` those with one plain operand, for the per-hit path. `resident` is the
    task whose registers the engine holds, `unit` the debug unit of the CPU that ran here last. `hot_from` is the
    engine's count from which its code is worth translating.
    """

    def __init__(self, engine: IcicleEngine, space: AddressSpace, stacks: StackTable | None = None) -> None:
        self.engine = engine
        self.space = space
        self.places = Places(engine)
        self.decoded: dict[int, Decoded] = {}
        self.quick: dict[int, Callable[[], AccessList]] = {}
        self.walker = StackWalker(space, engine)
        self.stacks = stacks.beside(engine.raw_read) if stacks is not None else StackTable(engine.raw_read)
        self.resident: Resident | None = None
        self.unit: DebugUnit | None = None
        self.hot_from = HOT_AFTER
        self.on_change: Callable[[], None] = lambda: None
        engine.set_on_move(self._moved)
        space.on_exec = self._code_appeared
        space.on_change = self._memory_changed

    @classmethod
    def fresh(cls, stacks: StackTable | None = None) -> Mm:
        """An empty one, on paper until it runs."""
        engine = IcicleEngine()
        return cls(engine, AddressSpace(engine), stacks)

    def copy(self) -> Mm:
        """What fork(2) gives the child: the same memory, and its registers as they are now in the engine."""
        engine = self.engine.copy()
        other = Mm(engine, self.space.copy(engine), self.stacks)
        other.places.inherit(self.places)
        other.stacks.set_walker(other.walker)
        other.on_change = self.on_change
        return other

    def true_prot(self, address: int) -> int:
        """The permission that the program gave this byte, -1 where nothing is mapped."""
        return self.space.prot_at(address) if self.space.mapped(address) else -1

    def enter(self, task: Resident) -> None:
        """Put a task's registers into the engine; the task that was there keeps its own."""
        resident = self.resident
        if resident is task:
            return
        if resident is not None:
            resident.context = self.engine.save()
        if task.context is not None:
            self.engine.restore(task.context)
            task.context = None
        self.resident = task

    def leave(self, task: Resident) -> None:
        """A task ended, or goes to another address space: its registers are nobody's."""
        if self.resident is task:
            self.resident = None

    def watch(self, unit: DebugUnit) -> None:
        """The CPU with these debug registers runs here from now on."""
        if self.unit is not None:
            self.unit.detach()
        self.unit = unit
        unit.attach(self.engine, self.true_prot)

    def unwatch(self) -> None:
        """It runs elsewhere from now on."""
        if self.unit is not None:
            self.unit.detach()
            self.unit = None

    def warm_up(self) -> None:
        """Let the translator have the program once it has turned out to be long. Only at an instruction boundary."""
        if not self.engine.jit and self.engine.instructions_counted > self.hot_from:
            self.engine.move(jit=True)

    def _moved(self) -> None:
        if not self.engine.jit:
            self.hot_from = self.engine.instructions_counted + HOT_AFTER
        self.decoded.clear()
        self.quick.clear()
        self.stacks.set_read(self.engine.raw_read)
        if self.unit is not None:
            self.unit.deny_all()

    def _code_appeared(self, start: int, end: int) -> None:
        self.places.code_appeared(start, end)
        self.walker.forget()
        self.stacks.set_walker(self.walker)

    def _memory_changed(self, start: int, end: int) -> None:
        if self.unit is not None:
            self.unit.memory_changed(start, end)
        self.on_change()
