"""From here: the part of the app that goes from any place to its code, its memory, its hits, and to a watch of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from tui.app.panel import Panel
from tui.app.places import Choice, Spot, choices, spot_of_hit
from tui.app.viewing import Viewing
from tui.app.views import VIEWS
from tui.app.widgets.hits import HitsPanel
from tui.app.widgets.message import Note, note_of

if TYPE_CHECKING:
    from tui.app.machine import Machine
    from tui.app.widgets.code import CodePanel
    from tui.app.widgets.history import HistoryPanel
    from tui.app.widgets.memory import MemoryPanel
    from tui.app.widgets.slots import SlotsPanel
    from tui.session.result import Result

__all__ = ["Here"]


class Here(Viewing, inherit_bindings=False):
    """What a cursor stands on, and where one can go from it."""

    machine: Machine
    slots: SlotsPanel

    def run_line(self, line: str, quiet: bool = False) -> None:
        """Do what a line says and show the answer."""
        raise NotImplementedError

    def tell(self, note: Note) -> None:
        """Put something on the message line."""
        raise NotImplementedError

    def spot(self) -> Spot | None:
        """What the cursor of the focused panel is on, else that of the view's main panel, else the selected hit."""
        for panel in self.hearers():
            if (found := panel.spot()) is not None:
                return found
        record = self.selected_hit()
        return spot_of_hit(self.scene, record) if record is not None else None

    def action_from_here(self) -> None:
        """The menu of what can be done with it."""
        from tui.app.screens.menu import Menu

        spot = self.spot()
        if spot is None:
            self.tell(Note("answer", "the cursor is on nothing that has an address"))
            return

        def chosen(choice: Choice | None) -> None:
            if choice is not None:
                self.call_later(self._do_choice, choice)

        row = self.slots.chosen
        selected = row.breakpoint.id if row is not None and row.breakpoint is not None else None
        self.push_screen(Menu(f"FROM HERE: {spot.what}", choices(self.scene, spot, selected)), chosen)

    async def _do_choice(self, choice: Choice) -> None:
        if choice.does == "type":
            self._offer(str(choice.argument))
        elif choice.does == "run":
            self.run_line(str(choice.argument))
        elif choice.does == "go_code":
            await self.go_code(cast("int", choice.argument))
        elif choice.does == "go_memory":
            await self.go_memory(cast("int", choice.argument))
        elif choice.does == "go_standing":
            self.run_line(f"task {choice.argument}", quiet=True)
            await self._view("registers")
        elif choice.does == "go_hits":
            await self.go_hits(str(choice.argument))

    async def _view(self, name: str) -> Panel:
        view = next(each for each in VIEWS if each.name == name)
        if self.open_view is not view:
            await self.show_view(view)
        return self.main_panel

    async def go_code(self, address: int) -> None:
        """Show the code at an address."""
        cast("CodePanel", await self._view("code")).go(address)

    async def go_memory(self, address: int) -> None:
        """Show the memory at an address."""
        cast("MemoryPanel", await self._view("memory")).go(address)

    async def go_hits(self, wanted: str) -> None:
        """Show the hits that meet a filter."""
        problem = (await self._view("hits")).line_done("filter", wanted)
        if problem:
            self.tell(Note("refusal", problem))

    async def show_writer(self, line: str, result: Result) -> None:
        """What `who` has found: the answer, and the hit in the list of hits, all of which are shown then."""
        self.tell(note_of(line, result))
        found = result.data.get("changed") or result.data.get("hit")
        if found is None:
            return
        panel = self.main_panel
        if not isinstance(panel, HitsPanel):
            panel = await self._view("hits")
            await self.go_hits("")
        cast("HitsPanel | HistoryPanel", panel).select(found["hit"] - 1)

    def action_watch_here(self) -> None:
        """A watch of what the cursor is on, typed and not yet run."""
        spot = self.spot()
        if spot is not None and spot.data is not None:
            self._offer(f"watch {spot.watch()}")
        elif spot is not None and spot.code is not None:
            self._offer(f"hbreak {spot.code:#x}")
        else:
            self.open_command_line("watch ")

    def action_set_here(self) -> None:
        """Another value for what the cursor is on, typed and not yet run."""
        spot = self.spot()
        left = spot.stored() if spot is not None else ""
        if left:
            self.open_command_line(f"set {left} = ")
        else:
            self.tell(Note("answer", "nothing can be stored in what the cursor is on"))

    def _offer(self, line: str) -> None:
        """A request, typed and not yet run; what its place would take stands above it."""
        self.open_command_line(line)
        if not line.endswith(" "):
            self.command_line.offer_place(line)

    def action_go_to(self) -> None:
        """Ask where to: in the memory view its memory, elsewhere its code."""
        self.open_command_line("view memory " if self.open_view.name == "memory" else "view code ")

    def action_ask(self, name: str, *arguments: int) -> None:
        """A key that only the focused panel knows."""
        focused = self.focused
        if isinstance(focused, Panel) and hasattr(focused, name):
            getattr(focused, name)(*arguments)

    async def show_view_at(self, key: str, address: int | None = None) -> None:
        """A view by its number, and a place in it."""
        view = next(each for each in VIEWS if each.key == key)
        panel = await self._view(view.name)
        if address is not None and view.name == "code":
            cast("CodePanel", panel).go(address)
        elif address is not None and view.name == "memory":
            cast("MemoryPanel", panel).go(address)
