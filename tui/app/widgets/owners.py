"""Who holds the registers: the five owners of the layer, their accounting, and what was refused."""

from __future__ import annotations

from typing import ClassVar, Final

from rich.style import Style
from textual.events import Click
from textual.strip import Strip

from backends.model import Breakpoint, MachineView, Refusal
from tui.app.line import Line
from tui.app.panel import Panel
from tui.app.scene import books, owner_text
from tui.app.shown import shown
from tui.app.widgets.message import wrap
from tui.app.widgets.sequence import sequence_lines

__all__ = ["OwnersPanel"]

_INDENT: Final = 10
_KINDS: Final = ("perf", "ptrace", "kgdb", "ftrace", "kvm")


class OwnersPanel(Panel):
    """Counts in one line, or a line for each owner."""

    title = "OWNERS"
    help: ClassVar[str] = (
        "Who has reserved debug registers: each watch with its number, which `delete` takes. "
        "Pinned to CPUs and to the greediest task must fit into 4. "
        "Emulated, perf and ptrace were compared with a running kernel; kgdb, KVM and ftrace are modelled from source."
    )

    def on_click(self, _event: Click) -> None:
        """All of them, as a page."""
        self.desk_app.run_line("info owners")

    def lines(self, width: int, height: int) -> list[Strip]:
        """Two lines, or one for each owner and the books below."""
        view, cpu, ink = self.scene.view, self.scene.cpu, self.ink
        if view is not None and view.debug_exceptions is not None:
            return sequence_lines(self, view, width, height)
        sums = books(view, cpu) if view and cpu else ""
        refused = view.refused if view else 0
        style = ink.warn if refused else ink.muted
        sign = f"{self.glyphs.refused} " if refused else ""
        if view and view.disagreements:  # `info slots` says which
            style, sign = ink.warn, f"{self.glyphs.refused} books disagree  {sign}"
        if height <= 2:
            head = self.rule(
                width, self.title, after=sums, right=f"{sign}refused {refused}", right_style=style
            )
            return [head, self._counts(width)]
        head = self.rule(width, self.title, right=f"{sign}refused {refused}", right_style=style)
        rows = self._rows(width)
        return [head, *(rows if len(rows) < height else self._rows(width, whole=False))]

    def wanted(self, width: int) -> int:
        """Lines in which nothing is cut."""
        view, room = self.scene.view, width - _INDENT
        if view is None or view.debug_exceptions is not None:
            return 0
        texts = [self._describe(bp) for bp in view.breakpoints]
        texts += [", ".join(self.scene.waiting)] * bool(self.scene.waiting)
        texts += [_refused(refusal) for refusal in view.refusals[-1:]]
        nobody = any(not self._held(kind) for kind in self._kinds(view))
        return 2 + nobody + sum(len(wrap(text, room)) for text in texts)

    def _rows(self, width: int, whole: bool = True) -> list[Strip]:
        """A line for each watch of each owner, what waits, and the books. `whole`: with the ends of long ones on lines of their own."""
        view, cpu, ink = self.scene.view, self.scene.cpu, self.ink
        out: list[Strip] = []

        def add(line: Line, text: str, style: Style) -> None:
            parts = wrap(text, line.room) if whole else [text]
            out.append(line.add(parts[0] if parts else "", style).strip())
            more = (self.line(width).to(_INDENT).add(part, style) for part in parts[1:])
            out.extend(line.strip() for line in more)

        for kind in self._kinds(view):
            for number, bp in enumerate(held := self._held(kind)):
                line = self.line(width).add(" ").add("" if number else kind, ink.owner(kind), 6)
                line.add("" if number else f"{len(held):>2}", ink.strong, 2).add(" ")
                add(line, self._describe(bp), ink.base)
        none = [kind for kind in self._kinds(view) if not self._held(kind)]
        if none:
            line = self.line(width).add(" ")
            for kind in none:
                line.add(f"{kind} 0  ", ink.muted)
            out.append(line.strip())
        if self.scene.waiting:
            add(self.line(width).add(" waits", ink.warn, _INDENT), ", ".join(self.scene.waiting), ink.base)
        sums = books(view, cpu) if view and cpu else ""
        out.append(self.line(width).add(" books", ink.muted, _INDENT).add(sums, ink.strong).strip())
        if view and view.refusals:
            head = self.line(width).add(f" {self.glyphs.refused} last", ink.warn, _INDENT)
            add(head, _refused(view.refusals[-1]), ink.base)
        return out

    def _kinds(self, view: MachineView | None) -> list[str]:
        others = {b.owner.kind for b in view.breakpoints} - set(_KINDS) if view else set()
        return [*_KINDS, *sorted(others)]

    def _held(self, kind: str) -> list[Breakpoint]:
        view = self.scene.view
        return [b for b in view.breakpoints if b.owner.kind == kind] if view else []

    def _counts(self, width: int) -> Strip:
        line = self.line(width).add(" ")
        for kind in self._kinds(self.scene.view):
            held = self._held(kind)
            line.add(f" {kind} ", self.ink.owner(kind) if held else self.ink.muted)
            line.add(f"{len(held)}", self.ink.strong if held else self.ink.muted).add("  ")
        if self.scene.waiting:
            line.add(f" waits: {', '.join(self.scene.waiting)}", self.ink.warn).add(" ")
        hidden = [b for b in (self.scene.view.breakpoints if self.scene.view else ()) if b.slot is None]
        if hidden:
            text = ", ".join(self.scene.numbered(b).removeprefix("watch ") for b in hidden)
            line.add(f" in no register: {text}", self.ink.warn)
        return line.strip()

    def _describe(self, bp: Breakpoint) -> str:
        cpu = "" if bp.cpu is None else f"CPU {bp.cpu}"
        where = f"DR{bp.slot}" if bp.slot is not None else "in no register" if bp.enabled else ""
        where = " ".join(filter(None, (cpu, where, "" if bp.enabled else "off")))
        owner = owner_text(bp.owner).removeprefix(bp.owner.kind).strip()
        return " ".join(filter(None, (where, self.scene.numbered(bp), owner)))


def _refused(refusal: Refusal) -> str:
    return f"{refusal.errno}  {shown(refusal.what)}"
