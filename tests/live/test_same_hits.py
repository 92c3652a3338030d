"""The same program makes the same hits on the emulated machine and on this one (docs/cli.md)."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest

from tests.live.tracing import WAYS, Traced, build, needs_breakpoints, trace

pytest.importorskip("icicle", reason="icicle-emu is not installed: pip install icicle-emu")
pytestmark = [pytest.mark.live, pytest.mark.slow, needs_breakpoints]

SOURCE = r"""
#include <emmintrin.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
volatile long counter;
struct { char head[8]; long limits[4]; } cfg;
volatile unsigned char odd[16] __attribute__((aligned(8)));
volatile long lock;
char text[64] __attribute__((aligned(16)));
double ratio;
volatile int small;
#define FAR __attribute__((noinline, noclone))
FAR void add(long n) { counter += n; }
FAR void set(long n) { counter = n; }
FAR long get(void) { return counter; }
FAR void limit(int i, long n) { cfg.limits[i] = n; __asm__ volatile("" ::: "memory"); }
FAR void split(void) { *(volatile unsigned short *)(odd + 1) = 0x1234; *(volatile int *)(odd + 6) = 0x55667788; }
FAR int swap(long a, long b) { return __sync_bool_compare_and_swap(&lock, a, b); }
FAR void fill(int c, long n) { void *to = text; __asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(c) : "memory"); }
FAR void back(int c, long n) {
    void *to = text + n - 1;
    __asm__ volatile("std\n rep stosb\n cld" : "+D"(to), "+c"(n) : "a"(c) : "memory");
}
FAR void copy(const char *from, long n) {
    void *to = text; __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) :: "memory");
}
FAR void wide(int c) { _mm_store_si128((__m128i *)text, _mm_set1_epi8((char)c)); }
FAR void real(double d) { ratio = d; __asm__ volatile("" ::: "memory"); }
FAR void tiny(int n) { small = n; }
int main(void) {
    for (int i = 0; i < 5; i++) { add(i * 3); limit(i % 4, i); tiny(i * i); }
    set(-7); get();
    split();
    swap(0, 5); swap(1, 6); swap(5, 9);
    fill('a', 12); back('b', 12); copy("0123456789abcdef", 16); wide('c');
    real(1.5); real(-2.25);
    return 42;
}
"""

WATCHES = [
    ["counter"],
    ["counter:rw", "cfg.limits[2]"],
    ["odd+1/2", "odd+4/4", "odd+8/8"],
    ["odd/16"],
    ["lock:rw"],
    ["text/1", "text+11/1"],
    ["text/8:rw"],
    ["text+4/4", "ratio", "small"],
    ["add", "limit", "counter"],
    ["real:x", "ratio:rw"],
]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("same")
    return {
        "static": build(folder, "static", SOURCE, "-static"),
        "pie": build(folder, "pie", SOURCE, "-pie", "-fPIE"),
    }


def shape(hit: dict[str, Any]) -> dict[str, Any]:
    keys = (
        "watch",
        "window",
        "module",
        "module_offset",
        "insn_module",
        "insn_module_offset",
        "value",
        "access",
    )
    return {key: hit[key] for key in keys}


def compared(here: Traced, there: Traced) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Pairs that differ in a field that both sides know."""
    assert len(here.hits) == len(there.hits)
    return [
        (mine, theirs)
        for mine, theirs in zip(map(shape, here.hits), map(shape, there.hits), strict=True)
        if any(
            mine[key] is not None
            and theirs[key] is not None
            and mine[key] != theirs[key]
            and not (key == "access" and "rw" in (mine[key], theirs[key]))
            for key in mine
        )
    ]


CASES = [("pie", watches) for watches in WATCHES] + [("static", watches) for watches in WATCHES[1::4]]
"""A static program differs in little but its addresses: a few are enough."""


@functools.cache
def emulated_trace(program: Path, watches: tuple[str, ...]) -> Traced:
    return trace("bpf", list(watches), "--", str(program), backend="emulated")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("kind", "watches"), CASES, ids=[f"{kind} {' '.join(all_)}" for kind, all_ in CASES])
def test_both_machines_report_the_same(
    programs: dict[str, Path], kind: str, watches: list[str], way: str
) -> None:
    program = programs[kind]
    emulated = emulated_trace(program, tuple(watches))
    live = trace(way, watches, "--", str(program))
    assert live.summary["exit_status"] == emulated.summary["exit_status"] == 42
    assert live.summary["lost"] == 0
    assert emulated.hits
    assert not compared(emulated, live)
    if way == "bpf":
        assert all(hit["insn_ip"] is not None for hit in live.hits)
        data = [hit for hit in live.hits if hit["access"] != "x"]
        assert all(hit["value"] is not None and hit["value_from"] == "trap" for hit in data)
        assert all(hit["slot"] in range(4) for hit in live.hits)
