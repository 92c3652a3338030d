"""Names of addresses, kept in step with the machine's mappings and cached per address.

A trace asks for the same few instructions hundreds of thousands of times, so every answer is kept until the
mappings change. `symbols` is imported when the first name is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from backends.base import HwbpError
from backends.model import Mapping
from tui.session.escape import escape

if TYPE_CHECKING:
    from symbols.disasm import Instruction
    from symbols.space import AddressSpace

__all__ = ["Names", "Place", "Space", "open_space"]

Read = Callable[[int, int], bytes]

_LONGEST_INSTRUCTION = 15


class Place(Protocol):
    """Where an address lies (`symbols.space.Location`)."""

    @property
    def module(self) -> str | None: ...
    @property
    def module_offset(self) -> int | None: ...
    @property
    def symbol(self) -> str | None: ...
    @property
    def symbol_offset(self) -> int | None: ...
    @property
    def source(self) -> str | None: ...
    @property
    def line(self) -> int | None: ...


class Object(Protocol):
    """What an expression means (`symbols.space.Target`). `size` is None where the expression does not say."""

    @property
    def address(self) -> int: ...
    @property
    def size(self) -> int | None: ...
    @property
    def kind(self) -> str: ...
    @property
    def type_name(self) -> str | None: ...


class Space(Protocol):
    """An address space with names in it (`symbols.space.AddressSpace`)."""

    def lookup(self, address: int) -> Place: ...
    def name(self, address: int) -> str: ...
    def data_name(self, address: int) -> str | None: ...
    def resolve(self, expr: str, read: Read | None = None, *, typed: bool = True) -> Object: ...
    @property
    def modules(self) -> Sequence[Any]: ...
    def update(self, mappings: Sequence[Mapping]) -> None: ...


def open_space(mappings: tuple[Mapping, ...], program: str) -> Space:
    """The names of a program's own files."""
    from symbols.space import AddressSpace

    return AddressSpace(mappings, program)


class Names:
    """Names, sources and instructions by address. Nothing here raises, except `resolve`."""

    def __init__(
        self, program: str, read: Read, space: Callable[[tuple[Mapping, ...], str], Space] = open_space
    ) -> None:
        self._program = program
        self._read = read
        self._open = space
        self._space: Space | None = None
        self._mappings: tuple[Mapping, ...] = ()
        self._places: dict[int, Place] = {}
        self._names: dict[int, str] = {}
        self._data_names: dict[int, str] = {}
        self._insns: dict[int, str | None] = {}

    @property
    def space(self) -> Space:
        if self._space is None:
            self._space = self._open(self._mappings, self._program)
        return self._space

    def update(self, mappings: tuple[Mapping, ...]) -> None:
        """Follow the machine's mappings."""
        if mappings == self._mappings:
            return
        self._mappings = mappings
        self._places.clear()
        self._names.clear()
        self._data_names.clear()
        self._insns.clear()
        if self._space is not None:
            self._space.update(mappings)

    def place(self, address: int) -> Place:
        """Module, symbol and source line of an address."""
        if (found := self._places.get(address)) is None:
            found = self._places[address] = self.space.lookup(address)
        return found

    def describe(self, address: int) -> str:
        """`add_limit+0x1c`, escaped."""
        if (found := self._names.get(address)) is None:
            found = self._names[address] = escape(self.space.name(address))
        return found

    def describe_data(self, address: int) -> str:
        """`cfg.limits[3]`, escaped, or the address where nothing is known to lie there."""
        if (found := self._data_names.get(address)) is None:
            found = self._data_names[address] = escape(self.space.data_name(address) or f"{address:#x}")
        return found

    def source(self, address: int) -> str | None:
        """`counter.c:42`, escaped, or None."""
        place = self.place(address)
        return None if place.source is None or place.line is None else escape(f"{place.source}:{place.line}")

    def instruction(self, address: int) -> str | None:
        """The Intel-syntax text of one instruction, None where it cannot be read."""
        if address not in self._insns:
            from symbols.disasm import one

            code = self.code(address, _LONGEST_INSTRUCTION)
            self._insns[address] = (one(code, address) or None) if code else None
        return self._insns[address]

    def code(self, address: int, size: int) -> bytes:
        """Up to `size` bytes at an address: fewer, or none, where memory ends."""
        for end in (address + size, (address + size) & ~0xFFF):
            try:
                return self._read(address, end - address) if end > address else b""
            except HwbpError:
                continue
        return b""

    def instructions(self, address: int, count: int) -> list[Instruction]:
        """Up to `count` instructions from an address on; fewer where memory ends."""
        from symbols.disasm import disassemble

        return disassemble(self.code(address, count * _LONGEST_INSTRUCTION), address, count)

    def starting_with(self, prefix: str, limit: int = 100) -> list[str]:
        """Names of symbols that begin with `prefix`: the program's own first, then the libraries'."""
        found: list[str] = []
        for module in sorted(self.space.modules, key=lambda module: module.path != self._program):
            if module.names is not None and len(found) < limit:
                found += sorted(module.names.table.names(prefix, limit - len(found)))
        return [escape(name) for name in dict.fromkeys(found)]

    def disassembly(self, address: int, before: int, after: int) -> tuple[Instruction, ...]:
        """The instructions of a function around an address (`symbols.disasm.around`)."""
        from symbols.disasm import around

        return tuple(around(cast("AddressSpace", self.space), self._read, address, before, after))

    def resolve(self, expr: str, *, typed: bool = True) -> Object:
        """What an expression means now. Raises HwbpError, with near misses in its message.

        With `typed` false its type may be left out, which is quicker.
        """
        from symbols.target import ExpressionError

        try:
            return self.space.resolve(expr, self._read, typed=typed)
        except ExpressionError as error:
            raise HwbpError(escape(" ".join(str(error).split()))) from error
