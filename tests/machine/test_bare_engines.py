"""The same bare programs on two engines: what an instruction does is then not one engine's word alone."""

from __future__ import annotations

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
