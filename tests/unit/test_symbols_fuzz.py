"""A few seeds of `make fuzz`: damaged programs and nonsense cost names, and nothing else."""

from __future__ import annotations

import resource
import struct
import subprocess
from pathlib import Path

import pytest

from symbols.elf import ElfImage
from symbols.names import Names
from symbols.table import SymbolTable
from tests.fuzz.names import built, check, packaged
from tests.unit.symbols_data.builds import need


@pytest.fixture(scope="module")
def programs() -> list[bytes]:
    need("gcc", "g++")
    return built()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_damage_costs_names_and_nothing_else(programs: list[bytes], seed: int) -> None:
    check(seed, programs)


@pytest.mark.slow
def test_a_damaged_package_of_split_units_costs_names_and_nothing_else(programs: list[bytes]) -> None:
    packages = packaged()
    if not packages:
        pytest.skip("no llvm-dwp: apt-get install llvm")
    for seed in range(4):
        check(seed, programs, packages)


def header(sections: list[tuple[int, int, int, int, int, int]], size: int) -> bytes:
    """A program with one segment and these sections: (type, flags, address, offset, size, link)."""
    table = b"".join(
        struct.pack("<IIQQQQIIQQ", 0, kind, flags, addr, offset, length, link, 0, 1, 24)
        for kind, flags, addr, offset, length, link in sections
    )
    head = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, 62, 1, 0x1000, 64, size, 0, 64, 56, 1, 64, len(sections), 0
    )
    return head + struct.pack("<IIQQQQQQ", 1, 5, 0, 0x1000, 0x1000, 0x1000, 0x1000, 0x1000) + table


@pytest.mark.slow
def test_a_table_of_ten_million_symbols_is_read_within_bounded_memory(tmp_path: Path) -> None:
    count = 10_000_000
    path = tmp_path / "huge"
    strings = 120 + 3 * 64
    symbols = 0x1000
    with path.open("wb") as file:
        table = header([], 0)
        file.truncate(symbols + 24 * count + 64)
        file.seek(64 + 56)
        file.write(b"\0" * 8)
        names = b"\0.symtab\0.strtab\0a\0"
        rows = [(0, 0, 0, 0, 0, 0), (2, 0, 0, symbols, 24 * count, 2), (3, 0, 0, strings, len(names), 0)]
        file.seek(0)
        whole = header(rows, 120)
        file.write(whole[:120])
        for number, (kind, flags, addr, offset, length, link) in enumerate(rows):
            name = (0, 1, 9)[number]
            file.write(struct.pack("<IIQQQQIIQQ", name, kind, flags, addr, offset, length, link, 0, 1, 24))
        file.seek(62)
        file.write(struct.pack("<H", 2))
        file.seek(strings)
        file.write(names)
        file.seek(symbols)
        row = struct.pack("<IBBHQQ", 17, 0x12, 0, 1, 0x1000, 4)
        for _ in range(100):
            file.write(row * (count // 100))
        assert len(table) == 120
    table_ = SymbolTable(ElfImage.open(path))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert table_.at(0x1002) is not None
    assert table_.find("a")
    assert table_.names("a", 5) == ["a"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2_500_000  # kilobytes


HOSTILE = [
    "\x1b[31mred",
    "a\nb",
    "\u202eevil",
    "x" * 100_000,
    "_Z" + "P" * 50_000 + "i",
    "%s%n",
    "'; drop",
    "",
]


def test_hostile_names_are_given_as_they_are_and_break_nothing(tmp_path: Path) -> None:
    need("gcc")
    names = [name for name in HOSTILE if name and "\n" not in name and '"' not in name and len(name) < 60_000]
    lines = []
    for number, name in enumerate(names):
        lines += [f'.globl "{name}"', f'.size "{name}", 4', f'"{name}": .long {number}']
    (tmp_path / "x.s").write_text(".text\n.globl main\nmain: ret\n.data\n" + "\n".join(lines) + "\n", "utf-8")
    done = subprocess.run(
        ["gcc", "-no-pie", "-o", str(tmp_path / "x"), str(tmp_path / "x.s")], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("this assembler refuses such names")
    found = Names(ElfImage.open(tmp_path / "x"))
    for name in names:
        symbols = found.table.find(name)
        assert symbols, name[:20]
        assert found.table.at(symbols[0].value) is not None
    assert found.table.near("\x1b[31mrde") == ["\x1b[31mred"]
