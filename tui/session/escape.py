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

_BIDIRECTIONAL: Final = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))

_TABLE: Final = {
    **{c: f"\\x{c:02x}" for c in range(0x20)},
    **{c: f"\\u{c:04x}" for c in range(0x80, 0xA0)},
    **{c: f"\\u{c:04x}" for c in _BIDIRECTIONAL},
    **{c: f"\\u{c:04x}" for c in range(0xD800, 0xE000)},
    **{0xDC00 + byte: f"\\x{byte:02x}" for byte in range(0x80, 0x100)},
    ord("\\"): "\\\\",
}
_ANY: Final = re.compile(
    "[\\x00-\\x1f\\x80-\\x9f\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069\\ud800-\\udfff\\\\]"
)


def escape(text: str) -> str:
    """The text with controls, bidirectional controls, undecodable bytes and backslashes spelled out."""
    return text.translate(_TABLE) if _ANY.search(text) else text


def escape_bytes(data: bytes) -> str:
    """Bytes of a watched program as text: UTF-8 where it is that, spelled out where it is not."""
    return escape(data.decode("utf-8", "surrogateescape"))


def one_line(text: str) -> str:
    """A message made of texts that are escaped already, and perhaps of some that are not: one safe line.

    Backslashes stay as they are, so this may be done twice.
    """
    return _ANY.sub(
        lambda found: _TABLE[ord(found[0])] if found[0] != "\\" else "\\", text.replace("\n", " ")
    )
