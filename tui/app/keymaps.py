"""Keymaps as data: what each changes of the default, and how a user's own keys are laid over it.

`KEYMAPS` gives an action's name all its keys. Any command of the session can be given a key by its word, also one that
has none by default. Multiplexers own ctrl-a, ctrl-b and ctrl-h/j/k/l: no keymap here binds those.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from tui.app.keymap import KeyEntry, Where, entries, key_name, key_of
from tui.session.escape import escape

__all__ = ["KEYMAPS", "Keymap"]

Keys = Mapping[str, tuple[str, ...]]

KEYMAPS: Final[dict[str, Keys]] = {
    "default": {},
    "vim": {
        "page-down": ("pagedown", "ctrl+d", "ctrl+f"),
        "page-up": ("pageup", "ctrl+u"),
        "redo": ("ctrl+r", "U"),
        "find": ("F", "question_mark"),
        "find-next": ("n", "right_square_bracket"),
        "find-previous": ("N", "left_square_bracket"),
    },
    # The letters of gdb's SingleKey mode; what they displace moves to its capital.
    "gdb": {
        "run-or-stop": ("space", "c"),
        "step": ("s",),
        "stepi": ("i",),
        "next": ("n",),
        "nexti": ("o",),
        "finish": ("f",),
        "up": ("up", "k", "u"),
        "down": ("down", "j", "d"),
        "info locals": ("v",),
        "info frames": ("w",),
        "follow": ("F",),
        "delete": ("D", "delete"),
        "watch": ("W",),
        "undo": ("U",),
        "redo": ("R",),
    },
    "emacs": {
        "down": ("down", "ctrl+n"),
        "up": ("up", "ctrl+p"),
        "right": ("right", "ctrl+f"),
        "page-down": ("pagedown", "ctrl+v"),
        "page-up": ("pageup", "alt+v"),
        # Textual reads alt+< as the sign alone, so both do it.
        "oldest": ("home", "less_than_sign"),
        "newest": ("end", "greater_than_sign"),
        "command-line": ("colon", "alt+x"),
        "command-palette": ("f6",),
        "copy": ("y", "alt+w"),
        "undo": ("u", "ctrl+underscore"),
        "dismiss-message": ("escape", "ctrl+g"),
    },
}


class Keymap:
    """What every key does under one keymap and a user's own keys. `problems` are the lines about what was wrong."""

    def __init__(self, name: str = "default", own: Iterable[tuple[str, tuple[str, ...]]] = ()) -> None:
        self.name = name
        self.problems: list[str] = []
        self._entries = list(entries())
        for action, keys in KEYMAPS[name].items():
            self._give(action, keys)
        taken: dict[tuple[str, str], str] = {}
        for action, keys in own:
            wanted = tuple(key_of(key) for key in keys)
            if not self._give(action, wanted):
                self.problems.append(f"keys: there is no action '{escape(action)}'{self._near(action)}")
                continue
            for place in {entry.where for entry in self._entries if entry.name == action}:
                for key in wanted:
                    if (other := taken.setdefault((place, key), action)) != action:
                        self.problems.append(
                            f"keys: {escape(key_name(key))} is given to {escape(other)} and to {escape(action)}"
                        )
        self._find: dict[tuple[str, str], KeyEntry] = {}
        for entry in self._entries:
            for key in entry.keys:
                self._find.setdefault((entry.where, key), entry)
        self._usual = {key for entry in entries() for key in entry.keys}

    @property
    def entries(self) -> tuple[KeyEntry, ...]:
        """All entries that have a key, and those of the palette that lost theirs."""
        return tuple(self._entries)

    def find(self, key: str, character: str | None, where: str) -> KeyEntry | None:
        """What a key does where the focus is: the panel's own meaning first, then the app's."""
        for place in dict.fromkeys((where, "app")):
            for name in (key, character or ""):
                if (entry := self._find.get((place, name))) is not None:
                    return entry
        return None

    def key_for(self, action: str) -> str:
        """The first key of an action of the whole app, as it is written for people; "" where it has none."""
        for entry in self._entries:
            if entry.where == "app" and entry.name == action and entry.keys:
                return key_name(entry.keys[0])
        return ""

    def free(self, key: str) -> bool:
        """Whether the table has nothing to say about a key, under any keymap: Tab and the like."""
        return key not in self._usual

    def _give(self, action: str, keys: tuple[str, ...]) -> bool:
        """Give an action these keys and no others; whoever had them in the same place loses them."""
        found = [entry for entry in self._entries if entry.name == action]
        if not found:
            made = _entry_of_command(action)
            if made is None:
                return False
            self._entries.append(made)
            found = [made]
        places: set[Where] = set()
        out = []
        for entry in self._entries:
            if entry.name == action:
                first, changed = entry.where not in places, entry
                places.add(entry.where)
                out.append(changed._replace(keys=keys if first else ()))
            else:
                out.append(entry)
        self._entries = [
            entry._replace(keys=tuple(key for key in entry.keys if key not in keys))
            if entry.name != action and entry.where in places
            else entry
            for entry in out
        ]
        return True

    def _near(self, action: str) -> str:
        import difflib

        from tui.session.commands import COMMANDS

        names = {entry.name for entry in self._entries} | {command.word for command in COMMANDS}
        near = difflib.get_close_matches(action, sorted(names), 1)
        return f": did you mean '{near[0]}'?" if near else "; F1 names them beside their keys"


def _entry_of_command(word: str) -> KeyEntry | None:
    """An entry for a command that has no key by default."""
    from tui.session.commands import COMMANDS

    found = next((command for command in COMMANDS if command.word == word), None)
    return KeyEntry((), f"command('{word}')", word, found.summary) if found is not None else None
