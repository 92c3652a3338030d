"""Colours of code: the text stays what it was, whatever is in it."""

from __future__ import annotations

import pytest

from symbols.source_files import Source
from tui.app.highlight import instruction_pieces, source_pieces
from tui.app.shown import shown


def _source(*lines: str, name: str = "a.c") -> Source:
    return Source(name, f"/x/{name}", lines)


def test_a_line_in_an_open_comment_is_a_comment() -> None:
    pieces = source_pieces(_source("/* one", "int two; */ int x = 3;"), 2, 2)[2]
    assert pieces[0] == ("comment", "int two; */")
    assert ("number", "3") in pieces


@pytest.mark.parametrize("name", ["a.c", "a.cpp", "a.rs", "a.go", "a.S", "a.py", "a.unknown", "a"])
def test_the_pieces_of_a_line_are_the_line_escaped(name: str) -> None:
    lines = ("\tif (x) { \x1b[31m", "/* [red] \x9b", "", "  \\ \u202e */", "x" * 1000, '"\x07')
    found = source_pieces(_source(*lines, name=name), 1, len(lines))
    for number, line in enumerate(lines, 1):
        text = "".join(piece for _, piece in found[number])
        assert text == shown(line[:400].expandtabs(4))
        assert "\x1b" not in text


def test_only_the_lines_that_are_asked_for_are_there() -> None:
    assert set(source_pieces(_source(*["int x;"] * 50), 10, 60)) == set(range(10, 51))


@pytest.mark.parametrize(
    "text",
    [
        "ret",
        "add qword ptr [rdi*8 + 0x403020], rsi",
        "vmovdqu ymm1, ymmword ptr [r15 + rax]",
        "(bad)",
        "rep movsb",
    ],
)
def test_an_instructions_pieces_are_its_text(text: str) -> None:
    assert "".join(piece for _, piece in instruction_pieces(text)) == text


def test_registers_and_numbers_of_an_instruction_are_told_apart() -> None:
    pieces = {text: kind for kind, text in instruction_pieces("mov qword ptr [rdi*8 + 0x403020], 0")}
    assert (pieces["mov"], pieces["rdi"], pieces["0x403020"], pieces["qword"]) == (
        "function",
        "register",
        "number",
        "type",
    )
