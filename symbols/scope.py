"""What names mean in a running program: the frame's own first, then the program's, then its libraries'."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from symbols.ctype import Type
from symbols.dataclass import dataclass
from symbols.expression import spell
from symbols.frame_expression import evaluate as evaluate_frame
from symbols.location import Located, Thread
from symbols.nodes import Name
from symbols.table import Symbol
from symbols.target import ExpressionError
from symbols.tls import block
from symbols.value import Value

if TYPE_CHECKING:
    from symbols.entries import Entry
    from symbols.modules import Module
    from symbols.space import AddressSpace

__all__ = ["Context", "ProgramScope"]

MASK: Final = (1 << 64) - 1
DWARF_NAMES: Final = (
    "rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp", *(f"r{n}" for n in range(8, 16)), "rip",
)  # fmt: skip
"""DWARF's numbers of registers (psABI figure 3.36)."""
Read = Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True)
class Context:
    """What is known of the program while it stands still. All of it may be missing.

    `registers` gives a register of the current thread by name, and may raise anything; a ValueError says why one that there is cannot be
    known. `frame` is whether its pc is in
    the program's own code, so that locals have a meaning. `threads` are the fs bases of all threads, its own first.
    `pc` is where the names of the frame are looked up, None for rip itself: a caller stands in its call, and its rip behind it.
    """

    read: Read | None = None
    registers: Callable[[str], int] | None = None
    frame: bool = False
    threads: Callable[[], tuple[int, ...]] | None = None
    pc: int | None = None


class ProgramScope:
    """A `Resolver` for one address space. With `typed` false, types may be left out where that is quicker."""

    def __init__(self, space: AddressSpace, context: Context, typed: bool = True) -> None:
        self._space = space
        self._context = context
        self._typed = typed

    @property
    def read(self) -> Read | None:
        return self._context.read

    def register(self, name: str) -> int:
        """A register's value. Raises ExpressionError."""
        name = {"pc": "rip", "sp": "rsp", "fp": "rbp"}.get(name, name)
        if self._context.registers is None:
            raise ExpressionError(f"${name} needs a stopped thread")
        try:
            return int(self._context.registers(name))
        except ValueError as error:
            raise ExpressionError(f"${name}: {error}") from None
        except Exception:  # whatever the reader's own error is
            raise ExpressionError(f"there is no register ${name}") from None

    @property
    def pc(self) -> int:
        """Where the frame's names are looked up. Raises ExpressionError."""
        return self.register("rip") if self._context.pc is None else self._context.pc

    def type_named(self, words: tuple[str, ...]) -> Type | None:
        """A type by its name, from whichever module describes it first."""
        for module in self._space.searched():
            if (
                module.names is not None
                and module.names.debug
                and (found := module.names.debug.type_named(words))
            ):
                return found
        return None

    def object(self, name: Name) -> Value:
        """What a name means. Raises ExpressionError, with near misses."""
        whole = Name((), name.name, False) if name.quoted and not name.scope else name
        if not name.scope and self._context.frame and (found := self._local(name)) is not None:
            return found
        modules = [module for module in self._space.searched() if module.names is not None]
        for module in modules:
            found = self._in_module(module, whole)
            if found is not None:
                return found
        for module in modules:
            assert module.names is not None
            if module.names.debug and (constant := module.names.debug.enumerator(name.scope, name.name)):
                return Value(constant[0], number=constant[1])
        # C++ and Rust: the symbol is mangled, and what was written is its name in the source.
        source = "::".join((*name.scope, name.name))
        for module in modules:
            assert module.names is not None
            if symbols := module.names.table.find_source(source):
                return self._of_symbols(module, source, symbols)
        raise _miss(name, modules)

    # The frame

    def locals(self) -> list[str]:
        """The names that the frame of the pc has of its own, innermost block first."""
        try:
            pc = self.pc
        except ExpressionError:
            return []
        module = self._space.module_at(pc)
        if module is None or module.names is None or not module.names.debug:
            return []
        entries = module.names.debug.in_scope((pc - module.bias) & MASK)
        return list(dict.fromkeys(entry.name for entry in entries))

    def _local(self, name: Name) -> Value | None:
        try:
            pc = self.pc
        except ExpressionError:
            return None
        module = self._space.module_at(pc)
        if module is None or module.names is None or not module.names.debug:
            return None
        for entry in module.names.debug.in_scope((pc - module.bias) & MASK):
            if entry.name == name.name:
                return self._of_entry(module, entry, name, self._thread(module, pc))
        return None

    def _thread(self, module: Module, pc: int) -> Thread:
        def register(number: int) -> int:
            if number >= len(DWARF_NAMES):
                raise ValueError("an unknown register")
            return self.register(DWARF_NAMES[number])

        def read(address: int, size: int) -> int:
            if self._context.read is None:
                raise ValueError("no memory")
            return int.from_bytes(self._context.read(address & MASK, size), "little")

        def cfa() -> int | None:
            assert module.names is not None
            row = module.names.frames.row((pc - module.bias) & MASK)
            if row is None:
                return None
            if isinstance(row.cfa, bytes):
                return evaluate_frame(row.cfa, register, read)
            return register(row.cfa[0]) + row.cfa[1] & MASK

        return Thread((pc - module.bias) & MASK, register, read, cfa, module.bias)

    # Modules

    def _in_module(self, module: Module, name: Name) -> Value | None:
        assert module.names is not None
        # Without a scope, the table says quickly and without DWARF that a library has no such name.
        symbols = self._scoped(module, name)
        only_code = bool(symbols) and all(symbol.kind == "func" for symbol in symbols)
        if not self._typed and len(symbols) == 1 and not name.scope and _is_whole_object(symbols[0]):
            return self._of_symbols(module, name.name, symbols)
        likely = symbols or name.scope or module.path == self._space.main_name()
        if likely and not only_code and "@" not in name.name and module.names.debug:
            entries = module.names.debug.find(name.scope, name.name)
            if entries:
                return self._chosen(module, entries, name, symbols)
        if not symbols:
            return None
        found = self._of_symbols(module, spell(name), symbols)
        # A symbol whose name is not the variable's: an alias, or one that was given by asm("...").
        if self._typed and not found.code and found.address is not None and symbols[0].kind == "object":
            entry = module.names.debug.entry_at((found.address - module.bias) & MASK, name.name)
            if entry is not None:
                found = replace(found, type=module.names.debug.type(entry))
        return found

    @staticmethod
    def _scoped(module: Module, name: Name) -> list[Symbol]:
        assert module.names is not None
        names = module.names
        symbols = names.table.find(name.name)
        if not name.scope:
            return symbols
        if len(name.scope) > 1:
            return []
        wanted = name.scope[0].rpartition("/")[2]
        if found := [s for s in symbols if s.file and s.file.rpartition("/")[2] == wanted]:
            return found
        return [
            s
            for s in symbols
            if s.kind == "func" and (at := names.lines.at(s.value)) and f"/{at[0]}".endswith(f"/{wanted}")
        ]

    def _chosen(self, module: Module, entries: list[Entry], name: Name, symbols: list[Symbol]) -> Value:
        """The one variable that is meant: a global one before statics, as gdb chooses."""
        assert module.names is not None
        debug = module.names.debug
        placed: dict[tuple[int | None, int | None], Entry] = {}
        why, undefined, constant = "", None, None
        for entry in entries:
            located = debug.place(entry)
            if isinstance(located, Located) and located.value is None:
                key = (located.address, located.tls)
                if key not in placed or entry.external:
                    placed[key] = entry
            elif isinstance(located, Located):
                constant = entry
            elif located:
                why = located
            else:
                undefined = entry
        if not name.scope and (plain := {key: e for key, e in placed.items() if not e.scope}):
            placed = plain
        external = [entry for entry in placed.values() if entry.external and not entry.local]
        choices = external[:1] or list(placed.values())
        if len(choices) > 1:
            names = tuple(sorted({debug.spelled(entry) for entry in choices}))
            raise ExpressionError(f"{name.name} is ambiguous: {', '.join(names)}", names)
        if choices:
            found = self._of_entry(module, choices[0], name)
            if found.length is None:  # a type that says nothing: the symbol does
                sizes = [s.size for s in symbols if s.value + module.bias & MASK == found.address]
                found = replace(found, size=next(iter(sizes), None))
            return found
        # Declared here and defined where there is no DWARF, or (link-time optimisation) described in another unit.
        objects = [s for s in symbols if s.kind == "object"]
        if undefined is not None and len({s.value for s in objects}) == 1:
            kind = debug.type(undefined)
            return replace(self._of_symbols(module, spell(name), objects), type=kind)
        if constant is not None:
            return self._of_entry(module, constant, name)
        raise ExpressionError(f"{spell(name)} {why or 'has no address: it was optimised out'}")

    def _of_entry(self, module: Module, entry: Entry, name: Name, thread: Thread | None = None) -> Value:
        assert module.names is not None
        kind = module.names.debug.type(entry)
        located = module.names.debug.place(entry, thread)
        if isinstance(located, str):
            raise ExpressionError(f"{spell(name)} {located or 'has no address: it was optimised out'}")
        if located.tls is not None:
            return self._thread_local(module, located.tls, kind, None, spell(name))
        if located.register is not None:
            if located.register >= len(DWARF_NAMES):
                return Value(kind, why="lives in a vector register")
            register = DWARF_NAMES[located.register]
            data = self.register(register).to_bytes(8, "little")[: kind.size or 8]
            return Value(kind, data=data, why=f"has no address: it lives in the register ${register}")
        if located.value is not None:
            data = located.value[: kind.size or 8]
            return Value(kind, data=data, why="has no address: the compiler made it a constant")
        assert located.address is not None
        if located.absolute:
            frame = None
            if thread is not None and (cfa := thread.cfa()) is not None:
                frame = cfa
            return Value(kind, address=located.address & MASK, frame=frame)
        return Value(kind, address=located.address + module.bias & MASK)

    def _of_symbols(self, module: Module, text: str, symbols: list[Symbol]) -> Value:
        chosen = (
            [s for s in symbols if s.version.startswith("@@")]
            or [s for s in symbols if s.bind == "global"]
            or [s for s in symbols if s.bind == "weak"]
            or symbols
        )
        if len({s.value for s in chosen}) > 1:
            names = sorted({_distinct(s, module.bias) for s in chosen})
            raise ExpressionError(f"{text} is ambiguous: {', '.join(names)}", tuple(names))
        symbol = chosen[0]
        if symbol.kind == "tls":
            return self._thread_local(module, symbol.value, None, symbol.size, text)
        code = symbol.kind == "func" or (symbol.kind == "other" and module.is_code(symbol.value))
        return Value(None, address=symbol.value + module.bias & MASK, size=symbol.size or None, code=code)

    def _thread_local(
        self, module: Module, offset: int, kind: Type | None, size: int | None, text: str
    ) -> Value:
        assert module.names is not None
        pointers = self._context.threads() if self._context.threads is not None else ()
        if not pointers:
            if self._context.threads is not None:
                raise ExpressionError(
                    f"{text} is thread-local, and no thread has its own yet: let the program reach main first"
                )
            raise ExpressionError(
                f"{text} is thread-local: each thread has its own, and none is to be asked now: "
                "stop the program in main first, or attach to it"
            )
        main = module.path == self._space.main_name()
        found, why = [], ""
        for pointer in pointers:
            names = module.names
            start = block(names.image, names.table, module.bias, main, pointer, self._context.read)
            if isinstance(start, int):
                found.append(start + offset & MASK)
            else:
                why = why or start
        if not found:
            raise ExpressionError(f"{text} {why}")
        return Value(kind, address=found[0], size=size, also=tuple(found[1:]), per_thread=True)


def _is_whole_object(symbol: Symbol) -> bool:
    """A sized global variable: all that the types could add is its type."""
    return symbol.kind == "object" and symbol.bind == "global" and bool(symbol.size)


def _distinct(symbol: Symbol, bias: int) -> str:
    """How one of several symbols of a name is asked for."""
    if symbol.version:
        return f"{symbol.name}{symbol.version}"
    return f"{symbol.file}::{symbol.name}" if symbol.file else f"{symbol.value + bias:#x}"


def _miss(path: Name, modules: list[Module]) -> ExpressionError:
    """What to say of a name that no module has."""
    name = "::".join((*path.scope, path.name))
    candidates: list[str] = []
    for module in modules:
        assert module.names is not None
        if module is modules[0] and not path.scope and module.names.debug:
            if place := module.names.debug.inlined_everywhere(path.name):
                return ExpressionError(
                    f"{name} was inlined everywhere and has no code of its own: use its lines, from {place} on"
                )
            candidates += module.names.debug.statics(path.name)
        candidates += module.names.table.near(path.name)
    likely = tuple(dict.fromkeys(candidates))[:3]
    text = f"no symbol {name}" + (f": did you mean {' or '.join(likely)}?" if likely else "")
    if not modules:
        return ExpressionError(f"no symbol {name}: no program with names is mapped yet")
    assert modules[0].names is not None
    if modules[0].names.image.interpreter and not any(re.search(r"/libc[.-]", m.path) for m in modules):
        text += " (libraries are searched once they are mapped)"
    return ExpressionError(text, likely)
