"""What the keys do. Each action is one entry of `keymap`; the command palette runs the same ones."""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import TYPE_CHECKING

from backends import dr
from tui.app.copying import Copying
from tui.app.shown import shown
from tui.app.themes import PALETTES
from tui.app.widgets.message import Note

if TYPE_CHECKING:
    from backends.model import Breakpoint
    from tui.app.demo import DemoPlayer
    from tui.app.glyphs import Glyphs
    from tui.app.records import Record
    from tui.app.widgets.dr7 import Dr6Panel, Dr7Panel
    from tui.app.widgets.slots import SlotsPanel

__all__ = ["Actions"]


class Actions(Copying, inherit_bindings=False):
    """The half of the app that keys reach; `HwbpApp` is the other."""

    glyphs: Glyphs
    player: DemoPlayer | None
    slots: SlotsPanel
    dr7: Dr7Panel
    dr6: Dr6Panel

    def tell(self, note: Note) -> None:
        """Put something on the message line."""
        raise NotImplementedError

    def replay(self) -> None:
        """Start the demo again on a fresh machine."""
        raise NotImplementedError

    # Leaving

    def heed_sigterm(self) -> None:
        """SIGTERM leaves as `q` does, and the terminal is the shell's again; a second one ends the process where it stands."""
        if threading.current_thread() is threading.main_thread():
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._terminated)

    def _terminated(self) -> None:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
        self.exit(return_code=128 + signal.SIGTERM)

    # Moving

    def action_move(self, right: int, down: int) -> None:
        """An arrow key."""
        self.ask_panels("arrow", right, down)

    def action_page(self, by: int) -> None:
        """A window up or down."""
        self.ask_panels("page", by)

    def action_oldest(self) -> None:
        """The first, the oldest."""
        self.ask_panels("oldest")

    def action_newest(self) -> None:
        """The last, the newest, and follow."""
        self.ask_panels("newest")

    def action_follow(self) -> None:
        """Follow or stay."""
        self.ask_panels("toggle_follow")

    def action_open(self) -> None:
        """Enter: more about what is selected."""
        self.ask_panels("open")

    def show_slots_hit(self) -> None:
        """Go to the newest hit of the selected slot."""
        row = self.slots.chosen
        newest = self.scene.newest(row.breakpoint.id) if row and row.breakpoint else None
        if newest is None:
            self.tell(Note("answer", f"DR{self.slots.selected} has not hit anything yet"))
        else:
            self.hits.select(newest.seq)
            self.hits.focus()

    def open_hit(self, record: Record | None) -> None:
        """Everything about a hit, as a page."""
        if record is None or self.detail.record is None:
            return
        from tui.app.screens.reader import Reader
        from tui.app.widgets.hit_page import hit_page

        record = self.detail.record
        page = hit_page(self.scene, record, self.detail.inspection, self.glyphs, self.detail.typed)
        self.push_screen(Reader(f"HIT {record.seq + 1:,}", page))

    def action_zoom(self, by: int) -> None:
        """Finer or coarser, or (0) everything."""
        self.ask_panels("zoom", by)

    # The machine

    def action_run_or_stop(self) -> None:
        """Space."""
        self.run_line("stop" if self.scene.running else "continue", quiet=True)

    def action_interrupt(self) -> None:
        """Ctrl+C, as in gdb: it stops the program, never us."""
        busy = self.machine.interrupt()
        if self.scene.running:
            self.run_line("stop", quiet=True)
        elif not busy:
            self.tell(Note("answer", "nothing runs; q quits"))

    def _target(self) -> Breakpoint | None:
        row = self.slots.chosen
        if row is None or row.breakpoint is None:
            what = "is in nobody's books: t toggles its bits" if row and not row.free else "is free"
            self.tell(Note("answer", f"DR{self.slots.selected} {what}"))
            return None
        return row.breakpoint

    def action_delete_slot(self) -> None:
        """Remove what holds the selected slot: the whole watch where it belongs to one."""
        self._on_slot("delete", "close")

    def action_switch_slot(self) -> None:
        """Enable or disable what holds the selected slot."""
        row = self.slots.chosen
        word = "disable" if row and row.breakpoint and row.breakpoint.enabled else "enable"
        self._on_slot(word, word)

    def _on_slot(self, word: str, perf_word: str) -> None:
        if (found := self._target()) is None:
            return
        watch = self.scene.watches.get(found.id)
        if watch is not None:
            self.run_line(f"{word} {watch}")
        elif found.owner.kind == "perf":
            fd = found.id if found.owner.fd is None else found.owner.fd
            self.run_line(f"perf {perf_word} {fd}")
        else:
            kind = found.owner.kind
            self.tell(
                Note("refusal", f"DR{self.slots.selected} belongs to {kind}, and only {kind} can {word} it")
            )

    def action_edit_slot(self) -> None:
        """Change the selected slot's watch: a command line with what it is now."""
        if (found := self._target()) is None:
            return
        watch = self.scene.watches.get(found.id)
        if watch is None or found.owner.kind != "perf":
            self.tell(
                Note("refusal", f"DR{self.slots.selected} is no watch of this session: it cannot be edited")
            )
        else:
            self.open_command_line(f"edit {watch} {shown(found.text)}")

    def action_ask_bit(self) -> None:
        """Enter on a bit: the request that would turn it, ready to be looked at and made."""
        if self.focused is self.dr7:
            self.run_line(f"dr7 ask {self.dr7.toggles}")
        else:
            self.tell(Note("answer", "DR6 is written by the CPU at a #DB; nobody is asked for it"))

    def action_toggle_bit(self) -> None:
        """Space on a bit: the emulated CPU obeys, whatever the books say; live it becomes a request."""
        if self.focused is self.dr7:
            self.run_line(f"dr7 toggle {self.dr7.toggles}")
        elif self.focused is self.dr6 and self.scene.cpu is not None:
            field = dr.dr6_fields()[self.dr6.at]
            self.run_line(f"dr 6 {self.scene.cpu.dr6 ^ 1 << field.shift:#x}")

    # What the view of hits can do; other views have no such keys

    def action_line(self, purpose: str) -> None:
        """A line for the panel: a filter, a search."""
        self.open_command_line(self.main_panel.line_text(purpose), purpose)

    def action_on_list(self, what: str, *arguments: int) -> None:
        """Something that only a list of hits does, by the name of its method."""
        from tui.app.widgets.history import HistoryPanel

        if isinstance(panel := self.main_panel, HistoryPanel):
            self.say(getattr(panel, what)(*arguments) or "")

    def action_other_order(self) -> None:
        """Sort the sites otherwise."""
        from tui.app.widgets.writers import WritersPanel

        if isinstance(panel := self.main_panel, WritersPanel):
            panel.sort_otherwise()

    def action_columns(self) -> None:
        """Choose the columns of the list."""
        from tui.app.screens.columns import ColumnChooser
        from tui.app.widgets.history import HistoryPanel

        if isinstance(panel := self.main_panel, HistoryPanel):
            self.push_screen(ColumnChooser(panel))

    def say(self, text: str, refused: bool = False) -> None:
        """A short text on the message line; nothing for an empty one."""
        if text:
            self.tell(Note("refusal" if refused else "answer", text))

    # Around

    def action_command_palette(self) -> None:
        """Ctrl+P. Without an id: one may open while the last one is still closing."""
        from tui.app.palette import Palette

        if not isinstance(self.screen, Palette):
            self.push_screen(Palette())

    def show_cpu(self, by: int) -> None:
        """Show another CPU's registers, `by` further, around the end."""
        view, cpu = self.scene.view, self.scene.cpu
        if view is not None and cpu is not None and len(view.cpus) > 1:
            self.run_line(f"cpu {(cpu.cpu + by) % len(view.cpus)}", quiet=True)

    def action_next_cpu(self) -> None:
        """Show the next CPU's registers."""
        self.show_cpu(1)

    def action_help(self) -> None:
        """Help for what has the focus."""
        from tui.app.helping import help_text
        from tui.app.screens.reader import Reader

        if self.keys is None:
            return
        focused = self.focused
        view = self.scene.view
        about = getattr(focused, "help", "")
        title = getattr(focused, "title", "") or "HELP"
        if self.where == "command":
            title, about = self.help_while_typing(about)
        clock = view.clock if view else "instructions"
        self.push_screen(
            Reader(f"{title}: help", help_text(about, self.where, clock, self.glyphs, self.keys))
        )
        if self.tour is not None:
            self.tour.look()  # the page may be closed before anybody looks again

    def action_switch_theme(self) -> None:
        """The next theme: dark, light, high contrast, the terminal's own colours."""
        names = list(PALETTES)
        at = names.index(self.theme) if self.theme in names else -1
        self.theme = names[(at + 1) % len(names)]

    async def action_dismiss_message(self) -> None:
        """Escape: close the command line, else the message, else leave the demo, else go back to the view before."""
        if self.where == "command":
            self.action_close_command_line()
        elif self.message.note.kind != "idle":
            self.tell(Note("idle", ""))
        elif self.player is not None and self.player.active:
            self.action_demo_leave()
        elif not (self.main_panel.leave() or await self.leave_view()):
            self.end_tour()

    def do(self, action: str) -> None:
        """Run an action by its text (the palette)."""
        self.call_later(self.run_action, action)

    # The tour

    async def action_tour(self) -> None:
        """F3: begin the tour, or go to its next step; behind the last it is over."""
        from tui.app.tour import Tour

        if self.tour is None:
            self.tour = await Tour.start(self)  # type: ignore[arg-type]
        elif not self.tour.skip():
            self.tour = None
        self.arrange()

    def end_tour(self) -> None:
        """Leave it where it is."""
        if self.tour is not None:
            self.tour = None
            self.arrange()

    def offer_tour(self) -> None:
        """One line that any key takes away."""
        from tui.app.tour import OFFER

        self.offering = True
        self.tell(Note("answer", OFFER))

    def end_offer(self) -> None:
        """Another answer may stand there by now."""
        from tui.app.tour import OFFER

        self.offering = False
        if self.message.note.head == OFFER:
            self.tell(Note("idle", ""))

    # The demo

    def action_demo_next(self) -> None:
        """The next step."""
        if self.player is not None:
            self.player.step()

    def action_demo_replay(self) -> None:
        """From the start."""
        self.replay()

    def action_demo_leave(self) -> None:
        """Keep the machine, end the narration; a message that stands there is closed first."""
        if self.message.note.kind != "idle":
            self.tell(Note("idle", ""))
        elif self.player is not None:
            self.player.leave()
            self.main_panel.focus()
            self.arrange()
            if at := self.player.left_at:
                self.tell(Note("answer", f"the demo was left at {at}: F4 goes on with it"))

    def action_demo_back(self) -> None:
        """Go on with the demo that was left."""
        if self.player is None or not self.player.left_at:
            self.tell(Note("refusal", "no demo was left: hwbp-tui demo NAME plays one"))
        elif not self.player.active:
            self.player.active = True
            self.tell(Note("idle", ""))
            self.narration.focus()
            self.arrange()
