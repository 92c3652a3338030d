"""Plays a demo: one step at a time, each a sentence, a command and its answer, on the machine that is open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui.app.reply import Reply

if TYPE_CHECKING:
    from tui.app.app import HwbpApp
    from tui.session.demos import Demo
    from tui.session.goal import Goal
    from tui.session.result import Result

__all__ = ["DemoPlayer"]


class DemoPlayer:
    """Knows which step is next; the narration panel shows it."""

    def __init__(self, app: HwbpApp, demo: Demo) -> None:
        self._app = app
        self.demo = demo
        self.active = True
        self.next = 0
        self._goal: Goal | None = None

    def begin(self) -> None:
        """The first step, on a machine that has just been opened."""
        self.next = 0
        self._goal = None
        self.step()

    def step(self) -> None:
        """Play the next step, unless the last one is not over."""
        panel = self._app.narration
        if not self.active or panel.waiting or self.next >= len(self.demo.steps):
            return
        step = self.demo.steps[self.next]
        self.next += 1
        panel.titles = (self.demo.title, self.demo.title.partition(": ")[0], self.demo.name)
        panel.step, panel.steps = self.next, len(self.demo.steps)
        panel.say, panel.command = " ".join(step.say.split()), step.command
        panel.reply = Reply()
        panel.waiting = bool(step.command)
        panel.redraw()
        if not step.command:
            self._wait()
        elif not self._app.machine.execute(step.command, self._answered):
            panel.waiting = False

    def tick(self) -> None:
        """A step that waits for the machine is over when its goal is reached."""
        ring = self._app.scene.ring
        if self._goal is not None and ring is not None and self._goal.reached(ring):
            self._goal = None
            self._app.narration.waiting = False
            self._app.narration.redraw()

    def leave(self) -> None:
        """No more narration; the machine stays as it is. What is waited for is waited for no more."""
        self.active = self._app.narration.waiting = False
        self._goal = None

    @property
    def left_at(self) -> str:
        """`step 3 of 17`, "" behind the last one: where there is something to go on with."""
        steps = len(self.demo.steps)
        return f"step {self.next} of {steps}" if self.next < steps else ""

    def _answered(self, result: Result) -> None:
        step = self.demo.steps[self.next - 1]
        panel = self._app.narration
        said = (*result.lines, result.error, *result.holders)
        missing = [text for text in step.expect if not any(text in line for line in said)]
        planned = step.expect_errno == (None if result.ok else result.errno) and not missing
        panel.reply = Reply.of(result, step.expect[0] if step.expect else "", planned)
        self._wait()

    def _wait(self) -> None:
        from tui.session.goal import Goal

        step = self.demo.steps[self.next - 1]
        ring = self._app.scene.ring
        panel = self._app.narration
        panel.waiting = step.wait is not None and ring is not None
        if step.wait is not None and ring is not None:
            self._goal = Goal.parse(step.wait, ring.head)
        panel.redraw()
