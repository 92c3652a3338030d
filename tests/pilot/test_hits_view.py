"""The view of hits with real keys: filter while typing, find, group, sort, freeze, marks, columns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from backends.ring import FLAG_SEEN, FLAG_UNSEEN
from tests.pilot.scripted import FakeSpace, Machine, app_on, busy_machine, screen_text, settle
from tui.app.app import HwbpApp
from tui.app.hit_columns import COLUMNS
from tui.app.widgets.history import HistoryPanel


async def opened(pilot: Any) -> HistoryPanel:
    await settle(pilot)
    await pilot.press("2")
    await settle(pilot)
    panel = pilot.app.panel("history")
    assert isinstance(panel, HistoryPanel)
    return panel


def rows(app: HwbpApp) -> list[str]:
    """Lines of the list itself."""
    region = app.places["history"]
    return screen_text(app).splitlines()[region.y + 2 : region.bottom]


async def test_a_filter_acts_while_it_is_typed_and_escape_brings_back_what_was() -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await pilot.press("slash", *"reset")
        await settle(pilot)
        assert "8 of 79  / reset" in screen_text(app)
        assert all("reset_one" in line for line in rows(app) if line)
        await pilot.press("enter")
        await settle(pilot)
        assert app.focused is app.main_panel
        await pilot.press("slash", *" tid=77")
        await settle(pilot)
        assert "0 of 79  / reset tid=77" in screen_text(app)
        assert "nothing meets the filter" in screen_text(app)
        await pilot.press("escape")
        await settle(pilot)
        assert "8 of 79  / reset" in screen_text(app)
        await pilot.press("escape")
        await settle(pilot)
        assert "/ reset" not in screen_text(app)
        assert app.open_view.name == "hits"
        await pilot.press("escape")
        await settle(pilot)
        assert app.open_view.name == "machine"


async def test_hits_keep_the_name_of_what_was_watched_when_the_watch_is_moved() -> None:
    machine = busy_machine()
    app = app_on(machine)
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        before = next(bp for bp in machine.state.breakpoints if bp.id == 1)
        moved = replace(before, address=0x404100, text="elsewhere")
        machine.set(breakpoints=tuple(moved if bp is before else bp for bp in machine.state.breakpoints))
        machine.hit(1, 5, 6)
        await settle(pilot)
        app.sample()
        await settle(pilot)
        *_, last, newest = rows(app)
        assert "elsewhere" in newest
        assert "cfg.limits[3]" in last
        await pilot.press("slash", *"watch=elsewhere")
        await settle(pilot)
        assert "1 of 80  / watch=elsewhere" in screen_text(app)
        await pilot.press("escape", "slash", *"watch=cfg")
        await settle(pilot)
        assert "60 of 80  / watch=cfg" in screen_text(app)


async def test_a_window_that_was_changed_unseen_is_marked_found_and_told_in_words() -> None:
    machine = busy_machine()
    machine.hit(1, 900, 901, flags=FLAG_UNSEEN)
    machine.hit(1, 901, 902, flags=FLAG_SEEN)
    app = app_on(machine)
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        assert "!900 \u2192 901" in screen_text(app)
        assert "!901" not in screen_text(app)
        await pilot.press("slash", *"unseen")
        await settle(pilot)
        assert "1 of 81  / unseen" in screen_text(app)
        await pilot.press("enter", "1")
        await settle(pilot)
        app.hits.newest()
        await pilot.press("up")
        await settle(pilot)
        assert "changed unseen before" in screen_text(app)


async def test_what_is_wrong_with_a_filter_stands_beside_it_and_hides_nothing() -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await pilot.press("slash", *"tid=ab")
        await settle(pilot)
        assert "tid takes numbers, not ab" in screen_text(app)
        assert "124" not in screen_text(app)
        assert len([line for line in rows(app) if line]) > 20
        await pilot.press("enter")
        await settle(pilot)
        assert "tid takes numbers" in screen_text(app)


async def test_a_filter_follows_hits_that_come() -> None:
    machine = busy_machine()
    app = app_on(machine)
    async with app.run_test(size=(100, 30)) as pilot:
        await opened(pilot)
        await pilot.press("slash", *"value=4242", "enter")
        machine.hit(1, 1, 4242)
        machine.hit(1, 1, 4243)
        app.tick()
        await settle(pilot)
        assert "1 of 81  / value=4242" in screen_text(app)
        assert "4242" in rows(app)[0]


async def test_tab_completes_fields() -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(100, 30)) as pilot:
        await opened(pilot)
        await pilot.press("slash", *"w com", "tab")
        await settle(pilot)
        assert app.command_line.value == "w comm"


async def test_commands_and_filters_have_histories_of_their_own() -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(100, 30)) as pilot:
        await opened(pilot)
        await pilot.press("slash", *"tid=5", "enter", "colon", *"info cpus", "enter")
        await settle(pilot)
        await pilot.press("escape", "colon", "up")
        assert app.command_line.value == "info cpus"
        await pilot.press("up")
        assert app.command_line.value == "info cpus"
        await pilot.press("escape", "slash", "up")
        assert app.command_line.value == "tid=5"


async def test_groups_count_and_enter_shows_the_hits_of_one() -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        for by in ("site", "task", "value", "stack", "CPU"):
            await pilot.press("b")
            await settle(pilot)
            assert f"HITS by {by}" in screen_text(app)
        await pilot.press("b", "b")
        await settle(pilot)
        first = rows(app)[0].split()
        assert first[1:3] == ["59", "74.7"]
        await pilot.press("j", "j", "enter")
        await settle(pilot)
        assert "8 of 79  / at=0x401240" in screen_text(app)


async def test_a_frozen_list_says_so_and_stays_while_the_ring_goes_round() -> None:
    machine = busy_machine(machine=Machine(capacity=128))
    app = app_on(machine)
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await pilot.press("k", "k")
        await settle(pilot)
        before = rows(app)
        for number in range(1000):
            machine.hit(1, number, number + 1)
        app.tick()
        await settle(pilot)
        assert rows(app) == before
        assert "frozen at 77, 1,000 newer: f follows" in screen_text(app)
        assert "add_limit" in screen_text(app)
        await pilot.press("f")
        await settle(pilot)
        assert "following" in screen_text(app)
        assert "1079" in rows(app)[-1]


async def test_find_goes_on_with_brackets_and_says_when_there_is_no_more() -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(120, 40)) as pilot:
        panel = await opened(pilot)
        await pilot.press("g", "F", *"reset", "enter")
        await settle(pilot)
        found = []
        for _ in range(3):
            record = panel.selected_hit()
            assert record is not None
            found.append(record.seq + 1)
            await pilot.press("right_square_bracket")
            await settle(pilot)
        assert found == [9, 17, 27]
        assert "/ reset" not in screen_text(app), "finding hides nothing"
        await pilot.press("left_square_bracket")
        record = panel.selected_hit()
        assert record is not None
        assert record.seq + 1 == 27
        await pilot.press("G", "f", "right_square_bracket")
        await settle(pilot)
        assert "no further hit meets reset" in screen_text(app)


async def test_marks_are_shown_walked_and_measured_from() -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await pilot.press("apostrophe")
        await settle(pilot)
        assert "no hit is marked" in screen_text(app)
        await pilot.press("escape", "k", "m", "k", "k", "k")
        await settle(pilot)
        assert "3 hits, 111 insns before mark 78" in screen_text(app)
        await pilot.press("apostrophe")
        await settle(pilot)
        assert "frozen at 78" in screen_text(app)


async def test_columns_are_ticked_and_the_width_decides_again() -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(120, 40)) as pilot:
        panel = await opened(pilot)
        names = list(COLUMNS)
        await pilot.press("c", *["j"] * names.index("mode"), "space", "escape")
        await settle(pilot)
        assert "mode" in panel.chosen
        assert " user " in rows(app)[0]
        await pilot.press("c", "a", "escape")
        await settle(pilot)
        assert panel.chosen == ()


async def test_sorting_is_of_the_frozen_list() -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(120, 40)) as pilot:
        panel = await opened(pilot)
        await pilot.press("o")
        await settle(pilot)
        assert "by value" in screen_text(app)
        record = panel.selected_hit()
        assert record is not None
        assert record.value == 0
        await pilot.press("f")
        await settle(pilot)
        assert "by value" not in screen_text(app)


@pytest.mark.parametrize("width", [80, 100, 140])
async def test_hostile_names_are_text(width: int) -> None:
    hostile = "[red]\x1b[31mevil\u202e[/red]"
    app = app_on(busy_machine(machine=Machine(comm=hostile)), space=FakeSpace({"add_limit": hostile}))
    async with app.run_test(size=(width, 40)) as pilot:
        await opened(pilot)
        for key in ("b", "b", "b", "b", "b", "b", "slash"):
            await pilot.press(key)
            await settle(pilot)
            text = screen_text(app)
            assert "\x1b" not in text
            assert "\u202e" not in text
        await pilot.press(*"[red]")
        await settle(pilot)
        assert "/ [red]" in screen_text(app)


@pytest.mark.parametrize("size", [(140, 45), (80, 24)])
async def test_a_hit_that_no_instruction_made_says_so(size: tuple[int, int]) -> None:
    machine = busy_machine()
    machine.hit(1, 0, 5, by=(0, 0))
    app = app_on(machine)
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        await settle(pilot)
        text = screen_text(app)
        assert (
            "=> no instruction  0 → 5" if size == (80, 24) else "no instruction of a program made it"
        ) in text
