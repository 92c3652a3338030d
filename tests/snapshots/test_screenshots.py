"""The pictures of the README are those of this app: drawn again from the same states, they say the same."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("icicle", reason="icicle-emu is not installed: pip install icicle-emu")

FOLDER = Path(__file__).parents[2] / "screenshots"


def _make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("screenshots_make", FOLDER / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


MAKE: Any = _make()


@pytest.mark.slow
@pytest.mark.parametrize("picture", MAKE.PICTURES, ids=lambda each: each.name)
def test_the_picture_is_what_the_app_draws_now(picture: Any) -> None:
    kept = MAKE.content((FOLDER / f"{picture.name}-dark.svg").read_text())
    drawn = MAKE.content(asyncio.run(MAKE.draw(picture, "dark")))
    assert kept
    assert drawn == kept, "out of date: make screenshots, and look at them"


def test_each_picture_is_there_in_both_themes_as_svg_and_png_and_no_other() -> None:
    wanted = {
        f"{each.name}-{theme}{end}"
        for each in MAKE.PICTURES
        for theme in MAKE.THEMES
        for end in (".svg", ".png")
    }
    there = {path.name for path in FOLDER.iterdir() if path.suffix in (".svg", ".png")}
    assert there - {"hunt.svg"} == wanted  # the recording's: tests/unit/test_recording.py


@pytest.mark.parametrize("picture", MAKE.PICTURES, ids=lambda each: each.name)
def test_both_themes_show_the_same(picture: Any) -> None:
    texts = [
        [
            line.rpartition(" ")[2]
            for line in MAKE.content((FOLDER / f"{picture.name}-{theme}.svg").read_text())
        ]
        for theme in MAKE.THEMES
    ]
    assert "".join(texts[0]).replace("&#160;", "") == "".join(texts[1]).replace("&#160;", "")


def test_the_readme_shows_pictures_that_are_drawn() -> None:
    text = (FOLDER.parent / "README.md").read_text()
    assert text.count("](screenshots/") >= 4
