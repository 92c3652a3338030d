"""Which view is open, which panels it has, and where they are; also the letters that jump from panel to panel."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from textual.geometry import Region

from tui.app.arrangement import Arrangement, Wants, plan
from tui.app.keyboard import Keyboard
from tui.app.panel import Panel
from tui.app.plans import side_width
from tui.app.views import MACHINE, VIEWS, View
from tui.app.widgets.narration import narration_lines, tour_lines
from tui.session.settings import Settings

if TYPE_CHECKING:
    from textual.containers import Horizontal

    from tui.app.records import Record
    from tui.app.scene import Scene
    from tui.app.tour import Tour
    from tui.app.widgets.detail import DetailPanel
    from tui.app.widgets.hits import HitsPanel
    from tui.app.widgets.message import MessagePanel
    from tui.app.widgets.narration import NarrationPanel
    from tui.app.widgets.owners import OwnersPanel
    from tui.app.widgets.proposal import ProposalPanel

__all__ = ["Viewing"]


class Viewing(Keyboard, inherit_bindings=False):
    """The part of the app that arranges."""

    scene: Scene
    arrangement: Arrangement
    owners: OwnersPanel
    hits: HitsPanel
    detail: DetailPanel
    message: MessagePanel
    proposal: ProposalPanel
    narration: NarrationPanel
    command_bar: Horizontal
    tour: Tour | None = None
    """The guided tour, while it is under way."""

    def __init__(self, settings: Settings, ascii: bool) -> None:  # noqa: A002 - the option's name
        super().__init__(settings, ascii)
        self.open_view: View = MACHINE
        self.panels: tuple[Panel, ...] = ()
        """Every panel that was made so far."""
        self.places: dict[str, Region] = {}
        self._before = MACHINE
        self._alone = ""
        self._made = {MACHINE.name}

    @property
    def demo_active(self) -> bool:
        """A demo is being played."""
        raise NotImplementedError

    def show_detail(self) -> None:
        """Show what is known about the selected hit."""
        raise NotImplementedError

    # Panels

    def panel(self, name: str) -> Panel:
        """A panel that was made, by its id. KeyError for any other."""
        for panel in self.panels:
            if panel.id == name:
                return panel
        raise KeyError(name)

    @property
    def shown_panels(self) -> list[Panel]:
        """Those on the screen."""
        return [panel for panel in self.panels if panel.shown]

    @property
    def main_panel(self) -> Panel:
        """The one that keys mean which the focused panel does not know."""
        return self.panel(self.open_view.focus)

    def selected_hit(self) -> Record | None:
        """The hit that the focused panel stands on, else the view's main panel."""
        for panel in self.hearers():
            if (record := panel.selected_hit()) is not None:
                return record
        return None

    def ask_panels(self, name: str, *arguments: int) -> None:
        """Let the focused panel do what a key says; what it does not know is for the main panel."""
        for panel in self.hearers():
            if getattr(panel, name)(*arguments):
                return

    def hearers(self) -> list[Panel]:
        """Who is asked what a key means, in this order."""
        focused, main = self.focused, self.main_panel
        if isinstance(focused, Panel) and focused is not main and focused.shown:
            return [focused, main]
        return [main]

    # Where they are

    def arrange(self) -> None:
        """Give every panel its place."""
        size = self.size
        demo = narration_lines(size.height) if self.demo_active else 0
        if self.tour is not None:
            demo = tour_lines(size.height)
        message = (
            0 if self.demo_active and self.message.note.kind == "idle" else self.message.wanted(size.width)
        )
        typing = self.where == "command"
        asked = self.proposal.wanted(size.height) if typing else 0
        wants = Wants(message, typing, demo, asked, self.open_view.name, self._alone, *self._counts())
        self.places = places = plan(size.width, size.height, wants)
        self.command_bar.display = "command" in places
        self.detail.stack_beside = "stack" not in places
        for panel in self.panels:
            panel.place(panel.id in places)
        if wants != self.arrangement.wants:
            self.arrangement.wants = wants
            self.message.refresh(layout=True)  # a child, so that the stage forgets where things were
        self.show_detail()

    def _counts(self) -> tuple[int, int, int]:
        """How many CPUs and tasks there are, and the lines of the owners, where the view lists them: elsewhere they arrange nothing."""
        view = self.scene.view
        if view is None:
            return 1, 1, 0
        listed = self.open_view is MACHINE
        owners = max(8, self.owners.wanted(side_width(self.size.width))) if listed else 0
        return (len(view.cpus), len(view.tasks), owners) if self.open_view.lists else (1, 1, owners)

    def rearrange_for_counts(self) -> None:
        """After a new picture of the machine: lists may have become longer."""
        if self.screen_stack and self._counts() != self.arrangement.wants[-3:]:
            self.arrange()

    # Views

    async def show_view(self, view: View) -> None:
        """Open a view; its panels are made now if nobody needed them before."""
        while len(self.screen_stack) > 1:
            self.pop_screen()
        if view.name not in self._made:
            self._made.add(view.name)
            known = {panel.id for panel in self.panels}
            new = tuple(panel for panel in view.make() if panel.id not in known)
            for panel in new:
                panel.shown = False
            self.panels += new
            await self.screen_stack[0].query_one("#stage").mount(*new)
        self._alone = ""
        if view is not self.open_view:
            self._before, self.open_view = self.open_view, view
        self.arrange()
        for panel in self.shown_panels:
            panel.sampled()
            panel.redraw()
        if not self.demo_active:
            self.screen.set_focus(self.main_panel)

    async def action_view(self, key: str) -> None:
        """A view by its number."""
        await self.show_view(next(view for view in VIEWS if view.key == key))

    async def show_hits(self, text: str) -> None:
        """The view of hits, with a filter."""
        from tui.app.widgets.history import HistoryPanel

        await self.action_view("2")
        if isinstance(panel := self.main_panel, HistoryPanel):
            panel.filter(text)

    def show_hits_later(self, text: str) -> None:
        """The same, once the key that asked for it is done with."""
        self.call_later(self.show_hits, text)

    def action_alone(self) -> None:
        """The focused panel has all of the view, or no longer."""
        focused = self.focused
        name = focused.id if isinstance(focused, Panel) else None
        self._alone = "" if self._alone or name is None else name
        self.arrange()

    async def leave_view(self) -> bool:
        """Back to all panels of the view, else to the view before; False where there is none."""
        if self._alone:
            self.action_alone()
            return True
        if self.open_view is MACHINE:
            return False
        before = self._before if self._before is not self.open_view else MACHINE
        self._before = MACHINE
        await self.show_view(before)
        self._before = MACHINE
        return True

    # Jumping

    def action_jump(self) -> None:
        """Letters on the panels, until the next key."""
        letters = {name: letter for letter, name in self.open_view.jumps.items() if name in self.places}
        self.jumping = bool(letters)
        for panel in self.shown_panels:
            panel.label(letters.get(cast("str", panel.id), ""))

    def jump(self, key: str) -> bool:
        """The key after: a letter that is shown takes the focus there. Whether it was one."""
        self.jumping = False
        for panel in self.panels:
            panel.label("")
        name = self.open_view.jumps.get(key)
        if name is None or name not in self.places:
            return key == "escape"
        self.screen.set_focus(self.panel(name))
        return True
