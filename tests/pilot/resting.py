"""When an app in a test has done what a key or a click led to: when its event loop has nothing to run, and its screen is drawn.

Textual's own wait sleeps a fiftieth of a second at least, and takes a process that the system has put aside for one that has
nothing to do: slow on a quiet machine, too early on a busy one.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest
from textual._context import active_app

__all__ = ["resize", "rest", "rest_with_the_loop"]

_TURNS: Final = 3
"""Turns of the loop in a row that find nothing: a message may be put into a queue by what was just woken."""
_DRAWING: Final = 0.05
"""Seconds in which a screen that is still to be drawn is waited for; Textual draws after a sixtieth of a second."""


async def rest(min_sleep: float = 0, max_sleep: float = 1) -> None:
    """Until nothing of the app can run, but for its own timers and threads; `max_sleep` seconds at most."""
    loop: Any = asyncio.get_running_loop()
    end = loop.time() + max_sleep
    drawn = loop.time() + _DRAWING
    idle = 0
    while idle < _TURNS and loop.time() < end:
        await asyncio.sleep(0)
        if loop._ready:
            idle = 0
        elif _draws() and loop.time() < drawn:
            await asyncio.sleep(0.001)
            idle = 0
        else:
            idle += 1


def _draws() -> bool:
    """Whether the screen waits for the moment at which it draws."""
    app = active_app.get(None)
    return app is not None and bool(app.screen_stack) and app.screen._update_timer._active.is_set()


async def resize(pilot: Any, width: int, height: int) -> None:
    """Another size of the terminal, which Textual takes over when it has been the same for a moment."""
    await pilot.resize_terminal(width, height)
    while pilot.app.screen._compositor.size != (width, height):
        await asyncio.sleep(0.001)
    await pilot.pause()


@pytest.fixture(autouse=True)
def rest_with_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """`pilot` waits for the loop, for each test of a folder whose conftest names this."""
    for module in ("textual.app", "textual.pilot"):
        monkeypatch.setattr(f"{module}.wait_for_idle", rest)
