"""The themes, and the ink that the line-drawn widgets take their styles from.

Every pair of text and ground of the light and the dark theme has a contrast of at least 4.5 to 1 (WCAG AA), of the
high-contrast one 7 to 1 (AAA), rules and cursor grounds excepted; a test computes it. The `ansi` theme takes the
terminal's own sixteen colours on its own ground, light or dark, and so promises nothing. No meaning is carried by colour
alone: each has its own sign or word beside it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from rich.style import Style
from textual.theme import Theme

__all__ = ["DARK", "LIGHT", "PALETTES", "THEMES", "Ink", "Palette", "ink", "textual_theme"]


class Palette(NamedTuple):
    """The colours of one theme, as #rrggbb; those of `ansi` are the terminal's, by Rich's names, on its own ground."""

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
    ansi: bool = False


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

CONTRAST: Final = Palette(
    name="hwbp-contrast",
    dark=True,
    ground="#000000",
    raised="#1c1c1c",
    cursor="#00468c",
    cursor_far="#2b2b2b",
    rule="#a8a8a8",
    text="#ffffff",
    strong="#ffffff",
    muted="#d6d6d6",
    accent="#8fd0ff",
    symbol="#8dffa8",
    value="#ffe36e",
    warm="#ffc27a",
    error="#ffb3ad",
    good="#8dffa8",
    perf="#8fd0ff",
    ptrace="#e5c9ff",
    kgdb="#ffc27a",
    ftrace="#7dfbe0",
    kvm="#ffb8de",
)

ANSI: Final = Palette(
    name="hwbp-ansi",
    dark=True,
    ground="default",
    raised="default",
    cursor="default",
    cursor_far="default",
    rule="default",
    text="default",
    strong="default",
    muted="default",
    accent="blue",
    symbol="green",
    value="magenta",
    warm="red",
    error="red",
    good="green",
    perf="blue",
    ptrace="magenta",
    kgdb="red",
    ftrace="cyan",
    kvm="magenta",
    ansi=True,
)

PALETTES: Final = {palette.name: palette for palette in (DARK, LIGHT, CONTRAST, ANSI)}

THEMES: Final = {"dark": DARK.name, "light": LIGHT.name, "high-contrast": CONTRAST.name, "ansi": ANSI.name}
"""What people call them."""


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
    """The ink for a theme; where there is no ground of ours, attributes do what it did."""
    p = PALETTES.get(name, DARK)
    grounds = colour and not p.ansi

    def on(foreground: str, *, bold: bool = False, ground: str = p.ground, underline: bool = False) -> Style:
        return Style(color=foreground, bgcolor=ground, bold=bold, underline=underline)

    def bar(foreground: str, *, bold: bool = False) -> Style:
        if p.ansi:  # the terminal's own text and ground, changed places: its colours may not be readable so
            return Style(color="default", bgcolor="default", bold=bold, reverse=True)
        return on(foreground, bold=bold, ground=p.raised)

    dim = Style(dim=not grounds)
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
        bar=bar(p.text),
        bar_strong=bar(p.strong, bold=True),
        bar_muted=bar(p.muted) + Style(dim=not colour),
        bar_good=bar(p.good, bold=True),
        bar_warn=bar(p.warm, bold=True),
        bar_error=bar(p.error, bold=True),
        key=bar(p.accent, bold=True),
        cursor=bar("", bold=True) if p.ansi else Style(bgcolor=p.cursor, bold=True, reverse=not grounds),
        cursor_far=Style(bgcolor=p.cursor_far, underline=not grounds),
        reverse=Style(color=p.ground, bgcolor=p.accent, bold=True, reverse=not grounds)
        if not p.ansi
        else Style(color="default", bgcolor="default", bold=True, reverse=True),
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

    def named(colour: str) -> str:
        return f"ansi_{colour}" if palette.ansi else colour

    if palette.ansi:
        cursor = {
            "ansi-background": "ansi_default",
            "ansi-foreground": "ansi_default",
            "input-cursor-background": "ansi_default",
            "input-cursor-foreground": "ansi_default",
            "input-cursor-text-style": "reverse",
            "block-cursor-background": "ansi_default",
            "block-cursor-foreground": "ansi_default",
            "block-cursor-text-style": "reverse",
        }
    else:
        cursor = {
            "input-cursor-background": palette.strong,
            "input-cursor-foreground": palette.ground,
            "block-cursor-background": palette.cursor,
            "block-cursor-foreground": palette.strong,
        }
    return Theme(
        name=palette.name,
        primary=named(palette.accent),
        secondary=named(palette.ptrace),
        accent=named(palette.warm),
        warning=named(palette.value),
        error=named(palette.error),
        success=named(palette.good),
        foreground=named(palette.text),
        background=named(palette.ground),
        surface=named(palette.raised),
        panel=named(palette.cursor_far),
        dark=palette.dark,
        ansi=palette.ansi,
        variables=cursor,
    )
