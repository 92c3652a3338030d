"""The text of the help: what has the focus, then the keys, then the commands; drawn from the two tables."""

from __future__ import annotations

from tui.app.glyphs import Glyphs
from tui.app.keymap import key_name
from tui.app.keymaps import Keymap
from tui.app.screens.reader import HEADING, PARAGRAPH

__all__ = ["help_text", "paragraphs"]

_CLOCKS = {
    "instructions": "+insns      instructions since the hit before; the machine's clock counts instructions",
}
_TIME = "+time       time since the hit before"


def help_text(about: str, where: str, clock: str, glyphs: Glyphs, keys: Keymap) -> tuple[str, ...]:
    """`about` is the focused widget's help, `where` its place in the key table. [Words] are what settings call a key."""
    from tui.session.commands import COMMANDS, GROUPS

    about = about.replace("{flash}", glyphs.flash).replace("{arrow}", glyphs.arrow)
    about = about.replace("{clock}", _CLOCKS.get(clock, _TIME))
    lines = [*paragraphs(about), "", f"{HEADING}Keys"]
    for entry in sorted(keys.entries, key=lambda each: each.where == "app"):  # those of this panel first
        if entry.where in ("app", where) and entry.keys:
            named = " ".join(key_name(key) for key in entry.keys)
            here = " (here)" if entry.where != "app" else ""
            lines.append(f"{named:<11} {entry.summary}{here}  [{entry.name}]")
    lines.append(f"{'Tab':<11} the next panel; shift+Tab the one before")
    for group, title in GROUPS.items():
        lines += ["", f"{HEADING}{title}"]
        lines += [f"{c.grammar:<44} {c.summary}" for c in COMMANDS if c.group == group]
    return tuple(lines)


def paragraphs(about: str) -> list[str]:
    """A panel's help as lines for a reader: rows of two columns stay rows, all else is broken where the screen ends."""
    lines: list[str] = []
    for line in about.split("\n"):
        row = "  " in line
        if row and line.startswith(" " * 8) and lines:
            lines[-1] += f" {line.strip()}"
        elif row or not line:
            lines.append(line)
        elif lines and lines[-1].startswith(PARAGRAPH):
            lines[-1] += f" {line}"
        else:
            lines.append(f"{PARAGRAPH}{line}")
    return lines
