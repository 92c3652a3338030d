"""Headers, segments and sections: real files read as readelf reads them, broken ones refused in one line."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from symbols.elf import ElfError, ElfImage
from tests.unit.symbols_data.builds import build, need, run

EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
PHDR = struct.Struct("<IIQQQQQQ")


def ehdr(**changes: int | bytes) -> bytes:
    fields: dict[str, int | bytes] = {
        "ident": b"\x7fELF\x02\x01\x01".ljust(16, b"\0"),
        "type": 2,
        "machine": 62,
        "version": 1,
        "entry": 0x401000,
        "phoff": 64,
        "shoff": 0,
        "flags": 0,
        "ehsize": 64,
        "phentsize": 56,
        "phnum": 1,
        "shentsize": 0,
        "shnum": 0,
        "shstrndx": 0,
    }
    return EHDR.pack(*(fields | changes).values())


def phdr(
    kind: int = 1, offset: int = 0, vaddr: int = 0x400000, filesz: int = 512, memsz: int = 4096
) -> bytes:
    return PHDR.pack(kind, 5, offset, vaddr, vaddr, filesz, memsz, 4096)


def program(header: bytes, *segments: bytes, size: int = 512) -> bytes:
    return (header + b"".join(segments)).ljust(size, b"\0")


SMALLEST = program(ehdr(), phdr())

BAD = {
    "empty": (b"", "empty"),
    "text": (b"hello, world\n" * 20, "not an ELF program"),
    "a script": (b"#!/bin/sh\nexit 0\n", "a script"),
    "only the magic number": (b"\x7fELF", "truncated"),
    "half a header": (SMALLEST[:40], "truncated"),
    "32-bit": (
        program(ehdr(ident=b"\x7fELF\x01\x01\x01".ljust(16, b"\0"), machine=3)),
        "a 32-bit ELF (32-bit x86)",
    ),
    "aarch64": (program(ehdr(machine=183), phdr()), "a program for aarch64"),
    "unheard-of machine": (program(ehdr(machine=4711), phdr()), "a program for machine 4711"),
    "big endian": (program(ehdr(ident=b"\x7fELF\x02\x02\x01".ljust(16, b"\0")), phdr()), "big-endian"),
    "unknown class": (
        program(ehdr(ident=b"\x7fELF\x07\x01\x01".ljust(16, b"\0")), phdr()),
        "not an ELF program",
    ),
    "relocatable": (program(ehdr(type=1), phdr()), "a relocatable object, not a program (link it first)"),
    "core": (program(ehdr(type=4), phdr()), "a core file"),
    "type 9": (program(ehdr(type=9), phdr()), "ELF type 9"),
    "no program headers": (program(ehdr(phnum=0)), "no program headers"),
    "no PT_LOAD": (program(ehdr(), phdr(kind=4)), "no PT_LOAD"),
    "odd header size": (program(ehdr(phentsize=32), phdr()), "program headers of 32 bytes"),
    "headers beyond the end": (program(ehdr(phoff=500), phdr()), "program headers lie beyond the end"),
    "headers far beyond the end": (program(ehdr(phoff=(1 << 64) - 8), phdr()), "beyond the end"),
    "65535 headers": (program(ehdr(phnum=65535), phdr()), "65535 program headers"),
    "segment beyond the end": (program(ehdr(), phdr(filesz=4096)), "segment 0 lies beyond the end"),
    "lying segment offset": (program(ehdr(), phdr(offset=(1 << 64) - 4096)), "segment 0 lies beyond the end"),
    "memory below file size": (program(ehdr(), phdr(memsz=100)), "more bytes in the file than in memory"),
    "address overflow": (program(ehdr(), phdr(vaddr=(1 << 64) - 4096, filesz=0)), "beyond user addresses"),
    "kernel address": (program(ehdr(), phdr(vaddr=1 << 47)), "beyond user addresses"),
    "size overflow": (program(ehdr(), phdr(memsz=(1 << 64) - 1)), "beyond user addresses"),
    "too much memory": (program(ehdr(), phdr(memsz=(1 << 30) + 1)), "more than 1024 MiB"),
    "too much memory in two": (
        program(ehdr(phnum=2), phdr(memsz=1 << 29), phdr(vaddr=0x40000000, memsz=(1 << 29) + 1)),
        "more than 1024 MiB",
    ),
    "overlapping segments": (
        program(ehdr(phnum=2), phdr(memsz=0x2000), phdr(vaddr=0x401000, filesz=0)),
        "segment 1 overlaps",
    ),
    "segments out of order": (
        program(ehdr(phnum=2), phdr(vaddr=0x600000), phdr(vaddr=0x400000)),
        "segment 1 overlaps",
    ),
    "segment that cannot be mapped": (program(ehdr(), phdr(vaddr=0x400010)), "cannot be mapped"),
    "interpreter not terminated": (
        program(ehdr(phnum=2), phdr(), phdr(kind=3, offset=200, filesz=20)).replace(b"\0" * 280, b"x" * 280),
        "interpreter is not terminated",
    ),
    "interpreter empty": (
        program(ehdr(phnum=2), phdr(), phdr(kind=3, filesz=0)),
        "interpreter is not terminated",
    ),
    "interpreter beyond the end": (
        program(ehdr(phnum=2), phdr(), phdr(kind=3, offset=510, filesz=20)),
        "interpreter is not terminated",
    ),
    "interpreter too long": (
        program(ehdr(phnum=2), phdr(), phdr(kind=3, offset=512, filesz=5000)) + b"/" * 4999 + b"\0",
        "interpreter is too long",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_that_no_loader_could_run_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    data, expected = BAD[case]
    path = tmp_path / "bad program"
    path.write_bytes(data)
    with pytest.raises(ElfError) as caught:
        ElfImage.open(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert expected in message
    assert "\n" not in message


def test_the_smallest_program_is_accepted_and_has_no_names(tmp_path: Path) -> None:
    (tmp_path / "smallest").write_bytes(SMALLEST)
    image = ElfImage.open(tmp_path / "smallest")
    assert (image.kind, image.machine, image.bits, image.entry) == ("EXEC", 62, 64, 0x401000)
    assert image.load_range == (0x400000, 0x401000)
    assert image.sections == {}
    assert image.build_id is None
    assert image.interpreter is None


def test_files_that_are_no_files_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    expected = {
        tmp_path: "a directory, not a program",
        tmp_path / "missing": "no such file or directory",
        tmp_path / "fifo": "not a regular file",
        tmp_path / "loop": "too many levels of symbolic links",
        Path("/dev/zero"): "not a regular file",
        Path("nul\0byte"): "not a usable path",
    }
    for path, why in expected.items():
        with pytest.raises(ElfError, match=re.escape(f"{path}: {why}")):
            ElfImage.open(path)


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads every file")
    path = tmp_path / "secret"
    path.write_bytes(SMALLEST)
    path.chmod(0)
    with pytest.raises(ElfError, match="permission denied"):
        ElfImage.open(path)


@pytest.mark.parametrize(
    "flags",
    [("-pie",), ("-no-pie",), ("-static",), ("-static-pie",), ("-g", "-O2"), ("-s",)],
    ids=" ".join,
)
def test_headers_and_sections_are_those_that_readelf_shows(tmp_path: Path, flags: tuple[str, ...]) -> None:
    need("readelf")
    path = build(tmp_path, "calls.c", *flags)
    image = ElfImage.open(path)
    header = run("readelf", "-hW", path)
    assert image.entry == int(re.search(r"Entry point address:\s+(\S+)", header)[1], 16)  # type: ignore[index]
    assert image.kind == re.search(r"Type:\s+(\w+)", header)[1]  # type: ignore[index]
    listed = {}
    for line in run("readelf", "-SW", path).splitlines():
        if found := re.match(r"\s*\[\s*\d+\] (\S+)\s+\S+\s+([0-9a-f]{16}) ([0-9a-f]+) ([0-9a-f]+) ", line):
            listed[found[1]] = tuple(int(found[group], 16) for group in (2, 3, 4))
    assert {name: (s.addr, s.offset, s.size) for name, s in image.sections.items() if name} == listed
    shown = run("readelf", "-nW", path)
    identity = re.search(r"Build ID: (\w+)", shown)
    assert image.build_id == (identity[1] if identity else None)
    wanted = re.search(r"program interpreter: (\S+)\]", run("readelf", "-lW", path))
    assert image.interpreter == (wanted[1] if wanted else None)
    loads = re.findall(r"LOAD +0x\w+ (0x\w+) 0x\w+ 0x\w+ (0x\w+)", run("readelf", "-lW", path))
    assert [(s.vaddr, s.memsz) for s in image.segments if s.type == 1] == [
        (int(v, 16), int(m, 16)) for v, m in loads
    ]


def test_memory_behind_the_file_contents_of_a_segment_reads_as_zeros(tmp_path: Path) -> None:
    path = tmp_path / "smallest"
    path.write_bytes(SMALLEST)
    image = ElfImage.open(path)
    assert image.read(0x400000, 4) == b"\x7fELF"
    assert image.read(0x400000 + 510, 8) == b"\0" * 8
    assert image.read(0x400FFE, 100) == b"\0\0"
    assert image.read(0x401000, 1) == b""


def test_opening_a_program_does_not_load_numpy_or_the_disassemblers() -> None:
    code = "import sys, symbols.elf; print(*sorted({'numpy', 'capstone', 'elftools', 'iced_x86'} & set(sys.modules)))"
    assert run(sys.executable, "-c", code).strip() == ""


def test_names_of_addresses_need_no_disassembler_and_no_dwarf_reader() -> None:
    code = (
        "import sys, symbols.space; print(*sorted({'capstone', 'elftools', 'iced_x86'} & set(sys.modules)))"
    )
    assert run(sys.executable, "-c", code).strip() == ""


def test_a_closed_image_leaves_no_descriptor(tmp_path: Path) -> None:
    path = tmp_path / "smallest"
    path.write_bytes(SMALLEST)
    (tmp_path / "bad").write_bytes(BAD["core"][0])

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = descriptors()
    image: ElfImage | None = ElfImage.open(path)
    assert descriptors() == before + 1
    del image
    for _ in range(3):
        with pytest.raises(ElfError):
            ElfImage.open(tmp_path / "bad")
    assert descriptors() == before


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 511), st.integers(0, 255)), max_size=12), st.integers(0, 512))
def test_any_damage_to_a_small_program_is_refused_or_harmless(
    tmp_path: Path, changes: list[tuple[int, int]], size: int
) -> None:
    data = bytearray(program(ehdr(phnum=2, shoff=256, shentsize=64, shnum=3), phdr(), phdr(kind=4)))
    for place, value in changes:
        data[place] = value
    path = tmp_path / "damaged"
    path.write_bytes(data[: max(size, 300)])
    try:
        image = ElfImage.open(path)
    except ElfError:
        return
    low, high = image.load_range
    assert 0 <= low < high <= 1 << 47
    assert isinstance(image.sections, dict)
    assert image.build_id is None or re.fullmatch("[0-9a-f]+", image.build_id)


def test_the_machine_of_a_test_is_the_one_that_runs_it() -> None:
    machine = subprocess.run(["uname", "-m"], capture_output=True, text=True, check=True).stdout.strip()
    if machine != "x86_64":
        pytest.skip(f"this machine is {machine}: its own programs are foreign")
    assert ElfImage.open(sys.executable).machine == 62
