"""Stacks of the emulated task: `symbols.frames` on the machine's own memory, made when first needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from backends.emulated.engine import Engine
from backends.model import Mapping

if TYPE_CHECKING:
    from symbols.frames import Unwinder

__all__ = ["StackWalker"]


class StackWalker:
    """Walks with what `mappings` returns now; `forget` after code was mapped or unmapped."""

    def __init__(self, mappings: Callable[[], tuple[Mapping, ...]], engine: Engine) -> None:
        self._mappings = mappings
        self._engine = engine
        self._unwinder: Unwinder | None = None

    def forget(self) -> None:
        """Mappings changed."""
        self._unwinder = None

    def walk_traced(
        self, pc: int, sp: int, bp: int, limit: int = 16, regs: Callable[[str], int] | None = None
    ) -> tuple[tuple[tuple[int, bool], ...], tuple[tuple[int, int], ...], bool]:
        """See `symbols.frames.Unwinder.walk_traced`."""
        if self._unwinder is None:
            from symbols.frames import Unwinder
            from symbols.space import AddressSpace as Names

            mappings = self._mappings()
            main = next((mapping.path for mapping in mappings if mapping.path.startswith("/")), "")
            self._unwinder = Unwinder(Names(mappings, main), self._engine.read)
        return self._unwinder.walk_traced(pc, sp, bp, limit, regs)

    def walk(self, engine: Engine) -> tuple[tuple[int, bool], ...]:
        """The stack of this moment."""
        return self.walk_traced(engine.pc, engine.get("RSP"), engine.get("RBP"), 16, engine.get)[0]
