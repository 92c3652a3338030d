"""What one unit names: at file level, in a function, and in scope at an address; and what a broken one still says."""

from __future__ import annotations

from pathlib import Path

import pytest

from symbols.debug_sections import DebugSections
from symbols.dies import Unit
from symbols.dwarf_names import TAG
from symbols.elf import ElfImage
from symbols.entries import Entry, file_level, in_scope, locals_named
from symbols.table import SymbolTable
from tests.unit.symbols_data.builds import need, run

C = """
extern int elsewhere;
int global = 1;
static int here = 2;
enum { FIRST = 3 };
struct point { int x, y; };
typedef struct point point_t;
static point_t where;
int twice(int x)
{
    static int calls;
    int y = x + elsewhere;
    {
        int x = y * 2;
        calls += x + where.x;
    }
    {
        int z = y;
        here += z;
    }
    return calls;
}
int nothing(void) { return FIRST; }
"""
INLINED = """
static inline __attribute__((always_inline)) int inner(int v) { int w = v + 1; return w * 2; }
int outer(int a) { a += 3; return inner(a) + a; }
"""
CPLUSPLUS = """
namespace shapes {
struct box { static int made; int size; };
int box::made = 1;
namespace { int hidden = 2; }
int area(box *b) { static int calls; return calls++ + b->size + hidden; }
}
"""


def unit_of(directory: Path, source: str, compiler: str = "gcc", *flags: str) -> tuple[ElfImage, Unit]:
    """The one unit of a shared library of this source."""
    need(compiler)
    name = "x.c" if compiler == "gcc" else "x.cpp"
    (directory / name).write_text(source)
    run(
        compiler,
        "-g",
        "-O0",
        "-shared",
        "-fPIC",
        "-nostdlib",
        *flags,
        "-o",
        directory / "x.so",
        directory / name,
    )
    image = ElfImage.open(directory / "x.so")
    return image, only(image)


def only(image: ElfImage) -> Unit:
    sections = DebugSections(image)
    (offset,) = sections.own_units
    unit = sections.unit(offset)
    assert unit is not None
    return unit


def function(unit: Unit, name: str) -> Entry:
    (found,) = (entry for entry in file_level(unit).functions if entry.name == name and not entry.declared)
    return found


@pytest.mark.parametrize("dwarf", ["-gdwarf-3", "-gdwarf-4", "-gdwarf-5"])
def test_a_unit_says_its_variables_types_and_functions_at_file_level(tmp_path: Path, dwarf: str) -> None:
    _, unit = unit_of(tmp_path, C, "gcc", dwarf)
    found = file_level(unit)
    assert {"elsewhere", "global", "here", "where"} == set(found.variables)
    assert {"point", "point_t", "int", "{...}"} <= set(found.types)
    assert sorted(each.name for each in found.functions) == ["nothing", "twice"]
    (elsewhere,), (whole,), (here,) = (found.variables[name] for name in ("elsewhere", "global", "here"))
    assert (elsewhere.declared, elsewhere.external) == (True, True)
    assert (whole.declared, whole.external) == (False, True)
    assert (here.declared, here.external) == (False, False)
    assert {entry.scope for entries in found.variables.values() for entry in entries} == {()}
    assert not any(entry.local for entries in found.variables.values() for entry in entries)
    for entries in (*found.variables.values(), *found.types.values(), found.functions):
        for entry in entries:
            die = unit.die(entry.offset)
            assert die is not None
            assert (entry.unit, die.tag) == (unit.offset, entry.tag)
            assert die.name == entry.name or entry.name == "{...}"


def test_namespaces_and_classes_are_the_scope_of_what_they_hold_also_where_it_is_defined_outside(
    tmp_path: Path,
) -> None:
    _, unit = unit_of(tmp_path, CPLUSPLUS, "g++")
    found = file_level(unit)
    assert {(entry.scope, entry.declared) for entry in found.variables["made"]} == {
        (("shapes", "box"), True),
        (("shapes", "box"), False),
    }
    assert {entry.scope for entry in found.variables["hidden"]} == {
        ("shapes",)
    }  # a nameless one is no part of it
    assert [entry.scope for entry in found.types["box"]] == [("shapes",)]
    assert "size" not in found.variables  # a member that is not static is no variable
    assert "calls" not in found.variables
    assert [entry.scope for entry in locals_named(unit, function(unit, "area"), "calls")] == [
        ("shapes", "area")
    ]


def test_the_locals_of_a_function_by_name_are_those_of_all_its_blocks(tmp_path: Path) -> None:
    _, unit = unit_of(tmp_path, C)
    twice, nothing = function(unit, "twice"), function(unit, "nothing")
    found = list(locals_named(unit, twice, "x"))
    assert [entry.tag for entry in found] == [TAG.formal_parameter, TAG.variable]
    assert {entry.scope for entry in found} == {("twice",)}
    assert {entry.function for entry in found} == {twice.offset}
    assert all(entry.local for entry in found)
    assert [entry.name for entry in locals_named(unit, twice, "calls")] == ["calls"]
    assert not list(locals_named(unit, twice, "global"))
    assert not list(locals_named(unit, nothing, "x"))


def test_in_scope_is_what_the_blocks_around_an_address_hold_innermost_first(tmp_path: Path) -> None:
    image, unit = unit_of(tmp_path, C)
    functions = file_level(unit).functions
    (twice,) = SymbolTable(image).find("twice")
    (nothing,) = SymbolTable(image).find("nothing")
    seen: list[tuple[str, ...]] = []
    for address in range(twice.value, twice.value + twice.size):
        names = tuple(entry.name for entry in in_scope(unit, functions, address))
        if names not in seen:
            seen.append(names)
    assert [names[:-3] for names in seen] == [(), ("x",), ("z",)]
    assert {frozenset(names[-3:]) for names in seen} == {frozenset(("x", "y", "calls"))}
    assert {entry.function for entry in in_scope(unit, functions, twice.value)} == {
        function(unit, "twice").offset
    }
    assert in_scope(unit, functions, nothing.value) == []
    assert in_scope(unit, functions, 0) == []
    assert in_scope(unit, [], twice.value) == []


def test_where_a_function_is_inlined_its_names_are_in_scope_and_not_those_around_it(tmp_path: Path) -> None:
    image, unit = unit_of(tmp_path, INLINED)
    functions = file_level(unit).functions
    (outer,) = SymbolTable(image).find("outer")
    seen = {
        (entry.scope, entry.name)
        for address in range(outer.value, outer.value + outer.size)
        for entry in in_scope(unit, functions, address)
    }
    assert seen == {(("outer",), "a"), (("inner",), "v"), (("inner",), "w")}
    for address in range(outer.value, outer.value + outer.size):
        assert len({entry.scope for entry in in_scope(unit, functions, address)}) == 1
    assert {entry.name for entry in in_scope(unit, functions, outer.value)} == {"a"}


def test_a_unit_that_breaks_off_has_what_came_before_and_raises_nothing(tmp_path: Path) -> None:
    image, unit = unit_of(tmp_path, C)
    (twice,) = SymbolTable(image).find("twice")
    whole = [entry.name for entries in file_level(unit).variables.values() for entry in entries]
    section = image.sections[".debug_info"]
    data = bytearray((tmp_path / "x.so").read_bytes())
    sizes = set()
    for kept in range(unit.top.offset + 1, section.size, 7):
        data[section.offset + kept : section.offset + section.size] = b"\xff" * (section.size - kept)
        broken = only(ElfImage.of_bytes("x", bytes(data)))
        found = file_level(broken)
        names = [entry.name for entries in found.variables.values() for entry in entries]
        assert names == whole[: len(names)]
        sizes.add(len(names))
        for entry in found.functions:
            list(locals_named(broken, entry, "x"))
        in_scope(broken, found.functions, twice.value)
        data[:] = (tmp_path / "x.so").read_bytes()
    assert 0 in sizes
    assert len(sizes) > 2
