"""The help of a panel on any width: rows stay rows, sentences are broken where the screen ends."""

from __future__ import annotations

from tui.app.helping import paragraphs
from tui.app.screens.reader import PARAGRAPH, _broken

HELP = """What it is, in a sentence that
goes on here.

key         what it does
            and more of it
   an example  of it
It ends."""


def test_sentences_flow_and_rows_stand() -> None:
    assert paragraphs(HELP) == [
        f"{PARAGRAPH}What it is, in a sentence that goes on here.",
        "",
        "key         what it does and more of it",
        "   an example  of it",
        f"{PARAGRAPH}It ends.",
    ]


def test_running_text_begins_at_the_edge_and_a_row_under_its_second_column() -> None:
    assert _broken(f"{PARAGRAPH}one two three four", 9) == ["one two", "three", "four"]
    assert _broken("key    one two three", 16) == ["key    one two", "       three"]
