"""Expressions by C's rules: the same values as gdb's, and what is said of those that have none."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from symbols.elf import ElfImage
from symbols.scope import Context
from symbols.space import AddressSpace
from symbols.target import ExpressionError
from symbols.value import SCALARS, Value, decode
from symbols.values import Style, describe, layout, spell_value
from tests.unit.symbols_data.builds import build, need, rows


class Program:
    """A program that cannot move, with its memory as the file has it."""

    def __init__(self, path: Path, registers: dict[str, int] | None = None) -> None:
        self.image = ElfImage.open(path)
        self.space = AddressSpace(rows(self.image), str(path))
        known = registers or {"rip": 0x401000, "rax": 7}
        self.context = Context(self.image.read, known.__getitem__, frame=False)

    def value(self, expr: str) -> Value:
        return self.space.evaluate(expr, self.context)[0]

    def number(self, expr: str) -> int | float:
        value = self.value(expr)
        if value.number is not None:
            return value.number
        assert value.type is not None
        assert value.address is not None
        assert value.type.plain.kind in SCALARS
        return decode(self.image.read(value.address, value.length or 0), value.type, value.bits)

    def text(self, expr: str, letter: str | None = None) -> str:
        value = self.value(expr)
        assert value.type is not None
        if isinstance(value.number, float):
            return str(value.number)
        if value.number is not None:
            data = (value.number & (1 << 64) - 1).to_bytes(8, "little")[: value.type.size]
        else:
            assert value.address is not None
            data = self.image.read(value.address, value.length or 0)
        style = Style(letter, self.space.data_name, self.image.read)
        return spell_value(data, value.type, style, value.bits)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    return Program(build(tmp_path_factory.mktemp("values"), "values.c", "-g", "-O0", "-no-pie"))


NUMBERS = {
    "count": 41,
    "count + 1": 42,
    "-count": -41,
    "~count & 0xff": 0xFF & ~41,
    "cfg.limits[1]": -2,
    "cfg.limits[cfg.version - 2]": -2,
    "cfg.limits[0] + cfg.limits[2] * 2": 7,
    "(7 / 2) * 2 + -7 / 2": 3,
    "-7 % 3": -1,
    "1 << 4 | 3": 19,
    "count > 40 && cfg.version == 3": 1,
    "count < 40 || !cfg.version": 0,
    "nothing && *nothing": 0,
    "cfg.state": 1,
    "cfg.state == 1": 1,
    "cfg.state == ON": 1,
    "BUSY": 5,
    "cfg.flags & ~READ": 2,
    "cfg.level": 5,
    "cfg.delta": -3,
    "cfg.flag + cfg.level": 6,
    "cfg.small": -7,
    "(unsigned char)cfg.small": 249,
    "(unsigned int)-1": 0xFFFFFFFF,
    "(char)300": 44,
    "(int)2.9": 2,
    "(_Bool)count": 1,
    "cfg.ratio * 2": 5.0,
    "cfg.half": 0.25,
    "cfg.whole": 0x01020304,
    "cfg.parts[3]": 1,
    "cfg.head->next->value": 2,
    "(*cfg.head).value": 1,
    "current->limits[3]": 4,
    "current->head->value": 1,
    "(*current).grid[1][2]": 6,
    "*(cfg.limits + 1)": -2,
    "*(long *)((char *)&cfg + 8)": 1,
    "((config_t *)raw)->version": 3,
    "((struct node *)&first)->value": 1,
    "(long)&cfg.limits[2] - (long)&cfg.limits": 16,
    "&cfg.limits[2] - &cfg.limits[0]": 2,
    "&cfg.limits[2] == cfg.limits + 2": 1,
    "sizeof cfg": 152,
    "sizeof (config_t)": 152,
    "sizeof (struct node *)": 8,
    "sizeof cfg.limits / sizeof cfg.limits[0]": 4,
    "sizeof (unsigned long [4])": 32,
    "'a' + 1": 98,
    "$rax * 2": 14,
    "0xffffffffffffffff": (1 << 64) - 1,
    "values.c::count": 41,
}


@pytest.mark.parametrize("text", NUMBERS)
def test_a_number_is_what_c_makes_of_it(program: Program, text: str) -> None:
    assert program.number(text) == NUMBERS[text]


TEXTS = {
    "cfg.state": "ON",
    "(enum state)5": "BUSY",
    "(enum state)9": "9",
    "cfg.flags": "(READ | WRITE)",
    "cfg.name": '"he\\x1bllo"',
    "cfg.on": "true",
    "cfg.small": "-7 '\\xf9'",
    "cfg.limits": "{1, -2, 3, 4}",
    "cfg.grid": "{{1, 2, 3}, {4, 5, 6}}",
    "cfg.limits[0]@2": "{1, -2}",
    "bytes": '""',
    "*cfg.head": "{value = 1, next = 0x%(second)x <second.value>}",
    "second": "{value = 2, next = 0x0}",
    "cfg.ratio": "2.5",
    "(unsigned char)65": "65 'A'",
}


@pytest.mark.parametrize("text", TEXTS)
def test_a_value_is_written_as_its_type_says(program: Program, text: str) -> None:
    second = program.space.resolve("second").address
    assert program.text(text) == TEXTS[text] % {"second": second}


def test_a_struct_is_written_by_member_and_a_pointer_to_characters_with_its_string(program: Program) -> None:
    text = program.text("cfg")
    for part in (
        "version = 3",
        "state = ON",
        "level = 5",
        "delta = -3",
        "whole = 16909060",
        '"title"',
        "half = 0.25",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("letter", "text"),
    [("x", "0xfe"), ("d", "-2"), ("u", "254"), ("o", "0376"), ("t", "11111110"), ("c", "-2 '\\xfe'")],
)
def test_a_format_letter_overrides_the_type(program: Program, letter: str, text: str) -> None:
    assert program.text("(signed char)cfg.limits[1]", letter) == text


REFUSED = {
    "cfg.limts": ("did you mean limits", "limts"),
    "cfg.zzz": ("cfg has no member zzz (it has version", "zzz"),
    "count.x": ("count is long int: it has no member x", "x"),
    "cfg->version": ("cfg is config_t, not a pointer", "cfg"),
    "cfg + 1": ("cfg is config_t, not a value", "cfg"),
    "cfg.limits[9]": ("cfg.limits has 4 elements", "9"),
    "*nothing": ("nothing is a null pointer", "nothing"),
    "second.next->value": ("second.next is a null pointer", "second.next"),
    "*count": ("count is long int, not a pointer", "count"),
    "*0x404028": ("not a pointer: say of what", "0x404028"),
    "unknown[1]": ("unknown size", "unknown"),
    "count / 0": ("division by zero", "0"),
    "1 << 64": ("a shift by 64", "64"),
    "&cfg.level": ("a bit-field", "cfg.level"),
    "&count + &count": ("two pointers cannot be added", "&count + &count"),
    "(struct nosuch *)raw": ("no type struct nosuch", "struct nosuch *"),
    "sizeof (struct opaque)": ("unknown size", "struct opaque"),
    "conut": ("did you mean count", "conut"),
    "cfg.ratio % 2": ("whole numbers", "cfg.ratio % 2"),
    "$nosuch": ("no register $nosuch", "$nosuch"),
    "per_thread": ("thread-local", "per_thread"),
    "twice.x": ("twice is a function", "twice"),
}


@pytest.mark.parametrize("text", REFUSED)
def test_an_error_says_what_is_wrong_and_where(program: Program, text: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        program.number(text)
    message, word = REFUSED[text]
    assert message in str(caught.value)
    assert caught.value.span is not None
    if text != "*nothing":
        assert text[slice(*caught.value.span)] in (word, text)


PLACES = {
    "*(long *)0x404028": (0x404028, 8, "long"),
    "*(long *)0x404028 + 2": (0x40402A, 6, ""),
    "cfg.head->next": (None, 8, "struct node *"),
    "(0x1000+8*4)": (0x1020, None, ""),
    "$rip": (0x401000, None, ""),
    "$rax+1": (8, None, ""),
    "&cfg.limits[1]": (None, 8, "long int"),
    "cfg.limits": (None, 32, "long int[4]"),
    "cfg.limits[0]@2": (None, 16, "long int[2]"),
    "current->state": (None, 4, "enum state"),
    "twice": (None, None, ""),
}


@pytest.mark.parametrize("text", PLACES)
def test_a_watch_is_a_place(program: Program, text: str) -> None:
    target = program.space.resolve(text, context=program.context)
    address, size, name = PLACES[text]
    assert target.type_name == name
    if address is not None:
        assert target.address == address
    if size is not None:
        assert target.size == size


def test_bytes_behind_an_object_are_its_own_and_an_index_is_asked_for_by_brackets(program: Program) -> None:
    base = program.space.resolve("cfg")
    moved = program.space.resolve("cfg+(4*8)")
    assert base.size is not None
    assert (moved.address, moved.size) == (base.address + 32, base.size - 32)
    for text in ("cfg-4", "cfg + count"):
        with pytest.raises(ExpressionError, match="could mean bytes or elements"):
            program.space.resolve(text, context=program.context)


def test_the_bytes_of_a_window_are_told_by_the_members_they_hold(program: Program) -> None:
    value = program.value("cfg")
    assert value.type is not None
    assert value.address is not None
    data = program.image.read(value.address, value.length or 0)
    found = dict(describe(40, 8, value.type, data))
    assert found[".state"] == "ON"
    assert found[".level"] == "5"
    assert [path for path, _ in describe(8, 16, value.type, data)] == [".limits[0]", ".limits[1]"]


def test_a_type_is_laid_out_with_offsets_and_sizes(program: Program) -> None:
    kind = program.space.evaluate("cfg", program.context)[0].type
    assert kind is not None
    lines = layout(kind)
    assert "/*      8    32 */   long int limits[4];" in lines
    assert "/*   44:1     1 */   unsigned int level : 3;" in lines
    assert lines[-1] == "}  /* 152 bytes */"


GDB = [
    *NUMBERS,
    "cfg.limits[3] * 1000 / 7",
    "cfg.grid[1][0] - cfg.grid[0][2]",
    "sizeof (struct node)",
    "(short)70000",
    "5 & 3 ^ 1",
    "count == 41 && cfg.head != 0",
]  # fmt: skip


@pytest.mark.slow
def test_numbers_are_those_that_gdb_prints(program: Program) -> None:
    need("gdb")
    texts = [text for text in GDB if "$" not in text and "values.c::" not in text]
    commands = [word for text in texts for word in ("-ex", f"output {text}", "-ex", "echo \\n")]
    done = subprocess.run(
        ["gdb", "-batch", "-nx", *commands, program.image.path], capture_output=True, text=True, check=False
    )
    printed = done.stdout.splitlines()
    assert len(printed) == len(texts)
    words = {"ON": "1", "BUSY": "5", "true": "1", "false": "0"}
    for text, line in zip(texts, printed, strict=True):
        told = words.get(line, line.split(" '")[0])
        assert float(told) == float(program.number(text)), text
