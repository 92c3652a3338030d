"""Debug information that lies elsewhere: .dwo files, .dwp packages, and .gdb_index. The answers are those of a program that has it all itself."""

from __future__ import annotations

import random
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from symbols import compressed
from symbols.debug_sections import DebugSections
from symbols.elf import ElfImage
from symbols.gdb_index import GdbIndex
from symbols.location import Thread
from symbols.scope import Context
from symbols.space import AddressSpace
from symbols.target import ExpressionError
from tests.unit.symbols_data.builds import build, need, run, space_of

NAMES = (
    *(
        "cfg",
        "cfg.limits[2]",
        "counter",
        "add_limit::calls",
        "objects.c::counter",
        "sizeof(cfg)",
        "(struct config *)0",
        "main",
    ),
    *("objects.c:30", "nothing_of_the_kind"),
)


def answers(space: AddressSpace) -> list[object]:
    """Everything that a program's names say, by name and by address."""
    found: list[object] = []
    for name in NAMES:
        try:
            target = space.resolve(name)
            found.append((name, target.address, target.size, target.type_name))
        except ExpressionError as error:
            found.append((name, str(error)))
    names = space.modules[0].names
    assert names is not None
    text = names.image.sections[".text"]
    bias = space.modules[0].bias
    for address in range(text.addr, text.addr + text.size, 3):
        frames = [
            (f.function, Path(f.file).name, f.line, f.column, f.inlined) for f in space.frames(address + bias)
        ]
        found.append((address, frames, [each.name for each in names.debug.in_scope(address)]))
        thread = Thread(address, lambda number: 0x1000 + number, lambda at, size: 0, lambda: 0x7000)
        for each in names.debug.in_scope(address):
            found.append((address, each.name, names.debug.place(each, thread), names.debug.type(each).name))
    data = names.image.sections[".data"]
    found += [(at, names.debug.variable_at(at)) for at in range(data.addr, data.addr + data.size, 4)]
    return found


def split(directory: Path, version: str, *more: str) -> Path:
    """A program of which most lies in prog-objects.dwo."""
    directory.mkdir()
    return build(directory, "objects.c", f"-gdwarf-{version}", "-gsplit-dwarf", "-O1", "-no-pie", *more)


@pytest.mark.parametrize("version", ["4", "5"])
@pytest.mark.parametrize("where", ["as written", "beside", "package"])
def test_split_units_say_what_whole_ones_say(tmp_path: Path, version: str, where: str) -> None:
    (tmp_path / "whole").mkdir()
    whole = build(tmp_path / "whole", "objects.c", f"-gdwarf-{version}", "-O1", "-no-pie")
    path = split(tmp_path / "split", version)
    files = list(path.parent.glob("*.dwo"))
    assert files, "gcc wrote no .dwo"
    if where != "as written":
        moved = tmp_path / "moved"
        moved.mkdir()
        if where == "package":
            need("llvm-dwp")
            run("llvm-dwp", "-e", path, "-o", moved / "prog.dwp")
        for file in files:
            if where == "package":
                file.unlink()
            else:
                shutil.move(file, moved / file.name)
        path = Path(shutil.move(path, moved / "prog"))
    mine = answers(space_of(path))
    expected = answers(space_of(whole))
    assert mine == expected
    assert any(isinstance(each, tuple) and each[0] == "cfg.limits[2]" and len(each) == 4 for each in mine)


def test_a_file_of_another_build_does_not_count(tmp_path: Path) -> None:
    path = split(tmp_path / "one", "5")
    other = split(tmp_path / "other", "5", "-DUNUSED=1", "-fno-inline")
    (file,) = path.parent.glob("*.dwo")
    shutil.copy(next(other.parent.glob("*.dwo")), file)
    assert not DebugSections(ElfImage.open(str(path))).split
    file.unlink()
    space = space_of(path)
    assert space.lookup(space.resolve("main").address).line
    assert space.resolve("cfg").type_name == ""


@pytest.mark.parametrize("version", ["4", "5"])
def test_a_damaged_file_costs_its_own_names_only(tmp_path: Path, version: str) -> None:
    path = split(tmp_path / "split", version)
    (file,) = path.parent.glob("*.dwo")
    whole = file.read_bytes()
    for seed in range(60):
        chance = random.Random(seed)
        data = bytearray(whole)
        for _ in range(chance.choice((1, 5, 50))):
            data[chance.randrange(64, len(data))] = chance.choice(
                (0, 0x7F, 0x80, 0xFF, chance.randrange(256))
            )
        file.write_bytes(data[: chance.choice((len(data),) * 4 + (chance.randrange(len(data)),))])
        space = space_of(path)
        for name in ("cfg", "add_limit::calls", "objects.c::counter", "(struct config *)0"):
            try:
                space.resolve(name)
            except ExpressionError:
                continue
        address = space.resolve("main").address
        assert space.lookup(address).symbol == "main"
        space.frames(address)


def test_the_index_of_gdb_says_where_units_are(tmp_path: Path) -> None:
    need("gdb-add-index", "gdb", "objcopy")
    path = build(tmp_path, "objects.c", "-g", "-O1", "-no-pie")
    expected = answers(space_of(path))
    run("gdb-add-index", path)
    run("objcopy", "-R", ".debug_aranges", path)
    sections = DebugSections(ElfImage.open(str(path)))
    main = space_of(path).resolve("main").address
    assert any(low <= main < high for low, high, _ in sections.gdb_index.ranges())
    assert sections.gdb_index.naming(b"counter") == sections.gdb_index.units == sections.own_units
    assert sections.gdb_index.naming(b"nothing") == []
    assert answers(space_of(path)) == expected
    data = sections.image.section_bytes(sections.image.sections[".gdb_index"])
    for seed in range(300):
        chance = random.Random(seed)
        broken = bytearray(data)
        for _ in range(chance.choice((1, 4, 30))):
            broken[chance.randrange(len(broken))] = chance.choice((0, 0x7F, 0xFF, chance.randrange(256)))
        index = GdbIndex(bytes(broken[: chance.choice((len(broken), chance.randrange(len(broken))))]))
        list(index.ranges())
        index.naming(b"counter")


def test_sections_that_are_compressed_with_zstd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("objcopy")
    path = build(tmp_path, "objects.c", "-g", "-O1", "-no-pie")
    expected = answers(space_of(path))
    packed = tmp_path / "packed"
    try:
        run("objcopy", "--compress-debug-sections=zstd", path, packed)
    except subprocess.CalledProcessError:
        pytest.skip("binutils here know no zstd")
    image = ElfImage.open(str(packed))
    if image.needs_zstd:
        pytest.skip("neither Python 3.14 nor zstandard")
    assert answers(space_of(packed)) == expected
    section = image.sections[".debug_info"]
    assert image.section_bytes(replace(section, size=section.size // 2)) in (
        b"",
        image.section_bytes(section)[: section.size],
    )
    monkeypatch.setattr(compressed, "ZSTD_MODULES", ())
    space = space_of(packed)
    assert space.resolve("cfg").type_name == ""  # the symbol table is not compressed
    with pytest.raises(
        ExpressionError,
        match=r"no line information .* zstd, which needs Python 3\.14 or `pip install zstandard`",
    ):
        space.resolve("objects.c:30")


def test_a_name_of_go_has_its_package_before_a_dot(tmp_path: Path) -> None:
    """A C program whose symbols are named as Go names them."""
    need("gcc")
    (tmp_path / "go.c").write_text(
        'struct node { long key; struct node *next; };\nstruct node head __asm__("pkg.head") = {7, &head};\n'
        "int main(void) { return (int)head.key; }\n"
    )
    run("gcc", "-no-pie", "-o", tmp_path / "go", tmp_path / "go.c")
    space = space_of(tmp_path / "go")
    assert space.resolve("pkg.head").size == 16
    with pytest.raises(ExpressionError, match="no symbol pkg"):
        space.resolve("pkg.nothing")


def test_a_source_line_is_evaluated_to_its_code(tmp_path: Path) -> None:
    space = space_of(build(tmp_path, "objects.c", "-g", "-O0"))
    value, node, _ = space.evaluate("objects.c:46", Context())
    assert value.code
    assert node is None
    assert value.address == space.resolve("objects.c:46").address
