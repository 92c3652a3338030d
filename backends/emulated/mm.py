"""One address space on an engine of its own: what all tasks share that run in it, on whichever CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from backends.emulated.edges import Edges
from backends.emulated.icicle import IcicleEngine
from backends.emulated.memory import AddressSpace
from backends.emulated.places import Places
from backends.emulated.stacks import StackTable
from backends.emulated.unwind import StackWalker
from backends.emulated.warmth import SAMPLE_EVERY, Warmth

if TYPE_CHECKING:
    from backends.emulated.debug_unit import DebugUnit
    from backends.emulated.decode import AccessList, Decoded

__all__ = ["Mm", "Resident"]


class Resident(Protocol):
    """A task: its registers while it does not have the engine."""

    context: list[int] | None


class Mm:
    """An engine, its mappings, and what is known of its code.

    `decoded` are instructions by address, `quick` those with one plain operand, for the per-hit path. `resident` is the
    task whose registers the engine holds, `unit` the debug unit of the CPU that ran here last. `warmth` says when its
    code is worth translating, None for never.
    """

    def __init__(self, engine: IcicleEngine, space: AddressSpace, stacks: StackTable | None = None) -> None:
        self.engine = engine
        self.space = space
        self.places = Places(engine)
        self.decoded: dict[int, Decoded] = {}
        self.quick: dict[int, Callable[[], AccessList]] = {}
        self.walker = StackWalker(space.mappings, engine)
        self.stacks = stacks.beside(engine.raw_read) if stacks is not None else StackTable(engine.raw_read)
        self.edges = Edges(engine, space, lambda: self.unit)
        self.resident: Resident | None = None
        self.unit: DebugUnit | None = None
        self.warmth: Warmth | None = Warmth()
        self._look_at = SAMPLE_EVERY
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
        other.edges.copy_from(self.edges)
        other.edges.deny()
        other.stacks.set_walker(other.walker)
        other.on_change = self.on_change
        return other

    def true_prot(self, address: int) -> int:
        """The permission that the engine gives this byte where nothing is watched, -1 where nothing is mapped."""
        return self.space.engine_prot(address) if self.space.mapped(address) else -1

    def enter(self, task: Resident) -> None:
        """Put a task's registers into the engine; the task that was there keeps its own."""
        resident = self.resident
        if resident is task:
            return
        now = None
        if resident is not None:
            now = resident.context = self.engine.save()
        if task.context is not None:
            self.engine.restore(task.context, now)
            task.context = None
        self.resident = task

    def leave(self, task: Resident) -> None:
        """A task ended, or goes to another address space: its registers are nobody's."""
        if self.resident is task:
            self.resident = None

    def watch(self, unit: DebugUnit) -> None:
        """The CPU with these debug registers runs here from now on."""
        if self.unit is not None:
            self._detach(self.unit)
        self.unit = unit
        unit.attach(self.engine, self.true_prot)

    def unwatch(self) -> None:
        """It runs elsewhere from now on."""
        if self.unit is not None:
            self._detach(self.unit)
            self.unit = None

    def _detach(self, unit: DebugUnit) -> None:
        unit.detach()
        if any(self.edges.overlap(slot.start, slot.end) for slot in unit.data):
            self.edges.deny()

    def warm_up(self) -> None:
        """Let the translator have the program once that pays. Only at an instruction boundary."""
        engine = self.engine
        if engine.jit or self.warmth is None or engine.instructions_counted < self._look_at:
            return
        self._look_at = engine.instructions_counted + SAMPLE_EVERY
        if self.warmth.look(engine.pc):
            engine.move(jit=True)

    @property
    def most_at_once(self) -> int:
        """Instructions until `warm_up` wants to look again."""
        return 1 << 62 if self.engine.jit or self.warmth is None else SAMPLE_EVERY

    def translator_failed(self) -> None:
        """It could not translate what comes next (it runs out of room): go on in the interpreter, from the same place."""
        if self.warmth is not None:
            self.warmth.failed()
        self.engine.move(jit=False)

    def _moved(self) -> None:
        if not self.engine.jit and self.warmth is not None:
            self.warmth.cool()
        self.decoded.clear()
        self.quick.clear()
        self.stacks.set_read(self.engine.raw_read)
        self.edges.deny()
        if self.unit is not None:
            self.unit.deny_all()

    def _code_appeared(self, start: int, end: int) -> None:
        self.places.code_appeared(start, end)
        self.walker.forget()
        self.stacks.set_walker(self.walker)

    def _memory_changed(self, start: int, end: int) -> None:
        self.edges.memory_changed(start, end)
        if self.unit is not None:
            self.unit.memory_changed(start, end)
        self.on_change()
