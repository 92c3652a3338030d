"""Code of 32 bits: who made a hit, where a step leads, who called, and what a file of 32 bits says of itself."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest

from backends.base import HwbpError
from backends.model import Mapping
from backends.perf.opener import OwnOpener
from backends.perf.stepping import following
from backends.perf.target import attach
from symbols.culprit import READ_WRITE, WRITE, Culprits, Found
from symbols.disasm import disassemble
from symbols.elf import NAMED, ElfError, ElfImage
from symbols.frames import Unwinder
from symbols.listing import refers
from symbols.space import AddressSpace
from symbols.table import SymbolTable
from tui.session.entry import entry_point
from tui.session.loader import loader_call

CODE, STACK = 0x0804_9000, 0xFFFF_8000


class Memory:
    """Bytes at addresses; what is nowhere cannot be read."""

    def __init__(self, **pieces: bytes) -> None:
        self.pieces = {int(name[1:], 16): data for name, data in pieces.items()}

    def read(self, address: int, size: int) -> bytes:
        for start, data in self.pieces.items():
            if start <= address and address + size <= start + len(data):
                return data[address - start : address - start + size]
        raise HwbpError("nothing is mapped there", errno="EFAULT")


def at(code: str, start: int = CODE) -> Memory:
    return Memory(**{f"x{start:x}": bytes.fromhex(code) + b"\x90" * 64})


def hit(
    code: str,
    window: int,
    length: int = 4,
    kind: int = WRITE,
    ip: int | None = None,
    top: int = 0,
    **registers: int,
) -> Found:
    """A hit reported at the end of the code, or at an address."""
    memory = at(code)
    culprits = Culprits(memory.read, lambda address: (CODE, 0x40) if address >= CODE else None, bits=32)
    sampled = {
        name: np.array([registers.get(name, 0)], np.uint64)
        for name in ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "rflags")
    }
    end = CODE + len(bytes.fromhex(code)) if ip is None else ip
    return culprits.find(end, window, length, kind, sampled, top or None, bool(top))


@pytest.mark.parametrize(
    ("code", "window", "registers", "value"),
    [
        ("40 a3 10b00408", 0x0804B010, {"rax": 7}, 7),  # inc eax; mov [counter], eax
        ("50 8945f8", STACK - 8, {"rbp": STACK, "rax": 9}, 9),  # push eax; mov [ebp - 8], eax
        ("90 55", STACK - 4, {"rsp": STACK - 4, "rbp": 0x1234}, 0x1234),  # push ebp
        ("90 54", STACK - 4, {"rsp": STACK - 4}, STACK),  # push esp: what it was before
        ("90 6a05", STACK - 4, {"rsp": STACK - 4}, 5),
        ("90 890c91", 0x0804B010, {"rcx": 0x0804B000, "rdx": 4}, 0x0804B000),  # mov [ecx + edx * 4], ecx
        ("90 89040a", 0x10, {"rcx": 0xFFFF_FFF0, "rdx": 0x20, "rax": 3}, 3),  # addresses wrap at 4 GiB
    ],
)
def test_the_instruction_behind_is_decoded_as_one_of_32_bits(
    code: str, window: int, registers: dict[str, int], value: int
) -> None:
    found = hit(code, window, **registers)
    assert int(found.insn_ip[0]) == CODE + 1
    assert found.value_known[0]
    assert int(found.value[0]) == value


def test_leave_reads_four_bytes_below_the_new_stack_pointer() -> None:
    found = hit("90 c9", STACK, kind=READ_WRITE, rsp=STACK + 4, rbp=0x77)
    assert (int(found.insn_ip[0]), int(found.access[0])) == (CODE + 1, 1)
    assert int(found.value[0]) == 0x77


def test_a_call_is_found_by_the_four_bytes_on_the_stack() -> None:
    # start: call +1; hlt; callee: nop. The word at [esp] holds the return address, and above it something else.
    memory = at("e801000000 f4 90")
    callee = CODE + 6
    functions = {CODE: (CODE, 6), callee: (callee, 16)}
    culprits = Culprits(
        memory.read, lambda a: functions[callee if a >= callee else CODE] if a >= CODE else None, bits=32
    )
    registers = {"rsp": np.array([STACK], np.uint64)}
    found = culprits.find(callee, STACK, 4, WRITE, registers, 0xDEAD_BEEF_0000_0000 | CODE + 5, True)
    assert int(found.insn_ip[0]) == CODE
    assert int(found.value[0]) == CODE + 5


def test_of_returns_none_is_named() -> None:
    # call +3; nop; nop; nop; ret: who read the return address stands behind the call.
    found = hit("e803000000 90 90 90 c3", STACK, kind=READ_WRITE, ip=CODE + 5, rsp=STACK + 4)
    assert int(found.insn_ip[0]) == 0


@pytest.mark.parametrize(
    ("code", "registers", "over", "to"),
    [
        ("e810000000", {}, False, CODE + 0x15),
        ("e810000000", {}, True, CODE + 5),
        ("c3", {}, False, 0x0804_1234),
        ("ffe1", {"rcx": 0x0804_5678}, False, 0x0804_5678),
        ("ff6104", {"rcx": STACK - 4}, False, 0x0804_1234),
        ("65ff1510000000", {"gs_base": STACK - 0x10}, False, 0x0804_1234),  # call gs:[0x10]
        ("e306", {"rcx": 1 << 32}, False, CODE + 8),  # jecxz: 32 bits count
        ("e2fe", {"rcx": 1}, False, CODE + 2),
        ("0f34cd80", {}, False, CODE + 4),  # sysenter comes back behind int 0x80
        ("48", {}, False, CODE + 1),  # dec eax, a prefix in 64 bits
    ],
)
def test_a_step_leads_where_32_bits_say(code: str, registers: dict[str, int], over: bool, to: int) -> None:
    memory = at(code)
    memory.pieces[STACK] = struct.pack("<I", 0x0804_1234)
    values = dict.fromkeys(
        ("rax", "rcx", "rdx", "rbx", "rbp", "rsi", "rdi", "eflags", "gs_base", "fs_base"), 0
    )
    values |= {"rip": CODE, "rsp": STACK, **registers}
    assert following(values, memory.read, over_calls=over, bits=32)[0] == to


def test_instructions_are_read_as_32_bits_say() -> None:
    code = bytes.fromhex("4889e5a110b00408")
    assert [insn.text for insn in disassemble(code, CODE, 9, 32)] == [
        "dec eax",
        "mov ebp, esp",
        "mov eax, dword ptr [0x804b010]",
    ]
    assert disassemble(code, CODE, 1)[0].text == "mov rbp, rsp"


# A file of 32 bits


def image(folder: Path, *, machine: int = 3, dynamic: int = 0) -> str:
    """One segment of code at CODE, with `bump` in it (8 bytes) and `counter` behind it; `dynamic` is the address of a PT_DYNAMIC."""
    names = b"\0bump\0counter\0"
    labels = b"\0.symtab\0.strtab\0.shstrtab\0.text\0"
    symbols = bytes(16)
    symbols += struct.pack("<IIIBBH", 1, CODE, 8, 0x12, 0, 4) + struct.pack(
        "<IIIBBH", 6, CODE + 0x800, 4, 0x11, 0, 4
    )
    count = 2 if dynamic else 1
    code_at = 0x1000
    code = bytes.fromhex("5589e5ff0500980408 5dc3".replace(" ", "")).ljust(16, b"\x90")
    tables = code_at + len(code)
    places = {1: tables, 2: tables + len(symbols), 3: tables + len(symbols) + len(names)}
    sections_at = places[3] + len(labels)
    header = struct.pack(
        "<4s5B7xHHIIIIIHHHHHH",
        *(b"\x7fELF", 1, 1, 1, 0, 0, 2, machine, 1, CODE, 52, sections_at, 0, 52, 32, count, 40, 5, 3),
    )
    segments = struct.pack("<8I", 1, code_at, CODE, CODE, len(code), 0x1000, 7, 0x1000)
    if dynamic:
        segments += struct.pack("<8I", 2, 0, dynamic, dynamic, 16, 16, 6, 4)
    rows = bytes(40)
    rows += struct.pack("<10I", 1, 2, 0, 0, places[1], len(symbols), 2, 1, 4, 16)
    rows += struct.pack("<10I", 9, 3, 0, 0, places[2], len(names), 0, 0, 1, 0)
    rows += struct.pack("<10I", 17, 3, 0, 0, places[3], len(labels), 0, 0, 1, 0)
    rows += struct.pack("<10I", 27, 1, 6, CODE, code_at, len(code), 0, 0, 1, 0)
    path = folder / "narrow"
    path.write_bytes((header + segments).ljust(code_at, b"\0") + code + symbols + names + labels + rows)
    return str(path)


def test_a_file_of_32_bits_has_names_where_they_are_asked_for(tmp_path: Path) -> None:
    elf = ElfImage.open(image(tmp_path), NAMED, loadable=False)
    assert (elf.bits, elf.kind, elf.entry, len(elf.section_table)) == (32, "EXEC", CODE, 5)
    table = SymbolTable(elf)
    assert [(symbol.value, symbol.size, symbol.kind) for symbol in table.find("counter")] == [
        (CODE + 0x800, 4, "object")
    ]
    found = table.at(CODE + 3)
    assert found is not None
    assert (found[0].name, found[1]) == ("bump", 3)
    assert len(SymbolTable(elf)) == 2


def test_it_is_no_program_for_the_emulated_machine(tmp_path: Path) -> None:
    with pytest.raises(ElfError, match=r"a 32-bit ELF \(32-bit x86\); only 64-bit can be used"):
        ElfImage.open(image(tmp_path))


@pytest.mark.parametrize("machine", [62, 40])
def test_other_files_of_32_bits_are_refused(tmp_path: Path, machine: int) -> None:
    with pytest.raises(ElfError, match="a 32-bit ELF"):
        ElfImage.open(image(tmp_path, machine=machine), NAMED)


@pytest.mark.parametrize("size", [4, 16, 20, 43, 51, 52, 60, 83, 0x1000, 0x1020, 0x1050, 0x1080, 0x1120])
def test_a_file_that_breaks_off_costs_names_or_one_line(tmp_path: Path, size: int) -> None:
    path = Path(image(tmp_path))
    path.write_bytes(path.read_bytes()[:size])
    try:
        elf = ElfImage.open(path, NAMED, loadable=False)
    except ElfError as error:
        said = str(error)
    else:
        SymbolTable(elf).find("bump")
        said = str(path)
    assert said.startswith(str(path))
    assert "\n" not in said


def test_instructions_refer_to_names(tmp_path: Path) -> None:
    space = AddressSpace([(CODE, CODE + 0x1000, "r-xp", 0, image(tmp_path))])
    space.bits = 32
    assert refers(space, bytes.fromhex("e8fbffffff"), CODE) == "bump"
    assert refers(space, bytes.fromhex("a100980408"), CODE) == "counter"


def test_a_stack_of_32_bits_is_the_chain_of_its_frame_pointers(tmp_path: Path) -> None:
    space = AddressSpace([(CODE, CODE + 0x1000, "r-xp", 0, image(tmp_path))])
    space.bits = 32
    calls = bytes(0x20) + bytes.fromhex("e8fbffffff") + bytes(0x20)
    memory = Memory(
        **{
            f"x{CODE:x}": calls,
            f"x{STACK:x}": struct.pack("<6I", STACK + 8, CODE + 0x25, 0, CODE + 0x25, 0, 0),
        }
    )
    walker = Unwinder(space, memory.read)
    inside = walker.walk(CODE + 4, STACK, STACK)
    assert inside == ((CODE + 4, False), (CODE + 0x25, True), (CODE + 0x25, True))
    # Before `push ebp` the return address itself is at esp, and ebp the caller's.
    start = walker.walk(CODE, STACK + 4, STACK + 8)
    assert start == ((CODE, False), (CODE + 0x25, True), (CODE + 0x25, True))


def test_where_the_loader_calls_is_found_in_structures_of_32_bits(tmp_path: Path) -> None:
    dynamic, debug, brk = 0x0804_C000, 0xF7F0_0000, 0xF7F1_0010
    path = image(tmp_path, dynamic=dynamic)
    memory = Memory(
        **{
            "x8048000": Path(path).read_bytes(),
            f"x{dynamic:x}": struct.pack("<4I", 21, debug, 0, 0),
            f"x{debug:x}": struct.pack("<3I", 1, 0, brk),
        }
    )
    mappings = (
        Mapping(0x0804_8000, 0x0804_9000, "r--p", 0, path),
        Mapping(0xF7F1_0000, 0xF7F1_1000, "r-xp", 0, "/ld.so"),
    )
    assert entry_point(memory.read, mappings, path) == CODE
    assert loader_call(memory.read, mappings, path, 32) == brk


class Elsewhere(OwnOpener):
    """Every process runs this file."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def executable(self, pid: int) -> int:
        return os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)


def test_a_program_of_x32_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(HwbpError, match="x32") as caught:
        attach(Elsewhere(image(tmp_path, machine=62)), os.getppid())
    assert caught.value.errno == "ENOEXEC"
