"""The program that runs at a hit: what it says of the task is the same whichever way it asks the kernel."""

from __future__ import annotations

import os
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
from tests.live.bpf_here import needs_bpf
from tests.live.tracing import build, needs_breakpoints

pytestmark = [pytest.mark.root, pytest.mark.live, pytest.mark.slow, needs_bpf, needs_breakpoints]

PROGRAM = """
#include <pthread.h>
#include <sys/prctl.h>
long counter;
static void *other(void *name) { prctl(PR_SET_NAME, name); counter++; return 0; }
int main(void) {
    prctl(PR_SET_NAME, "a name of fifteen and more");
    counter++;
    prctl(PR_SET_NAME, "short");
    counter++;
    pthread_t thread;
    pthread_create(&thread, 0, other, "");
    pthread_join(thread, 0);
    return 0;
}
"""


@pytest.mark.parametrize("loads", [True, False])
def test_a_hit_carries_the_numbers_and_the_name_of_its_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loads: bool
) -> None:
    if not loads:
        monkeypatch.setattr(opener, "_task_source", lambda btf: None)
    path = str(build(tmp_path, "named", PROGRAM, "-no-pie"))
    address = SymbolTable(ElfImage.open(path)).find("counter")[0].value
    ring = create_memfd(64)
    backend = PerfBackend(ring, (1, 2))
    reader = RingReader(ring)
    try:
        pid = backend.launch(Launch(path)).tasks[0].pid
        backend.arm((BreakpointRequest(address, 8, "w"),))
        backend.resume()
        while backend.running:
            time.sleep(backend.run_slice())
        view = backend.view()
        rows = reader.read(0, view.hits)
    finally:
        backend.close()
        reader.close()
        os.close(ring)
    assert [view.comms[row] for row in rows["comm"].tolist()] == ["a name of fifte", "short", ""]
    assert rows["pid"].tolist() == [pid] * 3
    first, second, other = rows["tid"].tolist()
    assert first == second == pid
    assert other not in (0, pid)
