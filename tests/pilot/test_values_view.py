"""The view of values: a watch over time, its distribution and its last changes; types on a real program."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from backends.base import Launch
from backends.client import start
from backends.emulated.programs import PROGRAMS
from backends.model import BreakpointRequest
from backends.ring_reader import RingReader
from tests.pilot.scripted import LIMITS, FakeSpace, Machine, app_on, busy_machine, screen_text, settle
from tui.app.value_kinds import changes, value_kind
from tui.app.value_series import ValueKind
from tui.app.widgets.values import ChartPanel
from tui.session.session import Session
from tui.session.watch import Watch


async def opened(pilot: Any) -> ChartPanel:
    await settle(pilot)
    await pilot.press("4")
    await settle(pilot)
    pilot.app.sample()
    await settle(pilot)
    panel = pilot.app.panel("chart")
    assert isinstance(panel, ChartPanel)
    return panel


async def test_the_chart_the_changes_and_the_distribution_tell_the_same_values() -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(120, 40)) as pilot:
        panel = await opened(pilot)
        text = screen_text(app)
        assert "VALUES cfg.limits[3]" in text
        assert "HOW OFTEN 60 values" in text
        assert "1 ago  59 → 60" in text or "59 → 60" in text
        region = app.places["chart"]
        chart = text.splitlines()[region.y + 2 : region.bottom - 1]
        assert chart[0].lstrip().startswith("60 ")
        assert chart[-1].lstrip().startswith("0 ")
        assert sum(line.count("━") for line in chart) >= 40
        assert panel.spread is not None
        assert sum(each.times for each in panel.spread.bins) == 60
        await pilot.press("down")
        await settle(pilot)
        assert "VALUES lock" in screen_text(app)
        await pilot.press("enter")
        await settle(pilot)
        assert "7 of 79  / bp=2 time>=" in screen_text(app)


async def test_zoom_scroll_and_follow() -> None:
    machine = busy_machine()
    app = app_on(machine)
    async with app.run_test(size=(120, 40)) as pilot:
        panel = await opened(pilot)
        whole = panel.span()
        await pilot.press("plus", "plus")
        assert panel.span()[1] == whole[1]
        assert panel.span()[1] - panel.span()[0] < (whole[1] - whole[0]) // 2
        await pilot.press("left")
        stayed = panel.span()
        machine.hit(1, 60, 4242)
        app.tick()
        app.sample()
        await settle(pilot)
        assert panel.span() == stayed
        assert "4242" not in screen_text(app)
        await pilot.press("f", "f", "z")
        await settle(pilot)
        assert "4242" in screen_text(app)


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_without_values_it_says_why(size: tuple[int, int]) -> None:
    app = app_on(Machine())
    async with app.run_test(size=size) as pilot:
        await opened(pilot)
        assert "no watch of data: w watches a variable" in screen_text(app)
    machine = Machine()
    machine.add(BreakpointRequest(LIMITS, 8, "w", text="cfg.limits[0]"))
    app = app_on(machine)
    async with app.run_test(size=size) as pilot:
        await opened(pilot)
        assert "no hit told a value of it in this time" in screen_text(app)


async def test_values_that_a_hostile_program_writes_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = ValueKind("float", 8, type_name="[red]\\x1b[31m", path="evil")
    monkeypatch.setattr("tui.app.value_kinds.value_kind", lambda *_a: kind)
    machine = busy_machine()
    for number in (1.7e308, -1.7e308, float("nan"), float("inf"), 5e-324, 0.0):
        machine.hit(1, 0, int.from_bytes(struct.pack("<d", number), "little"))
    for number in ((1 << 64) - 1, 1 << 63):
        machine.hit(1, number, number)
    app = app_on(machine, space=FakeSpace({"cfg.limits[3]": "[b]"}))
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        app.sample()
        await settle(pilot)
        text = screen_text(app)
        assert "[red]\\x1b[31m" in text
        assert "1.7e+308" in text
        assert app._exception is None


@pytest.mark.slow
def test_types_are_those_of_a_real_program() -> None:
    client = start("emulated", 1 << 12)
    program = PROGRAMS["counter"]
    ring = RingReader(client.ring_fd)
    client.launch(Launch(str(program.path)))
    session = Session(client, ring)
    try:
        session.open_watches((Watch.parse("counter"), Watch.parse("cfg/24")))
        kinds = {}
        for each in session.view.breakpoints:
            kinds[session.watch_label(each.id)] = value_kind(session, each.id, each.length)
        found = sorted((kind.kind, kind.size, kind.signed, kind.path) for kind in kinds.values())
        assert ("int", 8, True, "") in found
        assert [path for kind, _size, _signed, path in found if kind == "int"] != [""]
        assert any(kind.type_name.startswith("long") for kind in kinds.values())
        window = next(b for b in session.view.breakpoints if "cfg" in session.watch_label(b.id))
        told = changes(session, window.id, ((5, 3), (7, None)))
        assert told[5, 3].startswith("limits[0] 3 -> 5")
        assert changes(session, 999, ((1, 2),)) == {}
    finally:
        session.close()
