"""Draws the pictures of the README from the app itself, on the real emulated machine: `make screenshots`.

Each picture is an SVG that Textual exports, and a PNG of it where `rsvg-convert` is installed (with `pngquant` a small one). Three things are mended
on the way: blanks at the ends of a text (SVG drops them unless told otherwise); the width of a letter, which the SVG
takes for 12.2 pixels and Fira Code draws 12 wide; and Fira Code's ligatures, which draw 0x7ff with a
multiplication sign: a private fontconfig file switches them off.

The states are deterministic: the program stops at a hit by its number, and rates, which are measured against the
wall clock, are fed by a clock of our own.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if TYPE_CHECKING:
    from tui.app.app import HwbpApp
    from tui.session.demos import Demo
    from tui.session.session import Session

HERE = Path(__file__).resolve().parent
PROGRAMS = HERE.parent / "backends" / "emulated" / "programs"
THEMES = {"dark": "hwbp-dark", "light": "hwbp-light"}
WATCHES = ("watch cfg.limits[3]", "watch cfg.limits[0]", "ptrace watch cfg.limits[2]", "hbreak reset_one")

_STOPS = 24

_COLUMN = 12.2
_PIECE = 4
_TEXT = re.compile(
    r'<text( class="[^"]*-r\d+" )x="([\d.]+)"( y="[\d.]+") textLength="[\d.]+"([^>]*)>([^<]*)</text>'
)

MENDED = (
    ("<svg ", '<svg xml:space="preserve" '),
    ("<style>", "<style>text{white-space:pre}"),
)

FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>/usr/share/fonts</dir><cachedir>{cache}</cachedir>
<match target="font"><test name="family"><string>Fira Code</string></test>
<edit name="fontfeatures" mode="append"><string>calt=0</string><string>liga=0</string></edit></match></fontconfig>
"""


@dataclass(frozen=True)
class Picture:
    """A name, a size, and how to get there: command lines, then keys."""

    name: str
    size: tuple[int, int]
    lines: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    demo: str = ""


MACHINE = (*WATCHES, "run")
VIEWS = {
    "2": "hits",
    "3": "sites",
    "4": "values",
    "5": "timeline",
    "6": "code",
    "7": "memory",
    "8": "registers",
}

PICTURES = (
    Picture("main-80x24", (80, 24), MACHINE),
    Picture("main-140x45", (140, 45), MACHINE),
    *(Picture(f"{name}-120x40", (120, 40), MACHINE, (key,)) for key, name in VIEWS.items()),
    Picture("arming-120x40", (120, 40), WATCHES[:2], ("w", *"cfg.limits/24")),
    Picture("bits-140x45", (140, 45), MACHINE, ("shift+tab", "shift+tab", "left", "left", "space")),
    Picture("help-100x30", (100, 30), WATCHES, ("f1",)),
    Picture("contention-100x30", (100, 30), (), ("right",) * 6, demo="contention"),
    Picture("kgdb-100x30", (100, 30), (), ("right",) * 7, demo="kgdb"),
)


def alike(program: str) -> str:
    """A path to a built-in program that is as long wherever the clone is: it lies on the program's stack."""
    folder = tempfile.mkdtemp(prefix="hwbp-tui-", dir="/tmp")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = os.path.join(folder, program)
    os.symlink(PROGRAMS / program, path)
    return path


def _open(program: str) -> Future[Session]:
    from backends.base import Launch
    from backends.spawn import spawn
    from tui.session.open import open_session

    opening: Future[Session] = Future()
    opening.set_result(open_session(spawn("emulated"), Launch(alike(program))))
    return opening


def _app(picture: Picture, clock: Callable[[], float]) -> HwbpApp:
    from tui.app.app import HwbpApp
    from tui.session.demos import find_demo

    demo: Demo | None = find_demo(picture.demo) if picture.demo else None
    return HwbpApp(_open(demo.program if demo else "counter"), demo=demo, fps=0, clock=clock)


async def _settle(pilot: Any) -> None:
    app: HwbpApp = pilot.app
    for _ in range(400):
        await pilot.pause()
        app.tick()
        while not app.machine.idle:
            await pilot.pause(0.002)
        await pilot.pause()
        view, ring = app.scene.view, app.scene.ring
        if view is None or ring is None or app.scene.names.wanted or app.scene.running:
            continue
        if ring.word("generation") == view.generation and view.state == ring.state:
            return
        await pilot.pause(0.005)
    raise SystemExit("the machine never came to rest")


async def draw(picture: Picture, theme: str) -> str:
    """The SVG of one picture."""
    now = 0.0
    app = _app(picture, lambda: now)
    async with app.run_test(size=picture.size) as pilot:
        app.theme = THEMES[theme]
        await _settle(pilot)
        app.sample()
        for line in picture.lines:
            steps = ["continue"] * _STOPS if line == "run" else [line]  # each ends at a hit of ptrace's
            for step in steps:
                app.run_line(step, quiet=True)
                await _settle(pilot)
                now += 0.25
                app.sample()
        await _settle(pilot)
        for key in picture.keys:
            await pilot.press(key)
            await _settle(pilot)
            app.sample()
        if app.where == "command":  # what half a second without a key brings: the type and the value
            app.machine.propose(app.command_line.value, True, app._proposed)
        again = 0 if app.open_view.key == "1" else 3  # a view reads more in answer to what it has read
        for _ in range(again):
            await _settle(pilot)
            now += 0.25
            app.sample()
        await _settle(pilot)
        svg = app.export_screenshot()
    session = app.scene.session
    if session is not None:
        session.close()
    for old, new in MENDED:
        svg = svg.replace(old, new, 1)
    return svg


def _in_place(match: re.Match[str]) -> str:
    """One text as several short ones, each at its own column: letters are narrower than the columns by a hair, and signs that come
    from another font by more."""
    before, x, between, after, content = match.groups()
    letters = re.findall(r"&[^;]+;|.", content)
    starts = [0]
    for at in range(1, len(letters)):
        if at - starts[-1] == _PIECE or not letters[at - 1].isascii():
            starts.append(at)
    return "".join(
        f'<text{before}x="{float(x) + start * _COLUMN:.1f}"{between}{after}>{"".join(letters[start:end])}</text>'
        for start, end in zip(starts, [*starts[1:], len(letters)], strict=True)
    )


def png(svg: Path) -> None:
    """Draw the PNG beside an SVG."""
    with tempfile.TemporaryDirectory() as folder:
        fonts = Path(folder) / "fonts.conf"
        fonts.write_text(FONTS.format(cache=folder))
        placed = Path(folder) / "placed.svg"
        placed.write_text(_TEXT.sub(_in_place, svg.read_text()))
        command = ["rsvg-convert", "-o", str(svg.with_suffix(".png")), str(placed)]
        subprocess.run(command, check=True, env={**os.environ, "FONTCONFIG_FILE": str(fonts)})
    if shutil.which("pngquant"):  # a picture of text needs few colours: a fifth of the size
        small = ["pngquant", "--force", "--ext", ".png", "--nofs", "48", str(svg.with_suffix(".png"))]
        subprocess.run(small, check=True)


def content(svg: str) -> list[str]:
    """The texts of a picture with their colours, without what a version of Textual or Rich calls its classes and clips."""
    named = {}
    for name, style in re.findall(r"\.terminal-\d+-(r\d+) \{([^}]*)\}", svg):
        named[name] = re.sub(r"\s", "", style)
    found = re.findall(
        r'<text class="terminal-\d+-(r\d+)" x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]*)</text>', svg
    )
    return [f"{y} {x} {named.get(name, '')} {text}" for name, x, y, text in found]


def main(wanted: list[str]) -> int:
    """Draw all pictures, or those whose names begin with one of `wanted`."""
    for picture in PICTURES:
        if wanted and not picture.name.startswith(tuple(wanted)):
            continue
        for theme in THEMES:
            path = HERE / f"{picture.name}-{theme}.svg"
            path.write_text(asyncio.run(draw(picture, theme)))
            if shutil.which("rsvg-convert"):
                png(path)
            print(path.name)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
