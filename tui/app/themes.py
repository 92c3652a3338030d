"""The two themes, and the ink that the line-drawn widgets take their styles from.

Every pair of text and ground here has a contrast of at least 4.5 to 1 (WCAG AA), rules and cursor grounds excepted;
a test computes it. No meaning is carried by colour alone: each has its own sign or word beside it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from rich.style import Style
from textual.theme import Theme

__all__ = ["DARK", "LIGHT", "PALETTES", "Ink", "Palette", "ink", "textual_theme"]


class Palette(NamedTuple):
    """The colours of one theme, as #rrggbb."""

    name: str
    dark: bool
    ground: str
    raised: str
    cursor: str
    cursor_far: str
    rule: str
    text: str
    strong: str
    muted: str
    accent: str
    symbol: str
    value: str
    warm: str
    error: str
    good: str
    perf: str
    ptrace: str
    kgdb: str
    ftrace: str
    kvm: str


DARK: Final = Palette(
    name="hwbp-dark",
    dark=True,
    ground="#10141b",
    raised="#1a212c",
    cursor="#27405f",
    cursor_far="#1c2736",
    rule="#3b4657",
    text="#c9d1dc",
    strong="#f2f5f9",
    muted="#8a96a8",
    accent="#6cb6ff",
    symbol="#8ddb9c",
    value="#f0c674",
    warm="#ffab70",
    error="#ff8f88",
    good="#7ee2a0",
    perf="#79c0ff",
    ptrace="#d2a8ff",
    kgdb="#ffab70",
    ftrace="#7ee2c8",
    kvm="#ff9bce",
)

LIGHT: Final = Palette(
    name="hwbp-light",
    dark=False,
    ground="#fbfaf7",
    raised="#eeece6",
    cursor="#c9dcf5",
    cursor_far="#e8e9ea",
    rule="#b4b2aa",
    text="#2b313b",
    strong="#0b0e13",
    muted="#5a616c",
    accent="#0a4fa3",
    symbol="#14612c",
    value="#7a4a00",
    warm="#8f3d00",
    error="#a80f25",
    good="#14612c",
    perf="#0a4fa3",
    ptrace="#6a31b0",
    kgdb="#8f3d00",
    ftrace="#0b5c5c",
    kvm="#9c1260",
)

PALETTES: Final = {palette.name: palette for palette in (DARK, LIGHT)}


class Ink(NamedTuple):
    """Ready styles, each with its ground, so that a line needs no second pass."""

    base: Style
    strong: Style
    muted: Style
    rule: Style
    title: Style
    rule_focus: Style
    accent: Style
    symbol: Style
    value: Style
    changed: Style
    warn: Style
    error: Style
    good: Style
    bar: Style
    bar_strong: Style
    bar_muted: Style
    bar_good: Style
    bar_warn: Style
    bar_error: Style
    key: Style
    cursor: Style
    cursor_far: Style
    reverse: Style
    owners: dict[str, Style]

    def owner(self, kind: str) -> Style:
        """The style of an owner's name."""
        return self.owners.get(kind, self.warn)


@lru_cache(8)
def ink(name: str, colour: bool = True) -> Ink:
    """The ink for a theme; without colour, attributes do what the ground did."""
    p = PALETTES.get(name, DARK)

    def on(foreground: str, *, bold: bool = False, ground: str = p.ground, underline: bool = False) -> Style:
        return Style(color=foreground, bgcolor=ground, bold=bold, underline=underline)

    dim = Style(dim=not colour)
    return Ink(
        base=on(p.text),
        strong=on(p.strong, bold=True),
        muted=on(p.muted) + dim,
        rule=on(p.rule) + dim,
        title=on(p.strong, bold=True),
        rule_focus=on(p.accent, bold=True),
        accent=on(p.accent),
        symbol=on(p.symbol),
        value=on(p.value),
        changed=on(p.warm, bold=True),
        warn=on(p.warm, bold=True),
        error=on(p.error, bold=True),
        good=on(p.good),
        bar=on(p.text, ground=p.raised),
        bar_strong=on(p.strong, bold=True, ground=p.raised),
        bar_muted=on(p.muted, ground=p.raised) + dim,
        bar_good=on(p.good, bold=True, ground=p.raised),
        bar_warn=on(p.warm, bold=True, ground=p.raised),
        bar_error=on(p.error, bold=True, ground=p.raised),
        key=on(p.accent, bold=True, ground=p.raised),
        cursor=Style(bgcolor=p.cursor, bold=True, reverse=not colour),
        cursor_far=Style(bgcolor=p.cursor_far, underline=not colour),
        reverse=Style(color=p.ground, bgcolor=p.accent, bold=True, reverse=not colour),
        owners={
            "perf": on(p.perf),
            "ptrace": on(p.ptrace),
            "kgdb": on(p.kgdb),
            "ftrace": on(p.ftrace),
            "kvm": on(p.kvm),
            "module": on(p.kvm),
            "hand": on(p.warm, bold=True),
            "program": on(p.warm),
            "unknown": on(p.warm, bold=True),
        },
    )


def textual_theme(palette: Palette) -> Theme:
    """The same colours for Textual's own widgets: the input, the palette, the scrollbars."""
    return Theme(
        name=palette.name,
        primary=palette.accent,
        secondary=palette.ptrace,
        accent=palette.warm,
        warning=palette.value,
        error=palette.error,
        success=palette.good,
        foreground=palette.text,
        background=palette.ground,
        surface=palette.raised,
        panel=palette.cursor_far,
        dark=palette.dark,
        variables={
            "input-cursor-background": palette.strong,
            "input-cursor-foreground": palette.ground,
            "block-cursor-background": palette.cursor,
            "block-cursor-foreground": palette.strong,
        },
    )
