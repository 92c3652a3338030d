"""All CPUs, all tasks, and the timeline of the registers: the machine as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.strip import Strip

from tui.app.panel import Panel
from tui.app.widgets.cpus import CpusPanel
from tui.app.widgets.tasks import TasksPanel
from tui.app.widgets.timeline import TimelinePanel

if TYPE_CHECKING:
    from backends.model import Journal
    from tui.app.app import HwbpApp

__all__ = ["CpusScreen"]

_UPDATES_PER_SECOND = 4
_KEYS = (
    ("Space", "run/stop"), ("Up Dn", "task"), ("Enter", "look at it"), ("c", "CPU"), ("Left Right", "time"),
    ("+ -", "zoom"), ("0", "all"), ("f", "now"), ("[ ]", "CPUs"), ("Esc", "back"),
)  # fmt: skip


class _Keys(Panel):
    """The last line: what the keys do here."""

    def lines(self, width: int, height: int) -> list[Strip]:
        """One line, cut where it does not fit."""
        line = self.line(width)
        for key, does in _KEYS:
            if line.room < len(key) + len(does) + 3:
                break
            line.add(f" {key} ", self.ink.strong).add(f"{does} ", self.ink.muted)
        return [line.strip()]


class CpusScreen(ModalScreen[None], inherit_bindings=False):
    """Follows the machine while it is open."""

    DEFAULT_CSS = """
    CpusScreen { background: $background; layout: vertical; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,m", "leave", "back", show=False),
        Binding("space", "run_or_stop", "run or stop", show=False),
        Binding("up,k", "task(-1)", "up", show=False),
        Binding("down,j", "task(1)", "down", show=False),
        Binding("enter", "look", "look at it", show=False),
        Binding("c", "next_cpu", "CPU", show=False),
        Binding("left,h", "scroll_time(-1)", "earlier", show=False),
        Binding("right,l", "scroll_time(1)", "later", show=False),
        Binding("plus,equals_sign", "zoom(-1)", "finer", show=False),
        Binding("minus", "zoom(1)", "coarser", show=False),
        Binding("0", "fit", "all", show=False),
        Binding("f,end,G", "now", "now", show=False),
        Binding("left_square_bracket", "cpus(-1)", "CPUs up", show=False),
        Binding("right_square_bracket", "cpus(1)", "CPUs down", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.matrix = CpusPanel("matrix")
        self.tasks = TasksPanel("tasks")
        self.timeline = TimelinePanel("timeline")
        self.keys = _Keys("keys")
        self._tasks = 0
        self._asking = False
        self._zoomed = False

    @property
    def desk_app(self) -> HwbpApp:
        """The app, by its own type."""
        return cast("HwbpApp", self.app)

    def compose(self) -> ComposeResult:
        """From top to bottom."""
        yield from (self.matrix, self.tasks, self.timeline, self.keys)

    def on_mount(self) -> None:
        """Begin with the whole time, and follow."""
        self._fit()
        self.call_after_refresh(self.update)
        self.set_interval(1 / _UPDATES_PER_SECOND, self.update)

    def on_resize(self) -> None:
        """Another size, another division."""
        self._fit()

    def _fit(self) -> None:
        _, height = self.app.size
        view = self.desk_app.scene.view
        cpus = len(view.cpus) if view else 1
        room = height - 1
        matrix = 2 + min(cpus, 4 if height < 34 else 10)
        least = 1 + 5 * max(1, min(cpus, 2 if height < 34 else 4, (room - matrix - 4) // 5))
        tasks = max(4, min(2 + self._tasks, room - matrix - least))
        timeline = room - matrix - tasks
        for panel, lines in (
            (self.matrix, matrix),
            (self.tasks, tasks),
            (self.timeline, timeline),
            (self.keys, 1),
        ):
            panel.styles.height = lines

    def update(self) -> None:
        """Draw what is known, and ask for the rows of the time that is shown."""
        known = self.desk_app.scene.view
        if known is not None and len(known.tasks) != self._tasks:
            self._tasks = len(known.tasks)
            self._fit()
        for panel in (self.matrix, self.tasks, self.timeline, self.keys):
            panel.redraw()
        machine, view = self.desk_app.machine, self.desk_app.scene.view
        if self._asking or view is None or not self.timeline.size.width:
            return
        if not self._zoomed and view.time_ns:
            self.timeline.fit(self.timeline.size.width, view.time_ns)
            self._zoomed = True
        self._asking = machine.journal(*self.timeline.span(), self._take)

    def _take(self, journal: Journal | None) -> None:
        self._asking = False
        if journal is not None:
            self.timeline.journal = journal
            self.timeline.redraw()

    def action_leave(self) -> None:
        """Back to the main screen."""
        self.dismiss(None)

    def action_run_or_stop(self) -> None:
        """As on the main screen."""
        self.desk_app.action_run_or_stop()
        self.update()

    def action_task(self, by: int) -> None:
        """Another task under the cursor."""
        self.tasks.move(by)

    def action_look(self) -> None:
        """Look at the task under the cursor."""
        if (task := self.tasks.chosen) is not None:
            self.desk_app.run_line(f"task {task.tid}", quiet=True)

    def action_next_cpu(self) -> None:
        """The main screen shows the next CPU's registers."""
        self.desk_app.action_next_cpu()
        self.update()

    def action_scroll_time(self, by: int) -> None:
        """Earlier or later."""
        self._zoomed = True
        self.timeline.scroll(by)
        self.update()

    def action_zoom(self, by: int) -> None:
        """Finer or coarser."""
        self._zoomed = True
        self.timeline.zoom(by)
        self.update()

    def action_fit(self) -> None:
        """All of it."""
        view = self.desk_app.scene.view
        if view is not None:
            self.timeline.fit(self.timeline.size.width, view.time_ns)
            self.update()

    def action_now(self) -> None:
        """Follow the newest moment."""
        self.timeline.following = True
        self.update()

    def action_cpus(self, by: int) -> None:
        """Other CPUs in the timeline."""
        self.timeline.down(by)
