"""Names of addresses as the screen needs them: what is known at once, what is not yet known later.

Looking a name up may read an ELF file's DWARF, so it happens at the desk, in batches; until then the address itself
is shown, which is true as well.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["Name", "Names"]

_LIMIT: Final = 20_000


class Name(NamedTuple):
    """What an address is called, already escaped: `add_limit+0x1c` and `counter.c:42` (or empty)."""

    symbol: str
    source: str


_NOWHERE: Final = Name("no instruction", "")


class Names:
    """A cache that remembers what was asked for and not known."""

    def __init__(self) -> None:
        self._known: dict[int, Name] = {}
        self._wanted: dict[int, None] = {}
        self._asked: set[int] = set()
        self.version = 0
        """Grows whenever names were learnt or forgotten."""

    def of(self, address: int) -> Name:
        """The name, or the bare address while its name is being looked up. A hit's place is 0 where no instruction made it."""
        if not address:
            return _NOWHERE
        known = self._known.get(address)
        if known is not None:
            return known
        if address not in self._asked:
            self._wanted[address] = None
        return Name(f"{address:#x}", "")

    def known(self, address: int) -> Name | None:
        """The name if it is known; it is not asked for."""
        return self._known.get(address)

    @property
    def wanted(self) -> bool:
        """Something has to be looked up or is being looked up."""
        return bool(self._wanted or self._asked)

    def take_wanted(self) -> tuple[int, ...]:
        """What has to be looked up now; each address is handed out once."""
        wanted = tuple(self._wanted)
        self._asked.update(wanted)
        self._wanted.clear()
        return wanted

    def learn(self, names: dict[int, Name]) -> None:
        """Names that were looked up."""
        if len(self._known) > _LIMIT:
            self._known.clear()
        self._known.update(names)
        self.version += 1
        self._asked.difference_update(names)

    def forget(self) -> None:
        """Another program: nothing is known."""
        self.version += 1
        self._known.clear()
        self._wanted.clear()
        self._asked.clear()
