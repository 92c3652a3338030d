"""A chart over the machine's time: what its keys and the wheel do to the span that it shows."""

from __future__ import annotations

from tui.app.panel import Panel
from tui.app.time_span import TimeSpan

__all__ = ["TimeAxisPanel"]


class TimeAxisPanel(Panel, can_focus=True, inherit_bindings=False):
    """`time` is the span. A subclass says what the newest moment is, what all of it is, and looks anew when it moved."""

    def __init__(self, id: str) -> None:  # noqa: A002 - Textual's word
        super().__init__(id)
        self.time = TimeSpan()

    @property
    def now(self) -> int:
        """The newest moment that is known, in ticks of the machine's clock."""
        raise NotImplementedError

    @property
    def left(self) -> int:
        """Cells before the first column."""
        raise NotImplementedError

    def fit(self) -> None:
        """All that is known in one window."""
        raise NotImplementedError

    def moved(self) -> None:
        """The span is another one: look, and draw."""
        raise NotImplementedError

    @property
    def columns(self) -> int:
        """Columns of time."""
        return max(1, self.size.width - self.left)

    @property
    def clock(self) -> str:
        """The unit of time."""
        return self.scene.view.clock if self.scene.view else "instructions"

    @property
    def following(self) -> bool:
        """The right edge is the newest moment."""
        return self.time.following

    def span(self) -> tuple[int, int]:
        """The time that is shown, as (start, end)."""
        return self.time.of(self.columns, self.now)

    def scroll_time(self, by: int) -> None:
        """Earlier or later, by half a window; whoever calls this says that it moved."""
        if by:
            self.time.scroll(by, self.columns, self.now)

    def newest(self) -> bool:
        """The newest moment, and follow it."""
        self.time.following = True
        self.moved()
        return True

    def toggle_follow(self) -> bool:
        """Follow the newest moment, or stay."""
        _, self.time.end = self.span()
        self.time.following = not self.time.following
        self.moved()
        return True

    def zoom(self, by: int) -> bool:
        """Finer (negative) or coarser, around the right edge; 0: all of it."""
        if by:
            self.time.zoom(by, self.columns, self.now)
        else:
            self.fit()
        self.moved()
        return True

    def on_mouse_scroll_up(self) -> None:
        """Finer."""
        self.zoom(-1)

    def on_mouse_scroll_down(self) -> None:
        """Coarser."""
        self.zoom(1)
