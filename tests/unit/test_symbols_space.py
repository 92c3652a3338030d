"""Names of a whole address space: modules, load biases, and what an expression means in it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from symbols.elf import ElfImage
from symbols.space import AddressSpace, Location
from symbols.target import ExpressionError
from tests.unit.symbols_data.builds import PIE_BASE, build, need, rows, run, space_of

LIBC = Path("/lib/x86_64-linux-gnu/libc.so.6")


@pytest.mark.parametrize(
    "flags", [("-pie",), ("-no-pie",), ("-static-pie",), ("-pie", "-Wl,-z,noseparate-code")], ids=" ".join
)
def test_every_segment_of_a_program_shows_the_same_load_bias(tmp_path: Path, flags: tuple[str, ...]) -> None:
    path = build(tmp_path, "objects.c", "-g", *flags)
    space = space_of(path)
    assert [module.bias for module in space.modules] == [PIE_BASE if "-no-pie" not in flags else 0]
    for name in ("main", "cfg", "counter", "constant"):
        target = space.resolve(name)
        found = space.lookup(target.address)
        assert found.symbol == name
        assert found.module == str(path)
        assert found.module_offset == target.address - space.modules[0].bias


def test_the_mappings_of_a_real_process_give_its_real_addresses(tmp_path: Path) -> None:
    path = build(tmp_path, "objects.c", "-g", "-O0", "-pie")
    need("sleep")
    with subprocess.Popen(["sleep", "100"], stdout=subprocess.DEVNULL) as process:
        try:
            # The child is its own program once its maps name it: exec replaces the one that forked.
            while os.readlink(f"/proc/{process.pid}/exe") == os.readlink("/proc/self/exe"):
                os.sched_yield()
            text = Path(f"/proc/{process.pid}/maps").read_text()
        finally:
            process.kill()
    mapped = []
    for line in text.splitlines():
        words = line.split(None, 5)
        start, end = (int(word, 16) for word in words[0].split("-"))
        mapped.append((start, end, words[1], int(words[2], 16), words[5] if len(words) > 5 else ""))
    space = AddressSpace(mapped, None)
    for module in space.modules:
        first = min(row[0] for row in mapped if row[4] == module.path)
        if module.path.startswith("/") and module.names is not None:
            assert module.bias == first, module.path
            assert module.start == first
    assert path.exists()


def test_a_name_has_its_offset_and_an_address_without_one_has_its_module(tmp_path: Path) -> None:
    path = build(tmp_path, "objects.c", "-g")
    space = space_of(path)
    main = space.resolve("main").address
    assert space.name(main) == "main"
    assert space.name(main + 0x1C) == "main+0x1c"
    assert space.name(PIE_BASE + 0x10) == "prog+0x10"
    assert space.name(0x10) == "0x10"
    assert space.lookup(0x10) == Location(None, None, None, 0, None, None)
    assert space.lookup(main).source == "objects.c"
    assert space.data_name(main) is None
    assert space.data_name(0x10) is None


def test_data_beyond_the_files_last_page_still_belongs_to_the_program(tmp_path: Path) -> None:
    need("gcc")
    (tmp_path / "x.c").write_text("char huge[100000]; int main(void) { return huge[70000]; }\n")
    run("gcc", "-g", "-o", tmp_path / "x", tmp_path / "x.c")
    space = space_of(tmp_path / "x")
    assert space.data_name(space.resolve("huge[70000]").address) == "huge[70000]"


def test_objects_are_named_by_symbol_where_there_is_no_dwarf(tmp_path: Path) -> None:
    space = space_of(build(tmp_path, "objects.c"))
    cfg = space.resolve("cfg")
    assert cfg.size
    assert space.data_name(cfg.address) == "cfg"
    assert space.data_name(cfg.address + 4) == "cfg+4"
    assert space.resolve("cfg+4").size == cfg.size - 4
    with pytest.raises(ExpressionError, match="cfg is without type information"):
        space.resolve("cfg.version")


def test_a_stripped_program_has_addresses_and_stubs_only(tmp_path: Path) -> None:
    space = space_of(build(tmp_path, "objects.c", "-s"))
    assert space.resolve("printf@plt").kind == "code"
    with pytest.raises(ExpressionError, match="no symbol cfg"):
        space.resolve("cfg")
    with pytest.raises(ExpressionError, match="no line information"):
        space.resolve("objects.c:40")
    assert space.resolve("0x1234").address == 0x1234


def test_what_an_expression_means(tmp_path: Path) -> None:
    path = build(tmp_path, "objects.c", "-g", "-O0")
    space = space_of(path)
    image = ElfImage.open(path)

    def read(address: int, size: int) -> bytes:
        return image.read(address - PIE_BASE, size)

    function = space.resolve("add_limit")
    assert function.kind == "code"
    assert function.size
    assert space.resolve("add_limit+4").size == function.size - 4
    assert space.resolve("add_limit+4").address == function.address + 4
    assert space.resolve("objects.c::add_limit") == function
    assert space.resolve("twice") == space.resolve("objects.c::twice")
    assert space.resolve("cfg.limits[3]").type_name == "long int"
    assert space.resolve("(0x1000+8*4)").size is None
    assert space.resolve("calls.0").size == 4
    line = next(
        n for n, text in enumerate((tmp_path / "objects.c").read_text().splitlines(), 1) if "calls++" in text
    )
    by_line = space.resolve(f"objects.c:{line}")
    assert by_line.kind == "code"
    assert space.lookup(by_line.address).line == line
    assert space.resolve(f"add_limit:{line}") == by_line
    with pytest.raises(ExpressionError, match="head is a null pointer"):
        space.resolve("head->next", lambda address, size: bytes(size))
    assert read(space.resolve("counter").address, 4) == b"\5\0\0\0"


REFUSED = {
    "conter": ("did you mean counter", ("counter",)),
    "calls": ("did you mean add_limit::calls or twice::calls", ("add_limit::calls", "twice::calls")),
    "malloc": ("libraries are searched once they are mapped", ()),
    "nosuch.c:5": ("no source file nosuch.c", ("objects.c", "stdio.h")),
    "objects.c:99999": ("no code at or after line 99999", ()),
    "main.x": ("main is a function", ()),
    "main::argc": ("needs a live frame", ()),
    "per_thread": ("thread-local", ()),
    "cfg.": ("ends too early", ()),
    "": ("empty", ()),
}


@pytest.mark.parametrize("text", REFUSED)
def test_an_expression_without_meaning_says_why_and_what_would_do(tmp_path: Path, text: str) -> None:
    space = space_of(build(tmp_path, "objects.c", "-g", "-O0"))
    with pytest.raises(ExpressionError) as caught:
        space.resolve(text)
    message, candidates = REFUSED[text]
    assert message in str(caught.value)
    assert set(candidates) <= set(caught.value.candidates)
    assert "\n" not in str(caught.value)


def test_names_of_libraries_are_found_once_they_are_mapped(tmp_path: Path) -> None:
    if not LIBC.exists():
        pytest.skip(f"{LIBC} is not here")
    path = build(tmp_path, "objects.c", "-g")
    space = space_of(path)
    with pytest.raises(ExpressionError):
        space.resolve("malloc")
    base = 0x7FFF_0000_0000
    space.update([*rows(ElfImage.open(path)), *rows(ElfImage.open(LIBC), base)])
    malloc = space.resolve("malloc")
    assert malloc.address == base + run_value(LIBC, "malloc")
    assert space.name(malloc.address) == "malloc"
    assert space.lookup(malloc.address).module == str(LIBC)
    assert space.resolve("counter").address > PIE_BASE
    with pytest.raises(ExpressionError) as caught:
        space.resolve("mallok")
    assert "libraries are searched" not in str(caught.value)
    assert "malloc" in caught.value.candidates


def run_value(path: Path, name: str) -> int:
    need("nm")
    return next(
        int(line.split()[0], 16)
        for line in run("nm", "-D", path).splitlines()
        if line.endswith(f" T {name}@@GLIBC_2.2.5")
    )


def test_the_program_comes_before_its_libraries(tmp_path: Path) -> None:
    need("gcc")
    (tmp_path / "lib.c").write_text("int shared = 2; int other = 3; int f(void) { return shared; }\n")
    (tmp_path / "main.c").write_text("int shared = 1; int f(void); int main(void) { return f(); }\n")
    run("gcc", "-g", "-shared", "-fPIC", "-o", tmp_path / "lib.so", tmp_path / "lib.c")
    run("gcc", "-g", "-o", tmp_path / "prog", tmp_path / "main.c", tmp_path / "lib.so")
    space = space_of(tmp_path / "prog", tmp_path / "lib.so")
    assert space.lookup(space.resolve("shared").address).module == str(tmp_path / "prog")
    assert space.lookup(space.resolve("other").address).module == str(tmp_path / "lib.so")
    assert space.lookup(space.resolve("lib.c::shared").address).module == str(tmp_path / "lib.so")
    assert space.main is not None
    assert space.main.path == str(tmp_path / "prog")


def test_local_symbols_of_one_name_are_ambiguous_without_dwarf_too(tmp_path: Path) -> None:
    need("gcc")
    for name in ("one", "two"):
        (tmp_path / f"{name}.c").write_text(
            f"static volatile int count = 3; static int step(void) {{ return count++; }} int {name}(void) {{ return step(); }}\n"
        )
    (tmp_path / "main.c").write_text("int one(void), two(void); int main(void) { return one() + two(); }\n")
    run("gcc", "-O0", "-o", tmp_path / "prog", *(tmp_path / f"{name}.c" for name in ("one", "two", "main")))
    space = space_of(tmp_path / "prog")
    for name in ("count", "step"):
        with pytest.raises(ExpressionError, match=f"{name} is ambiguous") as caught:
            space.resolve(name)
        assert caught.value.candidates == (f"one.c::{name}", f"two.c::{name}")
        assert len({space.resolve(text).address for text in caught.value.candidates}) == 2


def test_files_that_cannot_be_opened_cost_their_own_names_only(tmp_path: Path) -> None:
    path = build(tmp_path, "objects.c", "-g")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "text").write_text("not a program")
    bad = [tmp_path / "missing", tmp_path / "fifo", tmp_path / "text", tmp_path]
    more = [(0x10000 * n, 0x10000 * n + 0x1000, "r-xp", 0x2000, str(name)) for n, name in enumerate(bad, 1)]
    space = space_of(path, more=more)
    assert space.resolve("counter").size == 4
    for start, _, _, _, name in more:
        assert space.lookup(start + 5) == Location(name, 0x2005, None, 0, None, None)
        assert space.name(start + 5) == f"{os.path.basename(name)}+0x2005"
        assert space.executable(start + 5)


def test_memory_without_a_file_has_no_names() -> None:
    mapped = [
        (0x1000, 0x2000, "rw-p", 0, ""),
        (0x2000, 0x3000, "rw-p", 0, "[heap]"),
        (0x3000, 0x4000, "r-xp", 0, "[vdso]"),
    ]
    space = AddressSpace(mapped)
    assert space.lookup(0x1008).module is None
    assert space.lookup(0x2008).module is None
    assert space.lookup(0x3008) == Location("[vdso]", 8, None, 0, None, None)
    assert [space.executable(address) for address in (0x1000, 0x3000, 0x3FFF, 0x4000, 0)] == [
        False,
        True,
        True,
        False,
        False,
    ]
    with pytest.raises(ExpressionError, match="no program with names is mapped"):
        space.resolve("main")
    assert space.resolve("0x10").address == 16


def test_rows_may_be_objects_and_a_fixed_program_has_names_before_it_is_mapped(tmp_path: Path) -> None:
    path = build(tmp_path, "objects.c", "-no-pie", "-g")
    before = AddressSpace([], str(path))
    expected = before.resolve("cfg.limits[3]")
    names = ("start", "end", "perms", "offset", "path")
    mapped = [SimpleNamespace(**dict(zip(names, row, strict=True))) for row in rows(ElfImage.open(path))]
    before.update(mapped)
    assert before.resolve("cfg.limits[3]") == expected
    assert before.data_name(expected.address) == "cfg.limits[3]"


def test_a_symbolic_link_to_the_program_is_the_program(tmp_path: Path) -> None:
    path = build(tmp_path, "objects.c", "-g")
    (tmp_path / "link").symlink_to(path)
    space = AddressSpace(rows(ElfImage.open(path)), str(tmp_path / "link"))
    assert space.main is not None
    assert space.main.path == str(path)
    assert space.main.bias == PIE_BASE


def test_answers_follow_new_mappings(tmp_path: Path) -> None:
    path = build(tmp_path, "objects.c", "-g")
    space = space_of(path)
    before = space.resolve("counter").address
    assert space.data_name(before) == "counter"
    space.update(rows(ElfImage.open(path), 0x7000_0000_0000))
    after = space.resolve("counter").address
    assert after - before == 0x7000_0000_0000 - PIE_BASE
    assert space.data_name(before) is None
    assert space.lookup(before).module is None
    assert space.data_name(after) == "counter"
