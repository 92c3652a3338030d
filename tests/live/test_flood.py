"""A program that hits as fast as this machine lets it: nothing is lost, and three counts agree."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from backends.base import Launch
from backends.model import BreakpointRequest
from backends.perf import opener
from backends.perf.backend import PerfBackend
from backends.ring import create_memfd
from backends.ring_reader import RingReader
from symbols.elf import ElfImage
from symbols.table import SymbolTable
from tests.live.tracing import WAYS, build, connected, needs_breakpoints, trace

pytestmark = [pytest.mark.live, pytest.mark.slow, needs_breakpoints]

SOURCE = r"""
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
volatile long first, second;
static double seconds;
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec * 1e-9; }
static void *hit(void *of) {
    volatile long *at = of;
    double end = now() + seconds;
    while (now() < end) for (int i = 0; i < 256; i++) ++*at;
    return 0;
}
int main(int argc, char **argv) {
    pthread_t other;
    seconds = atof(argv[1]);
    pthread_create(&other, 0, hit, (void *)&second);
    hit((void *)&first);
    pthread_join(other, 0);
    FILE *note = fopen(argv[2], "w");
    fprintf(note, "%ld %ld", first, second);
    fclose(note);
    return 0;
}
"""
SECONDS = float(os.environ.get("HWBP_TUI_FLOOD", "2"))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build(tmp_path_factory.mktemp("flood"), "flood", SOURCE, "-no-pie"))


@pytest.mark.parametrize("stacks", [False, True], ids=["plain", "stacks"])
@pytest.mark.parametrize("way", WAYS)
def test_both_cpus_at_the_ceiling_lose_nothing(program: str, way: str, stacks: bool, tmp_path: Path) -> None:
    table = SymbolTable(ElfImage.open(program))
    note = tmp_path / "note"
    client = connected(way)
    try:
        client.launch(Launch(program, (str(SECONDS), str(note)), stacks=stacks))
        made = client.arm(
            tuple(
                BreakpointRequest(table.find(name)[0].value, 8, "w", watch=number)
                for number, name in enumerate(("first", "second"))
            )
        )
        if (
            os.getuid() == 0
        ):  # what else runs on this machine, other tests, is not to keep the collector from its work
            os.setpriority(os.PRIO_PROCESS, client.pid, -15)
        client.resume()
        ring = RingReader(client.ring_fd)
        until = time.monotonic() + SECONDS + 30
        while ring.state == "running" and time.monotonic() < until:
            time.sleep(0.05)
        view = client.view()
        assert view.state == "exited"
        said = [int(part) for part in note.read_text().split()]
        sites = client.sites()
        counted = [sum(site.count for site in sites if site.breakpoint == bp.id) for bp in made]
        assert view.lost == 0
        assert counted == said
        assert view.hits == sum(said)
        print(f"{way}: {view.hits:,} hits in {SECONDS:g} s, lost {view.lost}")
        if way == "bpf":
            assert {site.breakpoint: site.value for site in sites} == {
                bp.id: value for bp, value in zip(made, said, strict=True)
            }
        ring.close()
    finally:
        client.close()


@pytest.mark.parametrize("way", WAYS)
def test_every_hit_of_a_flood_can_be_printed(program: str, way: str, tmp_path: Path) -> None:
    note, out = tmp_path / "note", tmp_path / "out"
    done = trace(
        way,
        ["first", "second"],
        "-o",
        str(out),
        "--",
        program,
        str(min(SECONDS, 1.0)),
        str(note),
        timeout=120,
    )
    assert done.status == 0
    said = sum(int(part) for part in note.read_text().split())
    with out.open("rb") as file:
        lines = sum(1 for _ in file)
    assert lines == said + 2


@pytest.mark.root
def test_what_the_ring_has_no_room_for_is_lost_to_the_history_and_not_to_the_totals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = 'volatile long first;\nint main(void) { for (int i = 0; i < 3000; i++) first++; for (;;) __asm__("pause"); }\n'
    program = str(build(tmp_path, "full", source, "-no-pie"))
    address = SymbolTable(ElfImage.open(program)).find("first")[0].value
    monkeypatch.setattr(opener, "WANTED_RING", 1 << 16)
    backend = PerfBackend(create_memfd(1 << 12), (1, 2))
    try:
        pid = backend.launch(Launch(program)).tasks[0].pid
        (made,) = backend.arm((BreakpointRequest(address, 8, "w"),))
        backend.resume()
        until = time.monotonic() + 20
        while int.from_bytes(backend.read(address, 8), "little") < 3000 and time.monotonic() < until:
            time.sleep(0.01)  # nobody looks at the ring
        backend.release()
        view = backend.view()
        assert view.lost is not None
        assert view.lost > 2000
        assert view.hits + view.lost == 3000
        assert [(site.breakpoint, site.count) for site in backend.sites()] == [(made.id, 3000)]
    finally:
        backend.close()
        os.kill(pid, signal.SIGKILL)  # a launched program runs on without us


@pytest.mark.parametrize("way", WAYS)
def test_the_guard_lets_a_flooded_program_get_on(program: str, way: str, tmp_path: Path) -> None:
    note = tmp_path / "note"
    done = trace(way, ["first"], "--guard", "--", program, "1.5", str(note))
    assert 0.3 < done.summary["blind_s"] < 3
    said = int(note.read_text().split()[0])
    assert len(done.hits) < said / 10
    assert done.summary["lost"] == 0
