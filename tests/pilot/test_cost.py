"""What a picture costs, counted: layouts, questions and repainted lines. Never a wall clock."""

from __future__ import annotations

from typing import Any

import pytest

from tests.pilot.scripted import app_on, busy_machine, settle


async def test_a_flood_of_hits_never_lays_the_screen_out_again(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = busy_machine()
    app = app_on(machine)
    async with app.run_test(size=(140, 45)) as pilot:
        await settle(pilot)
        app.sample()
        await settle(pilot)
        layouts: list[object] = []
        refresh_layout = app.screen._refresh_layout

        def counted(*arguments: Any, **more: Any) -> None:
            layouts.append(arguments)
            refresh_layout(*arguments, **more)

        monkeypatch.setattr(app.screen, "_refresh_layout", counted)
        before = len(app.screen.query("*"))
        for tick in range(30):
            for number in range(300):
                machine.hit(1, number, number + 1)
            app.tick()
            if tick % 4 == 0:
                app.sample()
            await pilot.pause()
        await settle(pilot)
        assert layouts == []
        assert len(app.screen.query("*")) == before, "no widget per hit"
        assert app.hits.cursor == machine.reader.head - 1


async def test_where_nothing_moves_nothing_is_asked_and_nothing_is_drawn() -> None:
    machine = busy_machine()
    app = app_on(machine)
    async with app.run_test(size=(140, 45)) as pilot:
        await settle(pilot)
        app.sample()
        await settle(pilot)
        views, pictures = machine.views, app.machine.pictures
        drawn: list[str | None] = []
        for panel in app.panels:
            panel.refresh = lambda *a, _id=panel.id, **k: drawn.append(_id)  # type: ignore[method-assign, assignment]
        for _ in range(60):
            app.tick()
            await pilot.pause()
        assert machine.views == views
        assert app.machine.pictures == pictures
        assert drawn == []


async def test_only_one_question_for_a_picture_is_under_way() -> None:
    machine = busy_machine()
    app = app_on(machine)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        machine.run_state("running")
        views = machine.views
        for _ in range(50):
            app.machine.refresh(counters=True)
        assert app.machine.desk.waiting == 1
        await settle(pilot)
        assert machine.views - views <= 2


async def test_one_new_hit_repaints_only_the_lines_that_differ() -> None:
    machine = busy_machine(hits=3)
    app = app_on(machine)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        regions: list[object] = []
        app.hits.refresh = lambda *a, **k: regions.extend(a)  # type: ignore[method-assign, assignment]
        machine.hit(1, 3, 4)
        app.tick()
        assert 0 < len(regions) <= 3, "the rule, the row that was selected, the new row"
