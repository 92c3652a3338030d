"""Programs in memory as execve would leave them, and one clear line for each file that is none."""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path

import pytest

from backends.base import HwbpError, Launch
from backends.emulated.icicle import IcicleEngine
from backends.emulated.loader import PIE_BASE, STACK_TOP, Image, enter, load
from backends.emulated.memory import AddressSpace
from backends.emulated.programs import PROGRAMS
from tests.compiled import compiled
from tests.machine.linux_loop import boot, run

COUNTER = str(PROGRAMS["counter"].path)
STRINGS = str(PROGRAMS["strings"].path)


def refusal(program: Path | str) -> HwbpError:
    with pytest.raises(HwbpError) as caught:
        load(Launch(str(program)), AddressSpace(IcicleEngine()))
    assert "\n" not in caught.value.message
    return caught.value


def words(space: AddressSpace, image: Image) -> list[int]:
    size = STACK_TOP - image.stack_pointer & -8
    return list(struct.unpack(f"<{size // 8}Q", space.copy_out(image.stack_pointer, size)))


def auxv(space: AddressSpace, image: Image) -> dict[int, int]:
    rest = words(space, image)
    at = rest.index(0, rest[0] + 2) + 1
    pairs = {}
    while rest[at]:
        pairs[rest[at]] = rest[at + 1]
        at += 2
    return pairs


def test_a_fixed_program_lies_where_it_was_linked() -> None:
    _, space, image, _ = boot(Launch(COUNTER))
    assert image.bias == 0
    assert image.entry == image.program_entry
    assert space.mappings()[0].start == 0x400000
    assert image.interpreter is None


def test_a_position_independent_program_lies_at_the_usual_base() -> None:
    _, space, image, _ = boot(Launch(STRINGS))
    assert image.bias == PIE_BASE
    assert space.mappings()[0].start == PIE_BASE


@pytest.mark.parametrize("program", [COUNTER, STRINGS])
def test_no_page_is_writable_and_executable(program: str) -> None:
    _, space, _, _ = boot(Launch(program))
    assert {m.perms for m in space.mappings()} <= {"r--p", "r-xp", "rw-p"}
    assert space.mappings()[-1].path == "[stack]"


def test_the_first_stack_holds_arguments_environment_and_vector() -> None:
    _, space, image, _ = boot(Launch(COUNTER, ("one", "two"), env=(("NAME", "value"), ("LANG", "de"))))
    stack = words(space, image)
    assert image.stack_pointer % 16 == 0
    assert stack[0] == 3
    assert [space.text(at) for at in stack[1:4]] == [COUNTER.encode(), b"one", b"two"]
    assert stack[4] == 0
    environment = [space.text(at) for at in stack[5 : stack.index(0, 5)]]
    assert b"NAME=value" in environment
    assert b"LANG=de" in environment
    assert b"TERM=dumb" in environment
    assert not any(line.startswith(b"PYTEST") for line in environment)


def test_the_auxiliary_vector_describes_the_program() -> None:
    _, space, image, _ = boot(Launch(STRINGS))
    vector = auxv(space, image)
    assert vector[3] == PIE_BASE + 64  # AT_PHDR
    assert vector[4] == 56
    assert vector[6] == 4096
    assert vector[9] == image.entry
    assert space.text(vector[31]) == STRINGS.encode()
    assert space.text(vector[15]) == b"x86_64"
    assert 33 not in vector  # AT_SYSINFO_EHDR: there is no vdso
    assert vector[23] == 0


def test_the_random_bytes_are_the_same_every_time() -> None:
    seeds = []
    for _ in range(2):
        _, space, image, _ = boot(Launch(COUNTER))
        seeds.append(space.copy_out(auxv(space, image)[25], 16))
    assert seeds[0] == seeds[1] != bytes(16)


def test_registers_are_clean_at_the_entry() -> None:
    engine = IcicleEngine()
    space = AddressSpace(engine)
    image = load(Launch(COUNTER), space)
    engine.set("RBX", 5)
    enter(engine, image)
    assert engine.pc == image.entry
    assert engine.get("RBX") == 0
    assert engine.get("RSP") == image.stack_pointer


def test_bss_is_zero_even_in_the_page_it_shares_with_data(tmp_path: Path) -> None:
    elf = bytearray(Path(COUNTER).read_bytes())
    program = tmp_path / "program"
    program.write_bytes(elf)
    program.chmod(0o755)
    _, space, image, _ = boot(Launch(str(program)))
    data = next(m for m in space.mappings() if m.perms == "rw-p" and m.path == str(program))
    assert space.copy_out(data.end - 512, 512) == bytes(512)
    assert image.end >= data.end


def test_more_arguments_than_the_stack_holds_are_e2big() -> None:
    with pytest.raises(HwbpError) as caught:
        load(Launch(COUNTER, ("x" * (2 << 20),)), AddressSpace(IcicleEngine()))
    assert caught.value.errno == "E2BIG"


def test_a_name_without_a_slash_is_searched_in_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "prog"
    shutil.copy(COUNTER, program)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"/nonexistent:{tmp_path}")
    assert load(Launch("prog"), AddressSpace(IcicleEngine())).path == str(program)
    assert refusal("prog2").errno == "ENOENT"


def test_a_program_here_is_not_found_without_its_slash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prog").write_bytes(b"")
    (tmp_path / "prog").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    assert refusal("prog").remedy == "give its path: ./prog"


@pytest.mark.parametrize(
    ("content", "code", "word"),
    [
        (b"", "ENOEXEC", "empty"),
        (b"hello", "ENOEXEC", "not an ELF"),
        (b"\x7fELF\x01\x01\x01" + bytes(9) + struct.pack("<HH", 2, 3) + bytes(60), "ENOEXEC", "32-bit"),
        (b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 2, 183) + bytes(60), "ENOEXEC", "aarch64"),
        (b"\x7fELF\x02\x01\x01", "ENOEXEC", "truncated"),
    ],
    ids=["empty", "text", "32-bit", "aarch64", "truncated"],
)
def test_a_file_that_is_no_program_is_told_in_one_line(
    tmp_path: Path, content: bytes, code: str, word: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    path.chmod(0o755)
    error = refusal(path)
    assert error.errno == code
    assert word in error.message


def test_a_script_names_its_interpreter(tmp_path: Path) -> None:
    path = tmp_path / "script"
    path.write_text("#!/bin/sh -e\necho\n")
    error = refusal(path)
    assert error.errno == "ENOEXEC"
    assert error.remedy == f"/bin/sh -e {path}"


def test_a_directory_and_a_missing_file_are_told_apart(tmp_path: Path) -> None:
    assert refusal(tmp_path).errno == "EACCES"
    assert refusal(tmp_path / "nothing").errno == "ENOENT"


def test_an_unreadable_file_is_eacces(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\x7fELF")
    path.chmod(0o755)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("root reads everything")
    assert refusal(path).errno == "EACCES"


def test_a_fifo_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert refusal(tmp_path / "fifo").errno == "EACCES"


def patched(tmp_path: Path, offset: int, layout: str, value: int) -> Path:
    elf = bytearray(Path(COUNTER).read_bytes())
    struct.pack_into(layout, elf, offset, value)
    path = tmp_path / "patched"
    path.write_bytes(elf)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("offset", "layout", "value"),
    [
        (64 + 32, "<Q", 1 << 40),  # p_filesz of the first segment
        (64 + 40, "<Q", 1 << 40),  # p_memsz
        (64 + 16, "<Q", 1 << 60),  # p_vaddr
        (32, "<Q", 1 << 40),  # e_phoff
        (56, "<H", 0),  # e_phnum
        (54, "<H", 8),  # e_phentsize
        (16, "<H", 1),  # e_type: relocatable
    ],
)
def test_lying_headers_are_refused(tmp_path: Path, offset: int, layout: str, value: int) -> None:
    assert refusal(patched(tmp_path, offset, layout, value)).errno in ("ENOEXEC", "ENOMEM")


def test_a_missing_dynamic_loader_is_named_with_its_package(tmp_path: Path) -> None:
    for loader, remedy in (("/lib/ld-musl-x86_64.so.1", "musl"), ("/nowhere/ld.so", "C library")):
        if os.path.exists(loader):
            continue
        source = "int main(void) { return 0; }\n"
        program = compiled(tmp_path / "p", source, f"-Wl,--dynamic-linker={loader}")
        error = refusal(program)
        assert error.errno == "ENOENT"
        assert loader in error.message
        assert remedy in error.remedy


@pytest.mark.parametrize("kind", ["-no-pie", "-pie", "-static", "-static-pie"])
def test_the_program_sees_its_own_vector(tmp_path: Path, kind: str) -> None:
    source = (
        "#include <stdio.h>\n#include <string.h>\n#include <sys/auxv.h>\n#include <elf.h>\n"
        "extern char __ehdr_start;\nextern int _start();\n"
        "int main(void) {\n"
        '  printf("%d %d %d ", getauxval(AT_PHDR) == (unsigned long)&__ehdr_start + 64,\n'
        "    getauxval(AT_ENTRY) == (unsigned long)_start, getauxval(AT_PHENT) == 56);\n"
        '  printf("%lu %lu %lu ", getauxval(AT_PAGESZ), getauxval(AT_UID), getauxval(AT_SECURE));\n'
        '  printf("%s %d\\n", (char *)getauxval(AT_PLATFORM), getauxval(AT_SYSINFO_EHDR) == 0);\n'
        "  return 0;\n}\n"
    )
    assert run(compiled(tmp_path / "p", source, kind)).out == b"1 1 1 4096 1000 0 x86_64 1\n"
