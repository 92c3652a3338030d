"""The same bare programs on two engines: what an instruction does is then not one engine's word alone."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from backends.emulated.engine import EXEC, READ, WRITE, EngineError, EventKind
from backends.emulated.programs import PROGRAMS
from tests.machine.bare_runs import FOLDER, ROWS, run_bare
from tests.machine.code import program

pytest.importorskip("unicorn", reason="the second engine is not installed: pip install 'hwbp-tui[unicorn]'")
unicorn_engine = pytest.importorskip("backends.emulated.unicorn_engine")


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", [*(FOLDER / name for name in ROWS), PROGRAMS["selfdebug"].path], ids=lambda p: p.name
)
def test_both_engines_take_the_same_exceptions(path: Path) -> None:
    first, second = run_bare(path), run_bare(path, engine=unicorn_engine.UnicornEngine())
    assert second.view.engine == "unicorn, bare"
    assert first.output == second.output
    assert first.backend.debug_exceptions(0) == second.backend.debug_exceptions(0)
    assert first.view.instructions == second.view.instructions
    assert first.backend.registers(None) == second.backend.registers(None)


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "0f0b",  # #UD
        "d9e8 d9eb dec9 db3b df2b df7b10 dfe0",  # x87, which is ours on both
        "31c9 f7f1",  # #DE by zero
        "ba01000000 31c0 b901000000 f7f1",  # #DE, the quotient does not fit
        "b800000050 ffe0",  # a jump into nothing
        "31c0 48a30000005000000000",  # a store into nothing
        "48c7c0bbffffff 8b00",  # a load from nothing, near the top
        "48b80000000000800000 8b00",  # a load from where no address is
        "bffdffff00 8b07",  # a load across the end of RAM
        "f0ff0b eb04 90909090 c605f9ffffff90 ebf0",  # code that has run is rewritten
        "660f6fc1 0f2903 0f2813 660fefc0",  # SSE
        "b9400000004889df f3ab fd 4889de b908000000 f3a4 fc",  # rep, both ways
        "48c7c1ffffffff 4889c8 480fa4c803 f8 13030fb10b480fa303",  # shld, adc, cmpxchg, bt
    ],
)
def test_both_engines_end_alike(tmp_path: Path, code: str) -> None:
    path = program(tmp_path / "bare", bytes.fromhex(code) + b"\xf4", ends=False)
    first, second = run_bare(path), run_bare(path, engine=unicorn_engine.UnicornEngine())
    assert first.view.stop == second.view.stop
    assert first.view.instructions == second.view.instructions
    flags = ("eflags",)  # AF and what the manual leaves undefined
    assert [r for r in first.backend.registers(None) if r.name not in flags] == [
        r for r in second.backend.registers(None) if r.name not in flags
    ]
    assert first.backend.read(0x402000, 4096) == second.backend.read(0x402000, 4096)


PIECES = [
    bytes.fromhex(piece)
    for piece in [
        "0f23c3",
        "0f23cb",
        "0f23f8",
        "0f21f8",
        "9c",
        "9d",
        "cc",
        "f1",
        "cd80",
        "8ed0",
        "8cd0",
        "f3aa",
        "f3a4",
        "a4",
        "8903",
        "0103",
        "8b03",
        "ff33",
        "8f03",
        "4883c308",
        "0fa2",
        "fa",
        "fb",
        "ec",
        "ee",
        "6e",
        "6c",
        "0f30",
        "0f32",
        "0f011b",
        "0f0113",
        "0f00d8",
        "0f20c0",
        "0f22c0",
        "0f20e0",
        "0f22e0",
        "48cf",
        "48cb",
        "eb02",
        "74f8",
        "0f05",
        "f7f1",
        "f00fb10b",
        "4889df",
        "4889de",
        "b905000000",
        "b802040d00",
        "b800240000",
        "480d00010000",
        "50",
        "58",
        "0f22d8",
        "0f01f8",
        "db3b",
        "dd03",
        "0f2903",
    ]
]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_random_programs_end_alike_and_break_nothing(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    code = b"".join(
        chance.choice(PIECES) if chance.random() < 0.9 else chance.randbytes(2)
        for _ in range(chance.randint(5, 40))
    )
    path = program(tmp_path / "bare", code + b"\xf4", ends=False)
    first, second = (
        run_bare(path, engine=engine, slices=5) for engine in (None, unicorn_engine.UnicornEngine())
    )
    lacks = [run for run in (first, second) if "lacks this instruction" in run.view.stop.text]
    if not lacks and "running" not in (first.view.state, second.view.state):
        assert first.view.stop == second.view.stop
        assert first.backend.debug_exceptions(0) == second.backend.debug_exceptions(0)


def test_it_is_always_counted_and_stops_exactly() -> None:
    engine = unicorn_engine.UnicornEngine()
    engine.map(0x1000, 0x1000, READ | WRITE | EXEC)
    engine.write(0x1000, bytes.fromhex("48ffc0 ebfb"))  # inc rax; jmp
    engine.pc = 0x1000
    for budget in (1, 2, 1000, 1, 7):
        before = engine.get("RAX"), engine.pc
        assert engine.run(budget) is EventKind.LIMIT
        assert engine.get("RAX") - before[0] == (budget + (before[1] == 0x1000)) // 2


def test_permissions_are_per_page_and_it_says_so() -> None:
    engine = unicorn_engine.UnicornEngine()
    engine.map(0x1000, 0x1000, READ)
    with pytest.raises(EngineError, match="per page"):
        engine.protect(0x1004, 4, READ)
    with pytest.raises(EngineError):
        engine.map(0x1000, 0x1000, READ)
