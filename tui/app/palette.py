"""Textual's command palette over the two tables: every command of the session and everything a key does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, cast

from textual import work
from textual.await_complete import AwaitComplete
from textual.command import CommandList, CommandPalette, DiscoveryHit, Hit, Hits, Provider
from textual.content import Content
from textual.css.query import NoMatches

from tui.app.keymap import key_name, needs_argument

if TYPE_CHECKING:
    from collections.abc import Callable

    from tui.app.app import HwbpApp

__all__ = ["Palette", "TableCommands"]


class Palette(CommandPalette):
    """Textual's, but for keys that come after the one that closed it: they must not close what lies below."""

    CSS = """
    Palette > Vertical { max-width: 110; min-width: 24; }
    Palette CommandList, Palette CommandInput { min-width: 20; }
    Palette SearchIcon { display: none; }
    Palette:ansi #--container { background: ansi_default; }
    Palette:ansi #--input { border: none; }
    Palette:ansi CommandList, Palette:ansi #--results { border: none; background: ansi_default; }
    Palette CommandList:nocolor > .option-list--option-highlighted { text-style: reverse; }
    """

    def dismiss(self, result: None = None) -> AwaitComplete:
        """Leave, once."""
        if self.app.screen is not self:
            return AwaitComplete()
        return super().dismiss(result)

    @work(exclusive=True, group=CommandPalette._GATHER_COMMANDS_GROUP)
    async def _gather_commands(self, search_value: str) -> None:
        """Search, unless something else took the screen while this was on its way."""
        with suppress(NoMatches):
            await CommandPalette._gather_commands.__wrapped__(self, search_value)  # type: ignore[attr-defined]

    def _action_command_list(self, action: str) -> None:
        """Move in the list, where a line of it is on the screen: `OptionList` counts on one."""
        if self.query_one(CommandList).scrollable_content_region:
            super()._action_command_list(action)


class TableCommands(Provider):
    """Names are the words that can be typed, so that the palette teaches the command line."""

    def _all(self) -> Iterator[tuple[str, str, Callable[[], object]]]:
        from tui.session.commands import COMMANDS

        app = cast("HwbpApp", self.app)
        table = app.keys.entries if app.keys is not None else ()
        keys = {entry.name: key_name(entry.keys[0]) for entry in table if entry.keys}
        keys |= dict.fromkeys(("continue", "stop"), keys.get("run-or-stop", "no key"))
        for command in COMMANDS:
            if needs_argument(command):
                run = partial(app.open_command_line, f"{command.word} ")
            else:
                run = partial(app.run_line, command.word)
            key = f"  [{keys[command.word]}]" if command.word in keys else ""
            yield f"{command.word}: {command.summary}", f"{command.grammar}{key}", run
        for entry in table:
            if entry.where != "demo" and not entry.action.startswith("command(") and entry.label != "":
                key = f"key {key_name(entry.keys[0])}" if entry.keys else "no key"
                yield entry.summary, key, partial(app.do, entry.action)

    async def discover(self) -> Hits:
        """Everything, in the tables' order."""
        for name, help_line, run in self._all():
            yield DiscoveryHit(Content(name), run, text=name, help=_plain(help_line))

    async def search(self, query: str) -> Hits:
        """What matches."""
        matcher = self.matcher(query)
        for name, help_line, run in self._all():
            score = matcher.match(name)
            if score > 0:
                yield Hit(score, matcher.highlight(name), run, text=name, help=_plain(help_line))


def _plain(text: str) -> str:
    """Text for a place that takes markup only: a grammar's brackets are brackets."""
    return text.replace("[", "\\[")
