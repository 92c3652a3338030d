"""Text of a watched program, made safe to show and to put in JSON (docs/cli.md).

A program chooses its own name, symbols and paths, so they may hold anything. `\\xNN` stands for a byte: a C0 control
or a byte that is not UTF-8 (Python's surrogateescape). `\\uNNNN` stands for a code point: a C1 control, a
bidirectional control, or a lone surrogate. A backslash is doubled, so the text can be read back. DEL is neither C0
nor C1 and stays.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["escape", "escape_bytes", "one_line"]

_ANY: Final = re.compile(
    "[\\x00-\\x1f\\x80-\\x9f\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069\\ud800-\\udfff\\\\]"
)


def _spelled(found: re.Match[str]) -> str:
    code = ord(found[0])
    if found[0] == "\\":
        return "\\\\"
    if 0xDC80 <= code < 0xDD00:  # a byte that is not UTF-8
        code -= 0xDC00
        return f"\\x{code:02x}"
    return f"\\x{code:02x}" if code < 0x20 else f"\\u{code:04x}"


def escape(text: str) -> str:
    """The text with controls, bidirectional controls, undecodable bytes and backslashes spelled out."""
    return _ANY.sub(_spelled, text)


def escape_bytes(data: bytes) -> str:
    """Bytes of a watched program as text: UTF-8 where it is that, spelled out where it is not."""
    return escape(data.decode("utf-8", "surrogateescape"))


def one_line(text: str) -> str:
    """A message made of texts that are escaped already, and perhaps of some that are not: one safe line.

    Backslashes stay as they are, so this may be done twice.
    """
    return _ANY.sub(lambda found: "\\" if found[0] == "\\" else _spelled(found), text.replace("\n", " "))
