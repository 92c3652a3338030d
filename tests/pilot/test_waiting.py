"""What takes longer than half a second says so, says how far it is, and can be ended."""

from __future__ import annotations

import threading
from concurrent.futures import Future

from backends.model import MachineView
from tests.pilot.scripted import FakeSpace, Machine, app_on, busy_machine, screen_text, settle
from tui.app.app import HwbpApp
from tui.session.session import Session


class SlowMachine(Machine):
    """Steps that wait until the test lets them go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Semaphore(0)

    def step(self, count: int, over_calls: bool) -> MachineView:
        self.go.acquire()
        return super().step(count, over_calls)


async def test_a_long_command_says_how_far_it_is_and_is_ended_by_the_interrupt() -> None:
    machine = SlowMachine()
    busy_machine(machine=machine)
    now = [100.0]
    app = app_on(machine, clock=lambda: now[0])
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        app.sample()
        app.run_line("stepi 40000")
        app.sample()
        await pilot.pause()
        assert "stepi 40000" not in screen_text(app), "not before it takes long"
        machine.go.release()
        while app.scene.session is None or app.scene.session.progress != (10_000, 40_000):
            await pilot.pause(0.005)
        now[0] += 0.7
        app.sample()
        await pilot.pause()
        assert "stepi 40000: 0.7 s, 10,000 of 40,000 (25 %); Ctrl+C ends it" in screen_text(app)
        await pilot.press("ctrl+c")
        machine.go.release(5)
        await settle(pilot)
        app.sample()
        await settle(pilot)
        assert "10,000 of 40,000" not in screen_text(app)
        assert len([call for call in machine.calls if call.startswith("step(")]) < 4


async def test_a_machine_that_opens_slowly_says_so() -> None:
    now = [0.0]
    opening: Future[Session] = Future()
    app = HwbpApp(opening, clock=lambda: now[0], fps=0)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        app.sample()
        now[0] += 2.0
        app.sample()
        await pilot.pause()
        assert "opening the machine: 2.0 s; q leaves" in screen_text(app)
        machine, names = busy_machine(), FakeSpace()
        opening.set_result(Session(machine, machine.reader, space=lambda _mappings, _program: names))
        await settle(pilot)
        app.sample()
        await settle(pilot)
        assert "opening" not in screen_text(app)


async def test_a_command_that_fails_badly_does_not_take_the_ones_behind_it_along() -> None:
    class Failing(SlowMachine):
        def step(self, count: int, over_calls: bool) -> MachineView:
            super().step(count, over_calls)
            raise ValueError("nobody thought of this")

    machine = Failing()
    busy_machine(machine=machine)
    app = app_on(machine)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        app.run_line("stepi")
        app.run_line("stepi")
        app.run_line("info slots")
        assert list(app.machine.working) == ["stepi", "stepi", "info slots"]
        machine.go.release(2)
        while app.machine.working:
            await pilot.pause(0.005)
        assert app.machine.executed == 1, "the last one was done"
