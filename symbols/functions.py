"""Functions and what was inlined into them, by address, from .debug_info (DWARF 5 sections 3.3.5 and 3.3.8).

The functions of a unit are listed when the first address in it is asked for; the inlined calls of a function when
the first address in that function is.
"""

from __future__ import annotations

from bisect import bisect_right
from contextlib import suppress

from symbols.dataclass import dataclass
from symbols.debug_sections import BROKEN, DebugSections
from symbols.dies import Die, Unit
from symbols.dwarf_names import AT, TAG

__all__ = ["Call", "Functions"]

INLINED_LIMIT = 1 << 16
DEPTH_LIMIT = 256
_AROUND = frozenset(
    (TAG.namespace, TAG.module, TAG.class_type, TAG.structure_type, TAG.union_type, TAG.lexical_block)
)
_CODE = dict.fromkeys((TAG.subprogram, TAG.inlined_subroutine), frozenset((AT.low_pc, AT.ranges)))
_NESTED = frozenset((TAG.inlined_subroutine, TAG.lexical_block))


@dataclass(frozen=True, slots=True)
class Call:
    """One level of the source's call stack at an address, innermost first.

    `name` is the linkage name. For an inlined call `file`, `line` and `column` say where it was called from: an
    index of the unit's line table, 0 where unknown. The last level is the function itself, without a call.
    """

    name: str
    file: int = 0
    line: int = 0
    column: int = 0
    inlined: bool = False


_Spans = tuple[list[int], list[tuple[int, int]]]


class Functions:
    """The functions of one image. Broken units have none; nothing here raises."""

    def __init__(self, sections: DebugSections) -> None:
        self._sections = sections
        self._spans: dict[int, _Spans] = {}
        self._inlined: dict[int, list[tuple[int, int, int, int]]] = {}

    def function_at(self, unit: Unit, vaddr: int) -> Die | None:
        """The function whose code covers an address."""
        starts, spans = self._functions(unit)
        place = bisect_right(starts, vaddr) - 1
        if place < 0 or vaddr >= spans[place][0]:
            return None
        try:
            return unit.die(spans[place][1])
        except BROKEN:
            return None

    def calls(self, unit: Unit, vaddr: int) -> tuple[Call, ...]:
        """The inlined calls at an address, innermost first, then the function; () where none is known."""
        function = self.function_at(unit, vaddr)
        if function is None:
            return ()
        try:
            levels = [Call(function.linkage_name)]
            deepest = -1
            for low, high, depth, offset in self._calls_in(unit, function):
                if low <= vaddr < high and depth > deepest and len(levels) < DEPTH_LIMIT:
                    die = unit.die(offset)
                    assert die is not None
                    file, line, column = (
                        die.number(at) or 0 for at in (AT.call_file, AT.call_line, AT.call_column)
                    )
                    levels.append(Call(die.linkage_name, file, line, column, True))
                    deepest = depth
        except BROKEN:
            return ()
        return tuple(reversed(levels))

    def all(self, unit: Unit) -> list[tuple[int, int, int]]:
        """(start, end, entry's offset) of every function of a unit with code, by address."""
        starts, spans = self._functions(unit)
        return [(start, end, offset) for start, (end, offset) in zip(starts, spans, strict=True)]

    def _functions(self, unit: Unit) -> _Spans:
        if unit.offset not in self._spans:
            found: list[tuple[int, int, int]] = []
            with suppress(*BROKEN):  # what was found before it stays
                for _, die in unit.walk(unit.top.end, (TAG.subprogram,), _AROUND, _CODE):
                    found += [(low, high, die.offset) for low, high in die.ranges()]
            found.sort()
            self._spans[unit.offset] = ([low for low, _, _ in found], [(h, o) for _, h, o in found])
        return self._spans[unit.offset]

    def _calls_in(self, unit: Unit, function: Die) -> list[tuple[int, int, int, int]]:
        """(start, end, depth, entry's offset) of every inlined call of a function, in file order: outer before inner."""
        if function.offset not in self._inlined:
            found: list[tuple[int, int, int, int]] = []
            if function.children:
                for depth, die in unit.walk(function.end, (TAG.inlined_subroutine,), _NESTED, _CODE):
                    found += [(low, high, depth, die.offset) for low, high in die.ranges()]
                    if len(found) > INLINED_LIMIT:
                        break
            self._inlined[function.offset] = found
        return self._inlined[function.offset]
