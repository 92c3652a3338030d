"""The text of the help: what has the focus, then the keys, then the commands; drawn from the two tables."""

from __future__ import annotations

from tui.app.glyphs import Glyphs
from tui.app.keymap import key_name
from tui.app.keymaps import Keymap
from tui.app.screens.reader import HEADING

__all__ = ["help_text"]

_CLOCKS = {
    "instructions": "+insns      instructions since the hit before; the machine's clock counts instructions",
}
_TIME = "+time       time since the hit before"


def help_text(about: str, where: str, clock: str, glyphs: Glyphs, keys: Keymap) -> tuple[str, ...]:
    """`about` is the focused widget's help, `where` its place in the key table. [Words] are what settings call a key."""
    from tui.session.commands import COMMANDS, GROUPS

    about = about.replace("{flash}", glyphs.flash).replace("{arrow}", glyphs.arrow)
    about = about.replace("{clock}", _CLOCKS.get(clock, _TIME))
    lines = [*about.split("\n"), "", f"{HEADING}Keys"]
    for entry in keys.entries:
        if entry.where in ("app", where) and entry.keys:
            named = " ".join(key_name(key) for key in entry.keys)
            here = " (here)" if entry.where != "app" else ""
            lines.append(f"{named:<11} {entry.summary}{here}  [{entry.name}]")
    lines.append(f"{'Tab':<11} the next panel; shift+Tab the one before")
    for group, title in GROUPS.items():
        lines += ["", f"{HEADING}{title}"]
        lines += [f"{c.grammar:<44} {c.summary}" for c in COMMANDS if c.group == group]
    return tuple(lines)
