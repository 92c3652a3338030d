"""The recording of a live hunt: a valid asciicast, the picture that belongs to it, and what it shows."""

from __future__ import annotations

import importlib.util
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parents[2] / "screenshots"
TEXT = (FOLDER / "hunt.cast").read_text()


def _cast() -> ModuleType:
    spec = importlib.util.spec_from_file_location("screenshots_cast", FOLDER / "cast.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CAST = _cast()


def test_it_is_an_asciicast_of_version_2() -> None:
    head, *events = map(json.loads, TEXT.splitlines())
    assert head["version"] == 2
    assert head["width"] >= 80
    assert head["height"] >= 24
    times = [event[0] for event in events]
    assert times == sorted(times)
    assert {event[1] for event in events} == {"o", "m"}
    assert len(TEXT) < 500_000


def test_it_shows_the_hunt_of_the_readme() -> None:
    shown = ["\n".join(re.sub(r"\x1b\[[0-9;]*m", "", line) for line in f.lines) for f in CAST.frames(TEXT)]
    assert "RUNNING" in shown[0]
    for text in ("HOW IT COMES THERE", "FROM HERE", "i <= sizeof", "if value == 0", "clear_visits"):
        assert any(text in screen for screen in shown), text
    assert not any("Traceback" in screen or "refused" in screen.split("\n")[-2] for screen in shown)


def test_its_picture_is_drawn_from_it() -> None:
    width = json.loads(TEXT.splitlines()[0])["width"]
    kept = (FOLDER / "hunt.svg").read_text()
    assert kept == CAST.picture(CAST.frames(TEXT)[::2], width), "out of date: make recording"
    assert len(kept.encode()) < 500_000
    ET.fromstring(kept)
    assert "http" not in kept.replace("http://www.w3.org/2000/svg", "")


def test_what_was_written_is_read_back() -> None:
    first = CAST.Frame(0.0, ("a", "\x1b[1mb\x1b[0m", "]"), "one")
    second = CAST.Frame(0.5, ("a", "c", "]"), "two & <three>")
    text = CAST.written([first, second, second._replace(at=1.0)], 10, "t")
    assert CAST.frames(text) == [first, second, second._replace(at=1.0)]
    assert "two &amp; &lt;three&gt;" in CAST.picture([first, second], 10)
