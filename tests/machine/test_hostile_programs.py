"""Programs that mean harm: each ends in one clear line or as Linux would end it, and the machine can still be looked at."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from backends.base import Launch
from backends.emulated.backend import EmulatedBackend
from backends.model import MachineView
from backends.ring import create_memfd
from tests.machine.code import CODE, DATA, program

EXIT = b"\xbf\x07\0\0\0\xb8\x3c\0\0\0\x0f\x05"


def _run(folder: Path, code: bytes) -> tuple[EmulatedBackend, MachineView]:
    fd = create_memfd(1 << 10)
    backend = EmulatedBackend(fd)
    os.close(fd)
    backend.launch(Launch(program(folder / "program", code, ends=False), (), stacks=False))
    backend.resume()
    while backend.running:
        backend.run_slice()
    return backend, backend.view()


def test_one_that_floods_system_calls_ends(tmp_path: Path) -> None:
    loop = b"\xb8\x27\0\0\0\x0f\x05\x41\xff\xcc\x75\xf4"  # getpid; dec r12d; jnz
    _, view = _run(tmp_path, b"\x41\xbc" + struct.pack("<I", 30_000) + loop + EXIT)
    assert view.exit_status == 7


def test_one_that_maps_all_memory_is_told_enomem(tmp_path: Path) -> None:
    # mmap(0, 64 MiB, read and write, private and anonymous) until it fails; exit(7) if that is ENOMEM
    call = b"\x31\xff\xbe\0\0\0\x04\xba\3\0\0\0\x41\xba\x22\0\0\0\x41\xb8\xff\xff\xff\xff\x45\x31\xc9\xb8\x09\0\0\0\x0f\x05"
    again = b"\x48\x85\xc0\x79" + bytes([-len(call) - 5 & 0xFF])  # test rax, rax; jns
    known = b"\x83\xf8\xf4\x74\x02\x0f\x0b"  # cmp eax, -ENOMEM; je over; ud2
    _, view = _run(tmp_path, call + again + known + EXIT)
    assert view.exit_status == 7


def test_one_that_recurses_without_end_dies_of_its_stack(tmp_path: Path) -> None:
    _, view = _run(tmp_path, b"\xe8\xfb\xff\xff\xff")  # call itself
    assert view.exit_status == -11


@pytest.mark.parametrize("page", [CODE & -4096])
def test_one_that_rewrites_what_has_run_stops_with_a_line(tmp_path: Path, page: int) -> None:
    # mprotect(page, 4096, all three); then a store over an instruction that has run
    protect = b"\xbf" + struct.pack("<I", page) + b"\xbe\0\x10\0\0\xba\7\0\0\0\xb8\x0a\0\0\0\x0f\x05"
    backend, view = _run(
        tmp_path, b"\x90" + protect + b"\xc6\x04\x25" + struct.pack("<I", CODE + 10) + b"\xf4" + EXIT
    )
    assert view.state == "failed"
    assert view.stop is not None
    assert view.stop.text.startswith("stopped at 0x401021: mov byte ptr")
    assert view.stop.text.endswith("code that has already run is being rewritten")
    assert backend.read(DATA, 8) == bytes(8)
    assert {each.name: each.value for each in backend.registers(None)}["rbx"] == DATA


def test_one_that_writes_code_and_then_runs_it_runs_what_it_wrote(tmp_path: Path) -> None:
    # mmap(0x10000000, 4096, read and write), write exit(9) there, mprotect to read and execute, jump
    there = 0x1000_0000
    make = (
        b"\xbf"
        + struct.pack("<I", there)
        + b"\xbe\0\x10\0\0\xba\3\0\0\0\x41\xba\x32\0\0\0\x41\xb8\xff\xff\xff\xff\x45\x31\xc9\xb8\x09\0\0\0\x0f\x05"
    )
    code = b"\xbf\x09\0\0\0\x6a\x3c\x58\x0f\x05"
    write = b"".join(
        b"\xc6\x04\x25" + struct.pack("<I", there + n) + bytes([byte]) for n, byte in enumerate(code)
    )
    run = (
        b"\xbf"
        + struct.pack("<I", there)
        + b"\xbe\0\x10\0\0\xba\5\0\0\0\xb8\x0a\0\0\0\x0f\x05\xb8"
        + struct.pack("<I", there)
        + b"\xff\xe0"
    )
    _, view = _run(tmp_path, make + write + run)
    assert view.exit_status == 9
