"""Every view in every state that means something there, at the sizes and in the themes that people have.

One machine for each state: it is drawn in all views and sizes, and each picture is compared with the one that was
looked at and found right.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from backends.base import HwbpError, Launch
from backends.model import Stop
from backends.spawn import spawn
from tests.pilot.scripted import app_on, busy_machine, settle
from tests.snapshots.as_text import Pictures
from tests.snapshots.test_screenshots import MAKE
from tui.app.app import HwbpApp
from tui.app.views import VIEWS
from tui.app.widgets import log
from tui.session.open import open_session
from tui.session.session import Session
from tui.session.settings import Settings

pytestmark = pytest.mark.slow

SIZES = ((80, 24), (120, 40), (140, 45), (200, 60))
STOPPED = (*MAKE.WATCHES, *["continue"] * 24)
"""At a hit of ptrace's watch, with four slots that have hit."""
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"settings": Settings(theme="light")},
    "contrast": {"settings": Settings(theme="high-contrast")},
    "ansi": {"settings": Settings(theme="ansi")},
    "no-color": {},
    "ascii": {"ascii": True},
}


@pytest.fixture
def pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pictures]:
    monkeypatch.setattr(log, "_clock", lambda _at: "12:00:00")
    found = Pictures(bool(request.config.option.update_snapshots))
    yield found
    found.check()


@pytest.fixture
def session() -> Iterator[Session]:
    opened = open_session(spawn("emulated"), Launch(MAKE.alike("counter")), patient=True)
    yield opened
    opened.close()


class Clock:
    """A quarter of a second a picture."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


async def _rest(pilot: Any, clock: Clock, times: int = 3) -> None:
    """What one answer asks for comes with the next."""
    for _ in range(times):
        await settle(pilot)
        clock.now += 0.25
        pilot.app.sample()
    await settle(pilot)


async def _each_view(pilot: Any, clock: Clock, pictures: Pictures, name: str, views: str = "") -> None:
    """All views, or those with these keys, in the size that the terminal has."""
    for view in VIEWS:
        if not views or view.key in views:
            await pilot.press(view.key)
            await _rest(pilot, clock)
            pictures.see(pilot.app, f"{view.name}-{name}")


def _opened(session: Session, clock: Clock, **options: Any) -> HwbpApp:
    opening: Future[Session] = Future()
    opening.set_result(session)
    return HwbpApp(opening, fps=0, clock=clock, **options)


async def _run(pilot: Any, clock: Clock, lines: tuple[str, ...]) -> None:
    """Command lines, each with its answer."""
    await settle(pilot)
    pilot.app.sample()
    for line in lines:
        pilot.app.run_line(line, quiet=True)
        await _rest(pilot, clock, 1)


async def test_stopped_at_a_hit_in_every_size_and_look(
    session: Session, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine is the same; the app is a new one for each."""
    clock = Clock()
    async with _opened(session, clock).run_test(size=(120, 40)) as pilot:
        await _run(pilot, clock, STOPPED)
    for width, height in SIZES:
        async with _opened(session, clock).run_test(size=(width, height)) as pilot:
            await _each_view(pilot, clock, pictures, f"stopped-{width}x{height}")
    for look, options in LOOKS.items():
        if look == "no-color":
            monkeypatch.setenv("NO_COLOR", "1")
        async with _opened(session, clock, **options).run_test(size=(120, 40)) as pilot:
            await _each_view(pilot, clock, pictures, f"{look}-120x40", "12")
        monkeypatch.delenv("NO_COLOR", raising=False)


async def test_empty_before_anything_was_watched(session: Session, pictures: Pictures) -> None:
    clock = Clock()
    app = _opened(session, clock)
    async with app.run_test(size=(120, 40)) as pilot:
        await _each_view(pilot, clock, pictures, "empty-120x40")


async def test_refused_because_all_slots_are_held(session: Session, pictures: Pictures) -> None:
    clock = Clock()
    app = _opened(session, clock)
    async with app.run_test(size=(120, 40)) as pilot:
        await _run(pilot, clock, (*MAKE.WATCHES, "continue"))
        for key in "1234567890":
            await pilot.press(key)
            await _run(pilot, clock, ("watch cfg.limits/16",))
            await _rest(pilot, clock)
            pictures.see(app, f"{app.open_view.name}-refused-120x40")
            await pilot.press("escape")


async def test_after_the_program_has_ended(pictures: Pictures) -> None:
    clock = Clock()
    session = open_session(spawn("emulated"), Launch(MAKE.alike("counter"), ("40",)), patient=True)
    app = _opened(session, clock)
    async with app.run_test(size=(120, 40)) as pilot:
        await _run(pilot, clock, ("watch cfg.limits[3]", "watch total", "continue"))
        assert session.view.state == "exited"
        await _rest(pilot, clock)
        await _each_view(pilot, clock, pictures, "ended-120x40")
    session.close()


async def test_busy_while_the_program_runs_and_hits(
    pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")  # where sources are looked for is told
    clock, machine = Clock(), busy_machine()
    machine.run_state("running")
    app = app_on(machine, clock=clock)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        app.sample()
        for view in VIEWS:
            await pilot.press(view.key)
            await _rest(pilot, clock, 1)  # charts fit their span to the hits that there are when they open
            for step in range(4):
                for number in range(3 + 5 * (step % 4)):
                    machine.hit(1, number, number + 1)
                machine.set(time_ns=1000 + 37 * machine.reader.head)
                await _rest(pilot, clock, 1)
            pictures.see(app, f"{view.name}-busy-120x40")


async def test_the_machine_is_gone(pictures: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")  # where sources are looked for is told
    clock, machine = Clock(), busy_machine()
    machine.run_state("stopped", Stop("hit", "hit 3 of add_limit"))
    app = app_on(machine, clock=clock)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        app.sample()
        for view in VIEWS:  # what a view has read before stays
            await pilot.press(view.key)
            await _rest(pilot, clock, 1)
        machine.dead = HwbpError("the machine's process was killed by SIGKILL", errno="EPIPE")
        app.machine.check()
        while not app.machine.broken:
            await pilot.pause(0.01)
        for view in VIEWS:
            await pilot.press(view.key)
            await pilot.pause()
            app.sample()
            await pilot.pause()
            pictures.see(app, f"{view.name}-gone-120x40")


async def test_what_can_be_done_from_a_byte_and_a_request_in_the_making(
    session: Session, pictures: Pictures
) -> None:
    clock = Clock()
    app = _opened(session, clock)
    async with app.run_test(size=(80, 24)) as pilot:
        await _run(pilot, clock, STOPPED[:6])
        await pilot.press("7", "right")
        await _rest(pilot, clock)
        await pilot.press("full_stop")
        await _rest(pilot, clock)
        pictures.see(app, "menu-80x24")
        await pilot.press("w")
        await settle(pilot)
        app.machine.propose(app.command_line.value, True, app._proposed)
        await _rest(pilot, clock)
        pictures.see(app, "request-80x24")
