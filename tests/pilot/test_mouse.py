"""The mouse does what keys do: each panel answers a click."""

from __future__ import annotations

from tests.pilot.scripted import app_on, busy_machine, screen_text, settle
from tui.app.screens.reader import Reader


async def test_a_click_chooses_a_bit_and_a_second_one_turns_it() -> None:
    for size in ((140, 45), (80, 24)):
        machine = busy_machine()
        app = app_on(machine)
        async with app.run_test(size=size) as pilot:
            await settle(pilot)
            app.dr7.redraw()
            start, _end, bit = next(span for span in app.dr7._spans if span[2] == 3)
            before = machine.state.cpus[0].dr7
            await pilot.click("#dr7", offset=(start + 1, 2))
            await settle(pilot)
            assert (app.dr7.bit, app.focused) == (bit, app.dr7)
            assert machine.state.cpus[0].dr7 == before
            await pilot.click("#dr7", offset=(start + 1, 2), times=2)
            await settle(pilot)
            assert machine.state.cpus[0].dr7 == before ^ 1 << bit


async def test_title_footer_command_line_and_message_answer_a_click() -> None:
    machine = busy_machine()
    app = app_on(machine)
    async with app.run_test(size=(140, 45)) as pilot:
        await settle(pilot)
        await pilot.click("#title", offset=(40, 0))
        await settle(pilot)
        assert machine.calls == ["resume()"]
        await pilot.click("#prompt")
        await settle(pilot)
        assert app.where == "command"
        end = next(end for end, action in app.footer._ends if action == "close_command_line")
        await pilot.click("#footer", offset=(end - 2, 0))
        await settle(pilot)
        assert app.where == "hits"
        end = next(end for end, action in app.footer._ends if action == "help")
        await pilot.click("#footer", offset=(end - 2, 0))
        await settle(pilot)
        assert isinstance(app.screen, Reader)
        await pilot.click(offset=(1, 1))
        await settle(pilot)
        assert not isinstance(app.screen, Reader)
        app.run_line("watch nosuch")
        await settle(pilot)
        assert "no symbol" in screen_text(app)
        await pilot.click("#message")
        await settle(pilot)
        assert "no symbol" not in screen_text(app)


async def test_detail_sites_and_owners_lead_to_more() -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(140, 45)) as pilot:
        await settle(pilot)
        app.sample()
        await settle(pilot)
        await pilot.click("#detail", offset=(4, 3))
        await settle(pilot)
        assert isinstance(app.screen, Reader)
        await pilot.press("escape")
        await pilot.click("#owners", offset=(4, 2))
        await settle(pilot)
        assert "perf" in screen_text(app)
        await pilot.press("escape")
        await settle(pilot)
        await pilot.click("#sites", offset=(4, 1))
        await settle(pilot)
        assert app.open_view.name == "sites"
