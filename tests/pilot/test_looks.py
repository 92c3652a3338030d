"""Looks that carry meaning: without colour, in ASCII, in both themes, with the motion reduced."""

from __future__ import annotations

import pytest
from rich.color import Color, ColorType
from textual.command import CommandPalette

from backends.model import Stop
from tests.pilot.scripted import app_on, busy_machine, screen_text, settle
from tui.app import themes
from tui.app.app import HwbpApp
from tui.app.glyphs import ASCII, UNICODE
from tui.app.keymap import entries
from tui.app.themes import PALETTES, Palette, ink
from tui.session.settings import THEMES, Settings


def _luminance(colour: str) -> float:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def _contrast(a: str, b: str) -> float:
    low, high = sorted((_luminance(a), _luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("palette", [p for p in PALETTES.values() if not p.ansi], ids=lambda p: p.name)
def test_every_text_colour_can_be_read_on_every_ground_it_stands_on(palette: Palette) -> None:
    words = [
        "text",
        "strong",
        "muted",
        "accent",
        "symbol",
        "value",
        "warm",
        "error",
        "good",
        "perf",
        "ptrace",
        "kgdb",
        "ftrace",
        "kvm",
    ]
    for word in words:
        for ground in ("ground", "raised", "cursor_far"):
            contrast = _contrast(getattr(palette, word), getattr(palette, ground))
            least = 7.0 if palette.name == "hwbp-contrast" else 4.5
            assert contrast >= least, (palette.name, word, ground, round(contrast, 2))


@pytest.mark.parametrize("size", [(80, 24), (140, 45)])
async def test_no_color_sends_no_colour_and_keeps_every_mark(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = app_on(busy_machine())
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        await pilot.press("k")
        app.slots.focus()
        await settle(pilot)
        strips = app.screen._compositor.render_strips(app.size)
        for strip in strips:
            for segment in strip:
                for colour in (segment.style.color, segment.style.bgcolor) if segment.style else ():
                    assert colour is None or colour.is_default, segment
        text = screen_text(app)
        assert "▸" in text, "the cursor has a sign"
        assert "*1" in text, "what changed has a sign"
        assert any(s.style and s.style.underline for strip in strips for s in strip), (
            "the selected hit is underlined"
        )


@pytest.mark.parametrize("keys", [(), ("f1",), ("enter",), ("colon", "w"), ("ctrl+p",)])
async def test_ascii_mode_sends_nothing_but_ascii(keys: tuple[str, ...]) -> None:
    machine = busy_machine()
    machine.set(program="/tmp/größe-程序")
    app = app_on(machine, ascii=True)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await pilot.press(*keys)
        await settle(pilot)
        text = screen_text(app)
        assert text.isascii(), [c for c in text if not c.isascii()]
        assert {
            len(line) for line in (strip.text for strip in app.screen._compositor.render_strips(app.size))
        } == {120}


def _colours(app: HwbpApp) -> set[Color]:
    strips = app.screen._compositor.render_strips(app.size)
    segments = [segment for strip in strips for segment in strip if segment.style]
    found = {colour for s in segments if s.style for colour in (s.style.color, s.style.bgcolor)}
    return {colour for colour in found if colour is not None}


@pytest.mark.parametrize("keys", [(), ("f1",), ("colon", "w"), ("w", *"lock"), ("ctrl+p",)])
async def test_the_ansi_theme_sends_the_terminals_own_colours_on_its_own_ground(
    keys: tuple[str, ...],
) -> None:
    app = app_on(busy_machine(), settings=Settings(theme="ansi"))
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await pilot.press(*keys)
        await settle(pilot)
        strips = app.screen._compositor.render_strips(app.size)
        for strip in strips:
            for segment in strip:
                if segment.style is None:
                    continue
                fore = segment.style.color if segment.text.strip() else None  # of a blank nobody sees it
                for colour in (fore, segment.style.bgcolor):
                    assert colour is None or colour.type in (ColorType.DEFAULT, ColorType.STANDARD), segment
                named = [each for each in (fore, segment.style.bgcolor) if each and not each.is_default]
                ours = not isinstance(app.screen, CommandPalette)  # its scrollbar and cursor are Textual's
                assert len(named) < 2 or not ours, f"they may be the same on that terminal: {segment}"


@pytest.mark.parametrize("theme", THEMES)
async def test_every_theme_of_the_settings_draws_and_no_color_wins_over_all(
    theme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = app_on(busy_machine(), settings=Settings(theme=theme))
    async with plain.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert _colours(plain)
    monkeypatch.setenv("NO_COLOR", "1")
    app = app_on(busy_machine(), settings=Settings(theme=theme))
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert all(colour.is_default for colour in _colours(app))
        assert "SLOTS" in screen_text(app)


def test_the_settings_name_the_themes_that_there_are() -> None:
    assert tuple(themes.THEMES) == THEMES
    assert set(themes.THEMES.values()) == set(PALETTES)


def test_both_sets_of_signs_say_the_same_things() -> None:
    for name in ASCII._fields:
        assert getattr(ASCII, name).isascii(), name
        if name not in ("arrow", "ellipsis", "stack"):
            assert len(getattr(ASCII, name)) == len(getattr(UNICODE, name)), name


async def test_the_theme_can_be_switched_and_everything_is_drawn_anew() -> None:
    app = app_on(busy_machine())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        dark = ink("hwbp-dark")
        await pilot.press("T")
        await settle(pilot)
        assert app.theme == "hwbp-light"
        for panel in app.panels:
            for strip in panel._strips:
                for segment in strip:
                    assert segment.style is None or segment.style.bgcolor != dark.base.bgcolor, panel.id


async def test_reduced_motion_has_no_flash(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = busy_machine()
    app = app_on(machine)
    app.scene.still = True
    async with app.run_test(size=(140, 45)) as pilot:
        await settle(pilot)
        app.sample()
        machine.hit(1, 1, 2)
        machine.set()
        await settle(pilot)
        app.sample()
        assert "● HIT" not in screen_text(app)


async def test_the_footer_says_what_works_where_the_focus_is() -> None:
    machine = busy_machine()
    app = app_on(machine)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert "Space run" in screen_text(app).split("\n")[-1]
        app.dr7.focus()
        await settle(pilot)
        assert "Space toggle" in screen_text(app).split("\n")[-1]
        await pilot.press("colon")
        await settle(pilot)
        assert "Tab complete" in screen_text(app).split("\n")[-1]
        await pilot.press("escape")
        machine.run_state("exited", Stop("exit", "exit status 0"))
        app.hits.focus()
        app.tick()
        app.sample()
        await settle(pilot)
        last = screen_text(app).split("\n")[-1]
        assert not {"Space", "step", "watch"} & set(last.split()), "nothing can run any more"
    labels = {entry.label for entry in entries() if entry.rank is not None}
    assert "" not in labels
