"""Names behind instructions: what a jump leads to, what an operand touches, in the words of objdump."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from symbols.elf import ElfError
from symbols.listing import refers
from tests.unit.symbols_data.builds import build, need, run, space_of


@pytest.mark.parametrize("flags", [("-O1", "-no-pie"), ("-O1",)], ids=" ".join)
def test_targets_and_variables_are_named_as_objdump_names_them(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    need("objdump")
    path = build(tmp_path, "objects.c", *flags)
    space = space_of(path)
    module = space.modules[0]
    assert module.names is not None
    text = run("objdump", "-d", "-M", "intel", "--disassemble=main", path)
    named = 0
    for place, code, symbol in re.findall(
        r"^\s*([0-9a-f]+):\t((?:[0-9a-f]{2} )+)\s*\S.*<([^+>]+)(?:\+0x[0-9a-f]+)?>$", text, re.MULTILINE
    ):
        found = refers(space, bytes.fromhex(code), int(place, 16) + module.bias)
        if symbol in ("main", "_start", "data_start") or symbol.startswith("_"):
            continue
        base = re.split(r"[+.\[@]", found)[0]
        assert base == re.split(r"[@.]", symbol)[0], (place, symbol, found)
        named += 1
    assert named >= 1


@pytest.mark.parametrize(
    "code",
    [
        "90",  # nop
        "488b07",  # mov rax, [rdi]
        "b805000000",  # mov eax, 5
        "64488b042528000000",  # mov rax, fs:[0x28]
        "e800000070",  # a call to nowhere
        "06",  # no instruction
        "48",  # cut off
        "",
    ],
)
def test_what_has_no_name_has_none(tmp_path: Path, code: str) -> None:
    try:
        space = space_of(build(tmp_path, "objects.c", "-no-pie"))
    except ElfError as error:
        pytest.skip(str(error))
    assert refers(space, bytes.fromhex(code), 0x1000) == ""
