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

_BARE = 76
"""Columns that it takes without what each register watches: with a task's name of seven letters."""


class CpusPanel(Panel, can_focus=True, inherit_bindings=False):
    """One line a CPU; the one that the main screen shows is marked."""

    title = "CPUS"
    help: ClassVar[
        str
    ] = """The four registers of every CPU, and who runs there; Up and Down choose the CPU that the main screen shows.

DR0 to DR3  the owner's letter, and what the register watches where there is room: P perf, T ptrace, G kgdb, F ftrace, V KVM,
            M module, H by hand, B the bare program itself
DR7         as the hardware has it
free        slots that a request for all tasks of this CPU would still get: four, less what is bound to it and what its greediest
            task has
#DB         debug exceptions that it took
writes      moves to its debug registers
switches    context switches"""
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
        labels = self._label_widths(width - _BARE)
        head = self.line(width).add("   CPU ", ink.muted)
        for slot, label in enumerate(labels):
            head.add(f"DR{slot}", ink.muted, 4 + label)
        head.add(" DR7      free     #DB  writes switches  task", ink.muted)
        out.append(head.strip())
        for cpu in cpus[self.first : self.first + room]:
            line = self.line(width).add(
                f" {self.glyphs.cursor} " if cpu.cpu == chosen else "   ", ink.rule_focus
            )
            line.add(str(cpu.cpu), ink.strong, 4)
            self._slots(line, cpu, labels)
            line.add(f" {cpu.dr7:08x} ", ink.base).add(
                str(cpu.free), ink.strong if cpu.free else ink.warn, 4, right=True
            )
            for number, cells in ((cpu.db_count, 8), (cpu.dr_writes, 8), (cpu.switches, 9)):
                text = numbers.count(number)
                text = text if len(text) < cells or number is None else numbers.rate(number)
                line.add(text, ink.base, cells, right=True)
            line.add("  ")
            self._who(line, cpu)
            out.append(line.strip())
        return out

    def _label_widths(self, room: int) -> list[int]:
        """Cells for what each register watches: as many as they need where that fits, else the longest give way, or none is named."""
        view = self.scene.view
        widest = [0] * 4
        for bp in view.breakpoints if view else ():
            if bp.slot is not None:
                widest[bp.slot] = max(widest[bp.slot], min(18, len(self.scene.label(bp)) - 1))
        if room < 24:
            return widest if sum(widest) <= room else [0] * 4
        while sum(widest) > room:
            widest[widest.index(max(widest))] -= 1
        return widest

    def _slots(self, line: Line, cpu: CpuView, labels: list[int]) -> None:
        view, ink = self.scene.view, self.ink
        by_id = {bp.id: bp for bp in view.breakpoints} if view else {}
        used = {s.index: s for s in cpu.slots if s.breakpoint is not None or s.local or s.global_}
        for index, label in enumerate(labels):
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
