"""Source lines: the same as addr2line's, and breakpoints where gdb would put them."""

from __future__ import annotations

import re
import struct
import subprocess
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import pytest

from symbols.elf import ElfImage
from symbols.line_program import read_files, read_header, read_unit
from symbols.lines import LineTable
from symbols.table import SymbolTable
from tests.unit.symbols_data.builds import build, need, run

BUILDS = [
    ("-g", "-O0"),
    ("-gdwarf-4", "-O2"),
    ("-gdwarf-5", "-O2"),
    ("-gdwarf-5", "-O1", "-static"),
    ("-gdwarf-3", "-O1"),
    ("-g", "-O2", "-flto"),
    ("-g", "-gz=zlib"),
]


def lines_of(path: Path) -> tuple[LineTable, SymbolTable]:
    image = ElfImage.open(path)
    table = SymbolTable(image)
    return LineTable(image, table), table


def number_of(source: Path, text: str) -> int:
    """The line of a source that holds a text."""
    return next(n for n, line in enumerate(source.read_text().splitlines(), 1) if text in line)


@pytest.mark.parametrize("flags", BUILDS, ids=" ".join)
def test_every_address_has_the_line_that_addr2line_says(tmp_path: Path, flags: tuple[str, ...]) -> None:
    need("addr2line", "nm")
    path = build(tmp_path, "calls.c", *flags)
    lines, table = lines_of(path)
    addresses: list[int] = []
    for name in ("main", "recurse", "middle", "aligned", "on_signal"):
        for symbol in table.find(name)[:1]:
            addresses += range(symbol.value, symbol.value + symbol.size)
    assert len(addresses) > 200
    asked = "".join(f"{address:#x}\n" for address in addresses)
    (tmp_path / "asked").write_text(asked)
    with (tmp_path / "asked").open() as stdin:
        done = subprocess.run(
            ["addr2line", "-e", path], stdin=stdin, capture_output=True, text=True, check=True
        )
    for address, answer in zip(addresses, done.stdout.splitlines(), strict=True):
        file, _, number = answer.split(" ")[0].rpartition(":")
        found = lines.at(address)
        if number in ("?", "0"):
            assert found is None
        else:
            assert found is not None
            name = file.rpartition("/")[2]
            if (
                name != "<artificial>"
            ):  # addr2line's word for link-time optimised code; readelf names the file
                assert found[0].rpartition("/")[2] == name, hex(address)
            assert found[1] == int(number), hex(address)


def test_a_file_is_named_as_the_compiler_was_given_it(tmp_path: Path) -> None:
    path = build(tmp_path, "calls.c", "-g")
    lines, table = lines_of(path)
    found = lines.at(table.find("main")[0].value)
    assert found is not None
    assert found[0] == "calls.c"
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "x.c").write_text("int main(void) { return 0; }\n")
    run("gcc", "-g", "-o", tmp_path / "x", tmp_path / "sub" / "x.c")
    lines, table = lines_of(tmp_path / "x")
    assert lines.at(table.find("main")[0].value) == (str(tmp_path / "sub" / "x.c"), 1)


@pytest.mark.parametrize("flags", BUILDS[:3], ids=" ".join)
def test_a_line_begins_at_its_first_statement_in_its_function(tmp_path: Path, flags: tuple[str, ...]) -> None:
    path = build(tmp_path, "objects.c", *flags, "-fno-inline")
    lines, table = lines_of(path)
    wanted = number_of(tmp_path / "objects.c", "cfg.limits[3] += amount")
    found = lines.addresses("objects.c", wanted)
    function = table.find("add_limit")[0]
    assert len(found) == 1
    assert function.value <= found[0] < function.value + function.size
    if "-O0" in flags:  # optimised, other lines may begin at the same address
        assert lines.at(found[0]) == ("objects.c", wanted)


def test_a_line_without_code_means_the_next_one_that_has_some(tmp_path: Path) -> None:
    path = build(tmp_path, "objects.c", "-g", "-O0")
    lines, _ = lines_of(path)
    wanted = number_of(tmp_path / "objects.c", "cfg.limits[3] += amount")
    assert lines.addresses("objects.c", wanted + 1) == lines.addresses("objects.c", wanted + 2) != []
    assert lines.addresses("objects.c", 1) == lines.addresses(
        "objects.c", number_of(tmp_path / "objects.c", "add_limit(")
    )
    assert lines.addresses("objects.c", 100_000) == []
    assert lines.addresses("other.c", wanted) == []


def test_a_breakpoint_on_a_line_is_where_gdb_puts_it(tmp_path: Path) -> None:
    need("gdb")
    path = build(tmp_path, "calls.c", "-g", "-O0", "-no-pie")
    lines, _ = lines_of(path)
    source = tmp_path / "calls.c"
    for text in ("sum += leaf(a + i) * b;", "memset(buffer, n", "raise(SIGUSR1)", "return t;"):
        wanted = number_of(source, text)
        shown = run("gdb", "-nx", "-batch", "-ex", f"break calls.c:{wanted}", path)
        place = re.search(r"Breakpoint 1 at (0x\w+)", shown)
        assert place is not None
        assert lines.addresses("calls.c", wanted) == [int(place[1], 16)], text


def test_a_file_is_matched_by_whole_parts_of_its_path(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "x.c").write_text("int main(void) { return 0; }\n")
    need("gcc")
    run("gcc", "-g", "-o", tmp_path / "x", tmp_path / "sub" / "x.c")
    lines, _ = lines_of(tmp_path / "x")
    for name in ("x.c", "sub/x.c", str(tmp_path / "sub/x.c"), "./x.c"):
        assert lines.has_file(name), name
    for name in ("b/x.c", ".c", "c", "", "/x.c", "x.cc", "main"):
        assert not lines.has_file(name), name


def test_code_of_a_header_that_is_inlined_twice_begins_once_in_each_function(tmp_path: Path) -> None:
    need("gcc")
    (tmp_path / "inline.h").write_text("static inline int up(int *p)\n{\n    *p += 5;\n    return *p;\n}\n")
    (tmp_path / "x.c").write_text(
        '#include "inline.h"\nint v;\nint a(void) { return up(&v); }\nint b(void) { return up(&v) + 1; }\n'
        "int main(void) { return a() + b(); }\n"
    )
    run("gcc", "-g", "-O2", "-fno-inline-functions-called-once", "-o", tmp_path / "x", tmp_path / "x.c")
    lines, table = lines_of(tmp_path / "x")
    found = lines.addresses("inline.h", 3)
    names = [at[0].name for address in found if (at := table.at(address))]
    assert {"a", "b"} <= set(names)
    assert len(names) == len(set(names))


def test_a_stripped_program_has_no_lines(tmp_path: Path) -> None:
    lines, _ = lines_of(build(tmp_path, "calls.c", "-s"))
    assert lines.at(0x1139) is None
    assert lines.files() == []
    assert not lines.has_file("calls.c")


# Line programs written by hand: what compilers do not make.


def unit(version: int, tables: bytes, program: bytes, line_range: int = 14, opcode_base: int = 13) -> bytes:
    lengths = bytes([0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1])[: max(0, opcode_base - 1)]
    fixed = (
        bytes([1, 1, 1, 0xFB, line_range, opcode_base])
        if version >= 4
        else bytes([1, 1, 0xFB, line_range, opcode_base])
    )
    rest = fixed + lengths + tables
    head = struct.pack("<H", version) + (b"\x08\0" if version >= 5 else b"")
    body = head + struct.pack("<I", len(rest)) + rest + program
    return struct.pack("<I", len(body)) + body


FILES4 = b"dir\0\0a.c\0\x01\0\0b.c\0\0\0\0\0"
SET = b"\0\x09\x02" + struct.pack("<Q", 0x1000)
END = b"\0\x01\x01"


def sections(line: bytes) -> dict[str, bytes]:
    return defaultdict(bytes, line=line)


def test_version_4_files_have_their_directories() -> None:
    assert read_files(sections(unit(4, FILES4, b"")), 0) == ("", "dir/a.c", "b.c")


def entries(fields: bytes, *entry: bytes) -> bytes:
    """A table of DWARF 5: pairs of content and form, the number of entries, and those."""
    return bytes([len(fields) // 2]) + fields + bytes([len(entry)]) + b"".join(entry)


FOLDERS = entries(b"\x01\x1f", struct.pack("<I", 0), struct.pack("<I", 4))  # by offset into .debug_line_str
ALIKE = {
    "udata": entries(b"\x01\x1f\x02\x0f", struct.pack("<IB", 8, 0), struct.pack("<IB", 12, 1)),
    "data1": entries(b"\x01\x1f\x02\x0b", struct.pack("<IB", 8, 0), struct.pack("<IB", 12, 1)),
    "data2": entries(b"\x01\x1f\x02\x05", struct.pack("<IH", 8, 0), struct.pack("<IH", 12, 1)),
    "MD5": entries(
        b"\x01\x1f\x02\x0f\x05\x1e", *(struct.pack("<IB16s", *row, b"m") for row in ((8, 0), (12, 1)))
    ),
    "two bytes": entries(b"\x01\x1f\x02\x0f", struct.pack("<IB", 8, 0), struct.pack("<IBB", 12, 0x81, 0)),
    "in place": entries(b"\x01\x08\x02\x0f", b"a.c\0\0", b"b.c\0\x01"),
    "directory first": entries(b"\x02\x0f\x01\x1f", struct.pack("<BI", 0, 8), struct.pack("<BI", 1, 12)),
}


@pytest.mark.parametrize("form", ALIKE)
def test_names_of_version_5_are_the_same_in_whatever_form(form: str) -> None:
    data = sections(unit(5, FOLDERS + ALIKE[form], b""))
    data["line_str"] = b"top\0dir\0a.c\0b.c\0"
    strings: dict[tuple[int, int], str] = {}
    for _ in range(2):  # the second time out of what is known
        header = read_header(data, 0, strings)
        assert header is not None
        assert header.files == ("a.c", "dir/b.c")


def test_names_that_all_refer_to_one_long_string_are_not_kept_a_million_times() -> None:
    count = 20_000
    table = bytes([1]) + b"\x01\x1f" + b"\xa0\x9c\x01"  # 20,000 as ULEB128
    rows = b"".join(struct.pack("<I", number) for number in range(count))
    for before, behind in ((FOLDERS, b""), (b"", bytes([0, 0]))):
        data = sections(unit(5, before + table + rows + behind, b""))
        data["line_str"] = b"x" * (count + 5000) + b"\0"
        assert read_header(data, 0) is None


def test_rows_follow_the_state_machine() -> None:
    # copy; special opcode: +1 line, +2 addresses; line -= 1 by advance_line; not a statement; end
    program = SET + b"\x03\x09\x01" + bytes([13 + 14 * 2 + 6]) + b"\x03\x7f\x06\x01" + b"\x02\x04" + END
    found = read_unit(sections(unit(4, FILES4, program)), 0)
    assert list(zip(found.address.tolist(), found.line.tolist(), found.flags.tolist(), strict=True)) == [
        (0x1000, 10, 1),
        (0x1002, 11, 1),
        (0x1002, 10, 0),
        (0x1006, 10, 2),
    ]


def test_functions_that_the_linker_dropped_have_no_rows() -> None:
    dropped = b"\0\x09\x02" + bytes(8) + b"\x01\x02\x08" + END
    found = read_unit(sections(unit(4, FILES4, dropped + SET + b"\x01\x02\x04" + END)), 0)
    assert found.address.tolist() == [0x1000, 0x1004]


def test_rows_of_a_sequence_that_does_not_end_are_dropped() -> None:
    assert len(read_unit(sections(unit(4, FILES4, SET + b"\x01\x01")), 0).address) == 0


BROKEN = {
    "2**60 names of no bytes": unit(5, b"\0" + b"\x80" * 8 + b"\x10" + b"\0\0", b""),
    "2**60 directories": unit(5, b"\x01\x01\x08" + b"\x80" * 8 + b"\x10" + b"\0\0", b""),
    "2**60 files of no bytes": unit(5, b"\0\0\0" + b"\x80" * 8 + b"\x10", SET + b"\x01" + END),
    "unknown form": unit(5, b"\x01\x01\x7e\x01abc\0\0\0", SET),
    "string offset outside": unit(5, b"\x01\x01\x1f\x01\xff\xff\xff\xff\0\0", SET),
    "unterminated names": unit(4, b"dir", b""),
    "no line range": unit(4, FILES4, SET + bytes([200]), line_range=0),
    "no opcodes": unit(4, FILES4, SET, opcode_base=0),
    "version 9": unit(9, FILES4, SET),
    "endless number": unit(4, FILES4, b"\x02" + b"\x80" * 50),
    "extended opcode beyond the end": unit(4, FILES4, b"\0\xff\x7f\x02"),
    "length beyond the end": b"\xf0\xff\xff\x7f" + unit(4, FILES4, b"")[4:],
    "64-bit length beyond the end": b"\xff\xff\xff\xff" + b"\xff" * 8 + b"\x04\0",
    "one byte": b"\x07",
    "nothing": b"",
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_line_program_has_no_rows_and_ends_at_once(case: str) -> None:
    data = sections(BROKEN[case])
    assert len(read_unit(data, 0).address) == 0
    assert isinstance(read_files(data, 0), tuple)
    assert len(read_unit(data, 1 << 40).address) == 0


def test_a_broken_unit_costs_only_its_own_lines() -> None:
    good = unit(4, FILES4, SET + b"\x03\x04\x01\x02\x10" + END)
    for bad in (BROKEN["2**60 names of no bytes"], BROKEN["unknown form"], BROKEN["version 9"]):
        image = SimpleNamespace(
            sections={".debug_line": 1},
            section_bytes=lambda found, data=bad + good: b"" if found is None else data,
        )
        lines = LineTable(image)  # type: ignore[arg-type]
        assert lines.at(0x1004) == ("dir/a.c", 5)
        assert lines.addresses("a.c", 5) == [0x1000]
