"""The frame of the views: one table for keys, tabs, command and jumps, and nothing drawn that is not on the screen."""

from __future__ import annotations

import pytest

from tests.pilot.scripted import app_on, busy_machine, screen_text, settle
from tui.app.arrangement import Wants, plan
from tui.app.views import VIEWS
from tui.session.views import VIEWS as NAMES

SIZES = [(80, 24), (100, 30), (112, 34), (120, 40), (140, 45), (200, 60)]


def test_the_command_knows_the_views_of_the_app_and_no_others() -> None:
    assert [(view.key, view.name) for view in VIEWS] == [(view.key, view.name) for view in NAMES]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("wants", [Wants(), Wants(5, True), Wants(1, False, 6), Wants(4, True, 8)])
@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_every_cell_of_a_view_belongs_to_one_panel(view: object, size: tuple[int, int], wants: Wants) -> None:
    width, height = size
    name, focus = view.name, view.focus  # type: ignore[attr-defined]
    places = plan(width, height, wants._replace(view=name, cpus=8, tasks=40))
    assert {"title", "message", "footer", focus} <= set(places) or not wants.message
    owner: dict[tuple[int, int], str] = {}
    for panel, region in places.items():
        assert region.right <= width, panel
        assert region.bottom <= height, panel
        assert region.width > 0, panel
        assert region.height > 0, panel
        for y in range(region.y, region.bottom):
            for x in (region.x, region.right - 1):
                assert owner.setdefault((x, y), panel) == panel
    assert {y for _x, y in owner} == set(range(height)), "no line is nobody's"


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
async def test_a_view_opens_by_number_command_and_click_with_its_own_panels(view: object) -> None:
    app = app_on(busy_machine())
    key, name = view.key, view.name  # type: ignore[attr-defined]
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        for way in ("number", "command", "click"):
            if way == "number":
                await pilot.press(key)
            elif way == "command":
                app.run_line(f"view {name}")
            else:
                column = screen_text(app).splitlines()[1].index(f"{key} {view.label}")  # type: ignore[attr-defined]
                await pilot.click(offset=(column + 2, 1))
            await settle(pilot)
            assert app.open_view.name == name
            assert app.focused is app.main_panel
            shown = {panel.id for panel in app.shown_panels}
            assert shown == {id_ for id_ in app.places if id_ != "command"} - {"narration"}
            for letter, panel in view.jumps.items():  # type: ignore[attr-defined]
                assert len(letter) == 1
                assert app.panel(panel).can_focus, panel
            await pilot.press("1")
            await settle(pilot)
            assert app.open_view.name == "machine"
        assert len({panel.id for panel in app.panels}) == len(app.panels)


async def test_an_unknown_view_is_one_line() -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(100, 30)) as pilot:
        await settle(pilot)
        app.run_line("view nonsense")
        await settle(pilot)
        assert "'nonsense' is no view: 1 machine" in screen_text(app)
        assert app.open_view.name == "machine"


async def test_a_hidden_panel_is_not_drawn_and_not_reached_by_tab() -> None:
    machine = busy_machine()
    app = app_on(machine)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await pilot.press("5")
        await settle(pilot)
        hidden = [panel for panel in app.panels if not panel.shown]
        assert app.hits in hidden
        drawn: list[str | None] = []
        for panel in hidden:
            panel._draw = lambda *_a, _id=panel.id: [drawn.append(_id)]  # type: ignore[method-assign, func-returns-value]
        for number in range(200):
            machine.hit(1, number, number + 1)
        machine.set()
        app.tick()
        app.sample()
        await settle(pilot)
        assert drawn == []
        for _ in range(8):
            await pilot.press("tab")
            assert app.focused not in hidden
    assert machine.reader.head > 200


async def test_a_history_that_was_hidden_stands_at_the_newest_hit_when_it_comes_back() -> None:
    machine = busy_machine()
    app = app_on(machine)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await pilot.press("5")
        for number in range(50):
            machine.hit(1, number, number + 1)
        app.tick()
        await pilot.press("escape")
        await settle(pilot)
        assert f"{machine.reader.head:,}" in screen_text(app)
        assert app.hits.cursor == machine.reader.head - 1


async def test_a_jump_ends_with_any_key_and_the_key_still_works() -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await pilot.press("semicolon")
        assert app.jumping
        await pilot.press("s")
        assert app.focused is app.slots
        await pilot.press("semicolon", "5")
        await settle(pilot)
        assert not app.jumping
        assert app.open_view.name == "timeline"
        assert not any(panel.jump for panel in app.panels)


@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
async def test_the_focused_panel_alone_and_all_again(size: tuple[int, int]) -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        all_panels = {panel.id for panel in app.shown_panels}
        await pilot.press("f5")
        await settle(pilot)
        hits = app.places["hits"]
        assert "slots" not in app.places
        assert hits.width == size[0]
        assert "CPU 0" not in screen_text(app)
        await pilot.press("escape")
        await settle(pilot)
        assert {panel.id for panel in app.shown_panels} == all_panels
        await pilot.press("f5", "3")
        await settle(pilot)
        assert {"writers", "stacks"} <= app.places.keys(), "another view begins with all of its panels"
        await pilot.press("f5", "f5")
        await settle(pilot)
        assert "stacks" in app.places
