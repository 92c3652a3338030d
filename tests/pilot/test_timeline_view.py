"""All CPUs, all tasks and the timeline: what the screen shows of a machine, and its keys."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest
from textual.pilot import Pilot

from backends.model import Journal, MachineView, Mark, Occupancy, TaskView
from tests.pilot.scripted import Machine, app_on, busy_machine, screen_text, settle
from tui.app.app import HwbpApp
from tui.app.widgets.timeline import TimelinePanel


class Wide(Machine):
    """A machine of three CPUs and three tasks, 100,000 ns old."""

    def journal(self, start_ns: int, end_ns: int) -> Journal:
        rows = (
            Occupancy(0, 0, 1, "perf", 0, None),
            Occupancy(0, 1, 2, "ptrace", 20_000, 60_000),
            Occupancy(1, 3, 3, "kgdb", 50_000, None),
        )
        marks = (Mark(0, 0, "switch", 1000), Mark(50_000, 0, "switch", 1001), Mark(70_000, 1, "nmi", 0))
        return Journal(10_000, 100_000, rows, marks, ())

    def select(self, tid: int) -> MachineView:
        self._called("select", tid)
        self.set(task=tid)
        return self.view()


@pytest.fixture
def app() -> HwbpApp:
    machine = busy_machine(machine=Wide())
    cpu = machine.state.cpus[0]
    tasks = tuple(
        TaskView(
            1000,
            1000 + n,
            name,
            0x401000,
            0x7000,
            0xFFFF0FF0,
            0,
            state,  # type: ignore[arg-type]
            wait,
            n,
            (2,) if n == 2 else (),
            5000 * n,
            n,
        )
        for n, (name, state, wait) in enumerate(
            [("first", "running", ""), ("evil\x1b[31m", "waiting", "futex 0x1234"), ("third", "stopped", "")]
        )
    )
    machine.set(
        cpus=tuple(replace(cpu, cpu=n, tid=1000 + n if n < 2 else None, slots=cpu.slots if not n else ()) for n in range(3)),
        tasks=tasks, task=1000, quantum=2000, time_ns=100_000,
    )  # fmt: skip
    return app_on(machine)


async def opened(pilot: Pilot[int]) -> TimelinePanel:
    await settle(pilot)
    await pilot.press("5")
    await settle(pilot)
    app = cast("HwbpApp", pilot.app)
    app.sample()
    await settle(pilot)
    panel = app.panel("timeline")
    assert isinstance(panel, TimelinePanel)
    assert app.focused is panel
    return panel


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (140, 45), (200, 60)])
async def test_every_cpu_task_and_register_is_there_at_every_size(
    app: HwbpApp, size: tuple[int, int]
) -> None:
    async with app.run_test(size=size) as pilot:
        await opened(pilot)
        text = screen_text(app)
    for what in (
        "CPUS",
        "quantum 2,000",
        "TASKS",
        "TIMELINE",
        "1000 first",
        "futex 0x1234",
        "held back",
        "CPU 0",
        "DR3",
        "idle",
    ):
        assert what in text, what
    assert "\x1b" not in text
    assert "P" in text


async def test_the_timeline_shows_who_sat_where_when(app: HwbpApp) -> None:
    async with app.run_test(size=(115, 30)) as pilot:
        timeline = await opened(pilot)
        left = timeline.left
        assert timeline.columns == 100
        lines = ["".join(segment.text for segment in strip) for strip in timeline.lines(115, 11)]
    zero, one = lines[1:6], lines[6:11]
    assert zero[1][left : left + 10] == "?" * 10  # before what the journal still knows
    assert set(zero[1][left + 10 :].strip()) == {"P"}
    assert zero[2].count("T") == 41  # 20,000 to 60,000 of 100,000 ns in a hundred columns
    assert zero[2][left + 65] == "\N{MIDDLE DOT}"
    assert "1001" in zero[0]
    assert "N" in one[0]
    assert one[4].index("G") == left + 50


async def test_keys_zoom_and_scroll(app: HwbpApp) -> None:
    async with app.run_test(size=(115, 30)) as pilot:
        timeline = await opened(pilot)
        whole = timeline.span()
        await pilot.press("plus")
        finer = timeline.span()
        assert finer[1] == whole[1]
        assert finer[1] - finer[0] == (whole[1] - whole[0]) // 2
        await pilot.press("left")
        assert timeline.span()[1] < finer[1]
        assert not timeline.following
        await pilot.press("f")
        assert timeline.following
        for _ in range(60):
            await pilot.press("plus")
        assert timeline.scale == 1
        await pilot.press("z")
        assert timeline.span()[0] == 0


async def test_hits_over_time_share_the_columns_and_lead_to_the_hits(app: HwbpApp) -> None:
    async with app.run_test(size=(110, 40)) as pilot:
        timeline = await opened(pilot)
        app.sample()
        await settle(pilot)
        text = screen_text(app)
        assert "HITS OVER TIME 79 hits" in text
        assert " lock" in text
        region = app.places["over-time"]
        bars = screen_text(app).splitlines()[region.y + 1 : region.bottom - 3]
        assert any("█" in line for line in bars)
        await pilot.press("plus", "plus", "plus")
        app.sample()
        await settle(pilot)
        assert "HITS OVER TIME 0 hits" in screen_text(app), "the newest eighth of 100,000 ns has none"
        await pilot.press("z")
        start, end = timeline.span()
        await pilot.press("enter")
        await settle(pilot)
        assert app.open_view.name == "hits"
        assert f"79 of 79  / time>={start} time<{end}" in screen_text(app)


async def test_a_letter_jumps_to_a_panel_and_enter_looks_at_its_task(app: HwbpApp) -> None:
    async with app.run_test(size=(110, 30)) as pilot:
        await opened(pilot)
        await pilot.press("semicolon")
        await settle(pilot)
        text = screen_text(app)
        for letter in ("c", "t", "l"):
            assert any(line.startswith(f"{letter} ") for line in text.splitlines()), letter
        await pilot.press("t")
        await settle(pilot)
        assert screen_text(app).splitlines()[-1].count("Enter look at it") == 1
        await pilot.press("down", "down", "down", "down", "enter")
        await settle(pilot)
        assert app.scene.view is not None
        assert app.scene.view.task == 1002
        await pilot.press("semicolon", "c", "down")
        await settle(pilot)
        assert app.scene.cpu is not None
        assert app.scene.cpu.cpu == 1
        await pilot.press("escape")
        await settle(pilot)
        assert app.open_view.name == "machine"
        assert app.focused is app.hits
        assert "DR7" in screen_text(app)
