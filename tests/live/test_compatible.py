"""With `--compat` the C library takes the same functions here as on the emulated machine: same hits inside of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live.test_same_hits import compared
from tests.live.tracing import build, needs_breakpoints, trace

pytest.importorskip("icicle", reason="icicle-emu is not installed: pip install icicle-emu")
pytestmark = [pytest.mark.live, pytest.mark.slow, needs_breakpoints]

SOURCE = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <wchar.h>
char text[320] __attribute__((aligned(64)));
char other[320] __attribute__((aligned(64)));
int numbers[8] = {5, 3, 9, 1, 7, 2, 8, 4};
volatile long kept;
static int ascending(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }
int main(void) {
    for (volatile int n = 1; n <= 300; n = n * 5 / 3 + 1) {
        memset(text, 'a', n);
        memcpy(other, text, n);
        memmove(text + 3, text, n);
        memmove(text, text + 3, n);
        kept += memcmp(text, other, n) + (long)strlen(text) + (memchr(text, 'z', n) != 0);
    }
    memset(text, 0, sizeof text);
    strcpy(text, "one,two;three");
    strncpy(other, text, 100);
    strcat(text, ";four");
    kept += strcmp(text, other) + strncmp(text, other, 9) + strcasecmp(text, other);
    kept += strchr(text, ';') - text + (strrchr(text, ';') - text) + (strstr(text, "thr") - text);
    kept += strspn(text, "eno,") + strcspn(text, ";") + strnlen(text, 50) + (strpbrk(text, ";") - text);
    for (char *part = strtok(text, ",;"); part; part = strtok(0, ",;")) kept += *part;
    stpcpy(text, "end");
    snprintf(text, sizeof text, "%d-%s-%.3f", 42, "abc", 2.5);
    kept += atoi(text) + (long)strtod(text, 0);
    kept += wcslen((wchar_t *)numbers);
    qsort(numbers, 8, sizeof *numbers, ascending);
    return 42;
}
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("library")
    return {
        "static": build(folder, "static", SOURCE, "-static", "-fno-builtin"),
        "dynamic": build(folder, "dynamic", SOURCE, "-fno-builtin"),
    }


@pytest.mark.parametrize("kind", ["static", "dynamic"])
@pytest.mark.parametrize(
    "watches",
    [
        ["text/8:rw", "text+16/8:rw", "text+40/8:rw", "text+256/8:rw"],
        ["other/1:rw", "numbers/8:rw", "numbers+24/8:rw"],
    ],
    ids=["text", "other"],
)
def test_the_library_makes_the_same_hits(programs: dict[str, Path], kind: str, watches: list[str]) -> None:
    program = str(programs[kind])
    emulated = trace("bpf", watches, "--compat", "--", program, backend="emulated")
    live = trace("bpf", watches, "--compat", "--", program)
    assert live.summary["exit_status"] == emulated.summary["exit_status"] == 42, live.errors + emulated.errors
    assert len(emulated.hits) > 40
    assert not compared(emulated, live)
