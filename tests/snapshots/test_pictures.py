"""Pictures of the app in its visual states, compared with those that were looked at and found right.

`pytest tests/snapshots --snapshot-update` draws them anew; look at them before they are committed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.pilot.scripted import app_on, busy_machine, settle
from tui.app.app import HwbpApp

Run = Callable[[Any], Awaitable[None]]
SIZES = [(80, 24), (140, 45)]
THEMES = ["hwbp-dark", "hwbp-light"]


def _app(theme: str = "hwbp-dark", **options: Any) -> HwbpApp:
    now = [100.0]
    machine = busy_machine()
    app = app_on(machine, clock=lambda: now[0], **options)
    app.theme = theme

    def wait() -> None:
        now[0] += 0.25

    app.wait_a_quarter = wait  # type: ignore[attr-defined]
    app.scripted = machine  # type: ignore[attr-defined]
    return app


async def _measure(pilot: Any) -> None:
    """A second and a quarter in which the program hits, always the same."""
    app = pilot.app
    await settle(pilot)
    app.sample()
    for step in range(5):
        app.wait_a_quarter()
        for number in range(3 + 5 * (step % 4)):
            app.scripted.hit(1, number, number + 1)
        app.scripted.set()
        await settle(pilot)
        app.sample()
    await settle(pilot)


def _keys(*keys: str) -> Run:
    async def run(pilot: Any) -> None:
        await _measure(pilot)
        for key in keys:
            await pilot.press(key)
            if key == "enter":  # what follows is for the answer
                await settle(pilot)
        await settle(pilot)

    return run


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
def test_main_screen(snap_compare: Any, size: tuple[int, int], theme: str) -> None:
    assert snap_compare(_app(theme), terminal_size=size, run_before=_measure)


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
def test_refusal(snap_compare: Any, size: tuple[int, int]) -> None:
    keys = _keys("colon", *"watch panic_timeout", "enter", "w", *"cfg.limits[4]", "enter")
    assert snap_compare(_app(), terminal_size=size, run_before=keys)


def test_a_bit_under_the_cursor(snap_compare: Any) -> None:
    keys = _keys("shift+tab", "shift+tab", "left", "left", "space")
    assert snap_compare(_app("hwbp-light"), terminal_size=(140, 45), run_before=keys)


def test_staying_at_a_hit(snap_compare: Any) -> None:
    assert snap_compare(_app(), terminal_size=(100, 30), run_before=_keys("k", "k", "k", "k"))


def test_help(snap_compare: Any) -> None:
    assert snap_compare(_app(), terminal_size=(100, 30), run_before=_keys("f1"))


def test_ascii(snap_compare: Any) -> None:
    assert snap_compare(_app(ascii=True), terminal_size=(80, 24), run_before=_measure)


def test_no_colour(snap_compare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert snap_compare(_app(), terminal_size=(80, 24), run_before=_measure)


def test_too_small(snap_compare: Any) -> None:
    assert snap_compare(_app(), terminal_size=(60, 20), run_before=_measure)
