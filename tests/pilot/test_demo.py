"""A demo is played step by step on the machine that is open, can be replayed and can be left."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from backends.base import HwbpError
from tests.pilot.scripted import FakeSpace, Machine, app_on, screen_text, settle
from tui.session.demos import DEMOS, Demo, Step
from tui.session.session import Session

DEMO = Demo(
    "test",
    "three steps",
    ("emulated",),
    "counter",
    (
        Step("First one watch.", "watch lock"),
        Step("Then the program runs until it hits.", "continue", wait="1 hits"),
        Step("And a fifth wish.", "watch cfg.limits", expect_errno="ENOSPC"),
    ),
)


async def test_each_step_says_its_sentence_its_command_and_its_answer() -> None:
    machine = Machine()
    app = app_on(machine, demo=DEMO)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        text = screen_text(app)
        assert "First one watch." in text
        assert ": watch lock" in text
        assert "watch 0: lock" in text
        await pilot.press("right")
        await settle(pilot)
        assert app.narration.waiting, "it waits for a hit"
        await pilot.press("right")
        await settle(pilot)
        assert "Then the program runs" in screen_text(app), "a step that waits is not left early"
        machine.hit(1, 0, 1)
        await settle(pilot)
        await pilot.press("enter")
        await settle(pilot)
        text = screen_text(app)
        assert "! ENOSPC" in text
        assert "3/3" in text
        assert "not as planned" not in text


async def test_an_answer_without_the_expected_text_is_told() -> None:
    good, bad = (Step("One watch.", "watch lock", expect=(text,)) for text in ("0: lock", "another"))
    app = app_on(Machine(), demo=Demo("test", "two steps", ("emulated",), "counter", (good, bad)))
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert "not as planned" not in screen_text(app)
        await pilot.press("right")
        await settle(pilot)
        assert "not as planned" in screen_text(app)


async def test_leaving_keeps_the_machine_and_gives_the_room_back() -> None:
    machine = Machine()
    app = app_on(machine, demo=DEMO)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("escape")
        await settle(pilot)
        text = screen_text(app)
        assert "DEMO" not in text
        assert "lock" in text
        assert not machine.closed
        assert app.focused is app.hits


async def test_escape_closes_the_answer_to_ones_own_command_and_f4_comes_back_to_a_demo_that_was_left() -> (
    None
):
    machine = Machine()
    app = app_on(machine, demo=DEMO)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        app.run_line("info slots", quiet=False)
        await settle(pilot)
        await pilot.press("escape")
        await settle(pilot)
        assert app.demo_active, "the message is closed, and nothing else"
        await pilot.press("escape")
        await settle(pilot)
        assert not app.demo_active
        assert "left at step 1 of 3: F4" in screen_text(app)
        await pilot.press("f4", "right")
        await settle(pilot)
        text = screen_text(app)
        assert app.demo_active
        assert "Then the program runs" in text
        assert "2/3" in text


async def test_a_demo_that_is_interrupted_in_a_wait_leaves_a_machine_to_work_with() -> None:
    machine = Machine()
    app = app_on(machine, demo=DEMO)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("right")
        await settle(pilot)
        assert app.narration.waiting
        await pilot.press("escape")
        await settle(pilot)
        assert "DEMO" not in screen_text(app)
        before = len(machine.calls)
        machine.hit(1, 0, 1)  # what it had waited for comes, and no step goes on by itself
        await settle(pilot)
        assert len(machine.calls) == before
        assert not machine.closed
        app.run_line("info slots", quiet=False)
        await settle(pilot)
        assert "Traceback" not in screen_text(app)


async def test_replaying_opens_a_fresh_machine_and_ends_the_old_one() -> None:
    first, second = Machine(), Machine()

    def reopen() -> Future[Session]:
        opening: Future[Session] = Future()
        opening.set_result(Session(second, second.reader, space=lambda _mappings, _program: FakeSpace()))
        return opening

    app = app_on(first, demo=DEMO, reopen=reopen)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("r")
        await settle(pilot)
        await settle(pilot)
        assert first.closed
        assert second.calls == ["arm(lock)"]
        assert "1/3" in screen_text(app)


async def test_a_scene_whose_machine_died_can_be_played_on_a_fresh_one() -> None:
    first, second = Machine(), Machine()

    def reopen() -> Future[Session]:
        opening: Future[Session] = Future()
        opening.set_result(Session(second, second.reader, space=lambda _mappings, _program: FakeSpace()))
        return opening

    app = app_on(first, demo=DEMO, reopen=reopen)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        app.machine._lost(HwbpError("the machine's process died"))
        await settle(pilot)
        assert "r plays the scene on a fresh one, q leaves" in screen_text(app)
        await pilot.press("r")
        await settle(pilot)
        await settle(pilot)
        assert second.calls == ["arm(lock)"]
        assert "gone" not in screen_text(app)


async def test_a_step_that_goes_otherwise_than_planned_says_so() -> None:
    machine = Machine()
    demo = Demo("t", "t", ("emulated",), "counter", (Step("No.", "watch lock", expect_errno="ENOSPC"),))
    app = app_on(machine, demo=demo)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert not app.narration.reply.ok
        assert "not as planned" in screen_text(app)


async def test_a_machine_that_cannot_be_opened_ends_the_app_with_its_error() -> None:
    opening: Future[Session] = Future()
    opening.set_exception(HwbpError("counter: not an ELF file"))
    from tui.app.app import HwbpApp

    app = HwbpApp(opening, fps=0)
    async with app.run_test(size=(80, 24)) as pilot:
        for _ in range(100):
            await pilot.pause(0.002)
            if app.failure is not None:
                break
    assert isinstance(app.failure, HwbpError)
    assert app.return_code == 1


async def test_startup_commands_are_run_in_order() -> None:
    machine = Machine()
    app = app_on(machine, startup=("watch lock", "continue"))
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await settle(pilot)
        assert machine.calls == ["arm(lock)", "resume()"]
        assert app.scene.running


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (200, 60)])
def test_every_sentence_of_every_scene_fits_the_narrator(size: tuple[int, int]) -> None:
    from tui.app.widgets.message import wrap
    from tui.app.widgets.narration import narration_lines

    for demo in DEMOS:
        for step in demo.steps:
            lines = wrap(step.say, size[0] - 4)
            assert len(lines) <= narration_lines(size[1]) - 3, (demo.name, step.say)
