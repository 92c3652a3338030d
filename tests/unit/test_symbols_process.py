"""Live processes: ASLR, deleted and replaced files, the vdso, and code that was made at run time."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from symbols.kernel import KernelNames
from symbols.process import JitNames, ProcessFiles
from symbols.space import AddressSpace
from tests.compiled import compiled

SOURCE = """
#include <stdio.h>
int counter = 5;
int main(void) { printf("%p %p\\n", (void *)&counter, (void *)main); fflush(stdout); return getchar(); }
"""


@contextlib.contextmanager
def running(path: Path) -> Iterator[tuple[int, int, int]]:
    """(pid, address of counter, address of main) of a program that waits."""
    with subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            counter, main = (int(word, 16) for word in process.stdout.readline().split())
            yield process.pid, counter, main
        finally:
            process.kill()


def program(directory: Path, name: str = "prog", more: str = "") -> Path:
    return compiled(directory / name, more + SOURCE, "-g", "-pie")


def space_of(pid: int) -> AddressSpace:
    files = ProcessFiles(pid)
    return AddressSpace(files.rows(), files.rows()[0][4], files=files)


def test_a_program_that_was_placed_at_random_has_its_addresses(tmp_path: Path) -> None:
    with running(program(tmp_path)) as (pid, counter, main):
        space = space_of(pid)
        assert space.resolve("counter").address == counter
        assert space.name(main) == "main"
        assert space.data_name(counter + 2) == "counter+2"
        assert space.lookup(main).module == str(tmp_path / "prog")


def test_a_deleted_program_still_has_its_names(tmp_path: Path) -> None:
    path = program(tmp_path)
    with running(path) as (pid, counter, main):
        path.unlink()
        space = space_of(pid)
        assert space.resolve("counter").address == counter
        assert space.name(main) == "main"


def test_a_replaced_file_lends_its_names_to_nobody(tmp_path: Path) -> None:
    path = program(tmp_path)
    other = program(tmp_path, "other", "int filler[1000] = {1}; int shifted(void) { return 1; }\n")
    with running(path) as (pid, counter, main):
        path.unlink()
        shutil.copy(other, path)
        space = space_of(pid)
        assert space.lookup(main).symbol in ("main", None)
        if (target := space.modules[0].names) is not None:
            assert not target.table.find("shifted")
            assert space.resolve("counter").address == counter


def test_a_process_that_is_gone_has_no_mappings_and_its_files_are_those_at_their_paths(
    tmp_path: Path,
) -> None:
    path = program(tmp_path)
    with subprocess.Popen(["true"]) as process:
        process.wait()
        files = ProcessFiles(process.pid)
        rows = files.rows()
    assert rows == []
    image = files.open(str(path))
    assert image is not None
    assert files.open(f"{path} (deleted)") is None
    assert files.open(str(tmp_path / "missing")) is None
    assert files.jit_path() is None
    assert files.owner() is None


def own_memory(address: int, size: int) -> bytes:
    return ctypes.string_at(address, size)


def test_the_vdso_has_the_names_that_it_exports() -> None:
    files = ProcessFiles(os.getpid())
    row = next((row for row in files.rows() if row[4] == "[vdso]"), None)
    if row is None:
        pytest.skip("this process has no vdso")
    space = AddressSpace(files.rows(), None, files=files, read=own_memory)
    module = space.module_at(row[0])
    assert module is not None
    assert module.names is not None
    symbol = module.names.table.find("__vdso_clock_gettime")[0]
    assert space.name(row[0] + symbol.value + 1) in ("clock_gettime+0x1", "__vdso_clock_gettime+0x1")


def test_code_that_was_made_at_run_time_has_the_names_of_its_perf_map(tmp_path: Path) -> None:
    path = tmp_path / "perf-1.map"
    path.write_text(
        "1000 20 first\n1020 10 second thing\n2000 100 old\n2010 10 new\nnonsense\nzz 1 x\n3000 0 empty\n"
    )
    names = JitNames(str(path))
    names.refresh()
    assert names.at(0x1004) == ("first", 4)
    assert names.at(0x1021) == ("second thing", 1)
    assert names.at(0x2015) == ("new", 5)
    assert names.at(0x2050) == ("old", 0x50)
    assert names.at(0x3000) is None
    assert names.at(0x5000) is None
    with path.open("a") as file:
        file.write("1000 20 again\n")
    names.refresh()
    assert names.at(0x1004) == ("again", 4)


def test_a_perf_map_of_somebody_else_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "perf-1.map"
    path.write_text("1000 20 first\n")
    (tmp_path / "link").symlink_to(path)
    names = JitNames(str(tmp_path / "link"))
    names.refresh()
    assert names.at(0x1004) is None
    if os.geteuid() == 0:
        os.chown(path, 12345, 12345)
        names = JitNames(str(path))
        names.refresh()
        assert names.at(0x1004) is None
        allowed = JitNames(str(path), 12345)
        allowed.refresh()
        assert allowed.at(0x1004) == ("first", 4)


def test_a_process_with_a_perf_map_shows_its_names() -> None:
    path = Path(f"/tmp/perf-{os.getpid()}.map")
    if path.exists():
        pytest.skip("this process has a perf map already")
    memory = [(0x7000_0000, 0x7000_1000, "r-xp", 0, "")]
    path.write_text("70000010 20 LazyCompile:~f x.js:1\n")
    try:
        space = AddressSpace(memory, None, files=ProcessFiles(os.getpid()))
        assert space.name(0x7000_0014) == "LazyCompile:~f x.js:1+0x4"
        assert space.lookup(0x7000_0FFF).symbol is None
    finally:
        path.unlink()


def test_kernel_addresses_are_named_where_the_kernels_names_are_given() -> None:
    base = 0xFFFF_FFFF_8100_0000
    space = AddressSpace(
        [], None, kernel=KernelNames(f"{base:x} T do_work\n{base + 64:x} t end\t[loop]\n".encode())
    )
    assert space.name(base + 4) == "do_work+0x4"
    assert space.lookup(base).module == "[kernel]"
    assert space.lookup(base + 64).module == "loop"
    assert space.name(0x1000) == "0x1000"
