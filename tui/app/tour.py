"""The guided tour: what to press next, on the machine that is open, until it has been done.

Nothing is done for the user: a step looks at what the app shows by now, so that it may be done in any way (key, mouse,
command, palette).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from tui.app.reply import Reply
from tui.app.widgets.message import Note

if TYPE_CHECKING:
    from tui.app.app import HwbpApp

__all__ = ["OFFER", "STEPS", "Tour"]

OFFER: Final = "First time here? F3 takes a short tour; any other key goes on without it."

_PROGRAM: Final = "counter"
"""The built-in program that the steps name variables and functions of."""


class TourStep(NamedTuple):
    """`say` is what to do and why; `done` whether it has been done."""

    say: str
    done: Callable[[HwbpApp], bool]


def _asking_for_seed(app: HwbpApp) -> bool:
    return app.where == "command" and "seed" in app.command_line.value and bool(app.proposal.short)


def _slot_is_free(app: HwbpApp) -> bool:
    return app.where != "command" and app.scene.view is not None and len(app.scene.view.breakpoints) < 4


def _seed_is_armed(app: HwbpApp) -> bool:
    view = app.scene.view
    return view is not None and any(app.scene.label(bp) == "seed" for bp in view.breakpoints)


def _seed_was_hit(app: HwbpApp) -> bool:
    view = app.scene.view
    watched = [bp for bp in view.breakpoints if app.scene.label(bp) == "seed"] if view is not None else []
    return app.scene.running and any(app.scene.newest(bp.id) is not None for bp in watched)


def _page_begins(app: HwbpApp, text: str) -> bool:
    return text in getattr(app.screen, "title_text", "")


STEPS: Final = (
    TourStep(
        "A program runs on an emulated CPU. On top are its four debug registers: what each watches, for whom, and how often "
        "it hit. Space stops the program.",
        lambda app: app.scene.state == "stopped",
    ),
    TourStep(
        "Press w and type seed. Nothing is reserved yet: the panel says where it lies, and that no register is free for it.",
        _asking_for_seed,
    ),
    TourStep(
        "Esc closes the line. Then ; and s: you are at the slots. Up and Down choose one, d removes its watch.",
        _slot_is_free,
    ),
    TourStep("Again w, then seed, and Enter: now it fits. (u would take it back.)", _seed_is_armed),
    TourStep(
        "Space lets the program run. Each write to seed is a hit: old and new value, who, which line.",
        _seed_was_hit,
    ),
    TourStep(
        "Who writes what? 3 shows every instruction that hits once, with how often, from which tasks and stacks.",
        lambda app: app.open_view.name == "sites",
    ),
    TourStep(
        "Up and Down choose one. The full stop key lists what can be done from here: c goes to its code.",
        lambda app: app.open_view.name == "code",
    ),
    TourStep(
        "Who holds what? 1 leads back to the slots; DR7 below them says it bit by bit, OWNERS by owner. Press 1.",
        lambda app: app.open_view.name == "machine",
    ),
    TourStep(
        "F1 explains what has the focus, here and in every panel, with its keys. Esc closes the page.",
        lambda app: _page_begins(app, ": help"),
    ),
    TourStep(
        "That was it. The digits open the views, : is the command line, Ctrl+P finds all by name, q leaves. Yours: hwbp-tui "
        "attach PID -w NAME.",
        lambda app: False,
    ),
)


class Tour:
    """A tour that is under way, told on the narrator's panel."""

    def __init__(self, app: HwbpApp) -> None:
        self._app = app
        self._at = 0

    @classmethod
    async def start(cls, app: HwbpApp) -> Tour | None:
        """Begin; None, with the reason on the message line, where there is nothing to show it on."""
        view = app.scene.view
        if app.demo_active:
            app.tell(Note("refusal", "a demo is being played: Esc leaves it"))
            return None
        if view is None or view.backend != "emulated" or os.path.basename(view.program) != _PROGRAM:
            app.tell(
                Note("refusal", f"the tour is on the built-in program {_PROGRAM}", remedy="hwbp-tui tour")
            )
            return None
        panel = app.narration
        if not panel.is_attached:
            await app.screen_stack[0].query_one("#stage").mount(panel)
        panel.can_focus = False
        panel.kind = "TOUR"
        tour = cls(app)
        tour._show()
        return tour

    def look(self) -> None:
        """Go on where the step has been done."""
        if STEPS[self._at].done(self._app):
            self.skip()

    def skip(self) -> bool:
        """The next step; False behind the last."""
        if self._at + 1 == len(STEPS):
            return False
        self._at += 1
        self._show()
        return True

    def _show(self) -> None:
        panel = self._app.narration
        last = self._at + 1 == len(STEPS)
        panel.titles, panel.step, panel.steps = ("",), self._at + 1, len(STEPS)
        panel.say, panel.command, panel.reply, panel.waiting = STEPS[self._at].say, "", Reply(), False
        panel.hint = "F3 closes it" if last else "F3: next, Esc: leave"
        panel.redraw()
