"""The views: what stands between title and message line. One table, from which keys, tabs, palette and jumps are drawn.

A view's panels are made and mounted when it is first opened, so that the first picture does not pay for them. Panels
may belong to several views: a plan names them by id.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from textual.geometry import Region

from tui.app import plans, reading_plans
from tui.session.views import VIEWS as NAMES

if TYPE_CHECKING:
    from tui.app.panel import Panel
    from tui.app.plans import Wants

__all__ = ["MACHINE", "VIEWS", "View"]


class View(NamedTuple):
    """One view.

    `label` stands on its tab, `short` where the width is short. `focus` is the id of the panel that has the focus when it opens, and that keys mean which
    the focused panel does not know. `jumps` gives a letter to each panel that can be jumped to. `make` makes the panels
    that no other view made. `plan` is a pure function from the room, whether the terminal is roomy, and what is wanted
    to rectangles by panel id; `least` is how many lines it cannot do without, on a small and on a roomy terminal.
    """

    key: str
    name: str
    label: str
    focus: str
    jumps: dict[str, str]
    make: Callable[[], tuple[Panel, ...]]
    plan: Callable[[Region, bool, Wants], dict[str, Region]]
    least: tuple[int, int]
    short: str = ""
    lists: bool = False
    """Whether the number of CPUs and tasks arranges it."""

    @property
    def summary(self) -> str:
        """One line about it."""
        return next(each.summary for each in NAMES if each.key == self.key)


def _nothing_new() -> tuple[Panel, ...]:
    return ()


def _hits() -> tuple[Panel, ...]:
    from tui.app.widgets.history import HistoryPanel

    return (HistoryPanel("history"),)


def _sites() -> tuple[Panel, ...]:
    from tui.app.widgets.site_stacks import StacksPanel
    from tui.app.widgets.writers import WritersPanel

    writers = WritersPanel("writers")
    return writers, StacksPanel("stacks", writers)


def _values() -> tuple[Panel, ...]:
    from tui.app.widgets.value_tables import ChangesPanel, SpreadPanel
    from tui.app.widgets.values import ChartPanel

    chart = ChartPanel("chart")
    chart.followers = spread, changes = SpreadPanel("spread", chart), ChangesPanel("changes", chart)
    return chart, spread, changes


def _timeline() -> tuple[Panel, ...]:
    from tui.app.widgets.cpus import CpusPanel
    from tui.app.widgets.hits_over_time import HitsOverTimePanel
    from tui.app.widgets.tasks import TasksPanel
    from tui.app.widgets.timeline import TimelinePanel

    timeline = TimelinePanel("timeline")
    return CpusPanel("matrix"), TasksPanel("tasks"), HitsOverTimePanel("over-time", timeline), timeline


def _code() -> tuple[Panel, ...]:
    from tui.app.widgets.code import CodePanel

    return (CodePanel("code"),)


def _memory() -> tuple[Panel, ...]:
    from tui.app.widgets.memory import MemoryPanel
    from tui.app.widgets.object import ObjectPanel

    memory = MemoryPanel("memory")
    memory.beside = ObjectPanel("object", memory)
    return memory, memory.beside


def _registers() -> tuple[Panel, ...]:
    from tui.app.standing_feed import StandingFeed
    from tui.app.widgets.standing import FramesPanel, LocalsPanel, RegistersPanel, WordsPanel

    feed = StandingFeed()
    feed.panels = (
        RegistersPanel("registers", feed),
        FramesPanel("frames", feed),
        LocalsPanel("locals", feed),
        WordsPanel("words", feed),
    )
    return feed.panels


def _tasks() -> tuple[Panel, ...]:
    from tui.app.widgets.task import TaskPanel
    from tui.app.widgets.tasks import TasksPanel

    return TasksPanel("tasks"), TaskPanel("task")


def _log() -> tuple[Panel, ...]:
    from tui.app.widgets.log import LogPanel

    return (LogPanel("log"),)


MACHINE: Final = View(
    key="1",
    name="machine",
    label="Machine",
    focus="hits",
    jumps={"s": "slots", "d": "dr7", "x": "dr6", "h": "hits"},
    make=_nothing_new,
    plan=plans.machine,
    least=(14, 18),
)

VIEWS: Final = (
    MACHINE,
    View(
        key="2",
        name="hits",
        label="Hits",
        focus="history",
        jumps={"h": "history"},
        make=_hits,
        plan=plans.hits,
        least=(8, 8),
    ),
    View(
        key="3",
        name="sites",
        label="Sites",
        focus="writers",
        jumps={"w": "writers"},
        make=_sites,
        plan=plans.sites,
        least=(8, 8),
    ),
    View(
        key="4",
        name="values",
        label="Values",
        focus="chart",
        jumps={"v": "chart"},
        make=_values,
        plan=plans.values,
        least=(9, 9),
    ),
    View(
        key="5",
        name="timeline",
        label="Timeline",
        focus="timeline",
        jumps={"c": "matrix", "t": "tasks", "l": "timeline"},
        make=_timeline,
        plan=plans.timeline,
        least=(12, 14),
        short="Time",
        lists=True,
    ),
    View(
        key="6",
        name="code",
        label="Code",
        focus="code",
        jumps={"c": "code"},
        make=_code,
        plan=reading_plans.code,
        least=(6, 10),
    ),
    View(
        key="7",
        name="memory",
        label="Memory",
        focus="memory",
        jumps={"m": "memory", "b": "object"},
        make=_memory,
        plan=reading_plans.memory,
        least=(8, 12),
    ),
    View(
        key="8",
        name="registers",
        label="Regs",
        focus="registers",
        jumps={"r": "registers", "c": "frames", "v": "locals", "s": "words"},
        make=_registers,
        plan=reading_plans.registers,
        least=(12, 16),
    ),
    View(
        key="9",
        name="tasks",
        label="Tasks",
        focus="tasks",
        jumps={"t": "tasks"},
        make=_tasks,
        plan=reading_plans.tasks,
        least=(9, 12),
        lists=True,
    ),
    View(
        key="0",
        name="log",
        label="Log",
        focus="log",
        jumps={},
        make=_log,
        plan=reading_plans.log,
        least=(4, 6),
    ),
)
