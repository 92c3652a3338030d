"""The task under the cursor of the list: what it does, where it stands, what follows it, and its own debug registers."""

from __future__ import annotations

from typing import ClassVar, cast

from textual.strip import Strip

from backends.model import TaskView
from tui.app import numbers
from tui.app.line import Line
from tui.app.panel import Panel
from tui.app.scene import owner_text
from tui.app.shown import shown
from tui.app.widgets.tasks import TasksPanel

__all__ = ["TaskPanel"]


class TaskPanel(Panel):
    """A few lines about one task."""

    title = "TASK"
    help: ClassVar[str] = (
        "The task under the cursor: its state, its breakpoints, and what ptrace would read of its debug registers."
    )

    @property
    def tasks(self) -> TasksPanel:
        """The list, which more than one view shows."""
        return cast("TasksPanel", self.desk_app.panel("tasks"))

    def lines(self, width: int, height: int) -> list[Strip]:
        """Rule, facts, breakpoints."""
        task, view = self.tasks.chosen, self.scene.view
        if task is None or view is None:
            return [self.rule(width, self.title)]
        looked_at = view.current is not None and view.current.tid == task.tid
        head = self.rule(
            width,
            self.title,
            after=f"{task.tid} {shown(task.comm)}",
            right="looked at" if looked_at else "Enter looks at it",
        )
        out = [head, *(line.strip() for line in self._facts(width, task))]
        mine = [b for b in view.breakpoints if self.scene.follows(b, task)]
        wide = [b for b in view.breakpoints if b.tid is None]
        room = height - len(out)
        if not mine and not wide:
            out.append(self.line(width).add("  no breakpoint follows it", self.ink.muted).strip())
        for b in [*mine, *wide][: max(0, room)]:
            line = (
                self.line(width).add("  ").add("DR-" if b.slot is None else f"DR{b.slot}", self.ink.accent, 5)
            )
            line.add(f"{b.type:<2} {b.length} ", self.ink.base).add(self.scene.numbered(b), self.ink.strong)
            line.add(f"  {owner_text(b.owner)}", self.ink.owner(b.owner.kind))
            line.add(f"  {numbers.count(b.hits)} hit{'s' * (b.hits != 1)}", self.ink.value)
            if b.tid is None:
                line.add("  every task" if b.cpu is None else f"  every task on CPU {b.cpu}", self.ink.muted)
            if not b.enabled:
                line.add("  disabled: keeps its slot", self.ink.warn)
            out.append(line.strip())
        return out

    def _facts(self, width: int, task: TaskView) -> list[Line]:
        ink = self.ink
        line = self.line(width).add(f"  process {task.pid}", ink.base)
        unknown = (
            "it has none now"
            if task.kind == "told"
            else "it never runs"
            if task.kind == "nothing"
            else "which CPU is not known"
        )
        where = unknown if task.cpu is None else f"CPU {task.cpu}"
        line.add(f", {where}", ink.base)
        if task.pinned:
            line.add(f", pinned to {','.join(map(str, task.pinned))}", ink.base)
        if task.waits_for:
            line.add(f", waits for {shown(task.waits_for)}", ink.base)
        stands = self.line(width).add("  ")
        if self.scene.running:
            stands.add("it runs: where, is not known", ink.muted)
        elif task.pc is None:
            stands.add("where it stands is not known", ink.muted)
        else:
            name = self.scene.names.of(task.pc)
            stands.add("stands at ", ink.muted).add(name.symbol, ink.symbol).add(
                f"  {name.source}", ink.muted
            )
        view = self.scene.view
        if view is None or not view.can.ptrace:
            return [line, stands]
        debug = self.line(width).add("  ptrace would read ", ink.muted)
        if task.virtual_dr6 is None or task.ptrace_dr7 is None:
            debug.add("unknown: only the emulated machine tells", ink.muted)
        else:
            debug.add(f"DR6 {task.virtual_dr6:#x}, DR7 {task.ptrace_dr7:#x}", ink.base)
        return [line, stands, debug]
