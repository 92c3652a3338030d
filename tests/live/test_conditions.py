"""Conditions and limits mean the same on the emulated machine, at the hit in the kernel, and behind perf's rings."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live.tracing import WAYS, build, needs_breakpoints, script, trace

pytestmark = [pytest.mark.live, pytest.mark.slow, needs_breakpoints]

SOURCE = r"""
#include <unistd.h>
volatile long counter;
volatile long pair[2];
__attribute__((noinline)) void bump(void) { counter += 1; }
__attribute__((noinline)) void set(long v) { counter = v; }
int main(void) {
    for (int i = 0; i < 10; i++) bump();
    set(100);
    set(-5);
    int p[2];
    long v = 77;
    if (pipe(p) || write(p[1], &v, 8) != 8 || read(p[0], (void *)&counter, 8) != 8) return 1;
    bump();
    for (int i = 0; i < 4; i++) pair[i & 1] = i;
    return 0;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build(tmp_path_factory.mktemp("conditions"), "p", SOURCE))


@pytest.mark.parametrize(
    ("watch", "values", "filtered"),
    [
        ("counter if value > 3", [4, 5, 6, 7, 8, 9, 10, 100, 78], 4),
        ("counter if value < 0", [(1 << 64) - 5], 12),
        ("counter if ip not in bump", [100, (1 << 64) - 5], 11),
        ("counter if value >= 5 && ip in bump && value != 7", [5, 6, 8, 9, 10, 78], 7),
        ("counter if counter & 3 == 0 limit 2", [4, 8], None),
        ("counter limit 3", [1, 2, 3], None),
        ("pair limit 3", [0, 1, 2], None),
        ("counter ignore 10", [100, (1 << 64) - 5, 78], 10),
        ("counter if ip in bump ignore 9 limit 1", [10], None),
        ("pair ignore 2", [2, 3], 2),
        ("bump:x ignore 9", [None, None], 9),
    ],
)
def test_the_same_hits_are_wanted_everywhere(
    program: str, watch: str, values: list[int], filtered: int | None
) -> None:
    ways = [("", "emulated"), *((str(each.values[0]), "perf") for each in WAYS)]
    for way, backend in ways:
        done = trace(way, [watch], "--", program, backend=backend)
        assert [hit["value"] for hit in done.hits] == values, (way, backend)
        if filtered is not None:
            assert done.summary["filtered"] == filtered, (way, backend)
        assert done.summary["lost"] == 0


def test_what_was_there_before_is_right_behind_ignored_hits(program: str) -> None:
    for way, backend in [("", "emulated"), *((str(each.values[0]), "perf") for each in WAYS)]:
        first = trace(way, ["counter ignore 10"], "--", program, backend=backend).hits[0]
        assert (first["old"], first["value"], first.get("unseen", False)) == (10, 100, False), (way, backend)


def test_a_write_by_a_system_call_is_told_by_the_next_hit_that_can_tell(program: str) -> None:
    for way, backend in [("", "emulated"), *((str(each.values[0]), "perf") for each in WAYS)]:
        hits = trace(way, ["counter:rw"], "--", program, backend=backend).hits
        told = [hit.get("unseen", False) for hit in hits]
        at = next(number for number, hit in enumerate(hits) if hit["value"] == 77)
        assert (hits[at]["access"], told[at], told.count(True)) == ("r", True, 1), (way, backend)


@pytest.mark.parametrize("backend", ["emulated", pytest.param("perf", marks=pytest.mark.root)])
def test_a_condition_can_be_changed_and_a_stop_waits_for_it(program: str, backend: str) -> None:
    said = script(
        backend, program,
        "watch counter if value == 4 stop", "continue", "print counter",
        "condition 0 value == 100", "continue", "print counter",
        "condition 0", "continue", "info watchpoints",
    )  # fmt: skip
    assert (said[2]["value"], said[5]["value"]) == (4, 100)
    (watch,) = said[-1]["watches"]
    assert (watch["hits"], watch["filtered"], watch["condition"]) == (3, 9, None)


@pytest.mark.parametrize("backend", ["emulated", pytest.param("perf", marks=pytest.mark.root)])
def test_hits_to_be_ignored_do_not_stop_and_can_be_told_again(program: str, backend: str) -> None:
    said = script(
        backend, program,
        "watch counter ignore 4 stop", "continue", "print counter",
        "ignore 0 2", "info watchpoints", "continue", "print counter", "info watchpoints",
        "ignore 0 99", "ignore 0 0", "continue", "print counter", "info hits",
    )  # fmt: skip
    assert (said[2]["value"], said[6]["value"], said[11]["value"]) == (5, 8, 9)
    asked, done = said[4]["watches"][0], said[7]["watches"][0]
    assert (asked["ignore"], asked["filtered"], asked["hits"]) == (2, 4, 1)
    assert (done["ignore"], done["filtered"], done["hits"]) == (0, 6, 2)
    # Live, what was there before is noted only while hits are left out.
    before = 8 if backend == "emulated" else None
    assert [(hit["old"], hit["value"]) for hit in said[12]["hits"]] == [(4, 5), (7, 8), (before, 9)]


@pytest.mark.parametrize("backend", ["emulated", pytest.param("perf", marks=pytest.mark.root)])
def test_a_watch_at_its_limit_is_disabled_and_keeps_its_slot(program: str, backend: str) -> None:
    said = script(
        backend, program,
        "watch counter limit 2", "hbreak set stop", "continue", "info watchpoints", "enable count 1 0", "continue",
        "continue", "wait exit", "info watchpoints",
    )  # fmt: skip
    before = said[3]["watches"][0]
    assert (before["hits"], before["enabled"], before["limit"]) == (2, False, 2)
    assert said[-3]["state"] == "exited" or said[-2] is not None


def test_through_perfs_rings_an_unknown_value_is_no_reason_to_drop_a_hit(tmp_path: Path) -> None:
    source = (
        'volatile long counter;\nint main(void) {\n    for (long i = 0; i < 4; i++) __asm__ volatile("mov %0, %%r11; mov %%r11, counter(%%rip)"'
        ' :: "r"(i) : "r11", "memory");\n    return 0;\n}\n'
    )
    program = str(build(tmp_path, "unknown", source, "-no-pie"))
    hits = trace("rings", ["counter if value == 2"], "--", program).hits
    assert {hit["value"] for hit in hits} <= {2, None}
