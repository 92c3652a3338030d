"""The grammar of expressions: what is read, what is refused, and that nothing else ever happens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symbols.expression import parse, parse_type, spell
from symbols.nodes import (
    Binary,
    Cast,
    Index,
    Member,
    Name,
    Node,
    Number,
    Register,
    Repeat,
    SizeOf,
    SourceLine,
    TypeName,
    Unary,
)
from symbols.target import ExpressionError

READ = {
    "counter": "counter",
    "  counter  ": "counter",
    "box+32": "box + 32",
    "box + 0x20": "box + 32",
    "box+(4*8)": "box + (4 * 8)",
    "box+1+2": "(box + 1) + 2",
    "cfg.limits[3]": "cfg.limits[3]",
    "cfg . limits [ 3 ]": "cfg.limits[3]",
    "grid[1][2].x": "grid[1][2].x",
    "grid[(1 + 2) * 2 - 5].x": "grid[((1 + 2) * 2) - 5].x",
    "head->next->value": "head->next->value",
    "**handle": "**handle",
    "(*handle)->next": "(*handle)->next",
    "*head->next": "*head->next",
    "(*head).next": "(*head).next",
    "(counter)": "counter",
    "file.c::v": "file.c::v",
    "'my file.c'::v": "'my file.c'::v",
    "src/lib/file.c::v[2]": "src/lib/file.c::v[2]",
    "my-file.c::v": "my-file.c::v",
    "func::v.x": "func::v.x",
    "file.c::func::v": "file.c::func::v",
    "Foo<int>::count": "Foo<int>::count",
    "'ns::f(int)'": "'ns::f(int)'",
    "calls.0": "calls.0",
    "fast.constprop.0": "fast.constprop.0",
    "fast.isra.0.part": "fast.isra.0.part",
    "malloc@plt": "malloc@plt",
    "memcpy@@GLIBC_2.14": "memcpy@@GLIBC_2.14",
    "größe": "größe",
    "file.c:42": "file.c:42",
    "src/file.c:42": "src/file.c:42",
    "'my file.c':7": "my file.c:7",
    "main:12": "main:12",
    "ns::f:12": "ns::f:12",
    "0XFF": "255",
    "010": "10",
    "1.5": "1.5",
    "0x10ul": "16",
    "'a'": "97",
    "'\\n'": "10",
    "2 + 3 * 4 - 6 / 2": "(2 + (3 * 4)) - (6 / 2)",
    "10 - 4 - 3": "(10 - 4) - 3",
    "a | b ^ c & d": "a | (b ^ (c & d))",
    "a && b || c": "(a && b) || c",
    "a == b + 1": "a == (b + 1)",
    "a << 2 > b": "(a << 2) > b",
    "-(-8)": "--8",
    "!x": "!x",
    "&cfg.flag": "&cfg.flag",
    "$rip": "$rip",
    "$rsp+8": "$rsp + 8",
    "*(unsigned long *) 0x404028": "*((unsigned long *)4210728)",
    "(struct node *)p": "(struct node *)p",
    "((struct node *)p)->next": "((struct node *)p)->next",
    "(u64)x": "(u64)x",
    "(unsigned char[16])x": "(unsigned char [16])x",
    "(a)*b": "a * b",
    "(a)-b": "a - b",
    "sizeof(int)": "sizeof (int)",
    "sizeof x": "sizeof (x)",
    "sizeof (struct node *)": "sizeof (struct node *)",
    "arr[0]@4": "arr[0]@4",
    "*argv@3": "*argv@3",
}


@pytest.mark.parametrize("text", READ)
def test_an_expression_is_read(text: str) -> None:
    read = parse(text)
    assert spell(read) == READ[text]
    if not isinstance(read, SourceLine):
        assert parse(spell(read)) == read


REFUSED = {
    "": ("empty", None),
    "   ": ("empty", None),
    "cfg.": ("ends too early", (4, 5)),
    "cfg.limits[": ("ends too early", (11, 12)),
    "cfg.limits[3": ("']' expected", (12, 13)),
    "cfg..x": ("from '.x' on", (4, 5)),
    "cfg->": ("ends too early", (5, 6)),
    "a bcd": ("from 'bcd' on", (2, 5)),
    "a+": ("ends too early", (2, 3)),
    "(a": ("')' expected", (2, 3)),
    "a)": ("from ')' on", (1, 2)),
    "0x": ("from '0x' on", (0, 2)),
    "12abc": ("12abc", (0, 5)),
    "99999999999999999999": ("beyond 64 bits", (0, 20)),
    "::v": ("from '::v' on", (0, 1)),
    "file.c::": ("ends too early", (8, 9)),
    "x" * 2000: ("2000 characters", None),
    "(" * 500 + "1" + ")" * 500: ("nested too deeply", None),
    "*" * 500 + "p": ("nested too deeply", None),
    "a[" + "-" * 500 + "1]": ("nested too deeply", None),
    "a;rm -rf": ("from ';rm -rf' on", (1, 2)),
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: repr(text)[:30])
def test_anything_else_is_refused_in_one_line_that_says_where(text: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    message, span = REFUSED[text]
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.span == span


def test_every_part_knows_its_place_in_the_text() -> None:
    read = parse("cfg.limits[i + 3]")
    assert isinstance(read, Index)
    assert [read.span, read.of.span, read.index.span] == [(0, 17), (0, 10), (11, 16)]


TYPES = {
    "int": TypeName(("int",)),
    "const struct node *": TypeName(("struct", "node"), 1),
    "unsigned long": TypeName(("unsigned", "long")),
    "char *const *": TypeName(("char",), 2),
    "ns::Foo": TypeName(("ns::Foo",)),
    "long [4][2]": TypeName(("long",), 0, (4, 2)),
    "struct": None,
    "int int x": None,
    "4": None,
    "": None,
}


@pytest.mark.parametrize("text", TYPES)
def test_the_name_of_a_type_is_read(text: str) -> None:
    assert parse_type(text) == TYPES[text]


@given(st.text(alphabet="abx0189._:[]()*+-/&>'<~ \n@$é\udc80!=|,", max_size=40))
def test_no_text_makes_the_reader_do_anything_but_answer_or_refuse(text: str) -> None:
    span = None
    try:
        assert spell(parse(text))
    except ExpressionError as error:
        span = error.span
    assert span is None or 0 <= span[0] < span[1] <= len(text) + 1


NAMES = st.builds(
    Name,
    st.sampled_from([(), ("f.c",), ("func",), ("f.c", "func"), ("my file",)]),
    st.sampled_from(["a", "cfg", "head_1", "größe"]),
)
TYPE_NAMES = st.builds(
    TypeName, st.sampled_from([("int",), ("struct", "node"), ("unsigned", "char")]), st.integers(0, 2)
)


def grown(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    """One level more."""
    operators = st.sampled_from(["+", "-", "*", "/", "<<", "&", "|", "&&", "==", "<"])
    return st.one_of(
        st.builds(Unary, st.sampled_from("-~!&*"), inner),
        st.builds(Binary, operators, inner, inner),
        st.builds(Index, inner, inner),
        st.builds(Member, inner, st.sampled_from(["x", "next"]), st.booleans()),
        st.builds(Cast, TYPE_NAMES, inner),
        st.builds(SizeOf, inner),
        st.builds(Repeat, NAMES, st.builds(Number, st.integers(1, 9))),
    )


@given(
    st.recursive(
        st.one_of(
            NAMES, st.builds(Number, st.integers(0, 99)), st.builds(Register, st.sampled_from(["rip", "rax"]))
        ),
        grown,
        max_leaves=6,
    )
)
def test_an_expression_that_is_spelled_reads_back(node: Node) -> None:
    assert parse(spell(node)) == node


def test_where_a_part_stands_in_the_text_is_no_part_of_what_it_is() -> None:
    close, wide = parse("cfg.limits[i+3]"), parse(" cfg . limits [ i + 0x3 ]")
    assert isinstance(close, Index)
    assert isinstance(wide, Index)
    assert close == wide
    assert hash(close) == hash(wide)
    assert (close.span, wide.span) == ((0, 15), (1, 25))
    assert (close.index.span, wide.index.span) == ((11, 14), (16, 23))
