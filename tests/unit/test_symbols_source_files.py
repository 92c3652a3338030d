"""Source files: where they are looked for, and what is not read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from symbols import source_files
from symbols.source_files import Sources


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "bin" / "prog"
    path.parent.mkdir()
    path.write_bytes(b"\x7fELF")
    return path


def _put(path: Path, text: bytes = b"int x;\r\n\x0cint y;\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)
    os.utime(path, (1, 1))
    return path


def test_lines_end_only_where_a_compiler_ends_them(tmp_path: Path, program: Path) -> None:
    path = _put(tmp_path / "a.c", b"one\r\ntwo\x0c\x0b\xe2\x80\xa8\nthree\xff")
    source = Sources().find(str(path), "", str(program))
    assert [source.line(n) for n in range(5)] == [None, "one", "two\x0c\x0b\u2028", "three\udcff", None]


def test_a_relative_name_is_meant_from_where_it_was_compiled(tmp_path: Path, program: Path) -> None:
    path = _put(tmp_path / "src" / "lib" / "a.c")
    source = Sources().find("lib/a.c", str(tmp_path / "src"), str(program))
    assert source.path == str(path)
    assert not source.newer


def test_a_program_that_was_moved_has_its_source_beside_it(tmp_path: Path, program: Path) -> None:
    path = _put(program.parent / "a.c")
    source = Sources().find("lib/a.c", "/nowhere", str(program))
    assert source.path == str(path)
    assert source.looked == ("/nowhere/lib/a.c: No such file or directory",)


def test_a_directory_that_was_named_comes_first(tmp_path: Path, program: Path) -> None:
    _put(program.parent / "a.c")
    mine = _put(tmp_path / "mine" / "a.c")
    sources = Sources()
    assert sources.find("a.c", "", str(program)).path == str(program.parent / "a.c")
    sources.search(str(tmp_path / "mine"))
    assert sources.find("a.c", "", str(program)).path == str(mine)
    sources.search()
    assert sources.find("a.c", "", str(program)).path == str(program.parent / "a.c")


def test_a_source_that_was_changed_after_the_link_is_called_newer(tmp_path: Path, program: Path) -> None:
    path = _put(tmp_path / "a.c")
    os.utime(program, (10, 10))
    os.utime(path, (100, 100))
    assert Sources().find(str(path), "", str(program)).newer
    os.utime(path, (12, 12))  # a checkout wrote both
    assert not Sources().find(str(path), "", str(program)).newer
    os.utime(path, (11, 11))  # both come out of one archive
    assert not Sources().find(str(path), "", str(program)).newer


def test_what_is_no_plain_file_is_not_read(
    tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    _put(tmp_path / "large.c", b"x" * 100)
    monkeypatch.setattr(source_files, "LIMIT", 99)
    sources = Sources()
    for name, why in (
        (tmp_path / "pipe", "not a regular file"),
        (tmp_path, "not a regular file"),
        (tmp_path / "large.c", "larger than"),
        ("nul\0.c", "no file can be called that"),
        ("/dev/zero", "not a regular file"),
    ):
        found = sources.find(str(name), "", str(program))
        assert found.path == ""
        assert why in found.looked[0]


def test_a_file_that_the_kernel_makes_up_has_no_lines(program: Path) -> None:
    assert Sources().find("/proc/self/environ", "", str(program)).lines == ("",)
