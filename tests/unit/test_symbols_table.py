"""Symbol tables: what nm lists is found by name and by address, and PLT stubs have the names of what they reach."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from symbols.elf import ElfImage
from symbols.table import SymbolTable
from tests.unit.symbols_data.builds import build, need, run

LIBC = Path("/lib/x86_64-linux-gnu/libc.so.6")


def table_of(path: Path) -> SymbolTable:
    return SymbolTable(ElfImage.open(path))


def listed(path: Path, *flags: str) -> list[tuple[int, int, str, str]]:
    """(value, size, letter, name) of each defined, sized symbol as nm has it, versions left out."""
    need("nm")
    found = re.findall(
        r"^([0-9a-f]{16}) ([0-9a-f]{16}) (\w) (\S+)$", run("nm", "-S", *flags, path), re.MULTILINE
    )
    return [
        (int(value, 16), int(size, 16), letter, name.split("@")[0]) for value, size, letter, name in found
    ]


@pytest.mark.parametrize("flags", [(), ("-static",), ("-no-pie", "-O2"), ("-g", "-O1")], ids=" ".join)
def test_every_symbol_of_nm_is_found_by_its_name_and_covers_its_address(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    path = build(tmp_path, "objects.c", *flags)
    table = table_of(path)
    symbols = [s for s in listed(path) if s[1] and s[2] not in "Uu"]
    assert len(symbols) > 15
    tls = {s.name for name in {n for *_, n in symbols} for s in table.find(name) if s.kind == "tls"}
    for value, size, letter, name in symbols:
        found = [s for s in table.find(name) if s.value == value]
        assert [s.size for s in found] == [size], name
        assert (found[0].bind == "local") == (letter in "tdbrn"), name
        if name not in tls:
            at = table.at(value + size - 1)
            assert at is not None
            assert at[0].value <= value + size - 1 < at[0].value + at[0].size, name


def test_a_library_without_symtab_has_the_names_it_exports() -> None:
    if not LIBC.exists():
        pytest.skip(f"{LIBC} is not here")
    table = table_of(LIBC)
    symbols = [s for s in listed(LIBC, "-D") if s[2] in "TWi" and s[1]]
    assert len(symbols) > 1000
    for value, size, _, name in symbols[::7]:
        assert (value, size) in {(s.value, s.size) for s in table.find(name)}, name
    malloc = table.find("malloc")[0]
    assert table.at(malloc.value + 5) == (malloc, 5)


def test_versions_are_no_part_of_a_name(tmp_path: Path) -> None:
    need("nm")
    if not LIBC.exists() or "memcpy@@GLIBC" not in run("nm", "-D", LIBC):
        pytest.skip("this libc has no versioned memcpy")
    assert {s.name for s in table_of(LIBC).find("memcpy")} == {"memcpy"}


def test_a_missing_name_is_not_found_and_near_ones_are_offered(tmp_path: Path) -> None:
    table = table_of(build(tmp_path, "objects.c"))
    assert table.find("conter") == []
    assert table.near("conter")[0] == "counter"
    assert table.near("ADD_LIMIT") == ["add_limit"]
    assert table.near("zzzzzzzz") == []
    assert table.find("") == []
    assert table.find("limit") == []  # the tail of add_limit


def test_names_are_completed_in_order(tmp_path: Path) -> None:
    table = table_of(build(tmp_path, "objects.c"))
    known = {name for _, name in listed_all(tmp_path / "prog")}
    assert table.names("co", 10) == sorted(name for name in known if name.startswith("co"))
    assert table.names("c", 2) == table.names("c", 10)[:2]
    assert table.names("zzz", 5) == []


def listed_all(path: Path) -> list[tuple[str, str]]:
    """(letter, name) of every defined symbol."""
    found = re.findall(r"^[0-9a-f]{16} (\w) (\S+)$", run("nm", path), re.MULTILINE)
    return [(letter, name) for letter, name in found if letter not in "Uw"]


def test_local_symbols_of_one_name_are_kept_apart_by_their_file(tmp_path: Path) -> None:
    need("gcc")
    for name in ("one", "two"):
        (tmp_path / f"{name}.c").write_text(f"static int count = 3; int {name}(void) {{ return count++; }}\n")
    (tmp_path / "main.c").write_text("int one(void), two(void); int main(void) { return one() + two(); }\n")
    run("gcc", "-o", tmp_path / "prog", *(tmp_path / f"{name}.c" for name in ("one", "two", "main")))
    found = table_of(tmp_path / "prog").find("count")
    assert {s.file for s in found} == {"one.c", "two.c"}
    assert len({s.value for s in found}) == 2


def test_a_static_object_in_a_function_keeps_the_compilers_number(tmp_path: Path) -> None:
    table = table_of(build(tmp_path, "objects.c"))
    assert [s.kind for s in table.find("calls.0")] == ["object"]


def test_thread_local_symbols_have_no_address(tmp_path: Path) -> None:
    table = table_of(build(tmp_path, "objects.c"))
    found = table.find("per_thread")
    assert [s.kind for s in found] == ["tls"]
    assert table.at(found[0].value) is None


@pytest.mark.parametrize(
    "flags",
    [(), ("-no-pie",), ("-fcf-protection=full", "-Wl,-z,ibtplt"), ("-Wl,-z,now",), ("-fno-plt",)],
    ids=" ".join,
)
def test_plt_stubs_are_named_as_objdump_names_them(tmp_path: Path, flags: tuple[str, ...]) -> None:
    need("objdump")
    path = build(tmp_path, "calls.c", *flags)
    expected = {
        (int(value, 16), name)
        for value, name in re.findall(
            r"^([0-9a-f]{16}) <(\w+@plt)>:", run("objdump", "-d", path), re.MULTILINE
        )
    }
    table = table_of(path)
    for value, name in expected:
        found = table.at(value)
        assert found is not None
        assert (found[0].name, found[1]) == (name, 0)
        assert value in {s.value for s in table.find(name)}
    if "-fno-plt" not in flags:
        assert "malloc@plt" in {name for _, name in expected}


def test_plt_stubs_of_echo_have_names() -> None:
    path = Path("/bin/echo")
    if not path.exists():
        pytest.skip("no /bin/echo")
    found = table_of(path).find("fwrite@plt") + table_of(path).find("fputs_unlocked@plt")
    assert found
    assert all(s.kind == "func" and s.size for s in found)


def test_a_function_without_a_size_reaches_to_the_next_symbol_of_its_section(tmp_path: Path) -> None:
    need("gcc")
    (tmp_path / "a.s").write_text(
        ".globl main, unsized\n.type main,@function\n.type unsized,@function\nmain: nop\nnop\nret\n.size main, 3\n"
        ".balign 16\nunsized: nop\nnop\nret\nlabel: nop\n"
        ".data\n.globl thing\nthing: .quad 1\n.section .note.GNU-stack\n"
    )
    run("gcc", "-o", tmp_path / "prog", tmp_path / "a.s")
    table = table_of(tmp_path / "prog")
    unsized = table.find("unsized")[0]
    assert table.at(unsized.value + 2) == (unsized, 2)
    main = table.find("main")[0]
    assert table.at(main.value + 3) is None  # padding behind a function of known size
    thing = table.find("thing")[0]
    assert table.at(thing.value + 1) is None  # data without a size covers nothing
    label = table.at(unsized.value + 3)
    assert label is not None
    assert label[0].name == "label"


def damaged(path: Path, section: str, change: bytes, at: int = 0) -> Path:
    data = bytearray(path.read_bytes())
    found = ElfImage.open(path).sections[section]
    data[found.offset + at : found.offset + at + len(change)] = change
    broken = path.with_name("broken")
    broken.write_bytes(data)
    return broken


def test_names_outside_the_string_table_are_empty_and_others_stay(tmp_path: Path) -> None:
    path = build(tmp_path, "objects.c")
    good = table_of(path)
    count = ElfImage.open(path).sections[".symtab"].size // 24
    rows = struct.pack("<IBBHQQ", 0xFFFFFFF0, 0x12, 0, 14, 0x1139, 5) * (count // 2)
    table = table_of(damaged(path, ".symtab", rows))
    assert table.at(0x1139) is not None
    assert table.near("mein") or table.find("main") == []
    assert len(table) <= len(good) + count


@pytest.mark.parametrize("field", [4, 24, 32, 40, 56])
def test_a_lying_section_header_costs_names_only(tmp_path: Path, field: int) -> None:
    path = build(tmp_path, "objects.c")
    image = ElfImage.open(path)
    (shoff,) = struct.unpack_from("<Q", path.read_bytes(), 40)
    for index, section in enumerate(image.section_table):
        if section.name not in (".symtab", ".strtab", ".dynsym", ".rela.plt", ".plt", ".shstrtab"):
            continue
        for value in (0, 1, 0xFFFFFFFF, 1 << 40, (1 << 64) - 1):
            data = bytearray(path.read_bytes())
            size = 4 if field in (4, 40) else 8
            at = shoff + index * 64 + field
            data[at : at + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
            (tmp_path / "lying").write_bytes(data)
            table = table_of(tmp_path / "lying")
            assert all(s.name == "main" for s in table.find("main"))
            assert isinstance(table.near("mian"), list)
            for address in (0, 0x1000, 0x1139, 1 << 63, (1 << 64) - 1, -1):
                found = table.at(address)
                assert found is None or found[1] >= 0
