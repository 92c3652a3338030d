"""The app: puts the panels on one screen and connects keys, panels and the machine. What it shows is drawn elsewhere."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, ClassVar, Literal

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.events import DescendantBlur, DescendantFocus, Resize
from textual.layout import Layout
from textual.theme import Theme
from textual.widget import Widget

from backends.base import HwbpError
from tui.app.actions import Actions
from tui.app.arrangement import Arrangement
from tui.app.command_history import CommandHistory
from tui.app.machine import Machine
from tui.app.panel import Panel
from tui.app.scene import Scene
from tui.app.shown import without_del
from tui.app.waiting import Waiting
from tui.app.widgets.command_line import CommandLine
from tui.app.widgets.detail import DetailPanel, StackPanel
from tui.app.widgets.dr7 import Dr6Panel, Dr7Panel
from tui.app.widgets.footer import KeyFooter
from tui.app.widgets.hits import HitsPanel
from tui.app.widgets.message import MessagePanel, Note, note_of
from tui.app.widgets.narration import NarrationPanel
from tui.app.widgets.owners import OwnersPanel
from tui.app.widgets.prompt import Preview, Prompt
from tui.app.widgets.proposal import ProposalPanel
from tui.app.widgets.sites import SitesPanel
from tui.app.widgets.slots import SlotsPanel
from tui.app.widgets.small import TooSmall
from tui.app.widgets.tabs import TabStrip
from tui.app.widgets.title import TitleBar
from tui.session.escape import one_line
from tui.session.settings import Settings

if TYPE_CHECKING:
    from textual.command import Provider

    from tui.app.demo import DemoPlayer
    from tui.session.demos import Demo
    from tui.session.result import Result
    from tui.session.session import Session

__all__ = ["HwbpApp"]

Open = Callable[[], "Future[Session]"]

_DEFAULTS = Settings()
_SAMPLES_PER_SECOND = 4
_CHECK_EVERY = 8
_PATIENCE = 0.5
"""Seconds that the first picture waits for the machine; a screen without it would be painted for nothing."""
_SHORT = 3
"""Answers of more lines than these open as a page."""


def _table_commands() -> type[Provider]:
    from tui.app.palette import TableCommands

    return TableCommands


class Stage(Widget):
    """The main screen's ground; `Arrangement` says where everything is."""

    def __init__(self, arrangement: Arrangement) -> None:
        super().__init__(id="stage")
        self._arrangement = arrangement

    @property
    def layout(self) -> Layout:
        """Ours: Textual's own are chosen by name."""
        return self._arrangement


class HwbpApp(Actions, inherit_bindings=False):
    """`opening` is the session that is being opened; `reopen` opens a fresh one for a demo's replay. `ascii` and
    `fps` win over the settings; `problems` are what is wrong in their file. `tour`: offer the guided tour, or begin it.

    With `fps` 0 nothing happens by itself: tests and pictures call `tick` and `sample`.
    """

    CSS_PATH = None
    CSS = """
    Stage { width: 100%; height: 100%; overflow: hidden; background: $background; }
    #command { height: 1; }
    Prompt { width: 3; height: 1; }
    Preview { width: 40%; height: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = []
    COMMANDS = {_table_commands}  # noqa: RUF012 - Textual's own declaration
    ENABLE_COMMAND_PALETTE = (
        False  # Textual would bind its key past our table; `action_command_palette` opens it
    )
    TITLE = "hwbp-tui"

    def __init__(
        self,
        opening: Future[Session],
        *,
        reopen: Open | None = None,
        startup: Sequence[str] = (),
        demo: Demo | None = None,
        tour: Literal["", "offer", "begin"] = "",
        ascii: bool = False,  # noqa: A002 - the option's name
        fps: int | None = None,
        settings: Settings = _DEFAULTS,
        problems: Sequence[str] = (),
        history: CommandHistory | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(settings, ascii)
        self._problems = list(problems)
        self.scene = Scene()
        self.scene.still = self.animation_level == "none"
        fps = settings.fps if fps is None else fps
        self._ticking = fps > 0
        self.scene.fps = (min(fps, 2) if self.scene.still else fps) or 15
        self.arrangement = Arrangement()
        self.machine = Machine(self.scene, self.call_later, self._changed, self._trouble, self._tell_news)
        self.waiting = Waiting(self.machine)
        self.player = self._player(demo) if demo is not None else None
        self._late: list[tuple[str, Result]] = []
        self._opening = opening
        self._reopen = reopen
        self._startup = tuple(startup)
        self._tour = tour
        self.clock = clock
        self._samples = 0
        self.failure: BaseException | None = None
        self.slots = SlotsPanel("slots")
        self.dr7 = Dr7Panel("dr7")
        self.dr6 = Dr6Panel("dr6")
        self.owners = OwnersPanel("owners")
        self.hits = HitsPanel("hits")
        self.detail = DetailPanel("detail")
        self.stack_panel = StackPanel("stack")
        self.message = MessagePanel("message")
        self.narration = NarrationPanel("narration")
        self.command_line = CommandLine("line", history or CommandHistory())
        self.proposal = ProposalPanel("proposal")
        self.preview = Preview("preview")
        self.prompt = Prompt("prompt")
        self.command_bar = Horizontal(self.prompt, self.command_line, self.preview, id="command")
        self.footer = KeyFooter("footer")
        self.panels = (
            TitleBar("title"),
            TabStrip("tabs"),
            self.slots,
            self.dr7,
            self.dr6,
            self.owners,
            self.hits,
            self.detail,
            self.stack_panel,
            SitesPanel("sites"),
            self.narration,
            self.message,
            self.proposal,
            self.footer,
            TooSmall("small"),
        )

    def _player(self, demo: Demo) -> DemoPlayer:
        from tui.app.demo import DemoPlayer

        return DemoPlayer(self, demo)

    # What it looks like

    def compose(self) -> ComposeResult:
        """What can be needed is always there; the arrangement decides what is shown."""
        with Stage(self.arrangement):
            yield from (panel for panel in self.panels if self.player or panel is not self.narration)
            yield self.command_bar

    async def on_load(self) -> None:
        """The machine is already on its way."""
        self.heed_sigterm()
        arrived = asyncio.wrap_future(self._opening)
        arrived.add_done_callback(lambda it: it.cancelled() or it.exception())  # `_failed` tells of it
        await asyncio.wait([arrived], timeout=_PATIENCE)
        self.machine.open(self._opening, self._opened, self._failed)

    def on_mount(self) -> None:
        """The panels are there."""
        self.arrange()
        (self.narration if self.demo_active else self.hits).focus()
        self.theme_changed_signal.subscribe(self, self._new_ink)
        self.call_after_refresh(self._bind_keys)
        if self._ticking:
            self.set_interval(1 / self.scene.fps, self.tick)
            self.set_interval(1 / _SAMPLES_PER_SECOND, self.sample)

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        """The footer and the command line depend on the focus."""
        self.arrange()
        self.prompt.redraw()

    def on_descendant_blur(self, event: DescendantBlur) -> None:
        """The same."""
        self.footer.redraw()

    def on_resize(self, event: Resize) -> None:
        """Another size, another arrangement."""
        self.arrange()

    @property
    def where(self) -> str:
        """What has the focus, in the key table's words; behind a page, what had it and will have it again."""
        focused = self.screen_stack[0].focused if self.screen_stack else None
        if focused is self.command_line:
            return "command"
        return focused.where if isinstance(focused, Panel) else "app"

    @property
    def demo_active(self) -> bool:
        """A demo is being played."""
        return self.player is not None and self.player.active

    # The machine

    async def _bind_keys(self) -> None:
        """The command table is imported behind the first picture; what is wrong in the settings is told then."""
        if self.keys is not None:
            return
        from tui.app.keymaps import Keymap

        self.keys = Keymap(self.settings.keymap, self.settings.keys)
        self.footer.redraw()
        if problems := [*self._problems, *self.keys.problems]:
            self.tell(
                Note("refusal", problems[0], tuple(problems[1:3]), "its default holds", len(problems[3:]))
            )
        await self.take_early_keys()

    def _opened(self) -> None:
        if self.player is not None and self.player.active:
            self.player.begin()
        self.call_after_refresh(self._settle)  # the loaded machine is seen first

    def _settle(self) -> None:
        gc.enable()
        gc.collect()
        gc.freeze()  # what the start made stays, and is not looked through again while hits come
        for line in self._startup:
            self.run_line(line, quiet=True)
        if self._tour == "begin":
            self.call_later(self.action_tour)
        elif self._tour == "offer" and self.message.note.kind == "idle":
            self.offer_tour()

    def _failed(self, error: BaseException) -> None:
        self.failure = error
        self.exit(1, return_code=1)

    def _trouble(self, error: Exception) -> None:
        message = error.message if isinstance(error, HwbpError) else f"{type(error).__name__}: {error}"
        remedy = error.remedy if isinstance(error, HwbpError) else ""
        self.scene.problem = "the machine is gone"
        self.tell(
            Note(
                "trouble",
                f"the machine is gone: {without_del(one_line(message))}",
                remedy=one_line(remedy)
                or f"what it left can be read; {'r plays the scene on a fresh one, ' * self.demo_active}q leaves",
            )
        )
        self._changed()

    def _tell_news(self, result: Result) -> None:
        self.tell(note_of(result.command, result))

    def tick(self) -> None:
        """A frame: look at shared memory, ask the machine if that says so, draw what changed."""
        if self.player is not None and self.player.active:
            self.player.tick()
        if self.machine.moved():
            for panel in self.shown_panels:
                panel.advance()
            self.show_detail()
        self.machine.refresh(counters=False)
        self.machine.look_up_names()

    def sample(self) -> None:
        """Four times a second: counters, rates, totals."""
        self.machine.refresh(counters=True)
        self._samples += 1
        if self._samples % _CHECK_EVERY == 0:
            self.machine.check()
        now = self.clock()
        self._show_waiting(now)
        moved = self.scene.sample(now)
        if self.tour is not None:
            self.tour.look()
        before = [(panel, panel.drawings) for panel in self.shown_panels]
        for panel, _ in before:
            panel.sampled()
        if moved:
            self.rearrange_for_counts()
            for panel, drawings in before:
                if panel.drawings == drawings:  # many draw themselves when they have looked
                    panel.redraw()

    def _show_waiting(self, now: float) -> None:
        """On the message line, in the place of what stood there; it goes with its answer."""
        if self.waiting.look(now, self.scene.session is None and self.failure is None):
            if self.waiting.text:
                self.tell(Note("busy", self.waiting.text))
            elif self.message.note.kind == "busy":
                self.tell(Note("idle", ""))

    def _new_ink(self, _theme: Theme) -> None:
        self._changed()
        self.prompt.redraw()
        self.preview.redraw()

    def replay(self) -> None:
        """Start the demo again on a fresh machine."""
        if self.player is None or self._reopen is None or self.narration.waiting:
            return
        old, self.scene.session = self.scene.session, None
        if old is not None:
            self.machine.desk.ask(old.close, lambda _answer: None)
        self.scene.reset()
        self.machine.forget()
        self.tell(Note("idle", ""))
        self.hits.newest()
        self.machine.open(self._reopen(), self._opened, self._failed)

    def _changed(self) -> None:
        self.rearrange_for_counts()
        for panel in self.shown_panels:
            panel.redraw()

    @on(Panel.Moved)
    def show_detail(self) -> None:
        """Show what is known about the selected hit, where the view has room for it."""
        if not self.detail.shown:
            return
        record = self.selected_hit()
        inspection = self.machine.inspection(record, self.show_detail) if record is not None else None
        self.detail.typed = self.machine.typed(record, self.show_detail) if record is not None else ""
        self.detail.show(record, inspection)
        self.stack_panel.show(record, inspection)
        self.footer.redraw()

    # Commands

    def run_line(self, line: str, quiet: bool = False) -> None:
        """Do what a line says and show the answer."""

        def answered(result: Result) -> None:
            if result.data.get("quit"):
                self.exit(0)
            elif result.ok and result.data.get("tour"):
                self.call_later(self.action_tour)
            elif result.ok and (key := result.data.get("view")):
                self.call_later(self.show_view_at, key, result.data.get("address"))
            elif result.ok and result.command == "dr7 ask":
                self.open_command_line(result.data["line"])
            elif result.ok and result.command == "who":
                self.call_later(self.show_writer, line, result)
            elif not (quiet and result.ok):
                self._answer(line, result)

        if not self.machine.execute(line, answered):
            self.tell(Note("refusal", f"{line}: the machine is not open yet"))

    def _answer(self, line: str, result: Result) -> None:
        from tui.app.screens.reader import Reader
        from tui.app.shown import shown

        if result.ok and len(result.lines) > _SHORT and self.where == "command":
            self._late.append((line, result))
        elif result.ok and len(result.lines) > _SHORT:
            self.tell(Note("idle", ""))
            self.push_screen(Reader(shown(line), result.lines))
        else:
            self.tell(note_of(line, result))

    def show_late_answers(self) -> None:
        """Pages that came while something was typed."""
        late, self._late = self._late, []
        for line, result in late:
            self._answer(line, result)

    def tell(self, note: Note) -> None:
        """Put something on the message line."""
        self.message.show(note)
        self.arrange()

    def action_command(self, word: str) -> None:
        """A key of the command table."""
        from tui.app.keymap import needs_argument
        from tui.session.commands import find

        command = find(word)[0]
        if command.asks or needs_argument(command):
            self.open_command_line(f"{word} ")
        else:
            self.run_line(word)
