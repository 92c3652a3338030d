"""A picture of the app as a text that can be read and compared: its lines, then the styles of each line.

Fifty times smaller than the SVG of the same screen. `HWBP_PICTURES=FOLDER pytest tests/snapshots` also draws the SVG of
each, to be looked at.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from rich.style import Style

if TYPE_CHECKING:
    from tui.app.app import HwbpApp

__all__ = ["Pictures", "picture"]

_FOLDER = Path(__file__).parent / "pictures"
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _words(style: Style) -> str:
    """`#c9d1dc on #10141b bold`; the terminal's own colours by their names."""

    def colour(found: object) -> str:
        return getattr(found, "name", "none")

    names = ("bold", "dim", "italic", "underline", "reverse", "strike")
    said = [colour(style.color), "on", colour(style.bgcolor), *(n for n in names if getattr(style, n))]
    return " ".join(said)


def picture(app: HwbpApp) -> str:
    """What is on the screen."""
    letters: dict[str, str] = {}
    texts, runs = [], []
    for strip in app.screen._compositor.render_strips(app.size):
        texts.append(strip.text.rstrip())
        row: list[tuple[str, int]] = []
        for segment in strip:
            words = _words(segment.style or Style())
            letter = letters.setdefault(words, _LETTERS[len(letters) % len(_LETTERS)])
            if row and row[-1][0] == letter:
                row[-1] = letter, row[-1][1] + segment.cell_length
            else:
                row.append((letter, segment.cell_length))
        runs.append(" ".join(f"{letter}{cells}" for letter, cells in row))
    assert len(letters) <= len(_LETTERS), "more styles than letters"
    legend = [f"{letter} {words}" for words, letter in letters.items()]
    return "\n".join([*texts, "", *runs, "", *legend, ""])


class Pictures:
    """Compares what is drawn with what was looked at and kept; collects what differs, so that one run shows all of it."""

    def __init__(self, update: bool) -> None:
        self._update = update
        self.differing: list[str] = []

    def see(self, app: HwbpApp, name: str) -> None:
        """The screen must look like the picture of that name."""
        drawn, path = picture(app), _FOLDER / f"{name}.txt"
        if folder := os.environ.get("HWBP_PICTURES"):
            app.save_screenshot(f"{name}.svg", folder)
        kept = path.read_text() if path.exists() else ""
        if drawn == kept:
            return
        if self._update:
            _FOLDER.mkdir(exist_ok=True)
            path.write_text(drawn)
            return
        lines, wanted = drawn.splitlines(), kept.splitlines()
        at = next(
            (n for n, (a, b) in enumerate(zip(lines, wanted, strict=False)) if a != b),
            min(len(lines), len(wanted)),
        )
        new = lines[at] if at < len(lines) else "(it ends)"
        old = wanted[at] if at < len(wanted) else "(it ends)" if wanted else "(there was no picture)"
        self.differing.append(f"{name}, line {at + 1}:\n  now  {new!r}\n  kept {old!r}")

    def check(self) -> None:
        """Fails with all that differed. `pytest tests/snapshots --snapshot-update` keeps what is drawn now."""
        assert not self.differing, "\n".join(
            [f"{len(self.differing)} pictures differ (--snapshot-update keeps them):", *self.differing]
        )
