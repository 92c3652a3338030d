"""The addresses where the engine has to stop, and why: for the debug registers, for us, or for a debugger's step."""

from __future__ import annotations

from collections.abc import Iterable

from backends.emulated.icicle import IcicleEngine
from backends.emulated.scan import special_places, unseen_places

__all__ = ["Places"]


class Places:
    """Breakpoints of the engine by reason; one is taken back only when no reason is left.

    `special` are instructions the engine may not run by itself, `unseen` those of which it does not show every access
    (looked at while a data slot is armed), `temporary` maps where a step ends to the bound that rsp must be above.

    Translated code does not see a breakpoint that comes back, so those that a task will want again at its next turn
    stay while another has the CPU: `kept` are execute addresses, `keeps_watching` says the same of `unseen`.
    """

    def __init__(self, engine: IcicleEngine) -> None:
        self._engine = engine
        self.special: set[int] = set()
        self.unseen: set[int] = set()
        self.temporary: dict[int, int] = {}
        self.kept: frozenset[int] = frozenset()
        self.keeps_watching = False
        self._wanted: Iterable[int] = ()
        self._wants_watching = False
        self._execute: set[int] = set()
        self._watching = False

    def code_appeared(self, start: int, end: int) -> None:
        """Bytes became executable: find what may not run by itself."""
        code = self._engine.read(start, end - start)
        special, unseen = special_places(code, start), unseen_places(code, start)
        for address in special - self.special | (unseen if self._watching else set()):
            self._engine.add_breakpoint(address, fresh=True)
        self.special |= special
        self.unseen |= unseen

    def keep(self, execute: frozenset[int], watching: bool) -> None:
        """Breakpoints of tasks that run here now and then: see `kept`."""
        self.kept, self.keeps_watching = execute, watching
        self.armed(self._wanted, self._wants_watching)

    def armed(self, execute: Iterable[int], watching: bool) -> None:
        """The debug registers ask for these execute addresses; `watching`: a data slot is enabled."""
        self._wanted, self._wants_watching = execute, watching
        before, self._execute = self._execute, set(execute) | self.kept
        was_watching, self._watching = self._watching, watching or self.keeps_watching
        watching = self._watching
        for address in self._execute - before:
            self._engine.add_breakpoint(address)
        if watching and not was_watching:
            for address in self.unseen:
                self._engine.add_breakpoint(address)
        self._drop(before - self._execute)
        if was_watching and not watching:
            self._drop(self.unseen)

    def inherit(self, other: Places) -> None:
        """This engine is a copy of the other's: take over what is known of its code, and none of its breakpoints else."""
        self.special, self.unseen = set(other.special), set(other.unseen)
        wanted = other._execute | set(other.temporary) | (other.unseen if other._watching else set())
        for address in wanted - self.special:
            self._engine.remove_breakpoint(address)

    def stop_at(self, address: int, sp_above: int) -> None:
        """Stop before this instruction once rsp is above a bound."""
        self.temporary = {address: sp_above}
        self._engine.add_breakpoint(address)

    def clear_stop_at(self) -> None:
        """Take that back."""
        addresses, self.temporary = set(self.temporary), {}
        self._drop(addresses)

    def _drop(self, addresses: set[int]) -> None:
        for address in addresses:
            wanted = address in self.special or address in self._execute or address in self.temporary
            if not wanted and not (self._watching and address in self.unseen):
                self._engine.remove_breakpoint(address)
