"""Many addresses at once, whole line tables and the cache on disk; completion and near misses in big tables."""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile

import symbols.lines
import symbols.whole_lines
from symbols.cache import Cache
from symbols.debug_sections import DebugSections
from symbols.elf import ElfImage
from symbols.line_program import read_header
from symbols.line_rows import Program, run
from symbols.name_index import NameIndex
from symbols.space import AddressSpace
from symbols.whole_lines import WholeLines
from tests.fuzz.names import line_rows
from tests.unit.symbols_data.builds import PIE_BASE, build, rows


def test_many_addresses_have_what_each_has_alone(tmp_path: Path) -> None:
    path = build(tmp_path, "objects.c", "-g", "-O1")
    image = ElfImage.open(path)
    space = AddressSpace(rows(image), str(path))
    start = min(row[0] for row in rows(image))
    addresses = np.arange(start, start + 0x5000, 7, dtype=np.uint64)
    found = space.lookup_many(addresses)
    named = 0
    for at, address in enumerate(addresses.tolist()):
        place = space.lookup(address)
        file = found.files[found.file[at]] if found.file[at] >= 0 else None
        assert (file, int(found.line[at]) or None) == (place.source, place.line)
        if found.symbol[at] >= 0:
            named += 1
            assert (found.symbols[found.symbol[at]], int(found.offset[at])) == (
                place.symbol,
                place.symbol_offset,
            )
    assert named > 50


def test_a_whole_line_table_has_what_each_unit_has_and_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = build(tmp_path, "objects.c", "-g", "-O2", "-Wl,--build-id")
    image = ElfImage.open(path)
    text = image.sections[".text"]
    addresses = np.arange(text.addr, text.addr + text.size, dtype=np.uint64) + np.uint64(PIE_BASE)
    own = AddressSpace(rows(image), str(path)).lookup_many(addresses)
    monkeypatch.setattr(symbols.lines, "MANY", 1)
    monkeypatch.setattr(symbols.lines, "LARGE", 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    for _ in range(2):  # made, and out of the cache
        whole = AddressSpace(rows(image), str(path)).lookup_many(addresses)
        assert np.count_nonzero(whole.line) > 100
        assert (whole.line == own.line).all()
        names = [whole.files[at] if at >= 0 else None for at in whole.file.tolist()]
        assert names == [own.files[at] if at >= 0 else None for at in own.file.tolist()]
        (kept,) = (tmp_path / "xdg" / "hwbp-tui" / "symbols").iterdir()
        monkeypatch.setattr(symbols.whole_lines, "_made", None)
    assert kept.name == f"{image.build_id}.lines1"


@pytest.mark.parametrize("seed", range(40))
def test_line_programs_run_together_give_what_each_opcode_gives(seed: int) -> None:
    line_rows(random.Random(seed))


@pytest.mark.parametrize(("digits", "count"), [(9, 2), (10, 0)])
def test_any_argument_of_an_opcode_may_be_too_long(digits: int, count: int) -> None:
    """Opcode 13 is nobody's, and has two numbers; the second has so many bytes and one more."""
    where = b"\0\x09\x02" + (0x1000).to_bytes(8, "little")
    data = where + b"\x01\x0d\x05" + b"\x80" * digits + b"\x01\x02\x04\0\x01\x01"
    program = Program(0, len(data), 1, True, -5, 14, 14, (0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1, 2))
    assert len(run(data, [program]).address) == count


@pytest.mark.slow
@pytest.mark.parametrize("dwarf", ["-gdwarf-3", "-gdwarf-4", "-gdwarf-5"])
def test_line_rows_are_those_that_pyelftools_reads(tmp_path: Path, dwarf: str) -> None:
    path = build(tmp_path, "objects.c", dwarf, "-O2", "-static")
    sections = DebugSections(ElfImage.open(path))
    compared = 0
    with path.open("rb") as file:
        info: Any = ELFFile(file).get_dwarf_info()
        for unit in info.iter_CUs():
            program = info.line_program_for_CU(unit)
            offset = unit.get_top_DIE().attributes["DW_AT_stmt_list"].value
            states = [entry.state for entry in program.get_entries() if entry.state is not None]
            header = read_header(sections, offset)
            assert header is not None
            found = run(sections["line"], [header.program])
            theirs = [(s.address, s.line, s.file, 0 if s.end_sequence else s.column) for s in states]
            ours = zip(found.address, found.line, found.file, found.column, strict=True)
            assert [tuple(map(int, row)) for row in ours] == theirs
            compared += len(theirs)
    assert compared > 50


HEADER = struct.Struct("<8sQQQ")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HWBPLIN1" + bytes(200),
        HEADER.pack(b"HWBPLIN1", 1 << 60, 0, 0),
        HEADER.pack(b"HWBPLIN1", 0, 1, 0),
        HEADER.pack(b"HWBPLIN1", 1, 0, 0) + struct.pack("<QII", 0x1000, 5, 0),
        HEADER.pack(b"HWBPLIN1", 2, 1, 2) + struct.pack("<QQIIII", 9, 3, 1, 1, 0, 0) + b"a\0",
    ],
)
def test_a_lying_cache_entry_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        WholeLines.loaded(data)


def test_the_cache_keeps_whole_entries_of_our_own_within_its_bound(tmp_path: Path) -> None:
    cache = Cache(str(tmp_path / "c"), limit=1000)
    ids = [f"{number:040x}" for number in range(4)]
    for number, build_id in enumerate(ids):
        cache.put(build_id, "kind", bytes([number]) * 300)
        os.utime(tmp_path / "c" / f"{build_id}.kind", (number, number))
    kept = [cache.get(build_id, "kind") is not None for build_id in ids]
    assert kept[-1]
    assert sum(kept) == 3
    assert cache.get(ids[3], "kind") == b"\3" * 300
    cache.put(ids[3], "kind", b"x" * 600)  # more than half of the bound
    assert cache.get(ids[3], "kind") == b"\3" * 300
    for bad in (None, "", "../../etc", "zz", "A" * 40):
        assert cache.path(bad, "kind") is None
        cache.put(bad, "kind", b"1")
        assert cache.get(bad, "kind") is None


def test_entries_of_others_and_links_are_not_read(tmp_path: Path) -> None:
    cache = Cache(str(tmp_path / "c"))
    build_id = "ab" * 20
    cache.put(build_id, "kind", b"mine")
    path = tmp_path / "c" / f"{build_id}.kind"
    path.chmod(0o666)
    assert cache.get(build_id, "kind") is None
    path.unlink()
    (tmp_path / "other").write_bytes(b"theirs")
    path.symlink_to(tmp_path / "other")
    assert cache.get(build_id, "kind") is None
    path.unlink()
    os.mkfifo(path)
    assert cache.get(build_id, "kind") is None


def test_a_folder_that_cannot_be_written_is_no_cache(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = Cache(str(tmp_path / "file" / "c"))
    cache.put("ab" * 20, "kind", b"1")
    assert cache.get("ab" * 20, "kind") is None


NAMES = [
    b"alpha",
    b"alphabet",
    b"alphabetical_order",
    b"beta",
    b"Beta",
    b"counter@@V1",
    b"_ZN3foo3barEv",
    b"\xff\xfe",
]


def index() -> NameIndex:
    data, offsets = b"\0", []
    for name in NAMES:
        offsets.append(len(data))
        data += name + b"\0"
    return NameIndex(data, np.array([*offsets, offsets[0], 10**6], np.int64))


def test_names_are_found_by_their_beginning_in_order() -> None:
    names = index()
    assert names.starting_with("alph", 9) == ["alpha", "alphabet", "alphabetical_order"]
    assert names.starting_with("alphabetic", 9) == ["alphabetical_order"]
    assert names.starting_with("alphabets", 9) == []
    assert names.starting_with("coun", 9) == ["counter"]
    assert names.starting_with("", 2) == ["Beta", "_ZN3foo3barEv"]
    assert names.starting_with("\udcff", 2) == ["\udcff\udcfe"]


def test_names_like_another_are_offered() -> None:
    names = index()
    assert names.near("aplha", 3) == ["alpha"]
    assert set(names.near("BETA", 3)) == {"beta", "Beta"}
    assert names.near("conter", 3) == ["counter"]
    assert names.near("zzzzzz", 3) == []
    assert names.near("", 3) == []
    assert names.near("x" * 500, 3) == []
