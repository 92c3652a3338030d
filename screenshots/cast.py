"""A recording of a terminal as asciicast v2 (docs.asciinema.org/manual/asciicast/v2), and the moving picture of it.

Frames are what the terminal shows, line by line with its colours. The file holds of each frame the lines that changed, so any player
plays it, and `frames` reads exactly what was written. The picture is an SVG that moves by itself: each distinct line is drawn once,
each frame is a list of lines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from html import escape
from itertools import pairwise
from typing import Final, NamedTuple

from rich.style import Style
from rich.text import Text

__all__ = ["Frame", "frames", "picture", "written"]

_LINE: Final = re.compile(r"\x1b\[(\d+);1H(.*?)\x1b\[0m\x1b\[K", re.DOTALL)
_WIDE: Final = 8.4
_HIGH: Final = 18.0
_EDGE: Final = 10
_GROUND, _INK = "#0e1116", "#d8dee9"


class Frame(NamedTuple):
    """What the terminal showed from `at` (seconds) on, a line with its SGR sequences each; `said` is the caption."""

    at: float
    lines: tuple[str, ...]
    said: str


def written(frames: Sequence[Frame], width: int, title: str) -> str:
    """The recording's text."""
    head = {"version": 2, "width": width, "height": len(frames[0].lines), "title": title}
    head["env"] = {"TERM": "xterm-256color"}
    out = [json.dumps(head)]
    before: tuple[str, ...] = ()
    caption = ""
    for frame in frames:
        at = round(frame.at, 2)
        if frame.said != caption:
            caption = frame.said
            out.append(json.dumps([at, "m", caption], ensure_ascii=False))
        changed = [
            f"\x1b[{row};1H{line}\x1b[0m\x1b[K"
            for row, line in enumerate(frame.lines, 1)
            if not before or line != before[row - 1]
        ]
        if changed or frame is frames[-1]:
            start = "" if before else "\x1b[2J\x1b[?25l"
            out.append(json.dumps([at, "o", start + "".join(changed)], ensure_ascii=False))
        before = frame.lines
    return "\n".join(out) + "\n"


def frames(text: str) -> list[Frame]:
    """The frames of a recording that `written` wrote."""
    head, *events = map(json.loads, text.splitlines())
    lines, said, out = [""] * head["height"], "", []
    for at, kind, data in events:
        if kind == "m":
            said = data
            continue
        for row, line in _LINE.findall(data):
            lines[int(row) - 1] = line
        out.append(Frame(at, tuple(lines), said))
    return out


def picture(shown: Sequence[Frame], width: int, last: float = 3.0) -> str:
    """The SVG: as long as the recording and `last` seconds, again and again.

    Who asks for no motion, or draws none, sees the last frame.
    """
    end = shown[-1].at - shown[0].at + last
    height = len(shown[0].lines)
    styles: dict[str, str] = {}
    rows: dict[str, int] = {}
    drawn: list[str] = []
    groups: list[str] = []
    times = [frame.at - shown[0].at for frame in shown] + [end]
    rules: list[str] = []
    for number, frame in enumerate(shown):
        uses = []
        for row, line in enumerate(frame.lines):
            if line not in rows:
                rows[line] = len(rows)
                drawn.append(f'<g id="l{rows[line]}">{_row(line, styles)}</g>')
            uses.append(f'<use href="#l{rows[line]}" y="{row * _HIGH:g}"/>')
        caption = f'<text class="c" x="4" y="{height * _HIGH + 22:g}">{escape(frame.said)}</text>'
        groups.append(f'<g id="f{number}" class="f">{"".join(uses)}{caption}</g>')
        rules.append(_moment(number, times[number] / end, times[number + 1] / end, end))
    wide, high = width * _WIDE + 2 * _EDGE, height * _HIGH + 34 + 2 * _EDGE
    css = (
        f"text{{font:14px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;white-space:pre;fill:{_INK}}}"
        "rect{shape-rendering:crispEdges}"
        f".c{{fill:#f0c674;font-weight:bold}}.f{{visibility:hidden}}#f{len(shown) - 1}{{visibility:visible}}"
        + "".join(f".{name}{{{rule}}}" for rule, name in styles.items())
        + "".join(rules)
        + "@media(prefers-reduced-motion){.f{animation:none!important}}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xml:space="preserve" viewBox="0 0 {wide:g} {high:g}">'
        f"<style>{css}</style><defs>{''.join(drawn)}</defs>"
        f'<rect width="100%" height="100%" rx="6" fill="{_GROUND}"/>'
        f'<g transform="translate({_EDGE} {_EDGE})">{"".join(groups)}</g></svg>\n'
    )


def _moment(number: int, start: float, end: float, seconds: float) -> str:
    """Visible from `start` to `end`, parts of the whole."""
    begin, over = f"{start * 100:.3f}%", f"{end * 100:.3f}%"
    before = "" if start == 0 else "0%{visibility:hidden}"
    after = "" if end >= 1 else f"{over}{{visibility:hidden}}"
    return (
        f"@keyframes k{number}{{{before}{begin}{{visibility:visible}}{after}}}"
        f"#f{number}{{animation:k{number} {seconds:.2f}s step-end infinite}}"
    )


def _row(line: str, styles: dict[str, str]) -> str:
    """One line: grounds first, then text, each piece at its column."""
    grounds, texts = [], []
    for at, piece, style in _pieces(line):
        ink, ground, bold, dim = _colours(style)
        x, width = at * _WIDE, len(piece) * _WIDE
        if ground is not None:
            grounds.append(f'<rect x="{x:g}" width="{width:g}" height="{_HIGH:g}" fill="{ground}"/>')
        if piece.strip():
            rule = f"fill:{ink}" + (";font-weight:bold" if bold else "") + (";opacity:.6" if dim else "")
            name = styles.setdefault(rule, f"s{len(styles)}")
            said = piece.rstrip()
            lead = len(said) - len(said.lstrip())
            texts.append(
                f'<text class="{name}" x="{x + lead * _WIDE:g}" y="14" textLength="{(len(said) - lead) * _WIDE:g}">'
                f"{escape(said.lstrip(), quote=False)}</text>"
            )
    return "".join(grounds + texts)


def _pieces(line: str) -> Iterable[tuple[int, str, Style]]:
    """Runs of one style, with their column."""
    text = Text.from_ansi(line)
    plain = text.plain
    marks = sorted({0, len(plain), *(at for span in text.spans for at in (span.start, span.end))})
    for start, end in pairwise(marks):
        style = Style.null()
        for span in text.spans:
            if span.start <= start and end <= span.end and isinstance(span.style, Style):
                style += span.style
        yield start, plain[start:end], style


def _colours(style: Style) -> tuple[str, str | None, bool, bool]:
    ink = style.color.get_truecolor().hex if style.color is not None and not style.color.is_default else _INK
    ground = None
    if style.bgcolor is not None and not style.bgcolor.is_default:
        ground = style.bgcolor.get_truecolor().hex
    if style.reverse:
        ink, ground = ground or _GROUND, ink
    return ink, None if ground == _GROUND else ground, bool(style.bold), bool(style.dim)
