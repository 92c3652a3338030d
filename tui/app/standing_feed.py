"""Registers, stack and locals of the stopped task for the panels that show them: looked up once for each stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui.session.escape import one_line
from tui.session.frames import choose_frame
from tui.session.standing import Standing, standing

if TYPE_CHECKING:
    from tui.app.machine import Machine
    from tui.app.panel import Panel
    from tui.app.scene import Scene

__all__ = ["StandingFeed"]


class StandingFeed:
    """`now` is the last answer, `before` the registers of the stop before it. `panels` are drawn when it comes."""

    def __init__(self) -> None:
        self.panels: tuple[Panel, ...] = ()
        self.now: Standing | None = None
        self.before: dict[str, int] = {}
        self.words: dict[int, int] = {}
        """The stack's words at the stop before, by address."""
        self._key: tuple[int, int | None, int, int] | None = None
        self._chosen = 0
        self._asking = False

    def want(self, machine: Machine, scene: Scene) -> None:
        """Ask if the machine has moved since the last answer. Nothing is asked of a program that runs."""
        view = scene.view
        if view is None or self._asking:
            return
        if scene.running:
            running = Standing(
                view.task, None, problem="the program runs: its registers change with every instruction"
            )
            if self.now != running:
                self._remember()
                self.now, self._key = running, None
                self._redraw()
            return
        key = view.generation, view.task, machine.executed, self._chosen
        if key == self._key:
            return
        self._key = key

        def take(answer: Standing) -> None:
            self._asking = False
            if self.now is not None and not self.now.problem and self.now.pc != answer.pc:
                self._remember()
            self.now = answer
            self._redraw()

        def fail(error: Exception) -> None:
            self._asking = False
            self.now = Standing(None, None, problem=one_line(str(error)))
            self._redraw()

        self._asking = machine.ask(standing, take, fail)

    def choose(self, machine: Machine, scene: Scene, number: int) -> None:
        """Look at another frame: what the panels show, and what `print` and `info locals` mean."""
        if self.now is None or self.now.problem or self.now.frame == number:
            return

        def chosen(_answer: object) -> None:
            self._chosen += 1
            self.want(machine, scene)

        machine.ask(lambda session: choose_frame(session, number), chosen, lambda _error: None)

    def _remember(self) -> None:
        if self.now is not None and self.now.registers:
            self.before = {row.name: row.value for row in self.now.registers}
            self.words = {word.address: word.value for word in self.now.words}

    def _redraw(self) -> None:
        for panel in self.panels:
            panel.redraw()
