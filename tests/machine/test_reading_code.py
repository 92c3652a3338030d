"""What the views of code, memory and a stopped program read, on a real emulated program."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from backends.base import Launch
from backends.emulated.programs import PROGRAMS
from backends.spawn import spawn
from tests.compiled import compiled
from tui.session.code import code_page
from tui.session.memory import memory_page, object_at
from tui.session.open import open_session
from tui.session.session import Session
from tui.session.standing import standing

COUNTER = str(PROGRAMS["counter"].path)


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    opened = open_session(spawn("emulated"), Launch(COUNTER), patient=True)
    assert opened.execute("hbreak add_limit stop").ok
    assert opened.execute("continue").ok
    yield opened
    opened.close()


def _address(session: Session, expr: str) -> int:
    return session.names.resolve(expr).address


def test_a_function_is_read_with_its_source_in_the_order_of_addresses(session: Session) -> None:
    start = _address(session, "add_limit")
    page = code_page(session, start + 3)
    assert (page.name, page.start, page.problem) == ("add_limit", start, "")
    assert [row.text for row in page.rows if row.kind == "source"][:4] == [
        "NOINLINE void add_limit(int which, long amount)", "{", "    cfg.limits[which] += amount;", "}",
    ]  # fmt: skip
    assert page.files[0].path.endswith("programs/counter.c")
    insns = [row for row in page.rows if row.kind == "insn"]
    assert insns[0].address == start
    body = [row for row in insns if page.function_of(row.address) == page.functions[0]]
    assert all(a.address + a.size == b.address for a, b in pairwise(body))
    assert any(row.refers.startswith("cfg") for row in insns)
    assert page.row_of(insns[1].address) == page.rows.index(insns[1])
    assert page.row_of(page.end) == -1
    assert [each.name for each in page.functions[:2]] == [
        "add_limit",
        "reset_one",
    ]  # a short one is not left alone
    assert page.function_of(start + 3) == page.functions[0]
    assert page.function_of(page.end) is None


def test_code_without_a_name_or_a_mapping_says_so(session: Session) -> None:
    assert code_page(session, 0x10).problem == "no code at 0x10: nothing is mapped there"
    stack = session.view.current
    assert stack is not None
    assert stack.sp is not None
    assert code_page(session, stack.sp).name == ""


def test_memory_has_holes_where_nothing_is_mapped(session: Session) -> None:
    mapping = session.view.mappings[0]
    page = memory_page(session, mapping.start - 64, 128)
    assert page.pieces[0][0] == mapping.start
    assert len(page.pieces[0][1]) == 64
    assert page.at(mapping.start - 1, 1) is None
    assert page.at(mapping.start, 4) == b"\x7fELF"
    assert "nothing is mapped" in page.problem
    assert memory_page(session, (1 << 64) - 64, 128).pieces == ()


def test_the_object_at_an_address_is_told_member_by_member(session: Session) -> None:
    cfg = _address(session, "cfg")
    found = object_at(session, cfg + 17)
    assert (found.expr, found.name, found.start, found.length) == ("cfg.limits[2]+1", "cfg", cfg, 40)
    assert found.type_name == "struct cfg"
    assert [(p.expr, p.address - cfg, p.length) for p in found.parts] == [
        *((f"cfg.limits[{n}]", 8 * n, 8) for n in range(4)), ("cfg.verbose", 32, 4),
    ]  # fmt: skip
    assert "code" in object_at(session, _address(session, "main")).problem
    assert object_at(session, 0x10).problem == "no variable is known here"


def test_where_a_stopped_program_stands(session: Session) -> None:
    where = standing(session)
    assert where.problem == ""
    assert where.pc == _address(session, "add_limit")
    registers = {row.name: row for row in where.registers}
    assert registers["rip"].about == "add_limit"
    assert registers["rsp"].about == "stack"
    assert [frame.symbol.split("+")[0] for frame in where.frames[:3]] == [
        "add_limit",
        "worker_step",
        "worker",
    ]
    assert where.words[0].returns == 1
    assert where.words[0].value == where.frames[1].ip
    assert [word.about for word in where.words if word.value == 0x400040] == ["file counter+0x40"]  # AT_PHDR
    assert [local.name for local in where.locals] == ["which", "amount"]


INLINED = r"""volatile long x;
__attribute__((always_inline)) static inline void bump(long by) { x += by; }
__attribute__((always_inline)) static inline void twice(long by) { bump(by); bump(by); }
__attribute__((noinline)) void work(long n) {
    twice(n);
    __asm__ volatile("");
}
__attribute__((noinline)) void again(long n) {
    if (n) again(n - 1);
    else work(n);
    __asm__ volatile("");
}
int main(void) { again(2); return 0; }
"""


def test_calls_that_were_inlined_are_frames_of_every_stack(tmp_path: Path) -> None:
    options = ["-g", "-O1", "-fno-omit-frame-pointer", "-no-pie", "-static"]
    program = compiled(tmp_path / "in", INLINED, *options)
    opened = open_session(spawn("emulated"), Launch(str(program)), patient=True)
    try:
        assert opened.execute("watch x stop").ok
        assert opened.execute("continue").ok
        hit = opened.execute("info stack")
        assert [line.split(maxsplit=2)[2].split("+")[0] for line in hit.lines[:6]] == [
            "bump (inlined) at in.c:2", "twice (inlined) at in.c:3", "work", "again", "again", "again",
        ]  # fmt: skip
        assert hit.lines[2].endswith(" at in.c:5")
        assert [frame["inlined"] for frame in hit.data["frames"]][:4] == [True, True, False, False]
        where = standing(opened)
        assert [frame.text.split("+")[0] for frame in where.frames[:4]] == [
            "bump (inlined)", "twice (inlined)", "work", "again",
        ]  # fmt: skip
        returns = [word.returns for word in where.words if word.returns is not None]
        assert returns[:4] == [3, 4, 5, 6]  # work to again, again to itself twice, to main
        assert "#1 " in opened.execute("info frames").lines[1]
    finally:
        opened.close()
