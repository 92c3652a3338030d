"""Where pointers to code lie, in programs as they were linked, and in this process as it runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from symbols.elf import ElfImage
from symbols.plt import R_GLOB_DAT, R_JUMP_SLOT
from symbols.pointers import DATA_LIMIT, Pointers
from symbols.space import AddressSpace
from tests.unit.symbols_data.builds import PIE_BASE, build, rows, run, space_of


def own_rows() -> list[tuple[int, int, str, int, str]]:
    """The mappings of this process."""
    found = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, perms, offset, _, _, *path = line.split(maxsplit=5)
        start, _, end = span.partition("-")
        found.append((int(start, 16), int(end, 16), perms, int(offset, 16), path[0] if path else ""))
    return found


@pytest.mark.parametrize(
    "flags", [("-pie", "-Wl,-z,now"), ("-pie", "-Wl,-z,lazy"), ("-no-pie", "-Wl,-z,lazy")]
)
def test_the_slots_of_a_programs_imports_are_written_once(tmp_path: Path, flags: tuple[str, ...]) -> None:
    path = build(tmp_path, "calls.c", *flags)
    image = ElfImage.open(path)
    pointers = Pointers(space_of(path))
    bias = PIE_BASE if image.kind == "DYN" else 0
    slots = []
    for line in run("readelf", "-rW", path).splitlines():
        word = line.split()
        if (
            len(word) > 3
            and word[0].startswith("0000")
            and int(word[1], 16) & 0xFF in (R_GLOB_DAT, R_JUMP_SLOT)
        ):
            slots.append(int(word[0], 16))
    assert slots
    assert all(pointers.written_once(slot + bias) for slot in slots)
    data = image.sections[".data"]
    assert not pointers.written_once(data.addr + bias)
    assert not pointers.written_once(image.sections[".text"].addr + bias)
    assert not pointers.written_once(0x10)


def test_the_loaders_own_slots_are_not() -> None:
    """It relocates itself before it has loaded anything, and once more behind that."""
    loader = Path(os.path.realpath("/lib64/ld-linux-x86-64.so.2"))
    if not loader.exists():
        pytest.skip("no glibc")
    pointers = Pointers(space_of(loader))
    image = ElfImage.open(loader)
    for name in (".got", ".got.plt"):
        if name in image.sections:
            assert not pointers.written_once(image.sections[name].addr + PIE_BASE)


def test_data_is_what_is_writable_of_files_and_behind_them(tmp_path: Path) -> None:
    path = build(tmp_path, "objects.c", "-pie")
    image = ElfImage.open(path)
    mapped = rows(image)
    space = AddressSpace([*mapped, (1 << 40, (1 << 40) + 4096, "rw-p", 0, "")], str(path))
    pointers = Pointers(space)
    writable = [(start, end) for start, end, perms, _, _ in mapped if "w" in perms]
    assert sorted(pointers.spans()) == writable
    # The same pages once the loader has made a part of them read-only.
    (start, end, perms, offset, name), *bss = [row for row in mapped if "w" in row[2]]
    relro = [(start, start + 4096, "r--p", offset, name), (start + 4096, end, perms, offset + 4096, name)]
    space.update([*(row for row in mapped if "w" not in row[2]), *(r for r in relro if r[1] > r[0]), *bss])
    assert pointers.spans()[0] == (start, start + 4096)


def test_code_that_was_made_behind_a_file_is_not_its_bss(tmp_path: Path) -> None:
    path = build(tmp_path, "objects.c", "-pie")
    mapped = rows(ElfImage.open(path))
    end = mapped[-1][1]
    made = (end, end + 4096, "rwxp", 0, "")
    spans = Pointers(AddressSpace([*mapped, made], str(path))).spans()
    assert spans == Pointers(AddressSpace(mapped, str(path))).spans() != ()


def test_of_this_process_only_so_much_is_data_and_all_of_it_is_mapped() -> None:
    mapped = own_rows()
    spans = Pointers(AddressSpace(mapped)).spans()
    assert spans
    assert sum(end - start for start, end in spans) <= DATA_LIMIT
    assert set(spans) <= {(start, end) for start, end, _, _, _ in mapped}
    assert not any("x" in perms for start, end, perms, _, _ in mapped if (start, end) in spans)
