"""Inlined calls, columns, C++ and Rust names, and separate debug files: the same as llvm-symbolizer's and addr2line's."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from symbols.debug_files import debug_file
from symbols.elf import ElfImage
from symbols.lines import Frame
from symbols.names import Names
from symbols.scope import Context
from symbols.space import AddressSpace
from symbols.values import spell_value
from tests.unit.symbols_data.builds import DATA, need, rows, run

FLAGS = [("-g", "-O2"), ("-gdwarf-4", "-O2"), ("-gdwarf-5", "-O1", "-gz=zlib"), ("-g", "-O0")]


def compiled(directory: Path, *flags: str) -> Path:
    need("g++")
    path = directory / "shapes"
    run("g++", *flags, "-o", path, DATA / "shapes.cpp")
    return path


def rust(directory: Path, *flags: str) -> Path:
    need("rustc")
    path = directory / "record"
    done = subprocess.run(
        ["rustc", "-g", *flags, "-o", str(path), str(DATA / "record.rs")],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"rustc cannot build here: {done.stderr.strip().splitlines()[-1]}")
    return path


def code_of(names: Names, functions: tuple[str, ...]) -> list[int]:
    """Every address in these functions."""
    found = []
    for name in functions:
        symbols = names.table.find(name) or names.table.find_source(name)
        assert symbols, name
        found += list(range(symbols[0].value, symbols[0].value + symbols[0].size))
    return found


def symbolized(path: Path, addresses: list[int]) -> list[list[tuple[str, str, int, int]]]:
    """llvm-symbolizer's frames: (function, file's base name, line, column), innermost first."""
    need("llvm-symbolizer")
    asked = "".join(f"{address:#x}\n" for address in addresses)
    done = subprocess.run(
        ["llvm-symbolizer", f"--obj={path}"], input=asked, capture_output=True, text=True, check=True
    )
    found = []
    for block in done.stdout.strip("\n").split("\n\n"):
        lines = block.split("\n")
        frames = []
        for function, place in zip(lines[::2], lines[1::2], strict=True):
            file, line, column = place.rsplit(":", 2)
            # A clone's suffix is the symbol's, not the function's in the source.
            function = re.sub(r" \(\.[a-z.0-9]+\)$", "", function)
            frames.append((function, file.rpartition("/")[2], int(line), int(column)))
        found.append(frames)
    return found


def plain(frames: tuple[Frame, ...]) -> list[tuple[str, str, int, int]]:
    return [(f.function, f.file.rpartition("/")[2], f.line, f.column) for f in frames]


@pytest.mark.parametrize("flags", FLAGS, ids=" ".join)
def test_inlined_calls_of_every_instruction_are_those_of_llvm_symbolizer(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    path = compiled(tmp_path, *flags)
    names = Names(ElfImage.open(path))
    addresses = code_of(names, ("main", "outermost(int)", "shapes::Box<int>::get"))
    told = symbolized(path, addresses)
    deepest = 0
    for address, expected in zip(addresses, told, strict=True):
        frames = plain(names.lines.frames(address))
        assert frames == expected, hex(address)
        deepest = max(deepest, len(frames))
    assert deepest == 3


def test_addr2line_agrees(tmp_path: Path) -> None:
    need("addr2line")
    path = compiled(tmp_path, "-g", "-O2")
    names = Names(ElfImage.open(path))
    addresses = code_of(names, ("main", "outermost(int)"))
    text = run("addr2line", "-e", path, "-f", "-i", "-C", "-a", *(hex(address) for address in addresses))
    told: list[list[tuple[str, str]]] = []
    for line in text.splitlines():
        if line.startswith("0x"):
            told.append([])
        else:
            told[-1].append((line, ""))
    for address, lines in zip(addresses, told, strict=True):
        pairs = [
            (f[0], p[0].split(" (")[0].rpartition("/")[2])
            for f, p in zip(lines[::2], lines[1::2], strict=True)
        ]
        mine = [(f.function, f"{f.file.rpartition('/')[2]}:{f.line}") for f in names.lines.frames(address)]
        # Only the places: addr2line (binutils 2.40) gives inlined calls the outer function's name here and there.
        assert [place for _, place in mine] == [place for _, place in pairs], hex(address)


CXX = {
    "shapes::total": ("int", "3"),
    "total": ("int", "3"),
    "shapes::colour": ("enum Colour", "green"),
    "shapes::points[1].y": ("int", "4"),
    "shapes::Box<int>::made": ("int", "0"),
    "shapes::flag": ("bool", "true"),
}


def test_names_with_scopes_have_the_types_that_they_were_declared_with(tmp_path: Path) -> None:
    path = compiled(tmp_path, "-g", "-O1", "-no-pie")
    image = ElfImage.open(path)
    space = AddressSpace(rows(image), str(path))
    context = Context(image.read)
    for text, expected in CXX.items():
        value = space.evaluate(text, context)[0]
        assert value.type is not None, text
        assert value.address is not None, text
        data = image.read(value.address, value.length or 0)
        assert (str(value.type), spell_value(data, value.type)) == expected, text
    member = space.evaluate("shapes::second.x", context)[0]
    assert member.address == space.resolve("shapes::points[1].x").address
    inherited = space.resolve("shapes::box.id")
    assert inherited.size == 4
    assert space.name(space.resolve("shapes::Box<int>::get").address) == "shapes::Box<int>::get() const"
    assert space.resolve("outermost(int)") == space.resolve("outermost") == space.resolve("'outermost(int)'")


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags", [("-C", "opt-level=1"), ("-C", "opt-level=2", "-C", "symbol-mangling-version=v0")], ids=" ".join
)
def test_rust_has_its_own_names_and_enums(tmp_path: Path, flags: tuple[str, ...]) -> None:
    path = rust(tmp_path, *flags)
    image = ElfImage.open(path)
    space = AddressSpace(rows(image, 0), str(path))
    context = Context(image.read)
    written = {}
    for name in ("CIRCLE", "SQUARE", "EMPTY", "COUNTER"):
        value = space.evaluate(f"record::inner::{name}", context)[0]
        assert value.type is not None
        assert value.address is not None
        written[name] = spell_value(image.read(value.address, value.length or 0), value.type)
    assert written == {
        "CIRCLE": "Circle(12)",
        "SQUARE": "Square(side = 9, tag = 3)",
        "EMPTY": "Empty",
        "COUNTER": "7",
    }
    area = space.resolve("record::inner::area")
    assert area.kind == "code"
    assert space.name(area.address) == "record::inner::area"
    names = space.modules[0].names
    assert names is not None
    addresses = list(range(area.address, area.address + (area.size or 0)))
    for address, expected in zip(addresses, symbolized(path, addresses), strict=True):
        lines = [frame[1:] for frame in plain(names.lines.frames(address))]
        assert lines == [frame[1:] for frame in expected]


def separate(directory: Path) -> tuple[Path, Path]:
    """A program without debug information, and the file that has it."""
    need("objcopy", "strip")
    path = compiled(directory, "-g", "-O2", "-Wl,--build-id")
    debug = directory / "shapes.debug"
    run("objcopy", "--only-keep-debug", path, debug)
    run("strip", "-s", path)
    return path, debug


def test_a_debug_file_is_found_by_its_link_and_its_checksum(tmp_path: Path) -> None:
    whole = Names(ElfImage.open(compiled(tmp_path, "-g", "-O2", "-Wl,--build-id")))
    addresses = code_of(whole, ("outermost(int)",))
    expected = [whole.lines.frames(address) for address in addresses]
    path, debug = separate(tmp_path)
    bare = Names(ElfImage.open(path))
    assert bare.lines.frames(addresses[0]) == ()
    assert not bare.table.find_source("outermost(int)")
    run("objcopy", f"--add-gnu-debuglink={debug}", path)
    names = Names(ElfImage.open(path))
    assert names.debug_image.path == str(debug)
    assert [names.lines.frames(address) for address in addresses] == expected
    assert names.table.find_source("outermost(int)")
    (tmp_path / "shapes.debug").rename(tmp_path / "kept")
    (tmp_path / ".debug").mkdir()
    shutil.copy(tmp_path / "kept", tmp_path / ".debug" / "shapes.debug")
    assert debug_file(ElfImage.open(path)) is not None
    data = bytearray((tmp_path / "kept").read_bytes())
    at = data.find(bytes.fromhex(ElfImage.open(path).build_id or ""))
    data[at] ^= 1  # another program's debug file under this name
    (tmp_path / ".debug" / "shapes.debug").write_bytes(data)
    assert debug_file(ElfImage.open(path)) is None


def test_a_debug_file_is_found_by_build_id_and_must_carry_it(tmp_path: Path) -> None:
    path, debug = separate(tmp_path)
    build_id = ElfImage.open(path).build_id
    assert build_id is not None
    folder = tmp_path / "debug" / ".build-id" / build_id[:2]
    folder.mkdir(parents=True)
    shutil.copy(debug, folder / f"{build_id[2:]}.debug")
    found = debug_file(ElfImage.open(path), (str(tmp_path / "debug"),))
    assert found is not None
    assert found.build_id == build_id
    shutil.copy(path, folder / f"{build_id[2:]}.debug")
    os.truncate(folder / f"{build_id[2:]}.debug", 100)
    assert debug_file(ElfImage.open(path), (str(tmp_path / "debug"),)) is None


BIG = [
    Path("/lib/x86_64-linux-gnu/libc.so.6"),
    *Path("/root/.pyenv/versions").glob("3.11*/lib/libpython3.11.so.1.0"),
]


@pytest.mark.slow
@pytest.mark.parametrize("path", BIG, ids=lambda path: path.name)
def test_a_big_library_has_the_frames_that_llvm_symbolizer_finds(path: Path) -> None:
    if not os.access(path, os.R_OK):
        pytest.skip(f"{path} is not here")
    names = Names(ElfImage.open(path))
    if not names.sections["line"]:
        pytest.skip(f"{path} has no debug information")
    text = names.image.sections[".text"]
    dice = random.Random(5)
    addresses = [text.addr + dice.randrange(text.size) for _ in range(400)]
    debug = Path(names.debug_image.path)
    places = names_only = 0
    for address, expected in zip(addresses, symbolized(debug, addresses), strict=True):
        mine = [frame for frame in plain(names.lines.frames(address)) if frame[1]]
        told = [frame for frame in expected if frame[1] != "??"]
        if [frame[1:] for frame in mine] != [frame[1:] for frame in told]:
            places += 1
        elif mine[:-1] != told[:-1]:
            names_only += 1
    assert (places, names_only) == (0, 0)  # the outermost name is the symbol's there, the source's here
