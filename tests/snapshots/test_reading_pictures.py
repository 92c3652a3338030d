"""Pictures of the views of code, memory, registers, tasks and log, on the real emulated machine at a known hit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from backends.base import Launch
from backends.spawn import spawn
from tests.pilot.scripted import settle
from tests.snapshots.test_screenshots import MAKE
from tui.app.app import HwbpApp
from tui.app.widgets import log
from tui.session.open import open_session
from tui.session.session import Session

Run = Callable[[Any], Awaitable[None]]
VIEWS = {"code": "6", "memory": "7", "registers": "8", "tasks": "9", "log": "0"}
LINES = ("watch cfg.limits[3]", "watch cfg.limits[0]", "hbreak reset_one stop", "continue", "continue")

pytestmark = pytest.mark.slow


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    monkeypatch.setattr(log, "_clock", lambda _at: "12:00:00")
    opened = open_session(spawn("emulated"), Launch(MAKE.alike("counter")), patient=True)
    yield opened
    opened.close()


def _app(session: Session, theme: str = "hwbp-dark", **options: Any) -> HwbpApp:
    opening: Future[Session] = Future()
    opening.set_result(session)
    app = HwbpApp(opening, fps=0, clock=lambda: 1.0, **options)
    app.theme = theme
    return app


def _at(*keys: str, lines: tuple[str, ...] = LINES) -> Run:
    async def run(pilot: Any) -> None:
        await settle(pilot)
        for line in lines:
            pilot.app.run_line(line, quiet=True)
            await settle(pilot)
        for key in keys:
            await pilot.press(key)
            await settle(pilot)
        for _ in range(3):  # what one answer asks for comes with the next
            pilot.app.sample()
            await settle(pilot)

    return run


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)], ids=lambda s: f"{s[0]}x{s[1]}")
@pytest.mark.parametrize("view", VIEWS)
def test_view(snap_compare: Any, session: Session, view: str, size: tuple[int, int]) -> None:
    assert snap_compare(_app(session), terminal_size=size, run_before=_at(VIEWS[view]))


@pytest.mark.parametrize("view", ["code", "memory"])
def test_view_before_anything_ran(snap_compare: Any, session: Session, view: str) -> None:
    assert snap_compare(_app(session), terminal_size=(120, 40), run_before=_at(VIEWS[view], lines=()))


def test_what_can_be_done_from_a_byte(snap_compare: Any, session: Session) -> None:
    keys = _at("7", "right", "full_stop")
    assert snap_compare(_app(session), terminal_size=(80, 24), run_before=keys)


def test_code_in_light_colours(snap_compare: Any, session: Session) -> None:
    assert snap_compare(_app(session, "hwbp-light"), terminal_size=(120, 40), run_before=_at("6"))


def test_memory_in_ascii(snap_compare: Any, session: Session) -> None:
    assert snap_compare(_app(session, ascii=True), terminal_size=(80, 24), run_before=_at("7"))


def test_a_refusal_in_the_log(snap_compare: Any, session: Session) -> None:
    lines = ("watch cfg.limits[0]", "watch cfg", "print cfg")
    assert snap_compare(_app(session), terminal_size=(120, 40), run_before=_at("0", lines=lines))
