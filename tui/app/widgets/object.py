"""The variable under the cursor of the memory, member by member."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.strip import Strip

from tui.app import numbers
from tui.app.line import Line
from tui.app.listing import ListPanel
from tui.app.places import Spot, covering
from tui.app.shown import without_del
from tui.session.escape import one_line

if TYPE_CHECKING:
    from tui.app.widgets.memory import MemoryPanel
    from tui.session.memory import ObjectAt

__all__ = ["ObjectPanel"]


class ObjectPanel(ListPanel, inherit_bindings=False):
    """The variable under the memory's cursor, member by member as its type writes them."""

    where = "object"
    title = "OBJECT"
    help: ClassVar[str] = """The variable under the cursor of the memory, by its type from DWARF.

Each line is a member: its name, its value, its place in the object. [0] to [3] name the slot of a watch that covers it, * one that
is in no register now. Enter or . shows what can be done with a member: watch it, go to it."""

    def __init__(self, id: str, memory: MemoryPanel) -> None:  # noqa: A002 - Textual's word
        super().__init__(id)
        self.memory = memory
        self._for: int | None = None

    @property
    def object(self) -> ObjectAt | None:
        """What the memory's cursor is on."""
        return self.memory.object

    def follow(self) -> None:
        """The memory's cursor moved."""
        found = self.object
        if found is not None and found.address != self._for and not self.has_focus:
            self._for = found.address
            at = next(
                (n for n, p in enumerate(found.parts) if p.address <= found.address < p.address + p.length), 0
            )
            self.cursor = at
        self.redraw()

    def count(self) -> int:
        """Members."""
        return len(self.object.parts) if self.object is not None else 0

    def heading(self, width: int) -> Strip:
        """Its name, type and place."""
        found = self.object
        if found is None or not found.name:
            return self.rule(width, self.title)
        after = without_del(found.name)
        if found.type_name:
            after = f"{without_del(found.type_name)} {after}"
        size = f"{numbers.count(found.length)} bytes" if found.length else ""
        return self.rule(width, self.title, after=after, right=self.span() or size)

    def notes(self, width: int, height: int) -> list[Line]:
        """Why it has no members."""
        found = self.object
        if found is None:
            return []
        if found.problem:
            return [self.line(width).add(f"  {without_del(one_line(found.problem))}", self.ink.muted)]
        return []

    def row(self, number: int, width: int) -> Line:
        """One member."""
        found = self.object
        assert found is not None
        part, ink = found.parts[number], self.ink
        line = self.line(width).add(self.glyphs.cursor if number == self.cursor else " ", ink.rule_focus)
        armed = covering(self.scene.view, part.address, part.length)
        sign = "" if not armed else "*" if armed[0].slot is None else f"[{armed[0].slot}]"
        line.add(sign, ink.warn, 4)
        inside = part.address <= found.address < part.address + part.length
        label = without_del(part.expr)
        cells = max(12, min(max(len(each.expr) for each in found.parts) + 1, width // 2))
        line.add(label, ink.strong if inside else ink.base, cells).add(" ")
        line.add(without_del(part.text), ink.value)
        size = f"{part.length} byte{'s' * (part.length != 1)}"
        return line.end((f"  +{part.address - found.start}, {size:<7} ", ink.muted))

    def open(self) -> bool:
        """What can be done from here."""
        self.desk_app.action_from_here()
        return True

    def spot(self) -> Spot | None:
        """The member under the cursor."""
        found = self.object
        if found is None or not found.parts:
            return None
        part = found.parts[min(self.cursor, len(found.parts) - 1)]
        return Spot(without_del(part.expr), part.expr, part.address, part.length)
