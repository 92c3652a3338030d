"""Colours of code: source lines by pygments, instructions by their shape. Pieces of (kind, text), drawn by `CodePanel`.

Looked up at the desk. Only as much of a file is lexed as a page shows, with some lines before it, and lines are cut: the
file may be hostile, and a lexer's rules are no match for every text.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from tui.app.shown import shown
from tui.session.code import TAB, WIDEST

if TYPE_CHECKING:
    from symbols.source_files import Source

__all__ = ["Piece", "instruction_pieces", "source_pieces"]

Piece = tuple[str, str]
"""A kind ("keyword", "name", "function", "type", "number", "string", "comment", "register", "" for the rest), and a text that is
escaped."""

BEFORE: Final = 120
"""Lines that are lexed ahead of the first one, so that a comment that is open there is known."""
MOST: Final = 3000
"""Lines that are lexed at most."""

_LEXERS: Final = {
    ".c": ("c_cpp", "CLexer"), ".h": ("c_cpp", "CppLexer"), ".cc": ("c_cpp", "CppLexer"), ".cpp": ("c_cpp", "CppLexer"),
    ".cxx": ("c_cpp", "CppLexer"), ".hh": ("c_cpp", "CppLexer"), ".hpp": ("c_cpp", "CppLexer"), ".rs": ("rust", "RustLexer"),
    ".go": ("go", "GoLexer"), ".s": ("asm", "GasLexer"), ".asm": ("asm", "NasmLexer"), ".zig": ("zig", "ZigLexer"),
    ".d": ("d", "DLexer"), ".f90": ("fortran", "FortranLexer"), ".pas": ("pascal", "DelphiLexer"), ".py": ("python", "PythonLexer"),
}  # fmt: skip
_KINDS: Final = (
    ("Token.Comment.Preproc", "keyword"), ("Token.Comment", "comment"), ("Token.Keyword.Type", "type"), ("Token.Keyword", "keyword"),
    ("Token.Name.Function", "function"), ("Token.Name.Class", "type"), ("Token.Name.Builtin", "type"),
    ("Token.Literal.String", "string"), ("Token.Literal.Number", "number"),
)  # fmt: skip
_INSTRUCTION: Final = re.compile(
    r"(?P<register>\b(?:[re]?(?:ax|bx|cx|dx|si|di|bp|sp|ip)|[abcd][hl]|[sd]il|[sb]pl|r(?:[89]|1[0-5])[dwb]?|[xyz]mm\d+|[c-gs]s|st\(\d\)|[cd]r\d+|k[0-7])\b)"
    r"|(?P<number>\b0x[0-9a-f]+\b|\b\d+\b)|(?P<type>\b(?:byte|word|dword|qword|xmmword|ymmword|zmmword|tbyte|ptr)\b)"
)
_FLOW: Final = re.compile(r"(?:call|ret|jmp|j[a-z]+|loop\w*|syscall|int\w*|iret\w*|hlt|ud2)\b")


@cache
def _lexer(ending: str) -> Any:
    """The lexer for a file's ending, None where there is none."""
    import importlib

    module, name = _LEXERS.get(ending.lower(), ("", ""))
    if not module:
        return None
    return getattr(importlib.import_module(f"pygments.lexers.{module}"), name)(stripnl=False, ensurenl=False)


@cache
def _kind(token: Any) -> str:
    name = str(token)
    return next((kind for prefix, kind in _KINDS if name.startswith(prefix)), "")


def source_pieces(source: Source, first: int, last: int) -> dict[int, tuple[Piece, ...]]:
    """The pieces of lines `first` to `last` (from 1), by line; a line that cannot be lexed is one piece."""
    last = min(last, len(source.lines), first + MOST)
    start = max(1, first - BEFORE)
    rows = [text[:WIDEST].expandtabs(TAB) for text in source.lines[start - 1 : last]]
    at = source.path.rfind(".")
    lexer = _lexer(source.path[at:]) if at >= 0 else None
    lexed = _lexed(lexer, rows) if lexer is not None else None
    pieces = lexed or [[("", text)] for text in rows]
    return {
        number: tuple((kind, shown(text)) for kind, text in pieces[number - start] if text)
        for number in range(max(1, first), last + 1)
    }


def _lexed(lexer: Any, rows: list[str]) -> list[list[Piece]] | None:
    """The rows in pieces; None where the lexer lost or made up a line, so that nothing would be in its place."""
    out: list[list[Piece]] = [[]]
    for token, text in lexer.get_tokens("\n".join(rows)):
        kind = _kind(token)
        head, *tail = text.split("\n")
        out[-1].append((kind, head))
        out += [[(kind, each)] for each in tail]
    same = len(out) == len(rows) and all(
        "".join(t for _, t in a) == b for a, b in zip(out, rows, strict=True)
    )
    return out if same else None


def instruction_pieces(text: str) -> tuple[Piece, ...]:
    """An instruction's text (escaped) in pieces: mnemonic, registers, numbers."""
    mnemonic, blank, rest = text.partition(" ")
    pieces: list[Piece] = [("keyword" if _FLOW.match(mnemonic) else "function", mnemonic)]
    if blank:
        pieces.append(("", blank))
    at = 0
    for found in _INSTRUCTION.finditer(rest):
        if found.start() > at:
            pieces.append(("", rest[at : found.start()]))
        pieces.append((found.lastgroup or "", found[0]))
        at = found.end()
    if at < len(rest):
        pieces.append(("", rest[at:]))
    return tuple(pieces)
