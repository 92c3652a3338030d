"""Names for the addresses of one running program: its modules, where they were mapped, and what they call things."""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal

from symbols.arrays import np
from symbols.dataclass import dataclass
from symbols.demangle import demangle
from symbols.modules import Images, Module, Row
from symbols.target import ExpressionError, Target

if TYPE_CHECKING:
    from symbols.kernel import KernelNames
    from symbols.lines import Frame
    from symbols.nodes import Node, SourceLine
    from symbols.process import JitNames, ProcessFiles
    from symbols.scope import Context, ProgramScope
    from symbols.value import Value

__all__ = ["AddressSpace", "Located", "Location"]

Read = Callable[[int, int], bytes]
CACHE_LIMIT = 1 << 17
MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Location:
    """What lies at an address. `module_offset` is the address in the file; `symbol` has no offset in it."""

    module: str | None
    module_offset: int | None
    symbol: str | None
    symbol_offset: int
    source: str | None
    line: int | None


@dataclass(frozen=True, slots=True)
class Located:
    """Many addresses at once. `symbol` and `file` are numbers into `symbols` and `files`, -1 where none is known;
    `offset` is the address's in its symbol, `line` counts from 1, 0 where unknown. All arrays have a place for each
    address."""

    symbols: list[str]
    symbol: Any
    offset: Any
    files: list[str]
    file: Any
    line: Any


class AddressSpace:
    """The modules of a program by its mappings: rows (start, end, perms, offset, path), tuples or objects.

    `bits` is 64, or 32 where the program is one of 32 bits: what stands in its code and on its stack is read so.
    A file that cannot be opened costs its own names only. Only `resolve` and `evaluate` raise. `files` opens the files
    of a live process as it has them; `read` gives the vdso, which is no file; `kernel` names the kernel's addresses.
    """

    def __init__(
        self,
        mappings: Iterable[Any],
        main_path: str | None = None,
        *,
        files: ProcessFiles | None = None,
        read: Read | None = None,
        kernel: KernelNames | None = None,
    ) -> None:
        self.bits: Literal[32, 64] = 64
        self._main_path = main_path
        self._files = files
        self._images = Images(files, read)
        self.kernel = kernel
        self._jit: JitNames | None = None
        self._locations: dict[int, Location] = {}
        self._data: dict[int, str | None] = {}
        self._rows: list[Row] = []
        self.update(mappings)

    def update(self, mappings: Iterable[Any]) -> None:
        """Follow new mappings; what was cached for the old ones is forgotten, opened files stay."""
        rows = sorted(
            tuple(row) if isinstance(row, tuple) else (row.start, row.end, row.perms, row.offset, row.path)
            for row in mappings
        )
        if rows == self._rows and hasattr(self, "modules"):
            return
        self._rows = rows
        self._locations.clear()
        self._data.clear()
        self.modules = self._images.modules(rows)
        self._starts = [module.start for module in self.modules]
        self._executable = [(start, end) for start, end, perms, _, _ in rows if "x" in perms]
        if self._files is not None and any("x" in perms and not path for _, _, perms, _, path in rows):
            self._follow_jit(self._files)

    @property
    def mappings(self) -> list[Row]:
        """The mappings, by address; another list once they have changed."""
        return self._rows

    def module_at(self, address: int) -> Module | None:
        """The module whose pages, .bss included, hold an address."""
        place = bisect_right(self._starts, address) - 1
        if place >= 0 and address < self.modules[place].end:
            return self.modules[place]
        return None

    def executable(self, address: int) -> bool:
        """Whether an address lies in an executable mapping."""
        place = bisect_right(self._executable, (address, MASK)) - 1
        return place >= 0 and address < self._executable[place][1]

    def lookup(self, address: int) -> Location:
        """Module, symbol and source line. For a return address ask for the address before it."""
        found = self._locations.get(address)
        if found is None:
            if len(self._locations) >= CACHE_LIMIT:
                self._locations.clear()
            found = self._locations[address] = self._look(address)
        return found

    def lookup_many(self, addresses: Any) -> Located:
        """Symbols and lines of an array of addresses at once: numbers into the lists that come with them."""
        wanted = np.asarray(addresses, np.uint64)
        symbols: dict[str, int] = {}
        files: dict[str, int] = {}
        found = Located(
            [],
            np.full(len(wanted), -1, np.int64),
            np.zeros(len(wanted), np.uint64),
            [],
            np.full(len(wanted), -1, np.int64),
            np.zeros(len(wanted), np.uint32),
        )
        for module in self.modules:
            mine = np.flatnonzero((wanted >= np.uint64(module.start)) & (wanted < np.uint64(module.end)))
            if module.names is None or not len(mine):
                continue
            vaddrs = wanted[mine] - np.uint64(module.bias)
            table = module.names.table
            places = table.at_many(vaddrs)
            known = places >= 0
            used, back = np.unique(places[known], return_inverse=True)
            numbers = [symbols.setdefault(demangle(name), len(symbols)) for name in table.names_of(used)]
            found.symbol[mine[known]] = np.asarray(numbers, np.int64)[back]
            found.offset[mine[known]] = vaddrs[known] - table.start_of(places[known])
            names, file, line = module.names.lines.at_many(vaddrs)
            numbers = [files.setdefault(name, len(files)) for name in names]
            placed = file >= 0
            if numbers:
                found.file[mine[placed]] = np.asarray(numbers, np.int64)[file[placed]]
                found.line[mine[placed]] = line[placed]
        return Located(list(symbols), found.symbol, found.offset, list(files), found.file, found.line)

    def frames(self, address: int) -> tuple[Frame, ...]:
        """The source's call stack at an address, inlined calls first; () where no line is known."""
        module = self.module_at(address)
        if module is None or module.names is None:
            return ()
        return module.names.lines.frames((address - module.bias) & MASK)

    def name(self, address: int) -> str:
        """`add_limit+0x1c`, else `module.so+0x1234`, else the address."""
        found = self.lookup(address)
        if found.symbol is not None:
            return found.symbol + (f"+{found.symbol_offset:#x}" if found.symbol_offset else "")
        if found.module is not None:
            return f"{os.path.basename(found.module)}+{found.module_offset:#x}"
        return f"{address:#x}"

    def data_name(self, address: int) -> str | None:
        """`cfg.limits[3]`, `counter+4`: decimal bytes, as an expression reads them. None outside every object."""
        if address not in self._data:
            if len(self._data) >= CACHE_LIMIT:
                self._data.clear()
            self._data[address] = self._data_at(address)
        return self._data[address]

    def resolve(
        self, expr: str, read: Read | None = None, *, typed: bool = True, context: Context | None = None
    ) -> Target:
        """The place that an expression means (docs/cli.md, WATCH). Raises ExpressionError.

        With `typed` false a variable that the symbol table knows alone comes without its type, and DWARF stays unread.
        """
        if not typed and (found := self._plain_object(expr)) is not None:
            return found
        from symbols.expression import parse
        from symbols.nodes import Name, SourceLine
        from symbols.places import place
        from symbols.scope import Context, ProgramScope

        context = context or Context(read)
        scope = ProgramScope(self, context)
        try:
            parsed = parse(expr)
            if not typed and isinstance(parsed, Name):
                scope = ProgramScope(self, context, typed)
            return self._line(parsed) if isinstance(parsed, SourceLine) else place(parsed, scope)
        except ExpressionError:
            if (symbol := self._letter_by_letter(expr, scope)) is None:
                raise
            return Target(symbol.address or 0, symbol.size, "code" if symbol.code else "data")

    def evaluate(self, expr: str, context: Context) -> tuple[Value, Node | None, ProgramScope]:
        """The value of an expression by C's rules, its parsed form, and the names it was found in.

        Raises ExpressionError.
        """
        from symbols.evaluate import evaluate
        from symbols.expression import parse
        from symbols.nodes import SourceLine
        from symbols.scope import ProgramScope
        from symbols.value import Value

        scope = ProgramScope(self, context)
        try:
            parsed = parse(expr)
            if isinstance(parsed, SourceLine):
                target = self._line(parsed)
                return Value(None, address=target.address, code=True), None, scope
            return evaluate(parsed, scope), parsed, scope
        except ExpressionError:
            if (symbol := self._letter_by_letter(expr, scope)) is None:
                raise
            return symbol, None, scope

    def _plain_object(self, expr: str) -> Target | None:
        """A global variable of the program itself by its mere name: the symbol table alone tells."""
        name = expr.strip()
        main = self.main if re.fullmatch(r"[A-Za-z_]\w*", name) else None
        symbols = main.names.table.find(name) if main is not None and main.names is not None else []
        if main is None or len(symbols) != 1:
            return None
        symbol = symbols[0]
        if symbol.kind != "object" or symbol.bind != "global" or not symbol.size:
            return None
        return Target(symbol.value + main.bias & MASK, symbol.size, "data")

    def _letter_by_letter(self, expr: str, scope: ProgramScope) -> Value | None:
        """A symbol of exactly this name: those of other languages and compilers' own hold anything (`operator+`)."""
        from symbols.nodes import Name

        wanted = expr.strip()
        if re.fullmatch(r"[\w$.]*", wanted) and "." not in wanted:
            return None
        for module in self.searched():
            if module.names is not None and (
                module.names.table.find(wanted)
                or (("::" in wanted or "(" in wanted) and module.names.table.find_source(wanted))
            ):
                return scope.object(Name((), wanted, True))
        return None

    @property
    def main(self) -> Module | None:
        """The program itself."""
        return next(iter(self.searched()), None)

    def _follow_jit(self, files: ProcessFiles) -> None:
        if self._jit is None:
            from symbols.process import JitNames

            path = files.jit_path()
            self._jit = JitNames(path, files.owner()) if path is not None else None
        if self._jit is not None:
            self._jit.refresh()

    def searched(self) -> list[Module]:
        """Modules in the order in which names are looked for."""
        path = self._main_path
        modules = list(self.modules)
        if path is None:
            return modules
        real = os.path.realpath(path)
        mine = [m for m in modules if m.path == path or m.path == real]
        if not mine and (names := self._images.open(real)) is not None and names.image.kind == "EXEC":
            low, high = names.image.load_range
            mine = [Module(real, low, high, 0, names)]
        return mine + [m for m in modules if m not in mine]

    def _look(self, address: int) -> Location:
        module = self.module_at(address)
        if module is None and self.kernel is not None and (inside := self.kernel.at(address)) is not None:
            symbol, behind = inside
            return Location(symbol.module or "[kernel]", behind, symbol.name, behind, None, None)
        if module is None and self._jit is not None and (made := self._jit.at(address)) is not None:
            return Location(None, None, made[0], made[1], None, None)
        if module is None:
            return Location(None, None, None, 0, None, None)
        offset = (address - module.bias) & MASK
        if module.names is None:
            return Location(module.path, offset, None, 0, None, None)
        found = module.names.table.at(offset)
        source = module.names.lines.at(offset)
        return Location(
            module.path,
            offset,
            (demangle(found[0].name) or None) if found else None,
            found[1] if found else 0,
            source[0] if source else None,
            source[1] if source else None,
        )

    def _data_at(self, address: int) -> str | None:
        module = self.module_at(address)
        if module is None or module.names is None:
            return None
        found = module.names.table.at((address - module.bias) & MASK)
        if found is None or found[0].kind != "object":
            return None
        text, offset = demangle(found[0].name), found[1]
        if module.names.debug:
            text, offset = module.names.debug.variable_at((address - module.bias) & MASK) or (text, offset)
        return f"{text}+{offset}" if offset else text

    def _line(self, wanted: SourceLine) -> Target:
        modules = [m for m in self.searched() if m.names is not None]
        for module in modules:
            assert module.names is not None
            place = wanted.place
            if not module.names.lines.has_file(place):
                symbols = [s for s in module.names.table.find(place) if s.kind == "func"]
                source = module.names.lines.at(symbols[0].value) if symbols else None
                if source is None:
                    continue
                place = source[0]
            found = [address + module.bias for address in module.names.lines.addresses(place, wanted.line)]
            if len(found) > 1:
                names = tuple(self.name(address) for address in found)
                raise ExpressionError(
                    f"{wanted.place}:{wanted.line} is in {len(found)} functions: {', '.join(names[:8])}",
                    names,
                )
            if found:
                return Target(found[0] & MASK, 1, "code")
            raise ExpressionError(f"no code at or after line {wanted.line} of {place}")
        files = {
            f.rpartition("/")[2] for m in modules[:1] if m.names is not None for f in m.names.lines.files()
        }
        known = tuple(sorted(files))
        if not known:
            why = "compile with -g"
            if any(m.names is not None and m.names.debug_image.needs_zstd for m in modules[:1]):
                why = "it is compressed with zstd, which needs Python 3.14 or `pip install zstandard`"
            raise ExpressionError(f"no line information for {wanted.place}: {why}")
        raise ExpressionError(f"no source file {wanted.place} (known: {', '.join(known[:5])})", known)

    def main_name(self) -> str:
        """The path of the program itself."""
        return (
            os.path.realpath(self._main_path)
            if self._main_path
            else self.modules[0].path
            if self.modules
            else ""
        )
