"""The grammar of expressions: what is read, what is refused, and that nothing else ever happens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symbols.expression import Address, ExpressionError, Parsed, Path, SourceLine, parse, spell


def path(name: str, *steps: str | int | None, scope: tuple[str, ...] = (), offset: int | None = None) -> Path:
    return Path(scope, name, steps, offset)


READ: dict[str, Parsed] = {
    "counter": path("counter"),
    "  counter  ": path("counter"),
    "box+32": path("box", offset=32),
    "box + 0x20": path("box", offset=32),
    "box+(4*8)": path("box", offset=32),
    "box+1+2": path("box", offset=3),
    "cfg.limits[3]": path("cfg", "limits", 3),
    "cfg.limits[3]+4": path("cfg", "limits", 3, offset=4),
    "grid[1][2].x": path("grid", 1, 2, "x"),
    "grid[(1 + 2) * 2 - 5].x": path("grid", 1, "x"),
    "head->next->value": path("head", None, "next", None, "value"),
    "*head": path("head", None),
    "**handle": path("handle", None, None),
    "(*handle)->next": path("handle", None, None, "next"),
    "*head->next": path("head", None, "next", None),
    "(*head).next": path("head", None, "next"),
    "(counter)": path("counter"),
    "file.c::v": path("v", scope=("file.c",)),
    "'my file.c'::v": path("v", scope=("my file.c",)),
    "src/lib/file.c::v[2]": path("v", 2, scope=("src/lib/file.c",)),
    "my-file.c::v": path("v", scope=("my-file.c",)),
    "func::v.x": path("v", "x", scope=("func",)),
    "file.c::func::v": path("v", scope=("file.c", "func")),
    "calls.0": path("calls.0"),
    "calls.0+4": path("calls.0", offset=4),
    "fast.constprop.0": path("fast.constprop.0"),
    "fast.isra.0.part": path("fast.isra.0", "part"),
    "malloc@plt": path("malloc@plt"),
    "memcpy@@GLIBC_2.14": path("memcpy"),
    "größe": path("größe"),
    "_start": path("_start"),
    "file.c:42": SourceLine("file.c", 42),
    "src/file.c:42": SourceLine("src/file.c", 42),
    "'my file.c':7": SourceLine("my file.c", 7),
    "main:12": SourceLine("main", 12),
    "0x7fff0010": Address(0x7FFF0010),
    "0XFF": Address(255),
    "4096": Address(4096),
    "010": Address(10),
    "(0x1000 + 8 * 4)": Address(0x1020),
    "(0x1000)+8": Address(0x1008),
    "0x1000+(1<<4)": Address(0x1010),
    "(7 / 2)": Address(3),
    "(7 % 4)": Address(3),
    "(2 + 3 * 4 - 6 / 2)": Address(11),
    "(0xff & ~0xf | 1 ^ 2)": Address(0xF3),
    "(10 - 4 - 3)": Address(3),
    "(256 >> 4)": Address(16),
    "(-(-8))": Address(8),
    "0xffffffffffffffff": Address((1 << 64) - 1),
}


@pytest.mark.parametrize("text", READ)
def test_an_expression_is_read(text: str) -> None:
    assert parse(text) == READ[text]


REFUSED = {
    "": "empty",
    "   ": "empty",
    "cfg.": "ends too early",
    "cfg.limits[": "ends too early",
    "cfg.limits[3": "']' expected",
    "cfg.limits[i]": "from 'i]' on",
    "cfg..x": "from '.x' on",
    "cfg->": "ends too early",
    "a b": "from 'b' on",
    "&cfg": "from '&cfg' on",
    "a+": "ends too early",
    "a+b": "from 'b' on",
    "a-4": "from '-4' on",
    "(a": "')' expected",
    "a)": "from ')' on",
    "0x": "from '0x' on",
    "12abc": "12abc",
    "(1 / 0)": "division by zero",
    "(1 % 0)": "division by zero",
    "(1 << 64)": "a shift by 64",
    "(1 << -1)": "a shift by -1",
    "(0xffffffffffffffff * 2)": "beyond 64 bits",
    "(1 - 2)": "not an address",
    "box+(1-2)": "not an address",
    "99999999999999999999": "",
    "::v": "from '::v' on",
    "file.c::": "ends too early",
    "x" * 2000: "2000 characters",
    "(" * 500 + "1" + ")" * 500: "nested too deeply",
    "*" * 500 + "p": "nested too deeply",
    "a[" + "-" * 500 + "1]": "nested too deeply",
    "a;rm -rf": "from ';rm -rf' on",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: repr(text)[:30])
def test_anything_else_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert REFUSED[text] in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text(alphabet="abx0189._:[]()*+-/&>'<~ \n@$é\udc80", max_size=40))
def test_no_text_makes_the_reader_do_anything_but_answer_or_refuse(text: str) -> None:
    try:
        result = parse(text)
    except ExpressionError:
        return
    assert isinstance(result, Address | SourceLine | Path)


NAMES = st.sampled_from(["a", "cfg", "head_1", "größe"])
STEPS = st.lists(st.one_of(NAMES, st.integers(0, 99), st.none()), max_size=6).map(tuple)


@given(NAMES, STEPS, st.sampled_from([(), ("f.c",), ("func",), ("f.c", "func")]))
def test_a_path_that_is_spelled_reads_back(
    name: str, steps: tuple[str | int | None, ...], scope: tuple[str, ...]
) -> None:
    whole = Path(scope, name, steps)
    assert parse(spell(whole)) == whole
