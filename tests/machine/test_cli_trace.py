"""`trace --json` on fresh C programs that note their own writes: the program's word against ours."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.compiled import compiled
from tests.live import silicon
from tests.live.ptrace import Unavailable

pytest.importorskip("icicle", reason="icicle-emu is not installed: pip install icicle-emu")

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
SOURCE = r"""#include <stdio.h>
#include <stdlib.h>
#include <string.h>
struct cfg { int id; short tag; char name[18]; long limits[6]; };
volatile long counter;
struct cfg cfg;
volatile int table[8];
char text[64] __attribute__((aligned(8)));
static volatile long hidden;
volatile unsigned char odd[16] __attribute__((aligned(8)));
struct node { long value; struct node *next; } second = { 5, 0 }, first = { 3, &second };
struct node *head = &first;
volatile int at_line;
static struct { const char *what; unsigned long old, new; } notes[512];  /* printed at the end */
static int noted;
static unsigned long word(const volatile void *at) { unsigned long v; memcpy(&v, (const void *)at, 8); return v; }
static void note(const char *what, unsigned long old, unsigned long new) {
    notes[noted].what = what; notes[noted].old = old; notes[noted++].new = new;
}
#define NOTE(what, at, mask, ...) \
    do { unsigned long old_ = word(at) & mask; __VA_ARGS__; note(what, old_, word(at) & mask); } while (0)
#define LONG (~0ul)
#define INT 0xfffffffful
#define FAR __attribute__((noinline, noclone))
FAR void add(long n) { NOTE("counter", &counter, LONG, counter += n); }
FAR void set(long n) { NOTE("counter", &counter, LONG, counter = n); }
FAR long deep(int n) { if (!n) { add(1); return 1; } long r = deep(n - 1); __asm__ volatile("" : "+r"(r)); return r + 1; }
FAR void limit(int i, long n) { volatile long *at = &cfg.limits[i]; if (i == 2) NOTE("cfg.limits[2]", at, LONG, *at = n); else *at = n; }
FAR void touch(int i, int n) { if (i == 3) NOTE("table[3]", &table[3], INT, table[3] = n); else table[i] = n; }
FAR void split(void) { NOTE("odd", odd + 1, 0xffff, *(volatile unsigned short *)(odd + 1) = 0x1234); }
FAR int line(int n) {
    at_line = n; /* HERE */
    return n + 1;
}
int main(int argc, char **argv) {
    const char *how = argc > 1 ? argv[1] : "";
    printf("said at once\n"); fflush(stdout);
    for (int i = 0; i < 5; i++) add(i * 3);
    set(-1); set(42);
    for (int d = 0; d < 4; d++) deep(d);
    for (int i = 0; i < 12; i++) limit(i % 6, i * 1000 + 7);
    for (int i = 0; i < 24; i++) touch(i % 8, i * 11);
    for (int i = 0; i < 3; i++) NOTE("hidden", &hidden, LONG, hidden += i + 1);
    NOTE("head->next->value", &second.value, LONG, ((volatile struct node *)head->next)->value = 77);
    split();
    int lines = 0;
    for (int i = 0; i < 3; i++) lines += line(i);
    if (!strcmp(how, "copy")) {
        unsigned long old = word(text);
        memcpy(text, argv[2], strlen(argv[2]) + 1);
        note("copied", old, word(text));
        old = word(text);
        strcpy(text, argv[3]);
        note("copied", old, word(text));
    }
    if (!strcmp(how, "abort")) abort();
    if (!strcmp(how, "segv")) *(volatile int *)8 = lines;
    if (!strcmp(how, "spin")) for (;;) counter++;
    for (int i = 0; i < noted; i++) printf("%s %lu %lu\n", notes[i].what, notes[i].old, notes[i].new);
    return 7;
}
"""
LINE = SOURCE[: SOURCE.index("/* HERE */")].count("\n") + 1
BUILDS = ["-O0 dynamic", "-O1 no-pie", "-O2 static-pie", "-O2 static"]
KINDS = {"dynamic": [], "static": ["-static"], "static-pie": ["-static-pie"], "no-pie": ["-no-pie"]}
TYPES: dict[str, type | tuple[type, ...]] = {
    "hit": int, "time_ns": int, "cpu": int, "pid": int, "tid": int, "comm": str, "mode": str, "watch": int,
    "window": int, "slot": int, "access": str, "address": int, "length": int, "ip": int, "module": str,
    "module_offset": int, "insn_ip": int, "insn_module": str, "insn_module_offset": int, "insn": str,
    "symbol": str, "source": (str, type(None)), "value": (int, type(None)), "old": (int, type(None)),
    "value_from": (str, type(None)), "old_from": (str, type(None)),
}  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The program, built in each way, by `-O2 static` and the like."""
    folder = tmp_path_factory.mktemp("traced")
    paths = {}
    for name in BUILDS:
        optimisation, kind = name.split()
        path = folder / name.replace(" ", "") / "prog"
        paths[name] = str(compiled(path, SOURCE, optimisation, "-g", *KINDS[kind]))
    return paths


class Traced:
    """What `hwbp-tui trace --json` printed."""

    def __init__(self, *argv: str) -> None:
        self.done = subprocess.run(
            [sys.executable, "-m", "tui", "trace", "--json", *argv],
            cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120, check=False,
        )  # fmt: skip
        assert self.done.returncode == 0, self.done.stderr
        self.lines = self.done.stdout.splitlines()
        self.header, *self.hits, last = map(json.loads, self.lines)
        self.summary: dict[str, Any] = last["summary"]

    def of(self, watch: int) -> list[tuple[int, int]]:
        return [(hit["old"], hit["value"]) for hit in self.hits if hit["watch"] == watch]

    def truth(self, name: str) -> list[tuple[int, int]]:
        """What the program itself printed about one of its objects."""
        rows = [line.rsplit(" ", 2) for line in self.done.stderr.splitlines()]
        return [(int(row[1]), int(row[2])) for row in rows if len(row) == 3 and row[0] == name]


def check_fields(traced: Traced, path: str, stack: bool) -> None:
    assert traced.header == {"schema": 1, "kind": "trace"}
    names = [*TYPES, *(["stack"] if stack else [])]
    for number, hit in enumerate(traced.hits, 1):
        assert list(hit) == names
        for name, kind in TYPES.items():
            assert isinstance(hit[name], kind), (name, hit[name])
            assert not isinstance(hit[name], bool)
        assert hit["hit"] == number
        assert hit["mode"] == "user"
        assert hit["comm"] == os.path.basename(path)[:15]
        assert hit["slot"] in range(4)
        assert hit["length"] in (1, 2, 4, 8)
        assert hit["address"] % hit["length"] == 0
        if hit["access"] == "x":
            assert hit["ip"] == hit["insn_ip"]
            assert [hit[name] for name in ("value", "old", "value_from", "old_from")] == [None] * 4
        else:
            assert (hit["value_from"], hit["old_from"]) == ("exact", "exact")
            assert 0 <= hit["old"] < 1 << 8 * hit["length"]
            assert 0 <= hit["value"] < 1 << 8 * hit["length"]
        if stack:
            assert hit["stack"][0] == [hit["insn_ip"], hit["symbol"]]
            assert all(isinstance(ip, int) and isinstance(name, str) for ip, name in hit["stack"])
    times = [hit["time_ns"] for hit in traced.hits]
    assert times == sorted(times)
    assert list(traced.summary) == ["hits", "lost", "duration_s", "exit_status", "clock", "instructions"]
    assert traced.summary["hits"] == len(traced.hits)
    assert traced.summary["lost"] == 0
    assert traced.summary["clock"] == "instructions"
    assert isinstance(traced.summary["duration_s"], float)
    assert traced.summary["instructions"] >= max(times)


def instructions_of(path: str) -> dict[int, tuple[int, str]]:
    """objdump's opinion: where the next instruction begins, and the mnemonic, by address."""
    text = subprocess.run(
        ["objdump", "-d", "-M", "intel", "--no-show-raw-insn", path],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    rows = []
    for line in text.splitlines():
        address, colon, rest = line.strip().partition(":\t")
        if colon:
            rows.append((int(address, 16), rest.split()[0] if rest.split() else ""))
    return {here: (after, word) for (here, word), (after, _) in pairwise(rows)}


@pytest.mark.parametrize("build", BUILDS)
def test_the_hits_are_the_writes_that_the_program_notes_itself(built: dict[str, str], build: str) -> None:
    path = built[build]
    watched = ["counter", "cfg.limits[2]", "table[3]", "prog.c::hidden"]
    traced = Traced("--stack", *[word for name in watched for word in ("-w", name)], "--", path)
    for index, name in enumerate(watched):
        truth = traced.truth(name.rpartition(":")[2])
        assert truth, "the program should have noted something"
        assert traced.of(index) == truth, name
    check_fields(traced, path, stack=True)
    assert traced.summary["exit_status"] == 7
    assert "said at once" in traced.done.stderr
    # who did it: module, symbol, source and the call stack
    code = instructions_of(path)
    functions = ["add|set", "limit|main", "touch|main", "main"]
    for hit in traced.hits:
        assert hit["module"] == hit["insn_module"] == path
        after, word = code[hit["insn_module_offset"]]
        assert hit["module_offset"] == after
        assert hit["insn"].split()[0] == word
        assert hit["ip"] - hit["insn_ip"] == after - hit["insn_module_offset"]
        assert hit["symbol"].rpartition("+0x")[0].split(".")[0] in functions[hit["watch"]].split("|")
        assert hit["source"].startswith("prog.c:")
        assert hit["stack"][-1][1].startswith("_start+0x")
        assert "main+0x" in "".join(name for _, name in hit["stack"])
    depths = [
        sum(name.startswith("deep+") for _, name in hit["stack"]) for hit in traced.hits if hit["watch"] == 0
    ]
    assert depths == [0] * 7 + [1, 2, 3, 4]


@pytest.mark.parametrize("build", ["-O0 dynamic", "-O2 static"])
def test_execute_lines_windows_and_types_of_a_watch(built: dict[str, str], build: str) -> None:
    path = built[build]
    traced = Traced("-w", "odd+1/2", "-w", f"prog.c:{LINE}", "-w", "head->next->value:rw", "--", path)
    check_fields(traced, path, stack=False)
    split = [hit for hit in traced.hits if hit["watch"] == 0]
    assert [(hit["window"], hit["length"], hit["old"], hit["value"]) for hit in split[-2:]] == [
        (0, 1, 0, 0x34),
        (1, 1, 0, 0x12),
    ]
    assert len({hit["time_ns"] for hit in split[-2:]}) == 1
    lines = [hit for hit in traced.hits if hit["watch"] == 1]
    assert len(lines) == 3
    assert {hit["access"] for hit in lines} == {"x"}
    assert {hit["source"] for hit in lines} == {f"prog.c:{LINE}"}
    seen = [(hit["access"], hit["old"], hit["value"]) for hit in traced.hits if hit["watch"] == 2]
    assert ("w", 5, 77) in seen
    assert ("r", 5, 5) in seen
    assert ("r", 77, 77) in seen


def test_a_function_and_a_part_of_an_object_are_watched_as_asked(built: dict[str, str]) -> None:
    path = built["-O0 dynamic"]
    traced = Traced(
        "-w", "main:x", "-w", "line", "-w", "cfg+32/8:rw", "-w", "cfg.limits+40", "--limit", "5", "--", path
    )
    check_fields(traced, path, stack=False)
    first = traced.hits[0]
    assert (first["access"], first["symbol"].removesuffix("+0x0"), first["watch"]) == ("x", "main", 0)
    assert traced.summary["exit_status"] in (None, 7)  # the machine may be ahead of what was printed
    assert len(traced.hits) == 5


@pytest.mark.parametrize("build", ["-O0 dynamic", "-O2 static"])
def test_copies_of_the_library_are_seen_with_their_own_module(built: dict[str, str], build: str) -> None:
    path = built[build]
    traced = Traced("-w", "text/8", "--", path, "copy", "abcdefghij", "XY")
    values = traced.of(0)
    truth = traced.truth("copied")
    assert values[0][0] == truth[0][0] == 0
    assert values[-1][1] == truth[-1][1]
    assert truth[0][1] in [value for _, value in values]
    assert all(after[0] == before[1] for before, after in pairwise(values))
    modules = {os.path.basename(hit["insn_module"]) for hit in traced.hits}
    assert modules == ({"libc.so.6"} if "dynamic" in build else {os.path.basename(path)})
    for hit in traced.hits:
        assert os.path.isabs(hit["insn_module"])


def test_two_runs_are_identical_line_by_line(built: dict[str, str]) -> None:
    path = built["-O0 dynamic"]
    one, two = (
        Traced("--stack", "-w", "counter:rw", "-w", "text/16", "--", path, "copy", "a", "b") for _ in "12"
    )
    assert one.lines[:-1] == two.lines[:-1]
    one.summary.pop("duration_s")
    two.summary.pop("duration_s")
    assert one.summary == two.summary
    assert one.done.stderr == two.done.stderr


@pytest.mark.parametrize(("how", "number"), [("abort", signal.SIGABRT), ("segv", signal.SIGSEGV)])
def test_death_by_a_signal_is_in_the_summary_and_no_failure(
    built: dict[str, str], how: str, number: signal.Signals
) -> None:
    traced = Traced("-w", "counter", "--", built["-O2 static"], how)
    assert traced.summary["exit_status"] == -number
    assert len(traced.hits) == 11


def test_the_limit_the_duration_and_a_file(built: dict[str, str], tmp_path: Path) -> None:
    spin = [built["-O2 static"], "spin"]
    limited = Traced("-w", "counter", "--limit", "20", "--", *spin)
    assert (limited.summary["hits"], limited.summary["exit_status"]) == (20, None)
    timed = Traced("-w", "table[3]", "--duration", "0.3", "--", *spin)
    assert timed.summary["exit_status"] is None
    assert 0.3 <= timed.summary["duration_s"] < 30
    assert len(timed.hits) == 3
    file = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-m", "tui", "trace", "--json", "-w", "counter", "-o", str(file), "--", built["-O2 static"]],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.startswith("said at once\ncounter 0 0\n")
    assert json.loads(file.read_text().splitlines()[-1])["summary"]["hits"] == 11


def test_sigint_of_the_whole_process_group_ends_it_with_a_whole_summary(built: dict[str, str]) -> None:
    """As Ctrl-C in a terminal does."""
    with subprocess.Popen(
        [sys.executable, "-m", "tui", "trace", "--json", "-w", "counter", "--", built["-O2 static"], "spin"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)
        lines = process.stdout.read().splitlines()
        assert process.wait(30) == 0
    summary = json.loads(lines[-1])["summary"]
    assert summary["exit_status"] is None
    assert summary["hits"] == len(lines) - 1
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


@pytest.mark.live
@pytest.mark.parametrize("build", ["-O1 no-pie", "-O2 static"])
def test_the_same_hits_as_on_the_hardware_of_this_machine(built: dict[str, str], build: str) -> None:
    path = built[build]
    traced = Traced("-w", "counter:rw", "-w", "cfg.limits[2]", "-w", "table[3]:rw", "-w", "line", "--", path)
    slots: list[tuple[int, int, str]] = []
    for index, kind in enumerate(["rw", "w", "rw", "x"]):
        hit = next(hit for hit in traced.hits if hit["watch"] == index)
        slots.append((hit["address"], hit["length"], kind))
    try:
        there, status = silicon.trace([path], slots)
    except Unavailable as error:
        pytest.skip(f"no hardware breakpoints through ptrace here: {error}")
    here = [(hit["ip"], 1 << hit["slot"], hit["value"]) for hit in traced.hits]
    assert [(hit.ip, hit.slots, hit.values[hit.slots.bit_length() - 1]) for hit in there] == here
    assert status >> 8 == traced.summary["exit_status"]


def test_script_objects_are_those_of_the_contract(built: dict[str, str]) -> None:
    script = "# a comment\nwatch counter\n! ENOENT delete 99\ninfo slots\nwatch nosuch\ninfo owners\n"
    done = subprocess.run(
        [sys.executable, "-m", "tui", "script", "-", "--json", "--", built["-O2 static"]],
        cwd=ROOT, input=script, capture_output=True, text=True, check=False,
    )  # fmt: skip
    header, *objects = map(json.loads, done.stdout.splitlines())
    assert header == {"schema": 1, "kind": "script"}
    assert [obj["line"] for obj in objects] == [2, 3, 4, 5]
    assert list(objects[0]) == ["line", "command", "ok", "result"]
    assert isinstance(objects[0]["result"], dict)
    expected = objects[1]
    assert (expected["ok"], expected["expected"], expected["errno"]) == (True, True, "ENOENT")
    assert {"line", "command", "errno", "error"} <= expected.keys()
    failed = objects[3]
    assert list(failed) == ["line", "command", "ok", "errno", "error", "holders"]
    assert failed["ok"] is False
    assert isinstance(failed["holders"], list)
    assert done.returncode == 1
    assert done.stderr.startswith("hwbp-tui: error: standard input:5: ")
    assert done.stderr.count("\n") == 1


def test_doctor_is_one_object_of_the_contract() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tui", "doctor", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    answer = json.loads(done.stdout)
    assert list(answer) == ["schema", "checks"]
    assert answer["schema"] == 1
    for check in answer["checks"]:
        assert list(check) == ["name", "ok", "found", "means", "remedy"]
        assert check["ok"] in (True, False, None)
        assert all(isinstance(check[name], str) for name in ("name", "found", "means", "remedy"))
    assert done.stderr == ""


def test_demos_are_listed_and_contention_plays_as_a_script() -> None:
    from tui.session.demos import DEMOS

    listed = subprocess.run(
        [sys.executable, "-m", "tui", "demo", "--list"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert [line.split()[0] for line in listed.stdout.splitlines()] == [demo.name for demo in DEMOS]
    assert all(
        ", ".join(d.backends) in line for d, line in zip(DEMOS, listed.stdout.splitlines(), strict=True)
    )
    contention = next(demo for demo in DEMOS if demo.name == "contention")
    done = subprocess.run(
        [sys.executable, "-m", "tui", "script", "-"],
        cwd=ROOT, input="\n".join(contention.script()), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.count("refused as expected: ENOSPC") == 5
    assert done.stderr == ""
