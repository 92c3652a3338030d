"""Mappings into modules: files opened once, their load biases, the vdso out of memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from symbols.elf import PF_W, PF_X, ElfImage
from symbols.modules import VDSO_LIMIT, Images, Module
from symbols.process import ProcessFiles
from tests.unit.symbols_data.builds import PIE_BASE, build, need, rows, run

FAR = 0x7F00_0000_0000


@pytest.fixture
def program(tmp_path: Path) -> ElfImage:
    return ElfImage.open(build(tmp_path, "objects.c", "-pie"))


def test_a_file_is_opened_once_however_often_it_is_mapped(program: ElfImage) -> None:
    images = Images()
    names = images.open(program.path)
    assert names is not None
    assert names.image.path == program.path
    (module,) = images.modules(rows(program))
    (moved,) = images.modules(rows(program, FAR))
    assert module.names is names
    assert moved.names is names
    assert (module.bias, moved.bias) == (PIE_BASE, FAR)


def test_a_module_reaches_over_all_that_its_file_takes_in_memory(tmp_path: Path) -> None:
    need("gcc")
    (tmp_path / "x.c").write_text("char huge[100000]; int main(void) { return huge[70000]; }\n")
    run("gcc", "-pie", "-o", tmp_path / "x", tmp_path / "x.c")
    image = ElfImage.open(tmp_path / "x")
    (module,) = Images().modules(row for row in rows(image) if row[4])
    low, high = image.load_range
    assert (module.start, module.end) == (PIE_BASE + low, PIE_BASE + high)
    assert module.end > max(end for _, end, _, _, path in rows(image) if path) + 90000


def test_a_file_loaded_twice_is_two_modules_by_address(program: ElfImage) -> None:
    modules = Images().modules([*rows(program, FAR), *rows(program)])
    assert [module.bias for module in modules] == [PIE_BASE, FAR]
    assert [module.path for module in modules] == [program.path] * 2
    assert modules[0].end <= modules[1].start


def test_where_segments_share_a_page_of_the_file_the_mappings_agree_on_one_bias(tmp_path: Path) -> None:
    path = build(tmp_path, "objects.c", "-pie", "-Wl,-z,noseparate-code")
    mapped = rows(ElfImage.open(path))
    images = Images()
    alone = [module.bias for row in mapped if row[4] for module in images.modules([row])]
    assert len(alone) > 1
    (module,) = images.modules(mapped)
    assert module.bias == PIE_BASE


def test_a_program_that_cannot_move_has_no_bias(tmp_path: Path) -> None:
    image = ElfImage.open(build(tmp_path, "objects.c", "-no-pie"))
    (module,) = Images().modules(rows(image))
    assert (module.bias, module.start) == (0, image.load_range[0])


def test_what_cannot_be_opened_lies_where_it_is_mapped_and_has_no_names(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a program")
    images = Images()
    for path in (tmp_path / "text", tmp_path / "missing", tmp_path):
        row = (0x10000, 0x12000, "r-xp", 0x3000, str(path))
        assert images.modules([row]) == (Module(str(path), 0x10000, 0x12000, 0xD000, None),)
        assert images.open(str(path)) is None


def test_a_mapping_that_no_segment_of_its_file_can_have_made_is_of_no_module(program: ElfImage) -> None:
    assert Images().modules([(PIE_BASE, PIE_BASE + 0x1000, "r-xp", 1 << 30, program.path)]) == ()


def test_memory_without_a_file_is_no_module() -> None:
    mapped = [
        (0x1000 * n, 0x1000 * n + 0x1000, "rw-p", 0, path)
        for n, path in enumerate(("", "[heap]", "[stack]", "[vvar]", "anon_inode:[perf_event]"), 1)
    ]
    assert Images().modules(mapped) == ()


def test_the_vdso_is_read_from_memory_once() -> None:
    vdso = [row for row in ProcessFiles(os.getpid()).rows() if row[4] == "[vdso]"]
    if not vdso:
        pytest.skip("no vdso here")
    asked: list[tuple[int, int]] = []

    def read(address: int, size: int) -> bytes:
        asked.append((address, size))
        with open("/proc/self/mem", "rb") as memory:
            memory.seek(address)
            return memory.read(size)

    images = Images(read=read)
    for _ in range(2):
        (module,) = images.modules(vdso)
        assert module.bias == module.start == vdso[0][0]
        assert module.names is not None
        assert module.names.table.find("__vdso_clock_gettime")
    assert asked == [(vdso[0][0], vdso[0][1] - vdso[0][0])]


def _gone(address: int, size: int) -> bytes:
    raise OSError("gone")


@pytest.mark.parametrize(
    "read", [None, _gone, lambda address, size: b"", lambda address, size: b"\x7fELF" * 99]
)
def test_a_vdso_that_cannot_be_read_is_a_module_without_names(
    read: Callable[[int, int], bytes] | None,
) -> None:
    row = (0x3000, 0x5000, "r-xp", 0, "[vdso]")
    assert Images(read=read).modules([row]) == (Module("[vdso]", 0x3000, 0x5000, 0x3000, None),)


def test_of_a_vdso_as_large_as_a_hostile_map_says_only_so_much_is_read() -> None:
    sizes: list[int] = []
    images = Images(read=lambda address, size: sizes.append(size) or b"")  # type: ignore[func-returns-value]
    images.modules([(0, 1 << 46, "r-xp", 0, "[vdso]")])
    assert sizes == [VDSO_LIMIT]


def test_the_files_of_a_live_process_are_opened_as_it_has_them(program: ElfImage) -> None:
    class Files(ProcessFiles):
        def open(self, path: str) -> ElfImage | None:
            return program if path == "/prog (deleted)" else None

    images = Images(Files(0))
    names = images.open("/prog (deleted)")
    assert names is not None
    assert names.image is program
    assert images.open(program.path) is None  # the process has it no more


def test_only_addresses_in_executable_segments_are_code(program: ElfImage) -> None:
    (module,) = Images().modules(rows(program))
    for segment in program.segments:
        if segment.type == 1:
            assert module.is_code(segment.vaddr) == module.is_code(segment.vaddr + segment.memsz - 1)
            assert module.is_code(segment.vaddr) == bool(segment.flags & PF_X)
    assert any(module.is_code(segment.vaddr) for segment in program.segments if segment.type == 1)
    assert not module.is_code(program.load_range[1])
    assert not Module("x", 0, 1, 0, None).is_code(0)


def test_pages_of_writable_segments_are_data_though_they_were_made_read_only(program: ElfImage) -> None:
    (module,) = Images().modules(rows(program))
    for segment in program.segments:
        if segment.type == 1:
            assert module.is_data(segment.vaddr & -4096) == bool(segment.flags & PF_W)
            assert module.is_data(segment.vaddr + segment.memsz - 1) == bool(segment.flags & PF_W)
    assert not Module("x", 0, 1, 0, None).is_data(0)
