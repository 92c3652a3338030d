"""What a request would take, while it is typed: above the command line, of a fixed height, so that nothing jumps."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.style import Style
from textual.strip import Strip

from tui.app.panel import Panel
from tui.app.shown import without_del
from tui.app.widgets.message import wrap

if TYPE_CHECKING:
    from tui.session.proposal import Proposal

__all__ = ["ProposalPanel"]

_WORDS = ("watch", "w", "wa", "awatch", "aw", "hbreak", "hb", "edit", "move", "perf")
_HINTS = {
    "edit": "N, then another place, or /LEN or :TYPE alone: `edit 0 :rw`, `edit 0 /4`, `edit 0 cfg.limits[2]`",
    "hbreak": "a function, file.c:42, or an address",
}
_HINT = "a variable, cfg.limits[3], head->next, *(long *)0x404028, symbol+8/4 ...; then /LEN, :w, :rw or :x, `stop`"


class ProposalPanel(Panel):
    """`ask` says what is typed, `answer` what it would take."""

    title = "WOULD TAKE"
    help: ClassVar[str] = "What the request that is being typed would take, and who is in the way."

    def __init__(self, id: str) -> None:  # noqa: A002 - Textual's word
        super().__init__(id)
        self.text = ""
        self.found: Proposal | None = None
        self._answered = ""

    def wanted(self, height: int) -> int:
        """Lines that it needs on a terminal of that height: none while nothing asks for slots."""
        return 0 if not self.text else 5 if height < 34 else 7

    def ask(self, text: str) -> bool:
        """What is typed; whether that may be a request for slots. What stood there stays until the answer comes."""
        word = (text.split() or [""])[0]
        self.text = text if " " in text and word in _WORDS else ""
        if not self.text:
            self.found = None
        self.redraw()
        return bool(self.text)

    def answer(self, text: str, found: Proposal | None) -> None:
        """What a text would take; None while it means nothing yet."""
        typed = found is not None and bool(found.declared or found.now)
        if self.found is not None and self._answered == text and not typed and self.found.declared:
            return  # the answer without types came last
        self.found, self._answered = found, text
        self.redraw()
        self.desk_app.footer.redraw()

    @property
    def instead(self) -> str:
        """A command line that would fit."""
        return self.found.instead if self.found is not None and self._answered == self.text else ""

    @property
    def way_out(self) -> str:
        """What F2 does."""
        return "wait for it" if " pending " in f" {self.instead} " else "take what fits"

    @property
    def short(self) -> str:
        """The same in a few words."""
        found = self.found
        if found is None:
            return ""
        if found.problem:
            return f"{found.errno}: {found.problem}" if found.errno == "ENOSPC" else ""
        size = f"{found.length} byte{'s' * (found.length != 1)}, " if found.type != "x" else ""
        slots = len(found.windows)
        return f"{found.type} {size}{slots} slot{'s' * (slots != 1)}, {found.free} free"

    def lines(self, width: int, height: int) -> list[Strip]:
        """A rule that says whether it fits; then what and where, the verdict, and the room as far as there is room."""
        ink, found = self.ink, self.found
        if found is None:
            word = self.text.split()[0] if self.text else ""
            hint = next((text for name, text in _HINTS.items() if name.startswith(word[:2])), _HINT)
            body = [
                self.line(width).add("   ").add(part, ink.muted).strip() for part in wrap(hint, width - 6)
            ]
            return [self.rule(width, self.title), *body]
        right, style = ("Enter: let it wait" if found.waits else "Enter: arm it", ink.good)
        if found.problem:
            right, style = (f"F2: {self.way_out}" if found.instead else "does not fit", ink.warn)
            if found.address is None and not found.instead:
                right = ""
        from tui.session.proposal import proposal_lines
        from tui.session.slot_queue import IT_MAY_WAIT

        lines = proposal_lines(found)
        room = height - 1
        kept = {kind: [text for each, text in lines if each == kind] for kind, _ in lines}
        styles: dict[str, Style] = {
            "what": ink.strong,
            "windows": ink.base,
            "room": ink.base,
            "good": ink.good,
            "bad": ink.error,
            "help": ink.accent,
        }
        last = [("bad", text) for text in kept.get("bad", [])] + [
            ("good", text) for text in kept.get("good", [])
        ]
        last += [("help", text) for text in kept.get("help", [])]
        if room < 5 and len(last) > 1:  # that it may wait is said on the rule
            last = [(last[0][0], f"{last[0][1]}: {last[1][1].removesuffix(f'; {IT_MAY_WAIT}')}")]
        first = [("what", text) for text in kept.get("what", [])]
        first += [("windows", text) for text in kept.get("windows", [])]
        ends = [part for kind, text in last for part in self._wrapped(kind, text, width)]
        for_rooms = max(0, room - len(first) - len(ends))
        rooms = self._rooms(kept.get("room", []), width)
        if len(rooms) > for_rooms and len(found.windows) == 1:  # the line before says it
            first, for_rooms = first[:1], for_rooms + 1
        if len(rooms) > for_rooms:
            brief = [text for kind, text in proposal_lines(found, brief=True) if kind == "room"]
            rooms = self._rooms(brief, width)
        out = [self.rule(width, self.title, after=self._word(found), right=right, right_style=style)]
        for kind, text in first:
            out.append(self._line(width, " ", text, styles[kind]))
        for number, (more, text) in enumerate(rooms[:for_rooms]):
            cut = number == for_rooms - 1 and len(rooms) > for_rooms
            out.append(
                self._line(width, "   " if more else " ", text + f" {self.glyphs.ellipsis}" * cut, ink.base)
            )
        for kind, text in ends:
            sign = {"bad": self.glyphs.refused, "good": self.glyphs.cursor}.get(kind, " ")
            out.append(self._line(width, sign, text, styles[kind.strip()]))
        return out[:height]

    def _rooms(self, texts: list[str], width: int) -> list[tuple[bool, str]]:
        """Lines of them, and whether each goes on with the one before."""
        return [
            (number > 0, part) for text in texts for number, part in enumerate(wrap(text, max(20, width - 8)))
        ]

    def _wrapped(self, kind: str, text: str, width: int) -> list[tuple[str, str]]:
        parts = wrap(text, max(20, width - 4))[:2]
        return [(kind if number == 0 else f"{kind} ", part) for number, part in enumerate(parts)]

    def _word(self, found: Proposal) -> str:
        word = found.command.split()
        return " ".join(word[:2]) if word and word[0] in ("edit", "move", "perf") else word[0] if word else ""

    def _line(self, width: int, sign: str, text: str, style: Style) -> Strip:
        return self.line(width).add(f" {sign} ", style).add(without_del(text), style).strip()
