"""From a reported ip and registers to the instruction that did it: each shape by hand, and bytes that nobody wrote."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symbols.culprit import EXECUTE, READ_WRITE, REGISTERS, WRITE, Culprits, Found
from tests.fuzz import returns
from tests.fuzz.culprit import check

CODE = 0x401000
WINDOW = 0x404140
STACK = 0x7FFF_F000
ZF, CF, DF = 1 << 6, 1, 1 << 10


def read_at(*pieces: tuple[int, bytes]) -> Callable[[int, int], bytes]:
    def read(address: int, size: int) -> bytes:
        for start, data in pieces:
            if start <= address < start + len(data):
                return data[address - start : address - start + size]
        raise OSError("no memory")

    return read


def functions(*starts: int, size: int = 0x1000) -> Callable[[int], tuple[int, int] | None]:
    def function_at(address: int) -> tuple[int, int] | None:
        before = [start for start in starts if start <= address]
        after = [start for start in starts if start > address]
        return (max(before), min(after, default=max(before) + size) - max(before)) if before else None

    return function_at


def one(
    code: str,
    *,
    at: int | None = None,
    window: int = WINDOW,
    length: int = 8,
    kind: int = WRITE,
    top: int | None = None,
    known: bool = True,
    **registers: Any,
) -> Found:
    """A hit reported `at` bytes behind the start of `code` (None: at its end), which is a function."""
    data = bytes.fromhex(code)
    ip = CODE + (len(data) if at is None else at)
    read = read_at((CODE, data + b"\x90" * 64))
    culprits = Culprits(read, functions(CODE)) if known else Culprits(read)
    sampled = {name: np.array([registers.get(name, 0)], np.uint64) for name in REGISTERS if name != "fs_base"}
    return culprits.find(ip, window, length, kind, sampled, top, top is not None)


def facts(found: Found) -> tuple[int, str, int | None, int | None]:
    """insn_ip as an offset (-1 unknown), access, value, old."""
    return (
        int(found.insn_ip[0]) - CODE if found.insn_ip[0] else -1,
        ("x", "r", "w", "rw")[found.access[0]],
        int(found.value[0]) if found.value_known[0] else None,
        int(found.old[0]) if found.old_known[0] else None,
    )


STORES = [
    ("48890b", {"rbx": WINDOW, "rcx": 77}, 8, 77),  # mov [rbx], rcx
    ("48890b", {"rbx": WINDOW - 4, "rcx": 7 << 32}, 4, 7),  # its upper half is the window
    ("890b", {"rbx": WINDOW, "rcx": 77}, 8, None),  # half of the window: the rest is not known
    ("880b", {"rbx": WINDOW, "rcx": 0x1234}, 1, 0x34),  # mov [rbx], cl
    ("8823", {"rbx": WINDOW, "rax": 0x1234}, 1, 0x12),  # mov [rbx], ah
    ("48c703ffffffff", {"rbx": WINDOW}, 8, (1 << 64) - 1),  # mov qword [rbx], -1
    ("66c7030700", {"rbx": WINDOW}, 2, 7),  # mov word [rbx], 7
    ("48890ccb", {"rbx": WINDOW - 16, "rcx": 2}, 8, 2),  # mov [rbx + rcx*8], rcx
    ("67890b", {"rbx": 0xAAAA_0000_0000 + WINDOW, "rcx": 5}, 4, 5),  # mov [ebx], ecx
    ("51", {"rsp": WINDOW, "rcx": 9}, 8, 9),  # push rcx
    ("54", {"rsp": WINDOW}, 8, WINDOW + 8),  # push rsp
    ("6aff", {"rsp": WINDOW}, 8, (1 << 64) - 1),  # push -1
    ("ff742408", {"rsp": WINDOW}, 8, None),  # push [rsp + 8]
    ("8f03", {"rbx": WINDOW, "rsp": STACK}, 8, None),  # pop [rbx]
    ("48ab", {"rdi": WINDOW + 8, "rax": 3}, 8, 3),  # stosq
    ("48ab", {"rdi": WINDOW - 8, "rax": 3, "rflags": DF}, 8, 3),
    ("f3aa", {"rdi": WINDOW + 1, "rax": 3}, 1, 3),  # the last of a rep stosb
    ("48a5", {"rdi": WINDOW + 8, "rsi": STACK}, 8, None),  # movsq
    ("0f9403", {"rbx": WINDOW, "rflags": ZF}, 1, 1),  # sete
    ("0f9703", {"rbx": WINDOW, "rflags": CF}, 1, 0),  # seta
    ("48832300", {"rbx": WINDOW}, 8, 0),  # and qword [rbx], 0
    ("830bff", {"rbx": WINDOW}, 4, 0xFFFF_FFFF),  # or dword [rbx], -1
    ("480113", {"rbx": WINDOW, "rdx": 5}, 8, None),  # add [rbx], rdx
    ("48ff03", {"rbx": WINDOW}, 8, None),  # inc
    ("0f1103", {"rbx": WINDOW}, 8, None),  # movups [rbx], xmm0
    ("c7042505000000" + "07000000", {}, 4, None),  # mov dword [5], 7: elsewhere
]


@pytest.mark.parametrize(("code", "registers", "length", "value"), STORES, ids=lambda each: str(each)[:24])
def test_the_store_before_ip_did_it_and_its_source_is_the_value(
    code: str, registers: dict[str, Any], length: int, value: int | None
) -> None:
    hit = facts(one("90" + code, length=length, **registers))
    if code.startswith("c70425"):
        assert hit == (-1, "w", None, None)
    else:
        assert hit == (1, "w", value, None)


LOADS = [
    ("488b03", {"rbx": WINDOW, "rax": 77}, 8, 77),  # mov rax, [rbx]
    ("488b1b", {"rbx": 77}, 8, None),  # mov rbx, [rbx]: the address is gone, nothing else can have done it
    ("0fb603", {"rbx": WINDOW, "rax": 0x34}, 1, 0x34),  # movzx
    ("59", {"rsp": WINDOW + 8, "rcx": 6}, 8, 6),  # pop rcx
    ("c9", {"rsp": WINDOW + 8, "rbp": 6}, 8, 6),  # leave
    ("48ad", {"rsi": WINDOW + 8, "rax": 6}, 8, 6),  # lodsq
    ("48390b", {"rbx": WINDOW, "rcx": 6, "rflags": ZF}, 8, 6),  # cmp [rbx], rcx: equal
    ("48390b", {"rbx": WINDOW, "rcx": 6}, 8, None),  # not equal
    ("480303", {"rbx": WINDOW, "rax": 6}, 8, None),  # add rax, [rbx]
    ("ff33", {"rbx": WINDOW, "rsp": STACK}, 8, None),  # push [rbx]
]


@pytest.mark.parametrize(("code", "registers", "length", "value"), LOADS, ids=lambda each: str(each)[:24])
def test_a_load_is_a_read_whose_value_is_in_its_register(
    code: str, registers: dict[str, Any], length: int, value: int | None
) -> None:
    found = one("90" + code, length=length, kind=READ_WRITE, **registers)
    assert facts(found) == (1, "r", value, value)


def test_a_window_for_writes_is_not_hit_by_a_load() -> None:
    assert facts(one("90488b03", rbx=WINDOW))[0] == -1


EXCHANGES = [
    ("48870b", {"rbx": WINDOW, "rcx": 5}, None, 5),  # xchg: what was there is in the register
    ("480fc10b", {"rbx": WINDOW, "rcx": 5}, None, 5),  # xadd
    ("f0480fb10b", {"rbx": WINDOW, "rcx": 5, "rax": 4, "rflags": ZF}, 5, 4),  # lock cmpxchg that stored rcx
    ("f0480fb10b", {"rbx": WINDOW, "rcx": 5, "rax": 4}, 4, 4),  # and one that did not
]


@pytest.mark.parametrize(("code", "registers", "value", "old"), EXCHANGES, ids=lambda each: str(each)[:24])
def test_an_exchange_leaves_what_was_there_in_a_register(
    code: str, registers: dict[str, Any], value: int | None, old: int | None
) -> None:
    assert facts(one("90" + code, kind=READ_WRITE, **registers)) == (1, "w", value, old)


def test_a_rep_with_elements_left_is_at_ip_itself() -> None:
    code = "90488903f3aa90"  # nop; mov [rbx], rax; rep stosb; nop
    assert facts(one(code, at=4, length=1, rdi=WINDOW + 1, rcx=5, rax=3, rbx=STACK)) == (4, "w", 3, None)
    assert facts(one(code, at=4, length=1, rdi=WINDOW, rcx=5, rax=3, rbx=WINDOW)) == (1, "w", 3, None)
    both = one(code, at=4, length=1, rdi=WINDOW + 1, rcx=5, rax=3, rbx=WINDOW)
    assert facts(both) == (-1, "w", None, None)


def test_a_call_is_found_by_its_return_address() -> None:
    code = bytes.fromhex("90" * 11 + "e8f0000000" + "90" * 0xF0 + "4883ec08")  # call +0xf0 from 11
    ip, top = CODE + 0x100, CODE + 16
    culprits = Culprits(read_at((CODE, code + b"\x90" * 64)), functions(CODE, ip))
    registers = {"rsp": [WINDOW]}
    assert facts(culprits.find(ip, WINDOW, 8, WRITE, registers, top)) == (11, "w", top, None)
    assert facts(culprits.find(ip, WINDOW, 8, WRITE, registers)) == (-1, "w", None, None)
    assert facts(culprits.find(ip, WINDOW, 8, WRITE, registers, top + 1)) == (-1, "w", None, None)


def test_a_call_of_another_function_is_not_the_culprit() -> None:
    code = bytes.fromhex("90" * 11 + "e8e0000000" + "90" * 0xF0 + "4883ec08")
    ip = CODE + 0x100
    culprits = Culprits(read_at((CODE, code + b"\x90" * 64)), functions(CODE, ip))
    assert facts(culprits.find(ip, WINDOW, 8, WRITE, {"rsp": [WINDOW]}, CODE + 16))[0] == -1


def test_a_call_through_memory_reads_its_pointer_and_writes_the_stack() -> None:
    code = bytes.fromhex("90" * 5 + "ff13" + "90" * 0xF9 + "4883ec08")  # call [rbx]
    ip, top = CODE + 0x100, CODE + 7
    culprits = Culprits(read_at((CODE, code + b"\x90" * 64)), functions(CODE, ip))
    registers = {"rsp": [STACK], "rbx": [WINDOW]}
    assert facts(culprits.find(ip, WINDOW, 8, READ_WRITE, registers, top)) == (5, "r", ip, ip)
    registers = {"rsp": [WINDOW], "rbx": [STACK]}
    assert facts(culprits.find(ip, WINDOW, 8, READ_WRITE, registers, top)) == (5, "w", top, None)


def test_a_return_is_known_where_there_is_one_way_back() -> None:
    # 0: call 0x20; 5: nop ... 0x20: nop; ret
    single = bytes.fromhex("e81b000000").ljust(0x20, b"\x90") + b"\x90\xc3" + b"\xcc" * 64
    several = bytes.fromhex("e81b000000").ljust(0x20, b"\x90") + b"\x74\x01\xc3\xc3" + b"\xcc" * 64
    for code, expected in ((single, 0x21), (several, -1)):
        culprits = Culprits(read_at((CODE, code)), functions(CODE, CODE + 0x20, size=8))
        found = culprits.find(CODE + 5, WINDOW, 8, READ_WRITE, {"rsp": [WINDOW + 8]})
        assert facts(found)[0] == expected
        if expected > 0:
            assert facts(found) == (0x21, "r", CODE + 5, CODE + 5)


WAYS = [
    # je +6; mov eax, 1; ret; mov eax, 2; ret
    ("7406 b801000000 c3 b802000000 c3", {"rax": 1}, 7),
    ("7406 b801000000 c3 b802000000 c3", {"rax": 2, "rflags": ZF}, 13),
    ("7406 b801000000 c3 b802000000 c3", {"rax": 2}, -1),  # the jump was not taken
    ("7406 b801000000 c3 b802000000 c3", {"rax": 3}, -1),
    # je +3; xor eax, eax; ret; sub eax, ecx; ret
    ("7403 31c0 c3 29c8 c3", {"rax": 0, "rcx": 5, "rflags": ZF | 4}, -1),  # both agree
    ("7403 31c0 c3 29c8 c3", {"rax": 1, "rcx": 5, "rflags": 0}, 7),
    # cmp dl, 9; jbe +3; neg eax; ret; dec eax; ret
    ("80fa09 7603 f7d8 c3 ffc8 c3", {"rax": 7, "rdx": 10, "rflags": CF}, 7),
    ("80fa09 7603 f7d8 c3 ffc8 c3", {"rax": 7, "rdx": 9, "rflags": CF}, 10),
    ("80fa09 7603 f7d8 c3 ffc8 c3", {"rax": 7, "rdx": 10}, -1),
    ("7403 31c0 c3 29c8 c3", {"rax": 0, "rcx": 5}, -1),  # neither
    # je +5; lea eax, [rdx + rcx*2 - 1]; ret; nop; ret
    ("7405 8d444aff c3 90 c3", {"rax": 7, "rdx": 2, "rcx": 3}, 6),
    ("7405 8d444aff c3 90 c3", {"rax": 8, "rdx": 2, "rcx": 3}, -1),
    # nop; je +4; jmp +1; nop; xor eax, eax; ret; mov eax, 1; ret: two ways to the first, one of them with ZF
    ("90 7402 eb01 90 31c0 c3 b801000000 c3", {"rax": 0, "rflags": ZF | 4}, 8),
    # je +1; ret; movsx eax, dl; ret
    ("7401 c3 0fbec2 c3", {"rax": 0xFFFF_FF80, "rdx": 0x80, "rflags": ZF}, 6),
    ("7401 c3 0fbec2 c3", {"rax": 0xFFFF_FF80, "rdx": 0x80}, 2),
    ("7401 c3 0fbec2 c3", {"rax": 0xFFFF_FFFF, "rdx": 0x80, "rflags": ZF}, -1),
]


@pytest.mark.parametrize(("callee", "registers", "expected"), WAYS)
def test_of_several_returns_the_one_that_agrees_with_the_registers(
    callee: str, registers: dict[str, int], expected: int
) -> None:
    code = bytes.fromhex("e81b000000").ljust(0x20, b"\x90") + bytes.fromhex(callee) + b"\xcc" * 64
    size = len(bytes.fromhex(callee))
    culprits = Culprits(read_at((CODE, code)), functions(CODE, CODE + 0x20, size=size))
    sampled = {name: [registers.get(name, 0)] for name in REGISTERS if name != "fs_base"}
    found = culprits.find(CODE + 5, WINDOW, 8, READ_WRITE, sampled | {"rsp": [WINDOW + 8]})
    assert facts(found)[0] == (0x20 + expected if expected >= 0 else -1)


def returned(caller: str, callee: str, registers: dict[str, int], elsewhere: str = "") -> int:
    """The return, as an offset from the callee, that led behind the call at the end of `caller`; -1: unknown. `elsewhere` is a function at
    0x80 behind the callee."""
    lead = bytes.fromhex(caller)
    call = lead + b"\xe8" + (0x40 - len(lead) - 5).to_bytes(4, "little")
    code = (
        call.ljust(0x40, b"\x90")
        + bytes.fromhex(callee).ljust(0x80, b"\xcc")
        + bytes.fromhex(elsewhere)
        + b"\xcc" * 64
    )
    bounds = {
        CODE: len(call) + 1,
        CODE + 0x40: len(bytes.fromhex(callee)),
        CODE + 0xC0: len(bytes.fromhex(elsewhere)),
    }

    def function_at(address: int) -> tuple[int, int] | None:
        return next((row for row in bounds.items() if row[0] <= address < row[0] + row[1]), None)

    sampled = {name: [registers.get(name, 0)] for name in REGISTERS if name != "fs_base"}
    found = Culprits(read_at((CODE, code)), function_at).find(
        CODE + len(call), WINDOW, 8, READ_WRITE, sampled | {"rsp": [WINDOW + 8]}
    )
    insn_ip = int(found.insn_ip[0])
    return insn_ip - CODE - 0x40 if insn_ip else -1


FACTS = [
    # lea rdi, [rbx+16]; call. cmp [rip], 0; je +4; mov rax, rdi; ret; movzx eax, byte [rsi]; ret
    ("488d7b10", "803d0000000000 7404 4889f8c3 0fb606c3", {"rbx": 0x100, "rdi": 0x110, "rax": 0x110}, 12),
    (
        "488d7b10",
        "803d0000000000 7404 4889f8c3 0fb606c3",
        {"rbx": 0x100, "rdi": 0x110, "rax": 0x55, "rflags": ZF},
        16,
    ),
    ("488d7b10", "803d0000000000 7404 4889f8c3 0fb606c3", {"rbx": 0xF0, "rdi": 0x100, "rax": 0x101}, -1),
    # cmp rdx, 32; ja +5; xor ecx, ecx; ret; nop; nop; mov ecx, [rsi]; test ecx, ecx; ret
    ("90", "4883fa20 7705 31c9c39090 8b0e 85c9 c3", {"rdx": 32, "rflags": ZF | 4}, 8),
    ("90", "4883fa20 7705 31c9c39090 8b0e 85c9 c3", {"rdx": 33, "rflags": ZF | 4}, 15),
    # push rbx; mov rbx, rdi; call 0xc0; test eax, eax; je +2; pop rbx; ret; pop rbx; ret: what was pushed comes back
    ("488d7b10", "53 4889fb e877000000 85c0 7402 5bc3 5bc3", {"rbx": 0x100, "rax": 0, "rflags": ZF | 4}, 16),
    ("488d7b10", "53 4889fb e877000000 85c0 7402 5bc3 5bc3", {"rbx": 0x100, "rax": 1}, 14),
    # test edi, edi; je +1; ret; jmp 0xc0, where: xor eax, eax; ret
    ("90", "85ff 7401 c3 e976000000", {"rdi": 1, "rax": 5}, 4),
    ("90", "85ff 7401 c3 e976000000", {"rdi": 0, "rax": 0, "rflags": ZF | 4}, 0x82),
    ("90", "85ff 7401 c3 e976000000", {"rdi": 0, "rax": 1, "rflags": ZF | 4}, -1),
    # test edi, edi; je 0xc2 (the middle of the other function), ret
    ("90", "85ff 0f847a000000 c3", {"rdi": 0, "rax": 7, "rflags": ZF | 4}, 0x82),
    # je +1; lock; inc dword [rsi]; test edi, edi; je +1; ret; nop; ret
    ("90", "7401 f0ff06 85ff 7401 c3 90c3", {"rdi": 3}, 9),
    ("90", "7401 f0ff06 85ff 7401 c3 90c3", {"rdi": 0, "rflags": ZF | 4}, 11),
    # a loop: dec ecx; jne -4; mov rax, rdi; ret
    ("4889df", "ffc9 75fc 7404 4889f8c3 31c0c3", {"rdi": 9, "rbx": 9, "rax": 0, "rflags": ZF | 4}, 12),
]


@pytest.mark.parametrize(("caller", "callee", "registers", "expected"), FACTS)
def test_what_the_code_between_a_call_and_its_returns_says_rules_returns_out(
    caller: str, callee: str, registers: dict[str, int], expected: int
) -> None:
    assert returned(caller, callee, registers, elsewhere="31c0c3") == expected


@pytest.mark.parametrize("seed", range(0, 100, 10))
def test_the_return_that_was_taken_is_never_ruled_out(seed: int) -> None:
    ended = [returns.check(each) for each in range(seed, seed + 10)]
    assert any(whole for whole, _, _ in ended)


def test_the_hit_before_says_what_a_call_through_a_register_called() -> None:
    # 0: call rax; 2: nop ... 0x20: nop; ret; a second function at 0x30
    code = bytes.fromhex("ffd0").ljust(0x20, b"\x90") + b"\x90\xc3" + b"\xcc" * 14 + b"\xc3" + b"\xcc" * 64
    functions_at = functions(CODE, CODE + 0x20, CODE + 0x30, size=8)
    hits = [  # (ip, thread, rsp): the call, its return; in another thread something else between them
        (CODE + 0x20, 1, WINDOW),
        (CODE + 0x30, 2, WINDOW),
        (CODE + 2, 1, WINDOW + 8),
        (CODE + 2, 2, WINDOW + 8),
        (CODE + 2, 3, WINDOW + 8),
    ]
    culprits = Culprits(read_at((CODE, code)), functions_at)
    columns = np.array(hits, np.uint64)
    registers = {name: np.zeros(5, np.uint64) for name in REGISTERS if name != "fs_base"} | {
        "rsp": columns[:, 2]
    }
    found = culprits.find(
        columns[:, 0], WINDOW, 8, READ_WRITE, registers, CODE + 2, np.arange(5) < 2, thread=columns[:, 1]
    )
    assert found.insn_ip.tolist() == [CODE, CODE, CODE + 0x21, CODE + 0x30, 0]


class Kept:
    """`symbols.pointers.Pointers` of a program that keeps variables in one place, and has nothing that is written once."""

    def __init__(self, *spans: tuple[int, int], once: tuple[int, ...] = ()) -> None:
        self._spans, self._written_once = spans, once

    def spans(self) -> tuple[tuple[int, int], ...]:
        return self._spans

    def written_once(self, place: int) -> bool:
        return place in self._written_once


POINTER = 0x403010
# 0: call 0x40; nop ... 0x40: jmp [rip+...] through POINTER; 0x50: ret; 0x60: nop; ret
POINTED = (
    bytes.fromhex("e83b000000") + b"\x90" * 59 + b"\xff\x25" + (POINTER - CODE - 0x46).to_bytes(4, "little")
).ljust(0x50, b"\xcc").ljust(0x60, b"\xc3") + b"\x90\xc3".ljust(16, b"\xcc")


def through(pointers: list[int], data: Any, earlier: int = 0) -> list[int]:
    """Where the `ret` of each batch was, the pointer being `pointers[n]` behind the n-th; batches before `earlier` had no
    return."""
    now = [0]
    place = POINTER & -4096

    def read(address: int, size: int) -> bytes:
        page = bytes(POINTER - place) + now[0].to_bytes(8, "little")
        return read_at((CODE, POINTED), (place, page.ljust(4096, b"\0")))(address, size)

    bounds = functions(CODE, CODE + 0x40, CODE + 0x50, CODE + 0x60, size=16)
    culprits = Culprits(read, bounds, data)
    sampled = {name: np.zeros(1, np.uint64) for name in REGISTERS if name != "fs_base"}
    found = []
    for number, now[0] in enumerate(pointers):
        ip, rsp = (CODE + 5, WINDOW + 8) if number >= earlier else (CODE + 6, WINDOW + 64)
        each = culprits.find(ip, WINDOW, 8, READ_WRITE, sampled | {"rsp": np.array([rsp], np.uint64)})
        found.append(int(each.insn_ip[0]) - CODE if each.insn_ip[0] else -1)
    return found


def test_a_pointer_that_was_read_for_the_first_time_says_nothing_of_hits_that_are_over() -> None:
    """A function that only jumps through a variable looks like a PLT stub."""
    assert through([CODE + 0x50] * 3, None) == [-1, 0x50, 0x50]
    assert through([CODE + 0x50, CODE + 0x60, CODE + 0x60], None) == [-1, -1, 0x61]


def test_a_pointer_in_data_that_was_kept_at_the_batch_before_counts_at_once() -> None:
    kept = Kept((POINTER & -4096, (POINTER & -4096) + 4096))
    assert through([CODE + 0x50] * 2, kept) == [-1, 0x50]
    assert through([CODE + 0x50] * 3, kept, earlier=1)[1:] == [0x50, 0x50]
    assert through([CODE + 0x50, CODE + 0x60, CODE + 0x60], kept, earlier=1)[1:] == [-1, 0x61]
    # What else is said of data costs nothing but what it would have told.
    assert through([CODE + 0x50] * 3, Kept((5, 1 << 63), (9, 3)), earlier=1)[1:] == [-1, 0x50]


@pytest.mark.parametrize(
    ("kind", "rsp", "looked"), [(READ_WRITE, 64, 3), (WRITE, 64, 0), (READ_WRITE, 1 << 30, 0)]
)
def test_data_is_kept_only_for_windows_that_a_return_can_read(kind: int, rsp: int, looked: int) -> None:
    asked = []

    class Noted(Kept):
        def spans(self) -> tuple[tuple[int, int], ...]:
            asked.append(1)
            return ()

    culprits = Culprits(read_at((CODE, POINTED)), functions(CODE), Noted())
    for _ in range(3):
        culprits.find(CODE + 6, WINDOW, 8, kind, {"rsp": np.array([WINDOW + rsp], np.uint64)})
    assert len(asked) == looked


def test_a_pointer_that_is_written_once_counts_at_once() -> None:
    assert through([CODE + 0x50], Kept(once=(POINTER,))) == [0x50]


def test_an_instruction_that_may_begin_in_two_places_keeps_its_value_only() -> None:
    # je +1; lock; cmpxchg [rbx], rcx: single-threaded programs jump over the prefix.
    code = "90" + "7401" + "f0480fb10b"
    assert facts(one(code, rbx=WINDOW, rcx=5, rax=4, rflags=ZF)) == (-1, "w", 5, 4)


def test_without_a_function_start_code_falls_into_step_and_agrees() -> None:
    code = "4883ec10488b07488d3c4748894424084889f84801d8488b542410488b0c2448890b"
    assert facts(one(code * 3, known=False, rbx=WINDOW, rcx=5)) == (len(code) // 2 * 3 - 3, "w", 5, None)


def test_registers_that_were_not_sampled_are_not_made_up() -> None:
    culprits = Culprits(read_at((CODE, bytes.fromhex("9048890b") + b"\x90" * 64)), functions(CODE))
    assert facts(culprits.find(CODE + 4, WINDOW, 8, WRITE, {"rcx": [5]})) == (1, "w", None, None)
    assert facts(culprits.find(CODE + 4, WINDOW, 8, WRITE, {"rbx": [WINDOW]})) == (1, "w", None, None)
    assert facts(culprits.find(CODE + 4, WINDOW, 8, WRITE, {"rbx": [WINDOW + 8]}))[0] == -1


def test_a_thread_local_store_needs_no_thread_base_for_its_value() -> None:
    code = "90" + "6448890425f8ffffff"  # mov fs:[-8], rax
    assert facts(one(code, rax=5)) == (1, "w", 5, None)
    assert facts(one(code, window=WINDOW + 4, length=4, rax=5 << 32)) == (1, "w", 5, None)
    culprits = Culprits(read_at((CODE, bytes.fromhex(code) + b"\x90" * 64)), functions(CODE))
    elsewhere = {"fs_base": [WINDOW], "rax": [5]}
    assert facts(culprits.find(CODE + 10, WINDOW, 8, WRITE, elsewhere))[0] == -1


def test_an_execute_hit_is_its_own_culprit() -> None:
    assert facts(one("90", kind=EXECUTE)) == (1, "x", None, None)


def test_a_batch_is_what_its_hits_are_one_by_one() -> None:
    code = bytes.fromhex("90" + "".join(row[0] for row in STORES + LOADS)) + b"\x90" * 64
    rng = np.random.default_rng(7)
    count = 500
    ips = CODE + rng.integers(1, len(code), count).astype(np.uint64)
    registers = {name: WINDOW + rng.integers(-9, 9, count).astype(np.uint64) for name in REGISTERS}
    windows, kinds = (
        np.full(count, WINDOW, np.uint64),
        rng.choice([WRITE, READ_WRITE], count).astype(np.uint8),
    )
    many = Culprits(read_at((CODE, code)), functions(CODE)).find(ips, windows, 8, kinds, registers)
    culprits = Culprits(read_at((CODE, code)), functions(CODE))
    for row in range(count):
        single = culprits.find(
            ips[row],
            windows[row],
            8,
            kinds[row],
            {name: column[row : row + 1] for name, column in registers.items()},
        )
        assert [column[row] for column in many] == [column[0] for column in single]
    assert len(set(many.insn_ip.tolist())) > 10


def test_everything_is_looked_at_again_after_the_mappings_changed() -> None:
    memory = [(CODE, bytes.fromhex("9048890b") + b"\x90" * 64)]
    culprits = Culprits(lambda address, size: read_at(*memory)(address, size), functions(CODE))
    registers = {"rbx": [WINDOW], "rcx": [5], "rdx": [6]}
    assert facts(culprits.find(CODE + 4, WINDOW, 8, WRITE, registers))[2] == 5
    memory[0] = (CODE, bytes.fromhex("90488913") + b"\x90" * 64)
    culprits.forget()
    assert facts(culprits.find(CODE + 4, WINDOW, 8, WRITE, registers))[2] == 6


def test_code_that_cannot_be_read_costs_its_own_hits_only() -> None:
    culprits = Culprits(read_at((CODE, bytes.fromhex("9048890b") + b"\x90" * 64)), functions(CODE, 0x9999))
    ips = np.array([CODE + 4, 0x10, 0, (1 << 64) - 1, 0xFFFF_8000_0000_0000], np.uint64)
    found = culprits.find(ips, WINDOW, 8, WRITE, {"rbx": np.full(5, WINDOW, np.uint64)})
    assert found.insn_ip.tolist() == [CODE + 1, 0, 0, 0, 0]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_random_bytes_ips_and_sizes_give_an_answer(data: st.DataObject) -> None:
    code = data.draw(st.binary(min_size=1, max_size=96))
    start = data.draw(st.sampled_from([CODE, 0, (1 << 64) - 96, 0x7FFF_FFFF_FFC0]))
    word = st.integers(0, (1 << 64) - 1)
    size = data.draw(st.sampled_from([0, 1, 40, 96, 1 << 30, 1 << 63]))
    count = data.draw(st.integers(1, 6))
    near = st.integers(0, 110).map(lambda offset: (start + offset) & (1 << 64) - 1)
    column = st.lists(word | near, min_size=count, max_size=count)
    culprits = Culprits(
        read_at((start, code)),
        data.draw(
            st.sampled_from([lambda address: (start, size), lambda address: None, lambda address: 1 / 0])
        ),
    )
    ips, tops = data.draw(column), data.draw(column)
    registers = {name: np.array(data.draw(column), np.uint64) for name in ("rsp", "rax", "rdi", "rcx")}
    kinds = data.draw(st.lists(st.sampled_from([0, 1, 3]), min_size=count, max_size=count))
    found = culprits.find(
        np.array(ips, np.uint64),
        np.array(data.draw(column), np.uint64),
        data.draw(st.sampled_from([1, 2, 4, 8])),
        kinds,
        registers,
        np.array(tops, np.uint64),
    )
    assert {len(each) for each in found} == {count}
    for ip, insn_ip, kind in zip(ips, found.insn_ip.tolist(), kinds, strict=True):
        assert insn_ip == 0 or kind == 0 or start <= insn_ip < start + len(code)
        assert kind != 0 or insn_ip == ip


@pytest.mark.parametrize("seed", range(0, 120, 40))
def test_nonsense_programs_are_answered_as_make_fuzz_asks(seed: int) -> None:
    image = bytes(range(256)) * 4 + bytes.fromhex("554889e5488b4708488903f348abc3") * 90
    assert sum(check(seed + number, image) for number in range(40)) == 40 * 24
