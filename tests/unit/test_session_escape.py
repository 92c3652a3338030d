"""Text of a watched program in our own text (docs/cli.md)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.session.escape import escape, escape_bytes, one_line


def unescape(text: str) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1]:
            byte = int(match[1], 16)
            return chr(byte) if byte < 0x80 else chr(0xDC00 + byte)
        return chr(int(match[2], 16)) if match[2] else "\\"

    return re.sub(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|\\)", value, text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("counter", "counter"),
        ("a\\b", "a\\\\b"),
        ("a\nb", "a\\x0ab"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\x85", "\\u0085"),
        ("\u202e", "\\u202e"),
        ("\u2066\u061c\u200f", "\\u2066\\u061c\\u200f"),
        ("\udc85", "\\x85"),
        ("\ud800", "\\ud800"),
        ("é漢\U0001f600 ", "é漢\U0001f600 "),
        ("\x7f", "\x7f"),
    ],
)
def test_controls_are_spelled_out_and_nothing_else_changes(text: str, shown: str) -> None:
    assert escape(text) == shown


@given(st.text(st.characters()))
def test_the_escaped_text_can_be_read_back(text: str) -> None:
    assert unescape(escape(text)) == text


@given(st.binary())
def test_any_bytes_become_printable_text_that_encodes(data: bytes) -> None:
    shown = escape_bytes(data)
    shown.encode("utf-8")
    assert not any(ord(c) < 0x20 or 0x80 <= ord(c) < 0xA0 for c in shown)


@given(st.text(st.characters()))
def test_a_message_becomes_one_line_and_stays_as_it_is_the_second_time(text: str) -> None:
    line = one_line(text)
    assert "\n" not in line
    assert "\x1b" not in line
    assert one_line(line) == line
