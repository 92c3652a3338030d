"""Copying by keyboard: what lands in the clipboard or the file, and that nothing hostile or clumsy does harm."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.pilot.scripted import FakeSpace, app_on, busy_machine, screen_text, settle
from tui.app.app import HwbpApp
from tui.session.settings import Settings


async def copy(pilot: object, *letters: str) -> str:
    app: HwbpApp = pilot.app  # type: ignore[attr-defined]
    await pilot.press("y", *letters)  # type: ignore[attr-defined]
    await settle(pilot)
    return app.clipboard


async def test_a_hit_is_copied_as_a_line_and_as_the_json_of_trace() -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await pilot.press("k", "k")
        await settle(pilot)
        line = await copy(pilot, "h")
        assert any(label in line for label in ("cfg.limits[3]", "lock", "add_limit"))
        assert "worker_step+0x32" in line, "the stack"
        assert "OSC 52" in screen_text(app)
        found = json.loads(await copy(pilot, "o"))
        assert found["hit"] == app.hits.cursor + 1
        assert {"time_ns", "value", "old", "symbol", "stack"} <= set(found)


async def test_row_panel_screen_address_and_instruction_are_copied_as_shown() -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await pilot.press("k")
        await settle(pilot)
        assert (await copy(pilot, "i")).startswith("0x401")
        assert (await copy(pilot, "a")).startswith("0x40")
        row = await copy(pilot, "r")
        assert row in " ".join(screen_text(app).split())
        assert (await copy(pilot, "p")).split("\n")[0].lstrip("━ ").startswith("HITS")
        before = screen_text(app)
        screen = await copy(pilot, "s")
        assert len(screen.split("\n")) <= 40
        for word in ("hwbp-tui", "DR7", "HITS", "OWNERS"):
            assert word in screen
        assert before.split("\n")[2] in screen


async def test_marked_hits_are_copied_together_from_their_view() -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await pilot.press("2")
        await settle(pilot)
        await pilot.press("k", "m", "k", "k", "m")
        await settle(pilot)
        lines = (await copy(pilot, "l")).split("\n")
        numbers = [json.loads(line)["hit"] for line in lines]
        assert len(numbers) == 2
        assert numbers == sorted(numbers)


async def test_the_capital_adds_to_a_file_and_never_follows_a_link(tmp_path: Path) -> None:
    path, other = tmp_path / "copy.txt", tmp_path / "other"
    app = app_on(busy_machine(), settings=Settings(copy_file=str(path)))
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await copy(pilot, "O")
        await copy(pilot, "H")
        first, second = path.read_text().splitlines()
        assert json.loads(first)["hit"] == 79
        assert "79" in second
        assert app.clipboard == "", "the clipboard is left alone"
        path.unlink()
        other.write_text("mine\n")
        path.symlink_to(other)
        await copy(pilot, "H")
        assert other.read_text() == "mine\n"
        assert "! " in screen_text(app)


async def test_a_hostile_name_is_copied_as_text() -> None:
    app = app_on(busy_machine(), space=FakeSpace({"add_limit": "\x1b]52;c;ZXZpbA==\x07add"}))
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        for letter in ("h", "o", "p", "s", "r"):
            text = await copy(pilot, letter)
            assert "\x1b" not in text
            assert "\x07" not in text


@pytest.mark.parametrize("view", "123567890")
async def test_every_view_can_be_copied_whole(view: str) -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await pilot.press(view)
        await settle(pilot)
        text = await copy(pilot, "s")
        shown = [line for line in screen_text(app).split("\n")[2:20] if line.strip()]
        assert sum(line in text for line in shown) >= len(shown) - 2, text
        await copy(pilot, "p")
        assert not app._exception
