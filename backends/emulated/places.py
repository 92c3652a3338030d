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
    """

    def __init__(self, engine: IcicleEngine) -> None:
        self._engine = engine
        self.special: set[int] = set()
        self.unseen: set[int] = set()
        self.temporary: dict[int, int] = {}
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

    def armed(self, execute: Iterable[int], watching: bool) -> None:
        """The debug registers ask for these execute addresses; `watching`: a data slot is enabled."""
        before, self._execute = self._execute, set(execute)
        was_watching, self._watching = self._watching, watching
        for address in self._execute - before:
            self._engine.add_breakpoint(address)
        if watching and not was_watching:
            for address in self.unseen:
                self._engine.add_breakpoint(address)
        self._drop(before - self._execute)
        if was_watching and not watching:
            self._drop(self.unseen)

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
