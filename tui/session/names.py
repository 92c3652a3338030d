"""Names of addresses, kept in step with the machine's mappings and cached per address.

A trace asks for the same few instructions hundreds of thousands of times, so every answer is kept until the
mappings change. `symbols` is imported when the first name is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol, cast

from backends.base import HwbpError
from backends.model import Mapping
from tui.session.escape import escape

if TYPE_CHECKING:
    from symbols.ctype import Type
    from symbols.disasm import Instruction
    from symbols.lines import Frame
    from symbols.nodes import TypeName
    from symbols.scope import Context
    from symbols.source_files import Source, Sources
    from symbols.space import AddressSpace
    from symbols.value import Value

__all__ = ["ExpressionRefused", "Level", "Names", "Place", "Space", "open_space"]

Read = Callable[[int, int], bytes]

_LONGEST_INSTRUCTION = 15
_KERNEL = 0xFFFF_8000_0000_0000
_LEVELS_KEPT: Final = 1 << 16
_BARE = re.compile(r"0[xX][0-9a-fA-F]{1,16}")


class ExpressionRefused(HwbpError):
    """An expression that means nothing here. `span` is the part of `expr` that is at fault, None for all of it."""

    def __init__(self, message: str, expr: str, span: tuple[int, int] | None) -> None:
        super().__init__(message)
        self.expr = expr
        self.span = span


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
    @property
    def also(self) -> tuple[int, ...]: ...
    @property
    def frame(self) -> int | None: ...
    @property
    def per_thread(self) -> bool: ...


class Space(Protocol):
    """An address space with names in it (`symbols.space.AddressSpace`)."""

    bits: Literal[32, 64]

    def lookup(self, address: int) -> Place: ...
    def name(self, address: int) -> str: ...
    def data_name(self, address: int) -> str | None: ...
    def frames(self, address: int) -> tuple[Frame, ...]: ...
    def resolve(
        self, expr: str, read: Read | None = None, *, typed: bool = True, context: Context | None = None
    ) -> Object: ...
    def evaluate(self, expr: str, context: Context) -> tuple[Value, Any, Any]: ...
    @property
    def modules(self) -> Sequence[Any]: ...
    def update(self, mappings: Sequence[Mapping]) -> None: ...


def open_space(mappings: tuple[Mapping, ...], program: str) -> Space:
    """The names of a program's own files."""
    from symbols.space import AddressSpace

    return AddressSpace(mappings, program)


def _line_of(frame: Frame) -> str | None:
    return escape(f"{frame.file}:{frame.line}") if frame.line else None


class Level(NamedTuple):
    """A function of the source on a call stack. Of a call that was inlined, `symbol` is the function alone."""

    symbol: str
    source: str | None
    inlined: bool = False

    @property
    def text(self) -> str:
        """As a line of a call stack shows it."""
        return f"{self.symbol} (inlined)" if self.inlined else self.symbol


class Names:
    """Names, sources and instructions by address. Nothing here raises, except `resolve`."""

    def __init__(
        self, program: str, read: Read, space: Callable[[tuple[Mapping, ...], str], Space] = open_space
    ) -> None:
        self._program = program
        self._read = read
        self._open = space
        self.thread: Callable[[], Context] | None = None
        """What is known of the stopped thread, for registers, locals and thread-local variables."""
        self._kernel = False
        self._bits: Literal[32, 64] = 64
        self.kallsyms: Callable[[], bytes] = bytes
        """The names of an emulated machine's kernel."""
        self.process: int | None = None
        """The live process that the names are of: its files are opened as it has them mapped."""
        self._types: dict[str, Type | None] = {}
        self._space: Space | None = None
        self._mappings: tuple[Mapping, ...] = ()
        self._places: dict[int, Place] = {}
        self._names: dict[int, str] = {}
        self._data_names: dict[int, str] = {}
        self._insns: dict[int, str | None] = {}
        self._levels: dict[int, tuple[Level, ...]] = {}

    @property
    def space(self) -> Space:
        if self._space is None and self.process is not None:
            from symbols.process import ProcessFiles
            from symbols.space import AddressSpace

            files = ProcessFiles(self.process)
            self._space = AddressSpace(self._mappings, self._program, files=files, read=self._read)
            self._space.bits = self._bits
        elif self._space is None:
            self._space = self._open(self._mappings, self._program)
        return self._space

    def update(self, mappings: tuple[Mapping, ...], bits: Literal[32, 64] = 64) -> None:
        """Follow the machine's mappings, and the width of its program's code."""
        if mappings == self._mappings and bits == self._bits:
            return
        self._mappings = mappings
        if bits != self._bits:
            self._bits = bits
            if self._space is not None:
                self._space.bits = bits
        self._places.clear()
        self._names.clear()
        self._data_names.clear()
        self._insns.clear()
        self._levels.clear()
        self._types.clear()
        if self._space is not None:
            self._space.update(mappings)

    def place(self, address: int) -> Place:
        """Module, symbol and source line of an address."""
        if (found := self._places.get(address)) is None:
            self._know_kernel(address)
            found = self._places[address] = self.space.lookup(address)
        return found

    def describe(self, address: int) -> str:
        """`add_limit+0x1c`, escaped."""
        if (found := self._names.get(address)) is None:
            self._know_kernel(address)
            found = self._names[address] = escape(self.space.name(address))
        return found

    def _know_kernel(self, address: int) -> None:
        """Read the kernel's names when the first address turns out to be one of its."""
        if address >= _KERNEL and not self._kernel:
            from symbols.kernel import KernelNames

            self._kernel = True
            live = self.process is not None
            names = KernelNames.running() if live else KernelNames(self.kallsyms())
            cast("AddressSpace", self.space).kernel = names

    def describe_data(self, address: int) -> str:
        """`cfg.limits[3]`, escaped, or the address where nothing is known to lie there."""
        if (found := self._data_names.get(address)) is None:
            self._know_kernel(address)
            name = self.space.data_name(address)
            if name is None and address >= _KERNEL:
                name = self.space.name(address)
            found = self._data_names[address] = escape(name or f"{address:#x}")
        return found

    def source(self, address: int) -> str | None:
        """`counter.c:42`, escaped, or None."""
        place = self.place(address)
        return None if place.source is None or place.line is None else escape(f"{place.source}:{place.line}")

    def line_begins(self, address: int) -> bool:
        """Whether an address is the first of its run in the line table (`symbols.lines.LineTable.extent`)."""
        module = cast("AddressSpace", self.space).module_at(address)
        if module is None or module.names is None:
            return False
        found = module.names.lines.extent(address - module.bias)
        return found is not None and found[0] + module.bias == address

    def begins_function(self, address: int) -> bool:
        """Whether a symbol begins at an address."""
        return self.place(address).symbol_offset == 0

    @cached_property
    def sources(self) -> Sources:
        """Finds source files, and keeps their text."""
        from symbols.source_files import Sources

        return Sources()

    def source_file(self, address: int) -> tuple[Source, int] | None:
        """The source file and line (from 1) of an address; None where no line is known. The file may not be found."""
        place = self.place(address)
        if place.source is None or place.line is None:
            return None
        from symbols.source_files import compiled_in

        directory = compiled_in(cast("AddressSpace", self.space), address)
        return self.sources.find(place.source, directory, place.module or self._program), place.line

    def instruction(self, address: int) -> str | None:
        """The Intel-syntax text of one instruction, None where it cannot be read."""
        if address not in self._insns:
            from symbols.disasm import one

            code = self.code(address, _LONGEST_INSTRUCTION)
            self._insns[address] = (one(code, address, self._bits) or None) if code else None
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

        return disassemble(self.code(address, count * _LONGEST_INSTRUCTION), address, count, self._bits)

    def refers(self, insn: Instruction) -> str:
        """What an instruction's operands refer to by name, escaped; "" where nothing."""
        from symbols.listing import refers

        return escape(refers(cast("AddressSpace", self.space), insn.bytes, insn.address))

    def function(self, address: int) -> list[Instruction]:
        """The instructions of the function around an address; none where its bounds are not known."""
        from symbols.boundaries import function_at
        from symbols.disasm import disassemble

        found = function_at(cast("AddressSpace", self.space), address)
        if found is None:
            return []
        start, size = found
        return disassemble(self.code(start, size), start, size, self._bits)

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

    def frames(self, address: int) -> tuple[Frame, ...]:
        """The source's call stack at an address, inlined calls first; () where no line is known."""
        return self.space.frames(address)

    def levels(self, address: int) -> tuple[Level, ...]:
        """What a frame of a call stack shows: the calls that were inlined there, innermost first, then the function itself.

        All but the last are inlined. Never empty; escaped.
        """
        found = self._levels.get(address)
        if found is None:
            if len(self._levels) >= _LEVELS_KEPT:
                self._levels.clear()
            found = self._levels[address] = self._level(address)
        return found

    def _level(self, address: int) -> tuple[Level, ...]:
        frames = self.frames(address)
        if len(frames) < 2:
            return (Level(self.describe(address), self.source(address)),)
        *inlined, outer = frames
        return (
            *(Level(escape(frame.function) or "?", _line_of(frame), True) for frame in inlined),
            Level(self.describe(address), _line_of(outer)),
        )

    def resolve(self, expr: str, *, typed: bool = True) -> Object:
        """The place that an expression means now. Raises HwbpError, with near misses in its message.

        With `typed` false its type may be left out, which is quicker.
        """
        from symbols.target import ExpressionError, Target

        if _BARE.fullmatch(expr.strip()):  # needs no names, so no file is opened for it
            return Target(int(expr.strip(), 0), None, "data")
        try:
            if not typed and expr.strip().isidentifier() and not self._has_frame():
                with suppress(ExpressionError):  # what takes more than names is asked for with all there is
                    return self.space.resolve(expr, self._read, typed=False)
            return self.space.resolve(expr, self._read, typed=typed, context=self._context())
        except ExpressionError as error:
            raise _refused(error, expr) from error

    def value(self, expr: str) -> Value:
        """What an expression is by C's rules. Raises HwbpError."""
        from symbols.target import ExpressionError

        try:
            return self.space.evaluate(expr, self._context())[0]
        except ExpressionError as error:
            raise _refused(error, expr) from error

    def type_named(self, named: TypeName) -> Type:
        """The type that a name means. Raises HwbpError."""
        from symbols.evaluate import type_of
        from symbols.scope import ProgramScope
        from symbols.target import ExpressionError

        try:
            return type_of(named, ProgramScope(cast("AddressSpace", self.space), self._context()))
        except ExpressionError as error:
            raise HwbpError(escape(str(error))) from error

    def type_of(self, expr: str) -> Type | None:
        """The type of the place that an expression means, kept; None where it has none, or means nothing now."""
        if expr not in self._types:
            try:
                found = self.resolve(expr)
            except HwbpError:
                found = None
            self._types[expr] = getattr(found, "type", None)
        return self._types[expr]

    def members(self, expr: str) -> list[str]:
        """The members that may follow `expr.` or `expr->`, escaped."""
        try:
            kind = self.value(expr).type
        except HwbpError:
            return []
        plain = kind.plain if kind is not None else None
        if plain is not None and plain.kind in ("pointer", "reference"):
            plain = plain.target.plain
        return [escape(name) for name in plain.member_names()] if plain is not None else []

    def locals(self) -> list[str]:
        """The names of the parameters and variables of the stopped thread's function, innermost block first."""
        from symbols.scope import ProgramScope

        context = self._context()
        if not context.frame:
            return []
        return ProgramScope(cast("AddressSpace", self.space), context).locals()

    def _has_frame(self) -> bool:
        return self.thread is not None and self._context().frame

    def _context(self) -> Context:
        if self.thread is not None:
            return self.thread()
        from symbols.scope import Context

        return Context(self._read)


def _refused(error: Any, expr: str) -> ExpressionRefused:
    return ExpressionRefused(escape(" ".join(str(error).split())), expr, error.span)
