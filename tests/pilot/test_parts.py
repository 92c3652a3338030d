"""The app's parts that need no app: arrangement, lines, numbers, rates."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.style import Style

from tests.pilot.scripted import busy_machine
from tui.app import numbers
from tui.app.arrangement import Wants, plan
from tui.app.line import Line, clip, without_offset
from tui.app.rates import Meter, bars
from tui.app.scene import Scene

SIZES = [(w, h) for w in (80, 81, 100, 111, 112, 140, 200, 300) for h in (24, 25, 30, 33, 34, 45, 60, 90)]
WANTS = [Wants(), Wants(5, True, 6), Wants(3), Wants(0, False, 6), Wants(1, True)]


@pytest.mark.parametrize("wants", WANTS)
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_every_cell_belongs_to_one_panel_and_nothing_that_matters_goes(
    width: int, height: int, wants: Wants
) -> None:
    places = plan(width, height, wants)
    assert {"title", "slots", "dr7", "dr6", "hits", "footer"} <= set(places)
    owner: dict[tuple[int, int], str] = {}
    for name, region in places.items():
        assert region.right <= width, name
        assert region.bottom <= height, name
        assert region.width > 0, name
        assert region.height > 0, name
        for y in range(region.y, region.bottom):
            for x in (region.x, region.right - 1):
                assert owner.setdefault((x, y), name) == name
    assert places["hits"].height >= 3
    assert ("narration" in places) == bool(wants.narration)
    assert "command" in places or not wants.command


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (None, "?"),
        (0, "0"),
        (0.04, "0"),
        (7.54, "7.5"),
        (812, "812"),
        (4_149, "4.1k"),
        (204_000, "204k"),
        (1.2e6, "1.2M"),
    ],
)
def test_rates_take_four_signs(number: float | None, text: str) -> None:
    assert numbers.rate(number) == text
    assert len(text) <= 4


def test_values_are_decimal_while_people_count_and_hexadecimal_beyond() -> None:
    assert numbers.value(999_999_999) == "999999999"
    assert numbers.value(0x7FFFFFFFE3D8) == "0x7fffffffe3d8"
    assert numbers.value(None) == "?"


def test_a_rate_is_the_increment_of_the_last_second() -> None:
    meter = Meter()
    for number in range(10):
        meter.sample(number * 0.25, {1: number * 100})
    assert meter.rate(1) == 400
    assert meter.rate(2) == 0
    assert meter.moved(1)
    assert meter.increments(1) == [100] * 9


def test_a_counter_that_falls_begins_anew() -> None:
    meter = Meter()
    meter.sample(0, {1: 100})
    meter.sample(1, {1: 5})
    assert meter.rate(1) is None


def test_a_single_hit_is_visible_in_a_sparkline() -> None:
    assert bars([0, 1, 1000], 5, " 12345678") == "   18"


def test_text_is_cut_to_cells_not_to_characters() -> None:
    assert clip("程序程序", 5) == "程序…"
    assert clip("abc", 0) == ""
    line = Line(10, Style())
    line.add("程序", width=6).add("x" * 20)
    assert line.strip().cell_length == 10


def test_a_symbol_loses_its_offset_before_it_is_cut() -> None:
    assert without_offset("worker_step+0x2f", 16) == "worker_step+0x2f"
    assert without_offset("worker_step+0x2f", 15) == "worker_step"
    assert without_offset("operator+(long, long)", 9) == "operator+(long, long)"


def test_markup_in_a_name_is_text() -> None:
    assert Line(20, Style()).add("[red]x[/red]").strip().text.rstrip() == "[red]x[/red]"


def test_a_watch_of_ours_follows_all_threads_of_its_process_and_a_debuggers_only_its_own() -> None:
    view = busy_machine().view()
    first = view.tasks[0]
    thread, stranger = replace(first, tid=1001), replace(first, tid=2000, pid=2000)
    perf, ptrace, _kgdb = view.breakpoints
    scene = Scene()
    scene.watches = {perf.id: 0, ptrace.id: 1}
    followed = {
        bp.owner.kind: [scene.follows(bp, task) for task in (first, thread, stranger)]
        for bp in (perf, ptrace)
    }
    assert followed == {"perf": [True, True, False], "ptrace": [True, False, False]}
    scene.watches = {}
    assert not scene.follows(perf, thread), "somebody else's event is of the thread that it was opened for"
