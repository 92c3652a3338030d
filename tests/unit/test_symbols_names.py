"""The parts of what one file knows: read when they are asked for, from the file that has them."""

from __future__ import annotations

from pathlib import Path

from symbols.elf import ElfImage
from symbols.names import Names
from tests.unit.symbols_data.builds import build, need, run


def test_nothing_is_read_before_it_is_needed(tmp_path: Path) -> None:
    names = Names(ElfImage.open(build(tmp_path, "objects.c", "-g")))
    assert set(vars(names)) == {"image"}
    assert names.table.find("counter")
    assert not {"lines", "frames", "debug"} & set(vars(names))
    assert names.table is names.table


def test_a_stripped_file_takes_names_types_and_lines_from_its_separate_one(tmp_path: Path) -> None:
    need("objcopy")
    path = build(tmp_path, "objects.c", "-g", "-no-pie")
    whole = Names(ElfImage.open(path))
    assert whole.debug_image is whole.image
    counter = whole.table.find("counter")[0].value
    main = whole.table.find("main")[0].value
    run("objcopy", "--only-keep-debug", path, tmp_path / "prog.debug")
    run("objcopy", "--strip-all", f"--add-gnu-debuglink={tmp_path / 'prog.debug'}", path, tmp_path / "bare")
    bare = Names(ElfImage.open(tmp_path / "bare"))
    assert bare.debug_image.path == str(tmp_path / "prog.debug")
    assert bare.table.find("counter")[0].value == counter
    assert bare.debug.variable_at(counter) == whole.debug.variable_at(counter) == ("counter", 0)
    assert bare.lines.at(main) == whole.lines.at(main)
    assert bare.lines.at(main) is not None
    (tmp_path / "prog.debug").unlink()
    alone = Names(ElfImage.open(tmp_path / "bare"))
    assert alone.debug_image is alone.image
    assert not alone.table.find("counter")
    assert not alone.debug
    assert alone.lines.at(main) is None
    assert alone.frames.bounds(main) is not None  # frame rules are never stripped
