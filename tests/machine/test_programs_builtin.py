"""The programs that come along: they run, say the same everywhere, and carry the names that their watches need."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from backends.emulated.programs import PROGRAMS, Program, find
from tests.live.real_side import slots_are_free
from tests.machine.emulated import run as whole_machine
from tests.machine.linux_loop import run

OF_LINUX = {name: program for name, program in PROGRAMS.items() if not program.bare}
SIGNALS_PRINTS = (
    b"armed\nsignalled\ntrapped\nrefused\nhits of the instruction 1\nhits of the handler 3\nhits of the variable 2\n"
    b"SIGIO 3\nSIGUSR1 3\nSIGTRAP 3\nrefused with errno 28\n"
)
EVERY = pytest.mark.parametrize("program", OF_LINUX.values(), ids=OF_LINUX)


def test_the_one_that_opens_perf_events_prints_the_same_on_the_whole_machine() -> None:
    done = whole_machine([str(PROGRAMS["signals"].path)], [])
    assert (done.view.exit_status, done.output) == (0, SIGNALS_PRINTS)


@pytest.mark.live
def test_the_one_that_opens_perf_events_prints_the_same_here() -> None:
    if not slots_are_free(os.getpid(), wide=False):
        pytest.skip("no four hardware breakpoints to be had for a task here")
    path = _executable(PROGRAMS["signals"])
    native = subprocess.run([path], capture_output=True, check=False)
    assert (native.returncode, native.stdout) == (0, SIGNALS_PRINTS)


@pytest.mark.parametrize(
    "program",
    [program for program in OF_LINUX.values() if program.name != "signals"],
    ids=lambda each: each.name,
)
def test_it_prints_under_emulation_what_it_prints_natively(program: Program) -> None:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        pytest.skip("needs an x86-64 Linux host to compare with")
    path = _executable(program)
    native = subprocess.run([path, "10"], capture_output=True, check=False)
    emulated = run(program.path, "10")
    assert (emulated.out, emulated.status) == (native.stdout, native.returncode)
    assert native.stdout


def _executable(program: Program) -> Path:
    if not program.path.stat().st_mode & 0o100:
        pytest.skip("the file lost its execute permission")
    return program.path


@EVERY
def test_it_runs_the_same_number_of_instructions_in_interpreter_and_translator(program: Program) -> None:
    interpreted, translated = run(program.path, "10"), run(program.path, "10", jit=True)
    assert interpreted.out == translated.out
    assert interpreted.instructions == translated.instructions


@EVERY
def test_two_runs_count_the_same_instructions(program: Program) -> None:
    assert run(program.path, "5").instructions == run(program.path, "5").instructions


@EVERY
def test_the_file_is_small_and_has_debug_information(program: Program) -> None:
    content = program.path.read_bytes()
    assert len(content) < 64 << 10
    assert b".debug_info" in content
    assert b".note.gnu.build-id" in content


@EVERY
def test_debug_information_holds_no_absolute_path(program: Program) -> None:
    content = program.path.read_bytes()
    assert b"/work/" not in content
    assert b"/home/" not in content


@EVERY
def test_the_watched_names_are_in_the_symbol_table_and_explained_in_the_source(program: Program) -> None:
    if shutil.which("nm") is None:
        pytest.skip("nm (binutils) is not installed")
    listing = subprocess.run(["nm", program.path], capture_output=True, text=True, check=True).stdout
    symbols = {line.split()[-1] for line in listing.splitlines()}
    assert 1 <= len(program.suggested_watches) <= 4
    for watch in program.suggested_watches:
        assert re.split(r"[+/:.\[]", watch)[0] in symbols
    assert "Watch `" in program.path.with_suffix(".c").read_text()


def test_find_knows_the_names_and_nothing_else() -> None:
    assert find("counter") is PROGRAMS["counter"]
    assert find("nonesuch") is None


def test_the_build_record_names_the_compiler_and_the_files_as_they_are() -> None:
    import hashlib

    record = (PROGRAMS["counter"].path.parent / "BUILD.txt").read_text()
    assert record.startswith("gcc")
    for program in PROGRAMS.values():
        assert f"{hashlib.sha256(program.path.read_bytes()).hexdigest()}  {program.name}\n" in record
