"""`who` finds the same last writer on the emulated machine and on a live program, and says what no hit shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live.tracing import build, needs_breakpoints, script

pytestmark = [pytest.mark.live, pytest.mark.slow, needs_breakpoints]

SOURCE = r"""
#include <unistd.h>
struct { char name[4]; volatile char flag; char pad[3]; } box __attribute__((aligned(8)));
volatile int done;
__attribute__((noinline)) void set_flag(char v) { box.flag = v; }
__attribute__((noinline)) void overflow(volatile char *p, int n) { for (int i = 0; i < n; i++) p[i] = 'x'; }
int main(void) {
    set_flag(1);
    set_flag(2);
    overflow(box.name, 5);
    overflow(box.name, 3);
    done = 1;
    int p[2];
    if (pipe(p) || write(p[1], "z", 1) != 1 || read(p[0], (void *)&box.flag, 1) != 1) return 1;
    done = 2;
    return 0;
}
"""


@pytest.mark.parametrize("backend", ["emulated", pytest.param("perf", marks=pytest.mark.root)])
def test_the_byte_that_overflowed_leads_to_the_loop_and_back_to_who_meant_it(
    tmp_path: Path, backend: str
) -> None:
    program = str(build(tmp_path, "box", SOURCE))
    said = script(
        backend, program,
        "watch box/8", "watch done stop", "continue",
        "who box.flag", "who box.name",
        "continue", "who box.flag",
    )  # fmt: skip
    flag, name, after = said[3], said[4], said[6]
    assert flag["changed"]["symbol"].startswith("overflow")
    assert (flag["changed"]["value"] >> 32 & 0xFF, flag["changed"]["old"] >> 32 & 0xFF) == (ord("x"), 2)
    assert flag["changed_since"] == []
    assert flag["hit"]["hit"] > flag["changed"]["hit"]  # overflow(3) wrote into the window, and not the flag
    assert name["hit"]["symbol"].startswith("overflow")
    before = script(
        backend, program,
        "watch box/8", "watch done stop", "continue", f"who box.flag before {flag['changed']['hit']}",
    )[-1]  # fmt: skip
    assert before["changed"]["symbol"].startswith("set_flag")
    assert [(row["then"], row["now"]) for row in after["changed_since"]] == [(ord("x"), ord("z"))]
