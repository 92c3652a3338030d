"""Call stacks: the same frames as gdb's, at every instruction of real programs."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from symbols.elf import ElfImage
from symbols.frame_expression import evaluate
from symbols.frames import Unwinder
from symbols.space import AddressSpace
from tests.unit.symbols_data.builds import DATA, build, need, rows


@dataclass
class Moment:
    """One state of a real process as gdb saw it."""

    registers: dict[str, int]
    low: int
    stack: bytes
    frames: list[int]

    def walk(self, space: AddressSpace, limit: int = 16) -> tuple[Any, ...]:
        return Unwinder(space, self.reader(space)).walk_traced(
            self.registers["rip"],
            self.registers["rsp"],
            self.registers["rbp"],
            limit,
            self.registers.__getitem__,
        )

    def reader(self, space: AddressSpace) -> Any:
        def read(address: int, size: int) -> bytes:
            at = address - self.low
            if 0 <= at <= len(self.stack) - size:
                return self.stack[at : at + size]
            module = space.module_at(address)
            if module is None or module.names is None:
                raise KeyError(address)
            return module.names.image.read(address - module.bias, size)

        return read


def everywhere(word: int) -> Callable[[int, int], bytes]:
    """Memory that holds the same word at every address."""
    return lambda address, size: word.to_bytes(8, "little")[:size]


def recorded(path: Path, where: str, count: int, every: int = 1) -> tuple[AddressSpace, list[Moment]]:
    """Step a real process under gdb: its mappings, and `count` states from a breakpoint on."""
    need("gdb")
    out = path.parent / "steps"
    settings = {
        "STEPS_OUT": str(out),
        "STEPS_COUNT": str(count),
        "STEPS_BREAK": where,
        "STEPS_EVERY": str(every),
    }
    command = ["gdb", "-nx", "-batch", "-x", str(DATA / "steps.py"), str(path)]
    done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True)
    lines = out.read_text().splitlines() if out.exists() else []
    if len(lines) < 2:
        pytest.skip(
            f"gdb cannot run a program here: {(done.stderr.strip() or 'no reason given').splitlines()[-1]}"
        )
    space = AddressSpace([tuple(row) for row in json.loads(lines[0])], str(path))
    moments = []
    for line in lines[1:]:
        state = json.loads(line)
        # Past the program's entry gdb reads the arguments on the stack as frames.
        while state["frames"] and not space.executable(state["frames"][-1]):
            state["frames"].pop()
        moments.append(Moment(state["regs"], state["low"], bytes.fromhex(state["stack"]), state["frames"]))
    return space, moments


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "where", "count"),
    [
        (("-O0", "-g"), "main", 300),
        (("-O1",), "recurse", 200),
        (("-O2", "-fomit-frame-pointer"), "main", 300),
        (("-O2", "-g"), "aligned", 200),
        (("-O2",), "compare", 60),
        (("-O0",), "on_signal", 120),
        (("-O2", "-static", "-fomit-frame-pointer"), "recurse", 250),
        (("-O1", "-static-pie"), "on_signal", 120),
        (("-O2", "-g", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"), "recurse", 200),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)
def test_at_every_instruction_the_stack_is_the_one_gdb_shows(
    tmp_path: Path, flags: tuple[str, ...], where: str, count: int
) -> None:
    space, moments = recorded(build(tmp_path, "calls.c", *flags), where, count)
    assert len(moments) >= count // 2
    for moment in moments:
        frames, _, _ = moment.walk(space)
        assert [ip for ip, _ in frames] == moment.frames, space.name(moment.registers["rip"])


def test_frames_found_by_rules_are_not_guesses_and_only_the_innermost_needs_other_registers(
    tmp_path: Path,
) -> None:
    space, moments = recorded(build(tmp_path, "calls.c", "-O2"), "middle", 60)
    for moment in moments:
        frames, reads, only = moment.walk(space)
        assert not any(guessed for _, guessed in frames)
        assert only
        assert all(size == 8 for _, size in reads)
        assert len(set(reads)) == len(reads)


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags", [("-O0",), ("-O2", "-fno-omit-frame-pointer"), ("-O2", "-fomit-frame-pointer")]
)
def test_without_rules_the_frames_of_the_program_are_found_and_marked_as_guesses(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    with_rules = build(tmp_path, "calls.c", *flags, "-static", name="with")
    without = build(tmp_path, "calls.c", *flags, "-static", "-fno-asynchronous-unwind-tables", name="without")
    names = []
    for path in (with_rules, without):
        space, moments = recorded(path, "recurse", 150)
        names.append(
            [[space.lookup(ip - 1).symbol for ip, _ in moment.walk(space)[0][1:]] for moment in moments]
        )
    assert names[0] == names[1]
    assert any(guessed for moment in moments for _, guessed in moment.walk(space)[0])
    assert not moments[0].walk(space)[0][0][1]


def test_the_frames_depend_on_nothing_but_the_words_that_were_read(tmp_path: Path) -> None:
    space, moments = recorded(build(tmp_path, "calls.c", "-O2"), "recurse", 200, 3)
    for moment in moments[::5]:
        frames, reads, only = moment.walk(space)
        if not only:
            continue
        kept = bytearray(b"\xa5" * len(moment.stack))
        for address, size in reads:
            at = address - moment.low
            kept[at : at + size] = moment.stack[at : at + size]
        bare = Moment(dict.fromkeys(moment.registers, 0xDEAD), moment.low, bytes(kept), [])
        bare.registers |= {name: moment.registers[name] for name in ("rip", "rsp", "rbp")}
        assert bare.walk(space)[0] == frames


def test_a_limit_cuts_the_outermost_frames_off(tmp_path: Path) -> None:
    space, moments = recorded(build(tmp_path, "calls.c", "-O1"), "leaf", 1)
    whole = moments[0].walk(space)[0]
    assert len(whole) > 4
    for limit in (1, 2, 4):
        assert moments[0].walk(space, limit)[0] == whole[:limit]


def test_a_stack_that_cannot_be_read_ends_at_its_own_pc(tmp_path: Path) -> None:
    path = build(tmp_path, "calls.c", "-O1")
    space = AddressSpace(rows(ElfImage.open(path)), str(path))
    main = space.resolve("main").address

    def nothing(address: int, size: int) -> bytes:
        raise RuntimeError("no memory")

    for read in (
        nothing,
        lambda address, size: b"",
        lambda address, size: bytes(size),
        lambda address, size: b"\xff" * size,
    ):
        for pc in (main, main + 1, 0, (1 << 64) - 1, space.modules[0].end):
            frames, reads, _ = Unwinder(space, read).walk_traced(pc, 0x7FFF0000, 0x7FFF0010)
            assert frames == ((pc, False),)
            assert len(reads) <= 4


def test_a_stack_that_points_to_itself_ends(tmp_path: Path) -> None:
    path = build(tmp_path, "calls.c", "-O0")
    space = AddressSpace(rows(ElfImage.open(path)), str(path))
    inside = space.resolve("middle").address + 20
    for word in (inside, 0x7FFF0000, 0x7FFF0008):
        unwinder = Unwinder(space, everywhere(word))
        frames = unwinder.walk(inside, 0x7FFF0000, 0x7FFF0000, 64)
        assert len(frames) <= 64
        assert frames[0] == (inside, False)


def test_new_mappings_move_the_rules(tmp_path: Path) -> None:
    space, moments = recorded(build(tmp_path, "calls.c", "-O2"), "leaf", 1)
    moment = moments[0]
    unwinder = Unwinder(space, moment.reader(space))
    state = (moment.registers["rip"], moment.registers["rsp"], moment.registers["rbp"])
    assert len(unwinder.walk(*state)) > 3
    space.update([])
    assert unwinder.walk(*state) == ((state[0], False),)


@pytest.mark.parametrize("section", [".eh_frame", ".eh_frame_hdr"])
@pytest.mark.parametrize("value", [0, 0x7F, 0xFF])
def test_broken_rules_cost_frames_and_nothing_else(tmp_path: Path, section: str, value: int) -> None:
    path = build(tmp_path, "calls.c", "-O1")
    found = ElfImage.open(path).sections[section]
    good = path.read_bytes()
    for step in (1, 3, 7):
        data = bytearray(good)
        for at in range(found.offset + step, found.offset + found.size, step * 4):
            data[at] = value
        (tmp_path / "broken").write_bytes(data)
        space = AddressSpace(rows(ElfImage.open(tmp_path / "broken")), str(tmp_path / "broken"))
        start = space.resolve("recurse").address
        unwinder = Unwinder(space, everywhere(start))
        for pc in range(start, start + 60, 7):
            assert unwinder.walk(pc, 0x7FFF0000, 0x7FFF0010)[0] == (pc, False)


def test_rules_are_found_without_the_search_table(tmp_path: Path) -> None:
    path = build(tmp_path, "calls.c", "-O2", "-Wl,--no-eh-frame-hdr")
    if ".eh_frame_hdr" in ElfImage.open(path).sections:
        pytest.skip("this linker makes .eh_frame_hdr anyway")
    space, moments = recorded(path, "recurse", 60)
    for moment in moments:
        assert [ip for ip, _ in moment.walk(space)[0]] == moment.frames


EXPRESSIONS = {
    "lit3, lit4, plus": (b"\x33\x34\x22", 7),
    "const1s -1, lit1, shr": (b"\x09\xff\x31\x25", (1 << 63) - 1),
    "const1s -2, lit1, shra": (b"\x09\xfe\x31\x26", (1 << 64) - 1),
    "breg7 8, deref": (b"\x77\x08\x06", 0x1008),
    "PLT: rsp + 8 + ((rip & 15 >= 11) << 3)": (b"\x77\x08\x80\x00\x3f\x1a\x3b\x2a\x33\x24\x22", 0x1010),
    "pick, swap, rot, over, drop": (b"\x31\x32\x33\x15\x02\x16\x17\x14\x13", 1),
    "skip over lit1": (b"\x32\x2f\x01\x00\x31", 2),
    "lit7, const1s -2, div": (b"\x37\x09\xfe\x1b", (1 << 64) - 3),
}


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_an_expression_has_its_value(text: str) -> None:
    code, value = EXPRESSIONS[text]
    registers = {7: 0x1000, 16: 0x401CBB}
    assert evaluate(code, registers.__getitem__, lambda address, size: address) == value


BROKEN = {
    "endless loop": b"\x2f\xfd\xff",
    "nothing": b"",
    "too few values": b"\x31\x22",
    "jump before the beginning": b"\x31\x2f\x00\x80",
    "jump beyond the end": b"\x31\x2f\x00\x70",
    "growing without end": b"\x31\x12\x2f\xfc\xff",
    "division by zero": b"\x31\x30\x1b",
    "unknown operation": b"\xf0",
    "cut off": b"\x0e\x01\x02",
    "pick beyond the stack": b"\x31\x15\x09",
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_expression_is_refused_after_bounded_work(case: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        evaluate(BROKEN[case], lambda number: 0, lambda address, size: 0)


def test_a_short_stack_is_found_by_gdb_too(tmp_path: Path) -> None:
    space, moments = recorded(build(tmp_path, "calls.c", "-O1"), "middle", 12)
    for moment in moments:
        frames, _, _ = moment.walk(space)
        assert [ip for ip, _ in frames] == moment.frames
    assert [space.lookup(ip - 1).symbol for ip, _ in moments[0].walk(space)[0][1:3]] == ["recurse", "recurse"]
