"""The guided tour: to whom it is offered, what ends the offer, and where there is none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.pilot.scripted import Machine, app_on, busy_machine, screen_text, settle
from tui.app.app import HwbpApp
from tui.app.first_start import is_first_start, remember_offer
from tui.app.tour import OFFER, STEPS
from tui.session.demos import DEMOS
from tui.session.settings import offered_file


def offering(machine: Machine) -> HwbpApp:
    app = app_on(machine)
    app._tour = "offer"
    return app


@pytest.mark.parametrize("key", ["escape", "2", "x"])
async def test_any_key_ends_the_offer_and_does_what_it_does(key: str) -> None:
    app = offering(busy_machine())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert OFFER in screen_text(app)
        await pilot.press(key)
        await settle(pilot)
        assert OFFER not in screen_text(app)
        assert app.tour is None
        assert app.open_view.key == ("2" if key == "2" else "1")


async def test_what_stands_there_instead_stays() -> None:
    app = offering(busy_machine())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        app.say("an answer")
        await pilot.press("f")
        await settle(pilot)
        assert "an answer" in screen_text(app)


async def test_the_tour_begins_goes_on_and_ends() -> None:
    app = offering(busy_machine())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        for number in range(1, len(STEPS) + 1):
            await pilot.press("f3")
            await settle(pilot)
            shown = screen_text(app)
            assert f"TOUR {number}/{len(STEPS)}" in shown
            for word in STEPS[number - 1].say.split():
                assert word in shown, "nothing of what is said is cut in 80x24"
        await pilot.press("f3")
        await settle(pilot)
        assert app.tour is None
        assert "TOUR" not in screen_text(app)


async def test_escape_leaves_it_only_where_nothing_else_is_left() -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("f3", "2")
        await settle(pilot)
        await pilot.press("escape")
        await settle(pilot)
        assert app.open_view.key == "1"
        assert app.tour is not None
        await pilot.press("escape")
        await settle(pilot)
        assert app.tour is None


async def test_a_step_goes_on_once_it_is_done() -> None:
    machine = busy_machine()
    app = app_on(machine)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await pilot.press("f3")
        machine.run_state("running")
        await settle(pilot)
        app.sample()
        assert "TOUR 1/" in screen_text(app)
        machine.run_state("stopped")
        await settle(pilot)
        app.sample()
        await settle(pilot)
        assert "TOUR 2/" in screen_text(app)


async def test_another_program_has_no_tour() -> None:
    machine = busy_machine()
    machine.set(program="/bin/other")
    app = app_on(machine)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("f3")
        await settle(pilot)
        assert app.tour is None
        assert "hwbp-tui tour" in screen_text(app)


async def test_a_demo_has_no_tour() -> None:
    app = app_on(busy_machine(), demo=DEMOS[0])
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("f3")
        await settle(pilot)
        assert app.tour is None
        assert "a demo is being played" in screen_text(app)


def test_who_is_here_for_the_first_time(tmp_path: Path) -> None:
    config, offered = str(tmp_path / "config.toml"), offered_file({"XDG_STATE_HOME": str(tmp_path)})
    assert is_first_start(config, offered, {})
    assert not is_first_start(config, offered, {"CI": "true"})
    assert remember_offer(offered)
    assert not is_first_start(config, offered, {})
    os.unlink(offered)
    Path(config).touch()
    assert not is_first_start(config, offered, {})


def test_what_cannot_be_remembered_is_not_offered(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert not remember_offer(str(tmp_path / "file" / "hwbp-tui" / "tour-offered"))
