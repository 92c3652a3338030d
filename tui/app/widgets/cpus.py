"""All CPUs at once: who holds DR0 to DR3 of each, what it cost, and who runs there."""

from __future__ import annotations

from typing import ClassVar

from textual.strip import Strip

from backends.model import CpuView
from tui.app import numbers
from tui.app.line import Line
from tui.app.panel import Panel
from tui.app.shown import shown
from tui.session.letters import owner_letter

__all__ = ["CpusPanel"]

_BARE = 80
"""Columns that it takes without what each register watches."""


class CpusPanel(Panel, can_focus=True, inherit_bindings=False):
    """One line a CPU; the one that the main screen shows is marked."""

    title = "CPUS"
    help: ClassVar[str] = "The four registers of every CPU, by the letters of their owners."
    first = 0

    def arrow(self, right: int, down: int) -> bool:
        """The registers of another CPU."""
        if down:
            self.desk_app.show_cpu(down)
        return bool(down)

    def lines(self, width: int, height: int) -> list[Strip]:
        """The rule, a heading, and as many CPUs as fit, the selected one among them."""
        view, ink = self.scene.view, self.ink
        cpus = view.cpus if view else ()
        room = max(1, height - 2)
        chosen = self.scene.cpu.cpu if self.scene.cpu else 0
        self.first = max(0, min(self.first, len(cpus) - room))
        if not self.first <= chosen < self.first + room:
            self.first = max(0, min(chosen, len(cpus) - room))
        hidden = len(cpus) - room
        right = f"{self.first + 1}-{self.first + room} of {len(cpus)}" if hidden > 0 else ""
        quantum = f"quantum {view.quantum:,}" if view and view.quantum else ""
        out = [self.rule(width, self.title, after=quantum, right=right)]
        label = min(18, (width - _BARE) // 4)
        label = label if label >= 6 else 0
        head = self.line(width).add("   CPU ", ink.muted)
        for slot in range(4):
            head.add(f"DR{slot}", ink.muted, 4 + label)
        head.add(" DR7       free      #DB   writes switches  task", ink.muted)
        out.append(head.strip())
        for cpu in cpus[self.first : self.first + room]:
            line = self.line(width).add(
                f" {self.glyphs.cursor} " if cpu.cpu == chosen else "   ", ink.rule_focus
            )
            line.add(str(cpu.cpu), ink.strong, 4)
            self._slots(line, cpu, label)
            line.add(f" {cpu.dr7:08x}  ", ink.base).add(
                str(cpu.free), ink.strong if cpu.free else ink.warn, 4, right=True
            )
            line.add(numbers.count(cpu.db_count), ink.base, 9, right=True)
            line.add(numbers.count(cpu.dr_writes), ink.base, 9, right=True)
            line.add(numbers.count(cpu.switches), ink.base, 9, right=True).add("  ")
            self._who(line, cpu)
            out.append(line.strip())
        return out

    def _slots(self, line: Line, cpu: CpuView, label: int) -> None:
        view, ink = self.scene.view, self.ink
        by_id = {bp.id: bp for bp in view.breakpoints} if view else {}
        used = {slot.index: slot for slot in cpu.slots}
        for index in range(4):
            slot = used.get(index)
            if slot is None:
                line.add(f"{self.glyphs.dot}", ink.muted, 4 + label)
                continue
            bp = by_id.get(slot.breakpoint) if slot.breakpoint is not None else None
            kind = bp.owner.kind if bp else "hand"
            line.add(owner_letter(kind), ink.owner(kind)).add(" ")
            line.add_end(self.scene.label(bp) if bp and label else "", ink.symbol, 1 + label).add(" ")

    def _who(self, line: Line, cpu: CpuView) -> None:
        if cpu.tid is None:
            line.add("idle", self.ink.muted)
            return
        tasks = self.scene.view.tasks if self.scene.view else ()
        comm = next((task.comm for task in tasks if task.tid == cpu.tid), "")
        line.add(f"{cpu.tid} ", self.ink.strong).add(shown(comm), self.ink.base)
