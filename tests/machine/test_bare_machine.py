"""The bare machine by itself: what it refuses, how it ends, and what can still be looked at then."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from backends.base import HwbpError, Launch
from backends.emulated.bare.backend import BareBackend
from backends.emulated.programs import PROGRAMS
from backends.ring import create_memfd
from tests.machine.bare_runs import FOLDER, BareRun, run_bare
from tests.machine.code import CODE, DATA, START, program

HLT = b"\xf4"


def load(path: Path | str) -> BareBackend:
    fd = create_memfd(1 << 10)
    backend = BareBackend(fd)
    os.close(fd)
    backend.launch(Launch(str(path)))
    return backend


def pc(backend: BareBackend) -> int:
    return next(row.value for row in backend.registers(None) if row.name == "rip")


def run_code(tmp_path: Path, code: str) -> BareRun:
    return run_bare(program(tmp_path / "bare", bytes.fromhex(code) + HLT, ends=False))


# -- ends


def test_hlt_ends_the_machine(tmp_path: Path) -> None:
    view = run_code(tmp_path, "90").view
    assert (view.state, view.exit_status) == ("exited", 0)
    assert "halted" in view.stop.text


def test_the_exit_port_ends_the_machine_with_its_status(tmp_path: Path) -> None:
    view = run_code(tmp_path, "b02a e6f4").view
    assert (view.state, view.exit_status) == ("exited", 42)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("0f0b", "triple fault at 0x40100a: #UD (undefined): there is no IDT, then #GP"),
        ("b800000050 ffe0", "triple fault at 0x50000000: #PF (nothing is mapped at 0x50000000)"),
        ("31c0 48a30000005000000000", "triple fault at 0x40100c: #PF (nothing is mapped at 0x50000000)"),
        (
            "48b80000000000800000 ffe0",
            "triple fault at 0x401014: #GP (an operand is not aligned, or where the branch goes is not canonical)",
        ),
        ("eb04 90909090 c605f9ffffff90 ebf0", "code that has already run is being rewritten"),
        ("31c0 0f22c0", "mov cr0,rax (0f 22 c0): leaving 64-bit mode is not emulated"),
        ("0f20d8 0500100000 0f22d8", "the program's own page tables are not emulated"),
        ("c5f877", "CR4.OSXSAVE is clear"),
        ("b8b0000000 0f00d0", "local descriptor tables are not emulated"),
        ("454b4889de", "mov rsi,rbx (45 4b 48 89 de): the engine lacks this instruction"),
        ("48cf", "triple fault"),
        ("f1", "triple fault at 0x40100b: #DB: there is no IDT"),
        ("cd80", "triple fault at 0x40100a: #GP (there is no IDT)"),
    ],
)
def test_what_cannot_go_on_says_so_in_one_line_and_stays_open(tmp_path: Path, code: str, said: str) -> None:
    run = run_code(tmp_path, code)
    view = run.view
    assert view.state == "failed"
    assert said in view.stop.text
    assert "\n" not in view.stop.text
    assert run.backend.read(CODE, 10) == b"\x48\xbb" + struct.pack("<Q", DATA)
    assert {row.name: row.value for row in run.backend.registers(None)}["rbx"] == DATA
    with pytest.raises(HwbpError, match="cannot go on"):
        run.backend.resume()


def test_a_store_beside_code_in_its_page_is_no_rewriting(tmp_path: Path) -> None:
    run = run_code(
        tmp_path, "c605f90f000007 c605f3f0ffff08 8a05edf0ffff"
    )  # data page; the code's own page, before it
    assert run.view.state in ("exited", "failed")
    run = run_code(tmp_path, "c605 00010000 07 8a05 faffffff")
    assert run.view.state == "exited"
    assert run.backend.read(START + 7 + 0x100, 1) == b"\7"


def test_compatibility_mode_is_refused(tmp_path: Path) -> None:
    # A GDT of the program's own with a 32-bit code segment, and a far return to it.
    gdt = "48c703 00000000 48b8 ffff0000009bcf00 48894308"
    run = run_code(tmp_path, f"{gdt} 66c74310 0f00 48895b12 0f015310 6a08 488d05 00000000 50 48cb")
    assert run.view.state == "failed"
    assert "32-bit: compatibility mode is not emulated" in run.view.stop.text


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("stuck", "the instruction there never ran (RF is not set"),
        ("guarded", "it sets DR7.GD again"),
        ("nested", "1000 #DB inside each other"),
        ("frame", "1000 #DB inside each other"),
    ],
)
def test_a_db_handler_that_never_gets_on_is_stopped(name: str, said: str) -> None:
    run = run_bare(FOLDER / name)
    assert (run.view.state, run.view.stop.reason) == ("failed", "shutdown")
    assert said in run.view.stop.text
    assert run.backend.debug_exceptions(0)
    assert run.view.cpus[0].db_count == 1000


def test_branch_steps_trap_at_the_branch_that_is_taken_and_once() -> None:
    run = run_bare(FOLDER / "branches")
    (only,) = run.backend.debug_exceptions(0)
    assert only.cause == "single step"
    assert run.view.exit_status == 0


# -- images


def elf(**changed: int) -> bytes:
    values = {"class": 2, "kind": 2, "entry": 0x200000, "vaddr": 0x200000, "memsz": 0x1000} | changed
    header = struct.pack(
        "<4sBBB9xHHIQQQIHHHHHH", b"\x7fELF", values["class"], 1, 1, values["kind"], 62, 1, values["entry"], 64, 0, 0,
        64, 56, 1, 0, 0, 0,
    )  # fmt: skip
    segment = struct.pack("<IIQQQQQQ", 1, 7, 0, values["vaddr"], 0, 120, values["memsz"], 0x1000)
    return header + segment


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not a bare image"),
        (b"#!/bin/sh\n", "not a bare image: no ELF file"),
        (b"\x7fELF\x01\x01\x01" + bytes(60), "not a bare image: 32-bit code"),
        (elf(kind=3), "not linked for a fixed address"),
        (elf(vaddr=0x1000, entry=0x1000), "RAM is 0x100000-0x1000000"),
        (elf(memsz=1 << 40), "not a bare image"),
        (elf(entry=0x5000), "entry point 0x5000 is not in RAM"),
    ],
)
def test_what_is_no_bare_image_is_refused_in_one_line(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "image"
    path.write_bytes(data)
    with pytest.raises(HwbpError) as error:
        load(path)
    assert said in error.value.message
    assert "\n" not in error.value.message


def test_a_program_for_linux_is_told_to_leave_bare_out() -> None:
    with pytest.raises(HwbpError, match="operating system") as error:
        load(sys.executable)
    assert "without --bare" in error.value.remedy


# -- looking


def test_nobody_but_the_program_gets_a_slot() -> None:
    backend = load(PROGRAMS["selfdebug"].path)
    for refused in (
        lambda: backend.arm(()),
        lambda: backend.disarm((1,)),
        lambda: backend.ptrace_peek(None, 7),
    ):
        with pytest.raises(HwbpError) as error:
            refused()
        assert error.value.errno == "EOPNOTSUPP"


def test_a_hand_may_write_a_register_and_the_program_takes_the_db() -> None:
    backend = load(FOLDER / "kut")
    backend.write_dr(0, 0, pc(backend))
    view = backend.write_dr(0, 7, 1)
    assert view.cpus[0].changed_by == "hand"
    assert view.breakpoints[0].owner.kind == "program"
    assert backend.step(1, False).state == "failed"  # no IDT yet: that is what the hardware would do
    assert backend.debug_exceptions(0)[0].cause == "execute DR0"


def test_steps_go_one_instruction_or_one_exception_at_a_time() -> None:
    backend = load(FOLDER / "branches")
    first = pc(backend)
    backend.step(1, False)
    assert pc(backend) == first + 7
    backend.run_to(first + 14)
    while backend.running:
        backend.run_slice()
    assert (backend.view().stop.reason, pc(backend)) == ("step", first + 14)


@pytest.mark.parametrize(("on", "shown"), [(False, 1), (True, 3)])
def test_dr6_may_show_slots_that_match_and_are_not_enabled(tmp_path: Path, on: bool, shown: int) -> None:
    # DR0 and DR1 at the same word, both set up as write slots, only G0 set; then a store.
    code = bytes.fromhex("0f23c3 0f23cb b80204dd00 0f23f8 8903 90")
    backend = load(program(tmp_path / "bare", code, ends=False))
    backend.show_disabled(on)
    backend.resume()
    backend.run_slice()
    assert backend.debug_exceptions(0)[0].dr6 & 15 == shown


def test_the_journal_pages_from_any_number() -> None:
    backend = run_bare(PROGRAMS["selfdebug"].path).backend
    rows = backend.debug_exceptions(0)
    assert [row.number for row in rows] == list(range(600))
    assert backend.debug_exceptions(599) == rows[599:]
    assert backend.debug_exceptions(600) == ()


def test_the_built_in_program_finds_everything_as_it_expects() -> None:
    run = run_bare(PROGRAMS["selfdebug"].path)
    assert run.view.exit_status == 0
    assert "exceptions 0x258, not as expected 0x0" in run.output
    counts = sorted(site.count for site in run.backend.sites())
    assert counts == [50, 50, 50, 50, 100]


# -- the command line


def cli(*argv: str, lines: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tui", *argv], input=lines, capture_output=True, text=True, timeout=60
    )


def test_hits_have_the_call_stack_of_their_moment() -> None:
    run = run_bare(str(PROGRAMS["selfdebug"].path))
    stacks = run.backend.stacks(0)
    assert stacks[0] == ()
    assert len(stacks) > 5
    assert all(len(stack) > 1 for stack in stacks[1:])
    outermost = {stack[-1].ip for stack in stacks[1:]}
    assert len(outermost) == 1  # all of them were called by the entry


@pytest.mark.slow
def test_script_shows_the_sequence_of_db() -> None:
    done = cli(
        "script",
        "-",
        "--bare",
        "--json",
        lines="continue\ninfo db 3\ninfo slots\n! EOPNOTSUPP watch counter\n",
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    result = rows[2]["result"]
    assert result["total"] == 600
    assert [(row["cause"], row["bits"]) for row in result["exceptions"]] == [
        ("general detect", ["BD"]),
        ("DR3", ["B3"]),
        ("icebp", []),
    ]
    assert result["exceptions"][0]["insn"] == "mov dr0, rbx"


def test_info_db_says_where_it_is_kept() -> None:
    done = cli("script", "-", lines="info db\n")
    assert done.returncode == 0, done.stderr
    assert "--bare" in done.stdout


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["trace", "--bare", str(FOLDER / "stuck")], 1, "its #DB handler loops"),
        (["trace", "--bare", "/nonexistent"], 1, "/nonexistent: no such file"),
        (["trace", "--bare", "-w", "x", str(FOLDER / "kut")], 2, "-w has no place in bare mode"),
        (["trace", "--bare", "--backend", "perf", str(FOLDER / "kut")], 2, "mode of the emulated machine"),
        (["trace", "--bare", str(FOLDER / "kut"), "--", "x"], 2, "two programs"),
        (["trace", str(FOLDER / "kut")], 2, "a program comes after --"),
        (["trace", "--bare", "-p", "1"], 2, "has no bare mode"),
        (["attach", "1", "--bare"], 2, "has no bare mode"),
        (["--bare", "demo"], 2, "has no bare mode"),
        (["trace", "--bare", "--", str(FOLDER / "kut"), "x"], 1, "a bare program takes no arguments"),
    ],
)
def test_bad_input_is_one_line(argv: list[str], code: int, said: str) -> None:
    done = cli(*argv)
    assert done.returncode == code
    last = done.stderr.splitlines()[-1]
    assert last.startswith("hwbp-tui: error: ")
    assert said in last


@pytest.mark.slow
def test_trace_prints_the_programs_own_hits() -> None:
    done = cli("trace", "--bare", "--json", "--limit", "2")
    hits = [json.loads(line) for line in done.stdout.splitlines()[1:3]]
    assert [(hit["slot"], hit["access"], hit["old"], hit["value"], hit["symbol"]) for hit in hits] == [
        (0, "w", 0, 1, "add_one+0x9"),
        (0, "w", 1, 2, "add_one+0x9"),
    ]
