"""What the app looks like, as far as its user chose it: theme, signs, motion, and what leaves for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import App
from textual.driver import Driver
from textual.filter import ANSIToTruecolor, LineFilter, NoColor

from tui.app import glyphs, themes
from tui.session.settings import Settings

__all__ = ["Looks"]


class Looks(App[int], inherit_bindings=False):
    """The part of the app that settings shape before anything is drawn. `ascii` True wins over the settings."""

    def __init__(self, settings: Settings, ascii: bool) -> None:  # noqa: A002 - the option's name
        super().__init__()
        self.settings = settings
        for palette in themes.PALETTES.values():
            self.register_theme(themes.textual_theme(palette))
        self.set_reactive(
            Looks.theme, themes.THEMES[settings.theme]
        )  # the CSS is read once, before any style
        self.stylesheet.set_variables(self.get_css_variables())
        self.ascii = ascii or settings.ascii
        self.glyphs = glyphs.ASCII if self.ascii else glyphs.UNICODE
        if settings.motion == "reduced":
            self.animation_level = "none"

    @property
    def ink(self) -> themes.Ink:
        """The styles of the theme."""
        return themes.ink(self.theme, not self.no_color)

    def get_driver_class(self) -> type[Driver]:
        """Ours in the place of the usual one; a test or a browser has another."""
        from tui.app.driver import OutputDriver

        chosen = super().get_driver_class()
        return OutputDriver if issubclass(OutputDriver, chosen) else chosen

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Without colour none at all leaves (attributes do its work); in ASCII mode nothing else does.

        The terminal's own colours leave by their names: what makes others of them is for themes that have their own.
        """
        filters: list[LineFilter] = [NoColor()] if self.no_color else list(super().get_line_filters())
        if themes.PALETTES[self.theme].ansi:
            filters = [each for each in filters if not isinstance(each, ANSIToTruecolor)]
        return [*filters, glyphs.AsciiOnly()] if self.ascii else filters
