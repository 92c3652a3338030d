"""Kernel names: kallsyms with its modules, BTF types, and tasks by pid."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from symbols.btf import VMLINUX, Btf
from symbols.btf import Kind as BtfKind
from symbols.btf_types import BtfTypes
from symbols.kernel import KALLSYMS, KernelNames, is_kernel
from symbols.target import ExpressionError
from symbols.values import layout, spell_value

BASE = 0xFFFF_FFFF_8100_0000
TEXT = f"""\
0000000000012000 A __per_cpu_end
{BASE:016x} T _stext
{BASE:016x} T startup
{BASE + 0x40:016x} t helper
{BASE + 0x80:016x} T do_work
{BASE + 0x100:016x} D counter_value
{BASE + 0x108:016x} d other_value
{BASE + 0x800000:016x} t helper\t[loop]
{BASE + 0x800040:016x} t loop_only\t[loop]
""".encode()


def test_an_address_has_its_symbol_its_offset_and_its_module() -> None:
    kernel = KernelNames(TEXT)
    assert len(kernel) == 8
    assert kernel.name(BASE) == "startup"  # not the linker's own mark at the same place
    assert kernel.name(BASE + 0x44) == "helper+0x4"
    assert kernel.name(BASE + 0x800041) == "loop_only+0x1 [loop]"
    assert kernel.name(BASE - 1) is None
    assert kernel.name(0x1000) is None
    assert is_kernel(BASE)
    assert not is_kernel(0x7FFF_FFFF_FFFF)


def test_a_kernel_symbol_is_a_place_with_a_size() -> None:
    kernel = KernelNames(TEXT)
    work, data = kernel.resolve("do_work"), kernel.resolve("counter_value")
    assert (work.address, work.size, work.kind) == (BASE + 0x80, 0x80, "code")
    assert (data.address, data.size, data.kind) == (BASE + 0x100, 8, "data")
    assert kernel.resolve("do_work+4").address == BASE + 0x84
    assert kernel.names("do", 9) == ["do_work"]


def test_a_name_of_two_modules_is_ambiguous_and_a_miss_offers_others() -> None:
    kernel = KernelNames(TEXT)
    with pytest.raises(ExpressionError, match="helper is ambiguous"):
        kernel.resolve("helper")
    assert kernel.resolve("loop::helper").address == BASE + 0x800000
    with pytest.raises(ExpressionError) as caught:
        kernel.resolve("do_wrok")
    assert caught.value.candidates == ("do_work",)


def test_hidden_addresses_are_said_to_be_hidden() -> None:
    hidden = KernelNames(b"".join(b"0" * 16 + line[16:] + b"\n" for line in TEXT.splitlines()))
    with pytest.raises(ExpressionError, match="kptr_restrict"):
        hidden.resolve("do_work")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\0" * 100,
        b"ffffffff81000000 T",
        b"zz T x\n",
        b"ffffffff81000000 T " + b"x" * 5000,
        b"\xff" * 300,
    ],
)
def test_kallsyms_of_nonsense_has_no_names_or_some(text: bytes) -> None:
    kernel = KernelNames(text)
    assert kernel.name(BASE) is None or len(kernel) == 1
    with pytest.raises(ExpressionError):
        kernel.resolve("do_work")


@pytest.fixture(scope="module")
def btf() -> Btf:
    if not os.access(VMLINUX, os.R_OK):
        pytest.skip(f"this kernel has no {VMLINUX}")
    return Btf.load()


def test_the_kernels_types_have_the_offsets_that_btf_says(btf: Btf) -> None:
    types = BtfTypes(btf)
    task = types.named(("struct", "task_struct"))
    assert task is not None
    assert task.size == btf.size(btf.find(BtfKind.STRUCT, "task_struct"))
    for path in ("pid", "comm", "thread", "mm"):
        found = task.find(path)
        assert found is not None
        assert found[0] + found[1].offset == btf.field("task_struct", path).offset
    attr = types.named(("struct", "perf_event_attr"))
    assert attr is not None
    assert any("disabled : 1" in line for line in layout(attr))


def test_a_kernel_expression_follows_types_and_memory(btf: Btf) -> None:
    types = BtfTypes(btf)
    task = types.named(("struct", "task_struct"))
    assert task is not None
    place, group = 0xFFFF_8880_0000_1000, 0xFFFF_8880_0000_2000
    memory = bytearray(task.size or 0)
    for name, value in (("pid", 41), ("tgid", 40), ("group_leader", group)):
        field = btf.field("task_struct", name)
        memory[field.offset : field.end] = value.to_bytes(field.size, "little")

    def read(address: int, size: int) -> bytes:
        base = place if place <= address < place + len(memory) else group
        return bytes(memory[address - base : address - base + size])

    kernel = KernelNames(TEXT, types, read, {41: place}.get)
    pid = kernel.resolve("$task_41->group_leader->pid")
    assert pid.address == group + btf.field("task_struct", "pid").offset
    assert (pid.size, pid.type_name) == (4, "pid_t")
    cast = kernel.resolve(f"((struct task_struct *){place:#x})->tgid")
    assert cast.address == place + btf.field("task_struct", "tgid").offset
    with pytest.raises(ExpressionError, match="no member nosuch"):
        kernel.resolve("$task_41->nosuch")
    with pytest.raises(ExpressionError, match="no task has the number 7"):
        kernel.resolve("$task_7->pid")
    state = types.named(("enum", "hrtimer_restart"))
    assert state is not None
    assert spell_value(b"\1\0\0\0", state) == "HRTIMER_RESTART"


def test_this_kernels_functions_are_those_of_kallsyms(btf: Btf) -> None:
    text = Path(KALLSYMS).read_bytes() if os.access(KALLSYMS, os.R_OK) else b""
    kernel = KernelNames(text, BtfTypes(btf))
    if kernel.hidden or not len(kernel):
        pytest.skip("kernel addresses are hidden from this user")
    checked = 0
    for line in text.splitlines()[:: max(1, len(text.splitlines()) // 500)]:
        words = line.split()
        address = int(words[0], 16)
        if words[1] in (b"T", b"t") and is_kernel(address) and len(words) == 3:
            found = kernel.at(address)
            assert found is not None
            assert found[1] == 0
            assert address in {symbol.address for symbol in kernel.find(words[2].decode())}
            checked += 1
    assert checked > 100
