"""The base of everything on the main screen: a widget that draws itself line by line and repaints what changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from rich.style import Style
from textual.binding import BindingType
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from tui.app.glyphs import UNICODE, Glyphs
from tui.app.line import Line
from tui.app.themes import DARK, Ink, ink

if TYPE_CHECKING:
    from tui.app.app import HwbpApp
    from tui.app.keymap import Where
    from tui.app.places import Spot
    from tui.app.records import Record
    from tui.app.scene import Scene

__all__ = ["Panel"]


class Panel(Widget, inherit_bindings=False):
    """Draws `lines()`; `redraw()` compares with what is on the screen and repaints only the lines that differ.

    `ink` and `glyphs` are those of the app, taken anew for every picture.
    """

    DEFAULT_CSS = "Panel { background: transparent; }"
    BINDINGS: ClassVar[list[BindingType]] = []
    help: ClassVar[str] = ""
    title: ClassVar[str] = ""

    class Moved(Message):
        """It stands on another hit."""

    where: ClassVar[Where] = "app"
    """The panel's name in the key table."""
    shown = True
    """Whether the view that is open has a place for it; what is hidden is neither drawn nor focused."""
    jump = ""
    """The letter that focuses it, while the letters are on the screen."""

    def __init__(self, id: str) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id)
        self.drawings = 0
        """How often it was drawn."""
        self._strips: list[Strip] = []
        self._drawn_for: tuple[int, int] = (0, 0)
        self.ink: Ink = ink(DARK.name)
        self.glyphs: Glyphs = UNICODE

    @property
    def desk_app(self) -> HwbpApp:
        """The app, by its own type."""
        return cast("HwbpApp", self.app)

    @property
    def scene(self) -> Scene:
        """What there is to draw."""
        return self.desk_app.scene

    def lines(self, width: int, height: int) -> list[Strip]:
        """The picture: at most `height` strips of `width` cells."""
        raise NotImplementedError

    # What keys mean here. Each returns whether it means anything: else it is for the view's main panel.

    def arrow(self, right: int, down: int) -> bool:
        """An arrow key."""
        return False

    def page(self, by: int) -> bool:
        """A window up (negative) or down."""
        return False

    def oldest(self) -> bool:
        """The first of what it shows."""
        return False

    def newest(self) -> bool:
        """The last of it; what follows follows again."""
        return False

    def toggle_follow(self) -> bool:
        """Follow the newest, or stay."""
        return False

    def open(self) -> bool:
        """Enter: more about what is under the cursor."""
        return False

    def zoom(self, by: int) -> bool:
        """Finer (negative) or coarser, or (0) everything."""
        return False

    def leave(self) -> bool:
        """Escape: take away the last thing that was laid over it (a filter, a grouping)."""
        return False

    # A line that is typed for the panel: `purpose` is what it was opened for ("filter", "find")

    def line_text(self, purpose: str) -> str:
        """What it begins with."""
        return ""

    def line_typed(self, purpose: str, text: str) -> str:
        """It changed; returns what to say about it."""
        return ""

    def line_done(self, purpose: str, text: str | None) -> str:
        """It was entered, or (None) left; returns what is wrong with it."""
        return ""

    def complete(self, text: str) -> list[str]:
        """What could stand there instead."""
        return []

    def selected_hit(self) -> Record | None:
        """The hit under the cursor, where the panel stands on one."""
        return None

    def spot(self) -> Spot | None:
        """What the cursor is on, where that has an address: what *from here* starts from."""
        return None

    # What time brings, while it is shown

    def advance(self) -> None:
        """A frame in which the ring or the machine moved; also when the panel comes into view."""

    def sampled(self) -> None:
        """Four times a second."""

    def place(self, shown: bool) -> None:
        """Whether the open view has a place for it."""
        if shown and not self.shown:
            self._drawn_for = (0, 0)
            self.shown = True
            self.refresh()  # Textual keeps the lines of a widget that was away, and its size is not known yet
            self.advance()
        self.shown = shown

    def label(self, letter: str) -> None:
        """Put the letter that focuses it on its corner, or take it away."""
        if letter != self.jump:
            self.jump = letter
            self.redraw()

    def allow_focus(self) -> bool:
        """Only what is on the screen."""
        return self.can_focus and self.shown

    # What is copied

    def as_text(self) -> str:
        """What is shown, line by line."""
        return "\n".join(strip.text.rstrip() for strip in self._strips)

    def row_text(self) -> str:
        """The line under the cursor, which its sign begins; "" where there is none."""
        for strip in self._strips:
            if strip.text.startswith(self.glyphs.cursor):
                return " ".join(strip.text[1:].split())
        return ""

    def line(self, width: int) -> Line:
        """An empty line."""
        return Line(width, self.ink.base, self.glyphs.ellipsis)

    def rule(
        self, width: int, title: str, *, after: str = "", right: str = "", right_style: Style | None = None
    ) -> Strip:
        """The line above a panel; heavy where the focus is, so that no colour is needed to see it."""
        ink, glyphs = self.ink, self.glyphs
        sign, style = (glyphs.rule_focus, ink.rule_focus) if self.has_focus else (glyphs.rule, ink.rule)
        line = self.line(width).add(sign, style).add(f" {title} ", ink.title)
        if after:
            line.add(f"{after} ", ink.muted)
        if right:
            line.end((f" {right} ", right_style or ink.muted), (sign, style), fill=sign, style=style)
        return line.to(width, sign, style).strip()

    def redraw(self) -> None:
        """Draw anew; unchanged lines cost nothing further."""
        width, height = self.size
        if not self.shown or not self.is_mounted or not width or not height:
            return
        before, drawn_for = self._strips, self._drawn_for
        self._strips = strips = self._draw(width, height)
        if drawn_for != (width, height) or len(before) != len(strips):
            self.refresh()
            return
        changed = [y for y, (old, new) in enumerate(zip(before, strips, strict=True)) if old != new]
        if changed:
            self.refresh(*(Region(0, y, width, 1) for y in changed))

    def render_line(self, y: int) -> Strip:
        """One line of the picture."""
        width, height = self.size
        if self._drawn_for != (width, height):
            self._strips = self._draw(width, height)
        if y < len(self._strips):
            return self._strips[y]
        return self.line(width).strip()

    def _draw(self, width: int, height: int) -> list[Strip]:
        self.drawings += 1
        app = self.desk_app
        self.ink, self.glyphs = app.ink, app.glyphs
        strips = self.lines(width, height)[:height]
        blank = self.line(width).strip()
        self._drawn_for = (width, height)
        if self.jump and strips and width > 2:
            letter = self.line(2).add(self.jump, self.ink.reverse).strip()
            strips[0] = Strip.join([letter, strips[0].crop(2, width)])
        return strips + [blank] * (height - len(strips))

    def watch_has_focus(self, has_focus: bool) -> None:
        """The rule shows where the focus is."""
        super().watch_has_focus(has_focus)
        self.redraw()
