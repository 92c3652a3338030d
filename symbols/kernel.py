"""Names of kernel addresses: /proc/kallsyms with its modules, and BTF for what the symbols are."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from copy import copy
from functools import cached_property
from typing import TYPE_CHECKING, Final

from symbols.ctype import Type, pointer_to
from symbols.dataclass import dataclass
from symbols.expression import parse, spell
from symbols.nodes import Name, SourceLine
from symbols.places import place
from symbols.target import ExpressionError, Target
from symbols.value import Value

if TYPE_CHECKING:
    from symbols.btf_types import BtfTypes

__all__ = ["KALLSYMS", "KernelNames", "KernelSymbol", "is_kernel"]

KALLSYMS: Final = "/proc/kallsyms"
SYMBOLS_LIMIT: Final = 1 << 22
FARTHEST: Final = 1 << 24  # bytes: behind the last symbol of a section nothing has a name
KERNEL_BASE: Final = 0xFFFF_8000_0000_0000
_DATA: Final = frozenset("dDbBrRvVsSgG")
_LINE: Final = re.compile(rb"([0-9a-f]{8,16}) (\S) (\S+)(?:[ \t]+\[([^\]\n]*)\])?")
Read = Callable[[int, int], bytes]


def is_kernel(address: int) -> bool:
    """Whether an address lies in the kernel's half (Documentation/arch/x86/x86_64/mm.rst)."""
    return address >= KERNEL_BASE


@dataclass(frozen=True, slots=True)
class KernelSymbol:
    """One symbol. `module` is "" for the kernel itself; `size` reaches to the next symbol, as kallsyms counts."""

    name: str
    address: int
    size: int
    code: bool
    module: str


class KernelNames:
    """The symbols of a running kernel. `types` finds what BTF says of them; `task` gives a task_struct by pid.

    Only `resolve` and the methods of a resolver raise, ExpressionError.
    """

    def __init__(
        self,
        kallsyms: bytes,
        types: BtfTypes | None = None,
        read: Read | None = None,
        task: Callable[[int], int | None] | None = None,
    ) -> None:
        self._types = types
        self._read = read
        self._task = task
        rows: list[tuple[int, str, bytes, bytes]] = []
        for match in _LINE.finditer(kallsyms):
            if len(rows) >= SYMBOLS_LIMIT:
                break
            rows.append((int(match[1], 16), match[2].decode("latin-1"), match[3], match[4] or b""))
        self.hidden = bool(rows) and not any(row[0] for row in rows[:1000])
        # Absolute symbols are numbers, not places; per-CPU ones are offsets in each CPU's area.
        rows = [row for row in rows if row[0] >= KERNEL_BASE and row[1] not in "aAuU"]
        rows.sort(key=lambda row: row[0])
        self._rows = rows
        self._starts = [row[0] for row in rows]

    @classmethod
    def running(
        cls, read: Read | None = None, task: Callable[[int], int | None] | None = None
    ) -> KernelNames:
        """This machine's kernel. Without its files it has no names."""
        from symbols.btf import Btf, BtfError
        from symbols.btf_types import BtfTypes

        try:
            with open(KALLSYMS, "rb") as file:
                data = file.read(1 << 28)
        except OSError:
            data = b""
        try:
            types: BtfTypes | None = BtfTypes(Btf.load())
        except BtfError:
            types = None
        return cls(data, types, read, task)

    def reading(self, read: Read, task: Callable[[int], int | None]) -> KernelNames:
        """The same names, with a way to the kernel's memory."""
        other = copy(self)
        other._read, other._task = read, task
        return other

    def __len__(self) -> int:
        return len(self._rows)

    @cached_property
    def _by_name(self) -> dict[bytes, list[int]]:
        found: dict[bytes, list[int]] = {}
        for place_, row in enumerate(self._rows):
            found.setdefault(row[2], []).append(place_)
        return found

    @cached_property
    def _sorted_names(self) -> list[bytes]:
        return sorted(self._by_name)

    def find(self, name: str) -> list[KernelSymbol]:
        """Every symbol of exactly this name."""
        return [self._symbol(each) for each in self._by_name.get(name.encode("utf-8", "surrogateescape"), ())]

    def at(self, address: int) -> tuple[KernelSymbol, int] | None:
        """The symbol at or before an address and the offset in it; None where none is near."""
        last = bisect_right(self._starts, address) - 1
        if last < 0 or address - self._starts[last] >= FARTHEST:
            return None
        first = last
        while first and self._starts[first - 1] == self._starts[last]:
            first -= 1
        symbol = self._symbol(self._best(first, last))
        return symbol, address - symbol.address

    def name(self, address: int) -> str | None:
        """`do_nanosleep+0x68`, with the module behind it where it has one."""
        found = self.at(address)
        if found is None:
            return None
        symbol, offset = found
        text = symbol.name + (f"+{offset:#x}" if offset else "")
        return f"{text} [{symbol.module}]" if symbol.module else text

    def names(self, prefix: str, limit: int) -> list[str]:
        """Names that begin with `prefix`, in order, at most `limit`."""
        from bisect import bisect_left

        raw = prefix.encode("utf-8", "surrogateescape")
        at = bisect_left(self._sorted_names, raw)
        found = []
        for name in self._sorted_names[at : at + limit]:
            if not name.startswith(raw):
                break
            found.append(name.decode("utf-8", "surrogateescape"))
        return found

    def resolve(self, expr: str) -> Target:
        """What an expression means in the kernel. Raises ExpressionError."""
        parsed = parse(expr)
        if isinstance(parsed, SourceLine):
            raise ExpressionError("the kernel has no line information here")
        return place(parsed, self)

    # A resolver

    @property
    def read(self) -> Read | None:
        """How kernel memory is read, None where it cannot be."""
        return self._read

    def register(self, name: str) -> Value:
        """`$task_PID`: the task of a process or thread."""
        match = re.fullmatch(r"task_([0-9]{1,9})", name)
        if match is None:
            raise ExpressionError(f"the kernel has no ${name}: tasks are $task_PID")
        if self._task is None:
            raise ExpressionError(
                f"the task of pid {match[1]} is not known: that needs the kernel's own books"
            )
        address = self._task(int(match[1]))
        if address is None:
            raise ExpressionError(f"no task has the number {match[1]}")
        kind = self.type_named(("struct", "task_struct"))
        return Value(pointer_to(kind) if kind is not None else None, number=address)

    def type_named(self, words: tuple[str, ...]) -> Type | None:
        """A type of the kernel."""
        return self._types.named(words) if self._types is not None else None

    def object(self, name: Name) -> Value:
        """What a name means. Raises ExpressionError."""
        found = self.find(name.name) if not name.scope else []
        if name.scope:
            found = [symbol for symbol in self.find(name.name) if symbol.module == name.scope[-1].strip("[]")]
        if not found:
            raise self._miss(name)
        if len({symbol.address for symbol in found}) > 1:
            modules = {symbol.module for symbol in found}
            names = tuple(
                sorted(
                    {
                        f"{symbol.module}::{symbol.name}"
                        if symbol.module and len(modules) == len(found)
                        else f"{symbol.address:#x}"
                        for symbol in found
                    }
                )
            )
            raise ExpressionError(f"{spell(name)} is ambiguous: {', '.join(names)}", names)
        symbol = found[0]
        kind = self._types.variable(symbol.name) if self._types is not None and not symbol.code else None
        return Value(kind, address=symbol.address, size=symbol.size or None, code=symbol.code)

    def _miss(self, name: Name) -> ExpressionError:
        if self.hidden:
            return ExpressionError("kernel addresses are hidden from this user (kernel.kptr_restrict)")
        import difflib

        raw = name.name
        pool = self.names(raw[:2], 4000) if len(raw) > 2 else []
        near = tuple(difflib.get_close_matches(raw, pool, 3, 0.7))
        known = self._types.variable(raw) if self._types is not None else None
        if known is not None:
            return ExpressionError(
                f"{raw} is a {known}, but this kernel does not tell its address (CONFIG_KALLSYMS_ALL)"
            )
        return ExpressionError(
            f"no kernel symbol {spell(name)}" + (f": did you mean {' or '.join(near)}?" if near else ""), near
        )

    def _symbol(self, row: int) -> KernelSymbol:
        address, letter, name, module = self._rows[row]
        following = bisect_right(self._starts, address)
        size = self._starts[following] - address if following < len(self._starts) else 0
        text, group = name.decode("utf-8", "surrogateescape"), module.decode("utf-8", "surrogateescape")
        return KernelSymbol(text, address, size if size < FARTHEST else 0, letter not in _DATA, group)

    def _best(self, first: int, last: int) -> int:
        """Of several symbols at one address the one people mean: global, not the compiler's own."""
        return max(
            range(first, last + 1),
            key=lambda row: (
                self._rows[row][1].isupper(),
                not self._rows[row][2].startswith((b"_", b".")),
                -row,
            ),
        )
