"""C paths: address and size as the compiled program itself prints them; and what damaged DWARF does."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from symbols.elf import ElfError, ElfImage
from symbols.lines import LineTable
from symbols.names import Names
from symbols.space import AddressSpace
from symbols.table import SymbolTable
from symbols.target import ExpressionError, Target
from tests.unit.symbols_data.builds import build, need, rows, run

BUILDS = [
    ("-g", "-O0"),
    ("-gdwarf-4", "-O2"),
    ("-gdwarf-5", "-O1"),
    ("-gdwarf-5", "-static"),
    ("-g", "-flto", "-O1"),
]


class Debug:
    """The variables of one file at its own addresses, or moved by a bias."""

    def __init__(self, path: Path) -> None:
        self.image = ElfImage.open(path)
        self.info = Names(self.image).debug

    def __bool__(self) -> bool:
        return bool(self.info)

    def variable(
        self, text: str, read: Callable[[int, int], bytes] | None = None, bias: int = 0
    ) -> Target | None:
        space = AddressSpace(rows(self.image, bias), self.image.path)
        space.modules = tuple(replace(module, bias=bias) for module in space.modules)
        try:
            found = space.resolve(text, read)
        except ExpressionError as error:
            if str(error).startswith("no symbol"):
                return None
            raise
        return found if found.type is not None or "+" in text else None

    def variable_at(self, vaddr: int) -> tuple[str, int] | None:
        return self.info.variable_at(vaddr)

    def statics(self, name: str) -> tuple[str, ...]:
        return self.info.statics(name)


def debug_of(path: Path) -> Debug:
    return Debug(path)


def reader(path: Path) -> Read:
    """Memory as it is when the program begins: the file's own contents."""
    return Read(ElfImage.open(path))


class Read:
    def __init__(self, image: ElfImage, bias: int = 0) -> None:
        self.image = image
        self.bias = bias

    def __call__(self, address: int, size: int) -> bytes:
        return self.image.read(address - self.bias, size)


@pytest.mark.parametrize("flags", BUILDS, ids=" ".join)
def test_an_expression_has_the_address_and_size_that_the_program_prints(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    path = build(tmp_path, "objects.c", "-no-pie", *flags)
    debug, read = debug_of(path), reader(path)
    printed = [line.rsplit(" ", 2) for line in run(path).splitlines()[:-1]]
    assert len(printed) > 25
    for text, address, size in printed:
        if text in ("counter", "objects.c::counter", "constant") and "-O0" not in flags:
            continue  # may be optimised out of memory, printed or not
        if text == "environ":
            continue  # a copy of libc's: its address is known, what it is may not be
        target = debug.variable(text, read)
        assert target is not None, text
        assert (target.address, target.size, target.kind) == (int(address), int(size), "data"), text


TYPES = {
    "cfg": "config_t",
    "cfg.limits": "long int[4]",
    "cfg.limits[3]": "long int",
    "cfg.where": "const struct point *",
    "grid": "struct point[3][4]",
    "grid[1]": "struct point[4]",
    "grid[1][1]": "struct point",
    "head": "struct node *",
    "*head": "struct node",
    "handle": "struct node **volatile",
    "numbers[2]": "volatile int",
    "callback": "void () *",
    "unknown": "struct opaque *",
    "add_limit::calls": "int",
    "cfg.inner": "struct {...}[2]",
}


def test_types_are_written_as_c_writes_them(tmp_path: Path) -> None:
    path = build(tmp_path, "objects.c", "-g", "-no-pie")
    debug, read = debug_of(path), reader(path)
    found = {text: debug.variable(text, read) for text in TYPES}
    assert {text: target.type_name for text, target in found.items() if target} == TYPES


REFUSED = {
    "cfg.limits[4]": "cfg.limits has 4 elements",
    "cfg.limits[-1]": "no [-1]",
    "grid[3]": "grid has 3 elements",
    "grid[0][4]": "4 elements",
    "cfg.nope": "cfg has no member nope (it has version, limits",
    "cfg.version.x": "cfg.version is int: it has no member x",
    "cfg[1]": "cfg is config_t, not an array",
    "*cfg": "cfg is config_t, not a pointer",
    "counter->x": "counter is int, not a pointer",
    "head->next->next->value": "head->next->next is a null pointer",
    "callback[1]": "unknown size",
    "unknown->x": "null pointer",
    "per_thread": "thread-local",
    "main::argc": "stack frame",
}


@pytest.mark.parametrize("text", REFUSED)
def test_a_path_that_leads_nowhere_says_where_it_broke_off(tmp_path: Path, text: str) -> None:
    path = build(tmp_path, "objects.c", "-g", "-O0", "-no-pie")
    with pytest.raises(ExpressionError) as caught:
        debug_of(path).variable(text, reader(path))
    assert REFUSED[text] in str(caught.value)


def test_pointers_need_memory(tmp_path: Path) -> None:
    path = build(tmp_path, "objects.c", "-g", "-no-pie")
    debug = debug_of(path)
    with pytest.raises(ExpressionError, match="head is a pointer"):
        debug.variable("head->next")

    def unreadable(address: int, size: int) -> bytes:
        raise KeyError(address)

    for read in (unreadable, lambda address, size: b"\1\2"):
        with pytest.raises(ExpressionError, match="which cannot be read"):
            debug.variable("head->next", read)
    assert debug.variable("head") is not None


def test_a_load_bias_is_added_once_and_pointers_are_followed_where_they_point(tmp_path: Path) -> None:
    path = build(tmp_path, "objects.c", "-g", "-no-pie")
    debug = debug_of(path)
    plain = debug.variable("second.value")
    moved = debug.variable("cfg.limits[3]", None, 0x10000)
    fixed = debug.variable("cfg.limits[3]")
    near, far = Read(ElfImage.open(path)), Read(ElfImage.open(path), 0x10000)
    # `head` itself is read where it was moved to; what it holds was not relocated.
    followed = debug.variable(
        "head->next->value", lambda address, size: far(address, size) or near(address, size), 0x10000
    )
    assert plain is not None
    assert moved is not None
    assert fixed is not None
    assert followed is not None
    assert moved.address == fixed.address + 0x10000
    assert followed.address == plain.address


def test_bytes_behind_an_object_have_no_size_of_their_own(tmp_path: Path) -> None:
    debug = debug_of(build(tmp_path, "objects.c", "-g"))
    whole = debug.variable("text")
    assert whole is not None
    for offset, size in ((0, 16), (4, 12), (15, 1), (16, None), (100, None)):
        target = debug.variable(f"text+{offset}")
        assert target is not None
        assert (target.address, target.size) == (whole.address + offset, size)


def test_bit_fields_are_the_bytes_that_hold_them(tmp_path: Path) -> None:
    debug = debug_of(build(tmp_path, "objects.c", "-g"))
    flag, level = debug.variable("cfg.flag"), debug.variable("cfg.level")
    assert flag is not None
    assert level is not None
    assert (flag.size, level.size) == (1, 1)
    assert flag.address == level.address


def test_statics_are_found_by_their_file_and_their_function_only(tmp_path: Path) -> None:
    path = build(tmp_path, "objects.c", "-g", "-O0")
    debug = debug_of(path)
    table = SymbolTable(ElfImage.open(path))
    in_first, in_second = debug.variable("add_limit::calls"), debug.variable("twice::calls")
    assert in_first is not None
    assert in_second is not None
    found = {s.value for name in table.names("calls.", 9) for s in table.find(name)}
    assert {in_first.address, in_second.address} == found
    assert debug.variable("objects.c::add_limit::calls") == in_first
    assert debug.variable("calls") is None
    assert debug.variable("other.c::counter") is None
    assert debug.variable("other::calls") is None
    assert set(debug.statics("calls")) == {"add_limit::calls", "twice::calls"}


def two_files(directory: Path, *flags: str) -> Path:
    need("gcc")
    (directory / "one.c").write_text(
        "static volatile int count = 3; int shared = 1; int one(void) { return count++; }\n"
    )
    (directory / "two.c").write_text(
        "static volatile int count = 4; extern int shared; int two(void) { return count++ + shared; }\n"
    )
    (directory / "main.c").write_text("int one(void), two(void); int main(void) { return one() + two(); }\n")
    names = ("one.c", "two.c", "main.c")
    run("gcc", *flags, "-o", directory / "prog", *(directory / name for name in names))
    return directory / "prog"


@pytest.mark.parametrize("flags", BUILDS[:3], ids=" ".join)
def test_a_static_of_two_files_is_ambiguous_and_each_is_offered(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    debug = debug_of(two_files(tmp_path, *flags))
    with pytest.raises(ExpressionError, match="count is ambiguous") as caught:
        debug.variable("count")
    assert caught.value.candidates == ("one.c::count", "two.c::count")
    addresses = {target.address for text in caught.value.candidates if (target := debug.variable(text))}
    assert len(addresses) == 2
    shared = debug.variable("shared")
    assert shared is not None
    assert (shared.size, shared.type_name) == (4, "int")


def test_a_constant_without_memory_says_so(tmp_path: Path) -> None:
    need("gcc")
    (tmp_path / "x.c").write_text(
        "static const int limit = 7; int main(int c, char **v) { return limit * c; }\n"
    )
    run("gcc", "-g", "-O2", "-o", tmp_path / "x", tmp_path / "x.c")
    with pytest.raises(ExpressionError, match="has no address"):
        debug_of(tmp_path / "x").variable("limit")


PLACES = [
    ("cfg.limits[3]", 0, "cfg.limits[3]"),
    ("cfg.limits[3]", 5, "cfg.limits[3]+5"),
    ("cfg", 0, "cfg.version"),
    ("grid[2][3].y", 0, "grid[2][3].y"),
    ("grid", 0, "grid[0][0].x"),
    ("cfg.inner[1].b", 1, "cfg.inner[1].b+1"),
    ("text[7]", 0, "text[7]"),
    ("counter", 2, "counter+2"),
    ("add_limit::calls", 0, "add_limit::calls"),
    ("numbers[9]", 0, "numbers[9]"),
]


@pytest.mark.parametrize(("text", "more", "expected"), PLACES)
@pytest.mark.parametrize("version", ["-gdwarf-4", "-gdwarf-5"])
def test_an_address_is_named_down_to_its_element(
    tmp_path: Path, version: str, text: str, more: int, expected: str
) -> None:
    debug = debug_of(build(tmp_path, "objects.c", version, "-O0"))
    target = debug.variable(text)
    assert target is not None
    found = debug.variable_at(target.address + more)
    assert found is not None
    name, offset = found
    assert (f"{name}+{offset}" if offset else name) == expected


def test_a_name_of_an_address_is_an_expression_for_it(tmp_path: Path) -> None:
    path = build(tmp_path, "objects.c", "-g", "-O0")
    debug, table = debug_of(path), SymbolTable(ElfImage.open(path))
    for name in ("cfg", "grid", "first", "text", "counter", "numbers"):
        symbol = table.find(name)[0]
        for address in range(symbol.value, symbol.value + symbol.size):
            found = debug.variable_at(address)
            assert found is not None
            target = debug.variable(found[0])
            assert target is not None
            assert target.address + found[1] == address, found


def test_an_index_of_names_leads_to_the_same_variables(tmp_path: Path) -> None:
    need("gdb-add-index", "gdb")
    path = build(tmp_path, "objects.c", "-gdwarf-5", "-O0", "-no-pie")
    before = {
        text: debug_of(path).variable(text, reader(path)) for text in (*TYPES, "add_limit::calls", "nothing")
    }
    run("gdb-add-index", "-dwarf-5", path)
    debug = debug_of(path)
    if ".debug_names" not in debug.image.sections:
        pytest.skip("this gdb writes no .debug_names")
    assert {text: debug.variable(text, reader(path)) for text in before} == before


def test_a_program_without_dwarf_has_no_variables(tmp_path: Path) -> None:
    debug = debug_of(build(tmp_path, "objects.c"))
    assert not debug
    assert debug.variable("cfg") is None
    assert debug.variable_at(SymbolTable(ElfImage.open(tmp_path / "prog")).find("cfg")[0].value) is None


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("version", ["-gdwarf-4", "-gdwarf-5"])
def test_damaged_dwarf_costs_names_and_nothing_else(tmp_path: Path, version: str, seed: int) -> None:
    path = build(tmp_path, "objects.c", version, "-O1")
    data = bytearray(path.read_bytes())
    sections = [s for name, s in ElfImage.open(path).sections.items() if name.startswith(".debug_")]
    dice = random.Random(seed)
    for _ in range(1 + seed * 8):
        section = dice.choice(sections)
        data[section.offset + dice.randrange(section.size)] = dice.choice(
            (0, 0x7F, 0xFF, dice.randrange(256))
        )
    broken = tmp_path / "broken"
    broken.write_bytes(data)
    try:
        image = ElfImage.open(broken)
    except ElfError:
        pytest.fail("the headers were not touched")
    debug = debug_of(broken)
    for text in (
        "cfg.limits[3]",
        "grid[1][1].x",
        "head->next->value",
        "add_limit::calls",
        "per_thread",
        "nothing",
    ):
        try:
            target = debug.variable(text, Read(image))
        except ExpressionError:
            continue
        assert target is None or 0 <= target.address < 1 << 64
    table = SymbolTable(image)
    lines = LineTable(image, table)
    for name in ("cfg", "grid", "main"):
        value = table.find(name)[0].value
        assert debug.variable_at(value) is None or name in str(debug.variable_at(value))
        found = lines.at(value)
        assert found is None or found[1] > 0
    assert isinstance(lines.addresses("objects.c", 40), list)


def test_a_type_that_contains_itself_ends(tmp_path: Path) -> None:
    need("gcc")
    (tmp_path / "x.s").write_text(
        ".data\n.globl v\n.type v,@object\n.size v,4\nv: .long 1\n.text\n.globl main\nmain: ret\n"
        ".section .debug_abbrev\n"
        ".uleb128 1,0x11\n.byte 1\n.uleb128 0x03,0x08,0,0\n"  # unit: name
        ".uleb128 2,0x34\n.byte 0\n.uleb128 0x03,0x08,0x49,0x13,0x3f,0x19,0x02,0x18,0,0\n"  # variable
        ".uleb128 3,0x16\n.byte 0\n.uleb128 0x49,0x13,0,0\n"  # typedef of itself
        ".uleb128 0\n"
        ".section .debug_info\nbegin: .long end-start\nstart: .short 4\n.long 0\n.byte 8\n"
        '.uleb128 1\n.string "x.c"\n'
        '.uleb128 2\n.string "v"\n.long type-begin\n.uleb128 9\n.byte 3\n.quad v\n'
        "type: .uleb128 3\n.long type-begin\n.uleb128 0\nend:\n.section .note.GNU-stack\n"
    )
    run("gcc", "-no-pie", "-o", tmp_path / "x", tmp_path / "x.s")
    debug = debug_of(tmp_path / "x")
    found = debug.variable("v")
    assert found is not None
    assert found.size == 4  # what the symbol table says
    value = SymbolTable(ElfImage.open(tmp_path / "x")).find("v")[0].value
    assert debug.variable_at(value + 1) == ("v", 1)


def test_entries_that_promise_much_and_hold_nothing_end_after_bounded_work(tmp_path: Path) -> None:
    need("gcc")
    # Each entry is one byte and has 30,000 attributes of no bytes: 2 * 10**9 attributes in 100 KB.
    (tmp_path / "x.s").write_text(
        ".text\n.globl main\nmain: ret\n.data\n.globl v\n.type v,@object\n.size v,4\nv: .long 1\n"
        ".section .debug_abbrev\n"
        ".uleb128 1,0x11\n.byte 1\n.uleb128 0,0\n"
        ".uleb128 2,0x34\n.byte 0\n.rept 30000\n.uleb128 0x3f,0x19\n.endr\n.uleb128 0,0\n"
        ".uleb128 3,0x34\n.byte 0\n.uleb128 0x03,0x08,0,0\n.uleb128 0\n"
        ".section .debug_info\n.long end-start\nstart: .short 4\n.long 0\n.byte 8\n.uleb128 1\n"
        '.rept 70000\n.uleb128 2\n.endr\n.uleb128 3\n.string "v"\n.uleb128 0\nend:\n.section .note.GNU-stack\n'
    )
    run("gcc", "-no-pie", "-o", tmp_path / "x", tmp_path / "x.s")
    assert debug_of(tmp_path / "x").variable("v") is None
