"""Programs of 32 bits, watched while they run: values, registers, instructions, stacks and steps are theirs."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from symbols.disasm import one
from symbols.elf import NAMED, ElfImage
from symbols.table import SymbolTable
from tests.live.tracing import PLAIN, WAYS, needs_breakpoints, script_text, trace

pytestmark = [pytest.mark.live, pytest.mark.slow, needs_breakpoints]

SOURCE = Path(__file__).parent / "programs" / "narrow.c"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("narrow") / "narrow"
    flags = ["-m32", "-O1", "-g", "-fno-omit-frame-pointer", "-fno-pic", "-no-pie", "-nostdlib", "-static"]
    try:
        subprocess.run(["gcc", *flags, "-o", path, SOURCE], check=True, capture_output=True)
        done = subprocess.run([path, "1"], check=False)
    except FileNotFoundError:
        pytest.skip("no gcc: apt-get install gcc")
    except subprocess.CalledProcessError:
        pytest.skip("this gcc makes no programs of 32 bits")
    except OSError as error:
        pytest.skip(f"this kernel runs no programs of 32 bits: {error.strerror}")
    assert done.returncode == 7
    return str(path)


@contextmanager
def running(way: str, program: str) -> Iterator[int]:
    plain = PLAIN if way == "rings" and os.getuid() == 0 else []
    with subprocess.Popen([*plain, program]) as process:
        try:
            yield process.pid
            assert process.poll() is None
        finally:
            process.kill()


def ends_where_the_hit_was_reported(program: str, hit: dict[str, Any]) -> bool:
    """Whether the instruction, decoded as one of 32 bits, ends at the ip."""
    image = ElfImage.open(program, NAMED)
    size = hit["ip"] - hit["insn_ip"]
    return bool(one(image.read(hit["insn_ip"], size), hit["insn_ip"], 32) == hit["insn"])


@pytest.mark.parametrize("way", WAYS)
def test_every_write_has_its_instruction_its_function_and_its_line(program: str, way: str) -> None:
    done = trace(way, ["counter"], "--", program, "50")
    assert done.summary["lost"] == 0
    assert done.summary["exit_status"] == 7
    assert [hit["symbol"].partition("+")[0] for hit in done.hits] == ["bump"] * 100
    assert all(ends_where_the_hit_was_reported(program, hit) for hit in done.hits)
    assert {hit["source"].rpartition("/")[2].partition(":")[0] for hit in done.hits} == {"narrow.c"}
    values = [3 * (number // 2) + (1 if number % 2 == 0 else 3) for number in range(100)]
    told = [(hit["value"], value) for hit, value in zip(done.hits, values, strict=True)]
    assert all(value is None or value == wanted for value, wanted in told)
    if way == "bpf":
        assert None not in [value for value, _ in told]
        assert {hit["slot"] for hit in done.hits} <= {0, 1, 2, 3}


@pytest.mark.parametrize("way", WAYS)
def test_a_variable_of_8_bytes_is_written_in_halves(program: str, way: str) -> None:
    done = trace(way, ["wide"], "--", program, "3")
    low, high = done.hits[::2], done.hits[1::2]
    assert len(low) == len(high) == 3
    assert [hit["insn_ip"] for hit in high] != [hit["insn_ip"] for hit in low]
    if way == "bpf":
        assert [hit["value"] for hit in high] == [1, 2, 3]


@pytest.mark.parametrize("way", WAYS)
def test_a_stack_has_frames_of_4_bytes(program: str, way: str) -> None:
    done = trace(way, ["counter"], "--stack", "--", program, "2")
    chains = [[symbol.partition("+")[0] for _, symbol in hit["stack"]] for hit in done.hits]
    assert chains == [["bump", "twice", "start", "_start"]] * 4


@pytest.mark.parametrize("way", WAYS)
def test_at_a_functions_first_instruction_the_caller_is_on_the_stack(program: str, way: str) -> None:
    done = trace(way, ["bump:x"], "--stack", "--", program, "1")
    assert [hit["insn"] for hit in done.hits] == ["push ebp"] * 2
    chains = [[symbol.partition("+")[0] for _, symbol in hit["stack"]] for hit in done.hits]
    assert chains == [["bump", "twice", "start", "_start"]] * 2


@pytest.mark.parametrize("way", WAYS)
def test_a_running_program_is_attached_to_and_left_running(program: str, way: str) -> None:
    with running(way, program) as pid:
        done = trace(way, ["small"], "-p", str(pid), "--limit", "5")
        assert len(done.hits) == 5
        assert {hit["symbol"].partition("+")[0] for hit in done.hits} == {"start"}


def test_an_address_beyond_4_gib_is_none_of_the_programs(program: str) -> None:
    done = trace("rings", ["0x100000000/8"], "--", program, "1")
    assert done.status == 1
    assert done.errors == "hwbp-tui: error: 0x100000000 is no address of a program\n"


@pytest.mark.root
def test_stopped_it_is_stepped_through_calls_and_returns_and_written(program: str) -> None:
    symbols = SymbolTable(ElfImage.open(program, NAMED))
    twice = symbols.find("twice")[0].value
    said = script_text(
        [program, "3"],
        "watch bump:x stop",
        "continue",
        "backtrace",
        "info registers",
        "delete 0",
        "stepi 6",
        "set counter = 40",
        "nexti 2",
        "nexti",
        f"disassemble {twice:#x}",
        "continue",
    )
    assert "stopped at bump (0x" in said
    assert "counter = 40" in said
    assert "r15" not in said
    stepped = re.findall(r"stopped at (\w+)\+.*: stepped", said)
    assert stepped == ["bump", "twice", "twice"], said
    assert "push ebp" in said
    assert "exit status 7" in said
