"""Many addresses at once, whole line tables and the cache on disk; completion and near misses in big tables."""

from __future__ import annotations

import importlib.util
import os
import struct
from pathlib import Path

import numpy as np
import pytest

import symbols.lines
from symbols.cache import Cache
from symbols.elf import ElfImage
from symbols.name_index import NameIndex
from symbols.space import AddressSpace
from symbols.whole_lines import WholeLines, whole_lines
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


@pytest.mark.slow
def test_symbolic_and_our_own_reader_give_the_same_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if importlib.util.find_spec("symbolic") is None:
        pytest.skip("symbolic is not installed")
    path = build(tmp_path, "objects.c", "-g", "-O2", "-Wl,--build-id")
    image = ElfImage.open(path)
    cache = Cache(str(tmp_path / "cache"))
    whole = whole_lines(image, cache)
    assert whole is not None
    assert cache.get(image.build_id, "symcache9") is not None
    space = AddressSpace(rows(image), str(path))
    text = image.sections[".text"]
    addresses = np.arange(text.addr, text.addr + text.size, dtype=np.uint64)
    own = space.lookup_many(addresses + np.uint64(PIE_BASE))
    numbers, lines = whole.at_many(addresses)
    inside = own.symbol >= 0
    assert (lines[inside] == own.line[inside]).all()
    for at in np.flatnonzero(inside & (numbers >= 0)).tolist():
        assert os.path.basename(whole.file(int(numbers[at]))) == os.path.basename(own.files[own.file[at]])
    monkeypatch.setattr(symbols.lines, "MANY", 1)
    monkeypatch.setattr(symbols.lines, "LARGE", 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    again = AddressSpace(rows(image), str(path)).lookup_many(addresses + np.uint64(PIE_BASE))
    assert (again.line[inside] == own.line[inside]).all()
    assert list((tmp_path / "xdg" / "hwbp-tui" / "symbols").iterdir())


HEADER = struct.Struct("<4sI32s6I16x")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"SYMC" + bytes(200),
        HEADER.pack(b"SYMC", 9, b"", 201, 1 << 30, 0, 0, 0, 0),
        HEADER.pack(b"SYMC", 9, b"", 201, 0, 0, 0, 2, 0) + bytes(8),
        HEADER.pack(b"SYMC", 9, b"", 201, 0, 0, 2, 2, 0) + bytes(32) + struct.pack("<II", 9, 3),
    ],
)
def test_a_lying_cache_entry_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        WholeLines(data)


def test_a_cache_entry_that_points_nowhere_has_no_lines() -> None:
    row = struct.pack("<IIII", 99, 5, 7, 3)
    data = HEADER.pack(b"SYMC", 9, b"", 201, 0, 0, 1, 1, 0) + row + struct.pack("<I", 0x1000)
    numbers, lines = WholeLines(data).at_many(np.array([0, 0x1000, 1 << 40], np.uint64))
    assert numbers.tolist() == [-1, -1, -1]
    assert lines.tolist() == [0, 0, 0]


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
