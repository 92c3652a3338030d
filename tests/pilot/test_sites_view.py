"""The view of sites: each writer once, exact, with its tasks and stacks; and the way to its hits."""

from __future__ import annotations

from typing import Any

from tests.pilot.scripted import FakeSpace, Machine, app_on, busy_machine, screen_text, settle
from tui.app.widgets.writers import WritersPanel


async def opened(pilot: Any) -> WritersPanel:
    await settle(pilot)
    await pilot.press("3")
    await settle(pilot)
    pilot.app.sample()
    await settle(pilot)
    panel = pilot.app.panel("writers")
    assert isinstance(panel, WritersPanel)
    return panel


async def test_each_writer_is_there_once_with_exact_totals_also_when_the_ring_went_round() -> None:
    machine = busy_machine(machine=Machine(capacity=128))
    for number in range(1000):
        machine.hit(1, number, number + 1)
    app = app_on(machine)
    async with app.run_test(size=(120, 40)) as pilot:
        panel = await opened(pilot)
        lines = screen_text(app).splitlines()
        writers = [line for line in lines if "add_limit+0xc" in line and "cfg.limits[3]" in line]
        assert len(writers) == 1
        assert "1,052" in writers[0]
        assert "999 → 1000" in writers[0]
        assert "1000 counter" in writers[0]
        assert sum(site.count for site in panel.sites()) == machine.reader.head
        assert "those before" in screen_text(app), "what was overwritten before is told"


async def test_sides_choose_the_watch_and_words_the_sites() -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(120, 40)) as pilot:
        panel = await opened(pilot)
        assert len(panel.sites()) == 4
        await pilot.press("right")
        await settle(pilot)
        assert "WHO WRITES cfg.limits[3]" in screen_text(app)
        assert len(panel.sites()) == 2
        await pilot.press("slash", *"reset")
        await settle(pilot)
        assert len(panel.sites()) == 1
        await pilot.press("escape")
        assert len(panel.sites()) == 2
        await pilot.press("escape")
        await settle(pilot)
        assert "all watches" in screen_text(app)
        await pilot.press("left", "left")
        await settle(pilot)
        assert "WHO READS OR WRITES lock" in screen_text(app)


async def test_enter_shows_the_hits_of_the_site() -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(120, 40)) as pilot:
        panel = await opened(pilot)
        while (site := panel.chosen()) is not None and site.insn_ip != 0x401240:
            await pilot.press("j")
        await pilot.press("enter")
        await settle(pilot)
        assert app.open_view.name == "hits"
        assert "8 of 79  / at=0x401240 bp=1" in screen_text(app)


async def test_the_cursor_stays_on_its_site_when_others_overtake_it() -> None:
    machine = busy_machine()
    app = app_on(machine)
    async with app.run_test(size=(120, 40)) as pilot:
        panel = await opened(pilot)
        await pilot.press("j", "j")
        chosen = panel.chosen()
        assert chosen is not None
        for _ in range(500):
            machine.hit(2, 0, 1)
        app.tick()
        app.sample()
        await settle(pilot)
        assert panel.sites()[0].breakpoint == 2
        now = panel.chosen()
        assert now is not None
        assert (now.breakpoint, now.insn_ip) == (chosen.breakpoint, chosen.insn_ip)


async def test_hottest_and_first_stack_are_told_apart() -> None:
    machine = busy_machine()
    machine.hit(2, 0, 1, stack=2)
    for _ in range(30):
        machine.hit(2, 0, 1, stack=2)
    app = app_on(machine)
    async with app.run_test(size=(160, 45)) as pilot:
        panel = await opened(pilot)
        await pilot.press("right", "right")
        assert panel.chosen() is not None
        app.tick()
        await settle(pilot)
        await settle(pilot)
        text = screen_text(app)
        assert "hottest of 2 stacks, 82 % of 38" in text
        assert "first, at hit 7" in text
        assert "1 task" in text


async def test_hostile_names_are_text() -> None:
    hostile = "[red]\x1b[31mevil\u202e[/red]"
    app = app_on(busy_machine(machine=Machine(comm=hostile)), space=FakeSpace({"add_limit": hostile}))
    async with app.run_test(size=(160, 45)) as pilot:
        await opened(pilot)
        text = screen_text(app)
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "[red]" in text
