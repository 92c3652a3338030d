"""The menu of what can be copied: a letter sends it to the clipboard, its capital writes it to a file."""

from __future__ import annotations

from tui.app.places import Choice
from tui.app.screens.menu import Menu

__all__ = ["CopyMenu"]


class CopyMenu(Menu, inherit_bindings=False):
    """Ends with the choice, whose key is the letter that was pressed."""

    BINDINGS = Menu.BINDINGS  # nothing of Textual's own

    def __init__(self, file: str, choices: list[Choice]) -> None:
        super().__init__(f"COPY: a letter to the clipboard, its capital to {file}", choices)
        for choice in choices:
            self._bindings.bind(choice.key.upper(), f"to_file('{choice.key}')", show=False)

    def action_to_file(self, key: str) -> None:
        """The same, to the file."""
        found = next((choice for choice in self._panel.choices if choice.key == key), None)
        self._end(found._replace(key=key.upper()) if found is not None else None)
