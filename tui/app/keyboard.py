"""Keys in the order in which they came, however fast they come (a paste, expect, a slow line).

Textual hands a key to the widget that has the focus through that widget's queue, and looks for its binding when the
event has come back: by then the next keys are on their way to the same widget, though the first one may move the
focus. So the app does away with each key itself before it looks at the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import events
from textual.command import CommandPalette

from tui.app.looks import Looks
from tui.session.settings import Settings

if TYPE_CHECKING:
    from tui.app.keymaps import Keymap
    from tui.app.widgets.command_line import CommandLine

__all__ = ["Keyboard"]


class Keyboard(Looks, inherit_bindings=False):
    """The part of the app that takes keys and pastes."""

    command_line: CommandLine
    keys: Keymap | None = None
    """What they do; until that is known they are kept."""
    offering = False
    """The tour is being offered; any key ends that."""
    jumping = False
    """Letters are on the panels, and the next key may be one."""

    def __init__(self, settings: Settings, ascii: bool) -> None:  # noqa: A002 - the option's name
        super().__init__(settings, ascii)
        self._early: list[events.Key | events.Paste] = []

    @property
    def where(self) -> str:
        """What has the focus, in the key table's words."""
        raise NotImplementedError

    def open_command_line(self, text: str = "", purpose: str = "command") -> None:
        """Open it with a text in it."""
        raise NotImplementedError

    def end_offer(self) -> None:
        """The tour is not offered any more."""
        raise NotImplementedError

    def jump(self, key: str) -> bool:
        """Take the letters away; whether the key was one of them."""
        raise NotImplementedError

    async def on_event(self, event: events.Event) -> None:
        """Keys and pastes are ours, but for those of the palette, which has an input of its own."""
        if isinstance(event, events.Key | events.Paste) and not self.screen_stack:
            return  # the app is ending: a key that was on its way to a screen comes back without one
        if not isinstance(event, events.Key | events.Paste) or event.is_forwarded:
            await super().on_event(event)
        elif self.keys is None:
            self._early.append(event)
        elif isinstance(self.screen, CommandPalette):
            await super().on_event(event)
        elif isinstance(event, events.Paste):
            self._paste(event.text)
        else:
            await self._press(event)

    async def take_early_keys(self) -> None:
        """What was typed before the keys were bound."""
        early, self._early = self._early, []
        for event in early:
            await self.on_event(event)

    async def _press(self, event: events.Key) -> None:
        self.app_focus = True
        if self.offering:
            self.end_offer()
        if self.jumping and self.jump(event.key):
            return
        if await self._check_bindings(event.key, priority=True):
            return
        typing = self.focused is self.command_line
        if typing and event.is_printable and event.character is not None:
            self.command_line.take(event.character)
        elif len(self.screen_stack) > 1:
            await self._check_bindings(event.key)
        elif not typing or not await self._check_bindings(event.key):
            await self._look_up(event)

    async def _look_up(self, event: events.Key) -> None:
        """Do what the key table says. What it leaves to Textual (Tab) is Textual's."""
        assert self.keys is not None
        entry = self.keys.find(event.key, event.character, self.where)
        if entry is not None:
            await self.run_action(entry.action)
        elif self.keys.free(event.key):
            await self._check_bindings(event.key)

    def _paste(self, text: str) -> None:
        """The first line goes to the command line; it is not run before Enter."""
        line = next((line for line in text.splitlines() if line.strip()), "")
        if self.focused is self.command_line:
            self.command_line.take(line)
        elif line and len(self.screen_stack) == 1:
            self.open_command_line(line.lstrip().removeprefix(":"))
