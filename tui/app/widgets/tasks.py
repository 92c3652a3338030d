"""The tasks of the machine: where each runs, what it waits for, and how many slots it has reserved."""

from __future__ import annotations

from typing import ClassVar

from rich.style import Style
from textual.events import Click
from textual.strip import Strip

from backends.model import TaskView
from tui.app import numbers
from tui.app.panel import Panel
from tui.app.places import Spot
from tui.app.shown import shown

__all__ = ["TasksPanel"]


class TasksPanel(Panel, can_focus=True, inherit_bindings=False):
    """One line a task; a cursor chooses the one that Enter looks at."""

    title = "TASKS"
    where = "tasks"
    help: ClassVar[
        str
    ] = """Every task of the program and beside it; the cursor sign marks the one that is looked at.

state       on its CPU, runnable (it waits for its turn), wait: what for, held back (by `sleep`), to be told, never runs
CPU         where it runs, or ran last
pinned      the CPUs that it may run on, where that is not all
slots       breakpoints that follow it, in registers or not
turns       how often it was given a CPU
ran ns      for how long it ran, on the machine's clock: emulated, an instruction is a nanosecond"""
    cursor = 0
    first = 0

    @property
    def chosen(self) -> TaskView | None:
        """The task under the cursor."""
        tasks = self.scene.view.tasks if self.scene.view else ()
        return tasks[min(self.cursor, len(tasks) - 1)] if tasks else None

    def arrow(self, right: int, down: int) -> bool:
        """Another task."""
        if down:
            self.move(down)
        return bool(down)

    def open(self) -> bool:
        """Look at the task under the cursor."""
        if (task := self.chosen) is not None:
            self.desk_app.run_line(f"task {task.tid}", quiet=True)
        return True

    def move(self, by: int) -> None:
        """Move the cursor."""
        tasks = self.scene.view.tasks if self.scene.view else ()
        self.cursor = max(0, min(self.cursor + by, len(tasks) - 1))
        self.redraw()
        for panel in self.desk_app.shown_panels:
            if panel.id == "task":
                panel.redraw()

    def on_click(self, event: Click) -> None:
        """The task under the mouse; a second click looks at it."""
        row = self.first + event.y - 2
        tasks = self.scene.view.tasks if self.scene.view else ()
        if event.y >= 2 and row < len(tasks):
            self.move(row - self.cursor)
            if event.chain > 1:
                self.open()

    def spot(self) -> Spot | None:
        """The task under the cursor, and where it stands."""
        task = self.chosen
        if task is None:
            return None
        pc = None if self.scene.running else task.pc
        return Spot(f"task {task.tid} {shown(task.comm)}", code=pc, tid=task.tid)

    def lines(self, width: int, height: int) -> list[Strip]:
        """The rule, a heading, and as many as fit around the cursor."""
        view, ink = self.scene.view, self.ink
        tasks = view.tasks if view else ()
        room = max(1, height - 2)
        cursor = min(self.cursor, max(0, len(tasks) - 1))
        self.first = max(0, min(self.first, len(tasks) - room, cursor), cursor - room + 1)
        right = f"{self.first + 1}-{self.first + room} of {len(tasks)}" if len(tasks) > room else ""
        out = [self.rule(width, self.title, right=right)]
        name, state = (13, 18) if width < 100 else (16, 34)
        head = self.line(width).add("   task", ink.muted, 12).add("name", ink.muted, name + 1)
        head.add("state", ink.muted, state + 1).add("CPU", ink.muted, 4).add("pinned", ink.muted, 7)
        for title, cells in (("slots", 6), ("turns", 7), ("ran ns", 11)):
            head.add(title, ink.muted, cells, right=True)
        out.append(head.strip())
        for number, task in enumerate(tasks[self.first : self.first + room], self.first):
            here = number == cursor
            looked_at = view is not None and view.current is task
            line = self.line(width).add(f" {self.glyphs.cursor}" if looked_at else "  ", ink.rule_focus)
            line.add(f" {task.tid}", ink.strong, 9).add(" ")
            line.add(shown(task.comm), ink.base, name).add(" ")
            line.add(self._state(task), self._style(task), state).add(" ")
            line.add("-" if task.cpu is None else str(task.cpu), ink.base, 4)
            line.add(",".join(map(str, task.pinned)), ink.base, 7)
            held = sum(self.scene.follows(bp, task) for bp in view.breakpoints) if view else 0
            line.add(str(held) if held else self.glyphs.dot, ink.strong if held else ink.muted, 6, right=True)
            turns = "" if task.switches is None else numbers.count(task.switches)
            if len(turns) > 6:
                turns = numbers.rate(task.switches)
            line.add(turns, ink.base, 7, right=True)
            ran = "" if task.ran_ns is None else numbers.count(task.ran_ns)
            if len(ran) > 10:
                ran = numbers.rate(task.ran_ns)
            line.add(ran, ink.base, 11, right=True)
            out.append(line.strip(ink.cursor if here else None))
        if not tasks:
            out.append(self.line(width).add("   no task is left", ink.muted).strip())
        return out

    def _state(self, task: TaskView) -> str:
        if task.kind == "nothing":
            return "never runs"
        if task.kind == "told" and task.state == "waiting":
            return "to be told"
        if task.state == "waiting":
            return f"wait: {shown(task.waits_for)}" if task.waits_for else "waits"
        return {"running": "on its CPU", "runnable": "runnable", "stopped": "held back"}.get(task.state, "")

    def _style(self, task: TaskView) -> Style:
        return {"running": self.ink.good, "stopped": self.ink.warn}.get(task.state, self.ink.muted)
