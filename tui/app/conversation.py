"""The command line as a conversation: while a request is typed, the panel above it says what it would take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import on
from textual.timer import Timer
from textual.widgets import Input

from tui.app.here import Here
from tui.app.widgets.command_line import CommandLine

if TYPE_CHECKING:
    from tui.app.machine import Machine
    from tui.app.widgets.prompt import Preview
    from tui.app.widgets.proposal import ProposalPanel
    from tui.session.proposal import Proposal

__all__ = ["Conversation"]

_PAUSE = 0.3
"""Seconds without a key after which the type and the value are looked up too: that may read a program's DWARF."""


class Conversation(Here, inherit_bindings=False):
    """The part of the app that takes command lines."""

    machine: Machine
    preview: Preview
    proposal: ProposalPanel
    _pausing: Timer | None = None

    def run_line(self, line: str, quiet: bool = False) -> None:
        """Do what a line says and show the answer."""
        raise NotImplementedError

    def show_late_answers(self) -> None:
        """Show the answers that would have taken the keyboard from somebody who was typing."""
        raise NotImplementedError

    def say(self, text: str, refused: bool = False) -> None:
        """A short text on the message line; nothing for an empty one."""
        raise NotImplementedError

    def open_command_line(self, text: str = "", purpose: str = "command") -> None:
        """Open it with a text in it, on the main screen. The next key goes there already."""
        while len(self.screen_stack) > 1:
            self.pop_screen()
        self.command_line.open(text, purpose)
        self.command_bar.display = True
        self.command_line.can_focus = True
        self.screen.set_focus(self.command_line)

    def help_while_typing(self, about: str) -> tuple[str, str]:
        """Title and text: of the command that is typed, of the filter, and `about` the line itself."""
        from tui.app.typed_help import typed_help

        line = self.command_line
        if line.purpose != "command":
            panel = self.main_panel
            return panel.title, getattr(panel, "help", "")
        said = typed_help(line.value)
        return ("COMMAND" if said else "COMMAND LINE"), "\n".join((*said, about))

    def action_command_line(self) -> None:
        """The colon; a page that is open makes room."""
        self.open_command_line()

    def action_submit_command_line(self) -> None:
        """Enter: run what stands there."""
        line, purpose = self.command_line.value.strip(), self.command_line.purpose
        if line:
            self.command_line.remember(line)
        self._close_command_line()
        if purpose != "command":
            self.say(self.main_panel.line_done(purpose, line), refused=True)
        elif line:
            self.run_line(line)

    def action_close_command_line(self) -> None:
        """Escape."""
        if (purpose := self.command_line.purpose) != "command":
            self.main_panel.line_done(purpose, None)
        self._close_command_line()

    def _close_command_line(self) -> None:
        """Pages that came while something was typed open now."""
        self.command_line.open()
        self.preview.show("")
        self.proposal.ask("")
        self.command_line.screen.set_focus(self.narration if self.demo_active else self.main_panel)
        self.command_line.can_focus = False
        self.arrange()
        self.show_late_answers()

    def action_complete_command_line(self) -> None:
        """A click on what Tab does."""
        self.command_line.action_complete(1)

    def action_earlier_command_line(self) -> None:
        """A click on what Up does."""
        self.command_line.action_history(-1)

    def action_take_instead(self) -> None:
        """F2: what would fit, in the place of what does not."""
        if self.proposal.instead:
            self.command_line.open(self.proposal.instead)

    @on(CommandLine.Completing)
    def _completing(self, event: CommandLine.Completing) -> None:
        def offer(candidates: list[str]) -> None:
            open_still = self.command_line.offer(event.text, candidates)
            start = event.text.rpartition(" ")[0]
            words = [text[len(start) :].strip() for text in open_still]
            self.preview.show("  ".join(words) if words else "" if candidates else "nothing completes this")

        if self.command_line.purpose == "command":
            self.machine.complete(event.text, offer)
        else:
            offer(self.main_panel.complete(event.text))

    @on(Input.Changed)
    def _typing(self, event: Input.Changed) -> None:
        text = event.value
        self.preview.show("")
        if self._pausing is not None:
            self._pausing.stop()
            self._pausing = None
        if self.command_line.purpose != "command":
            self.preview.show(self.main_panel.line_typed(self.command_line.purpose, text))
            return
        if self.proposal.ask(text):
            self.machine.propose(text, False, self._proposed)
            self._pausing = self.set_timer(_PAUSE, lambda: self.machine.propose(text, True, self._proposed))
        if self.proposal.wanted(self.size.height) != self.arrangement.wants.proposal:
            self.arrange()

    def _proposed(self, text: str, proposal: Proposal | None) -> None:
        if text != self.command_line.value:
            return
        self.proposal.answer(text, proposal)
        if "proposal" not in self.places:  # no room for more than a word on the right
            self.preview.show(self.proposal.short)
