"""The signs of the screen, once in Unicode and once in ASCII, and the filter that keeps `--ascii` honest."""

from __future__ import annotations

from typing import Final, NamedTuple

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

__all__ = ["ASCII", "UNICODE", "AsciiOnly", "Glyphs"]


class Glyphs(NamedTuple):
    """One set of signs. Every sign is one cell wide except `arrow`, `ellipsis` and `stack`."""

    rule: str
    rule_focus: str
    corners: str
    corners_focus: str
    side: str
    side_focus: str
    divider: str
    cursor: str
    changed: str
    refused: str
    unknown: str
    flash: str
    running: str
    stopped: str
    arrow: str
    stack: str
    ellipsis: str
    bars: str
    dot: str


UNICODE: Final = Glyphs(
    rule="─",
    rule_focus="━",
    corners="╭╮╰╯",
    corners_focus="┏┓┗┛",
    side="│",
    side_focus="┃",
    divider="│",
    cursor="▸",
    changed="*",
    refused="!",
    unknown="?",
    flash="●",
    running="▶",
    stopped="■",
    arrow="→",
    stack=" ← ",
    ellipsis="…",
    bars=" ▁▂▃▄▅▆▇█",
    dot="·",
)

ASCII: Final = Glyphs(
    rule="-",
    rule_focus="=",
    corners="++++",
    corners_focus="####",
    side="|",
    side_focus="#",
    divider="|",
    cursor=">",
    changed="*",
    refused="!",
    unknown="?",
    flash="o",
    running=">",
    stopped="#",
    arrow="->",
    stack=" < ",
    ellipsis="..",
    bars=" .:-=+*#@",
    dot=".",
)

_BOX = str.maketrans(
    {
        **dict.fromkeys("─━═╌╍┄┅┈┉▔▁▂▃", "-"),
        **dict.fromkeys("│┃║╎╏┆┇┊┋▏▎▍▌▐▕", "|"),
        **dict.fromkeys("╭╮╰╯┌┐└┘┏┓┗┛╔╗╚╝├┤┬┴┼┣┫┳┻╋▖▗▘▝", "+"),
        **dict.fromkeys("▄▅▆▇█▀▊▉▋", "#"),
        **dict.fromkeys("•·●○⭘", "."),
        **dict.fromkeys("▶▸→", ">"),
        **dict.fromkeys("◀◂←", "<"),
        **dict.fromkeys("▲△↑", "^"),
        **dict.fromkeys("▼▽↓", "v"),
        "…": ".",
        "−": "-",  # noqa: RUF001
        "–": "-",  # noqa: RUF001
        "—": "-",
        "\u2022": "*",
        "\u00a0": " ",
    }
)


class AsciiOnly(LineFilter):
    """The last thing before the terminal: whatever draws, only ASCII leaves, cell for cell."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """Replace every other character by its nearest sign, a wide one by two."""
        return [
            segment if segment.text.isascii() else Segment(_ascii(segment), segment.style, segment.control)
            for segment in segments
        ]


def _ascii(segment: Segment) -> str:
    text = segment.text.translate(_BOX)
    if text.isascii():
        return text
    from rich.cells import get_character_cell_size

    return "".join(c if c.isascii() else "?" * get_character_cell_size(c) for c in text)
