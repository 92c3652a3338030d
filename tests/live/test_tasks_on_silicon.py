"""Programs with threads and children: the same hits in each task as this machine's own debug registers give."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import pytest

from backends.base import Launch
from backends.emulated.backend import EmulatedBackend
from backends.model import BreakpointRequest
from backends.ring import create_memfd
from backends.ring_reader import RingReader
from tests.live.ptrace import Unavailable
from tests.live.silicon import trace_tasks
from tests.machine.tasks_programs import THREADS, built
from tests.machine.test_tasks import symbol

pytestmark = [
    pytest.mark.undisturbed,
    pytest.mark.live,
    pytest.mark.skipif(
        sys.platform != "linux" or platform.machine() != "x86_64",
        reason="needs x86-64 Linux's debug registers",
    ),
]

CHILDREN = r"""
#include <sys/wait.h>
#include <unistd.h>
volatile long word, other;
static void __attribute__((noinline)) bump(long n) { word += n; if (n & 1) other = word; }
int main(void) {
  for (int n = 0; n < 3; n++)
    if (!fork()) {
      for (int i = 0; i < 5 + n; i++) bump(i);
      _exit(0);
    }
  bump(7);
  while (wait(0) > 0);
  return 0;
}
"""


def emulated(
    program: str, slots: list[tuple[int, int, str]], *, children: bool = False
) -> list[list[tuple[int, int]]]:
    """The same of the emulated machine."""
    fd = create_memfd(1 << 14)
    backend, ring = EmulatedBackend(fd), RingReader(fd)
    os.close(fd)
    backend.launch(Launch(program, stacks=False, quantum=700, children=children))
    backend.arm(tuple(BreakpointRequest(a, n, kind, window=i) for i, (a, n, kind) in enumerate(slots)))  # type: ignore[arg-type]
    window = {bp.id: bp.window for bp in backend.view().breakpoints}
    backend.resume()
    while backend.running:
        backend.run_slice()
    assert backend.view().exit_status == 0
    tasks: dict[int, list[tuple[int, int]]] = {}
    for row in ring.read(0, 1 << 14):
        mine = tasks.setdefault(int(row["tid"]), [])
        bit = 1 << window[int(row["breakpoint"])]
        if row["flags"] & 2:  # the same #DB
            mine[-1] = (mine[-1][0], mine[-1][1] | bit)
        else:
            mine.append((int(row["ip"]), bit))
    return [tasks.get(tid, []) for tid in range(1000, max(tasks, default=999) + 1)]


def native(program: str, slots: list[tuple[int, int, str]]) -> list[list[tuple[int, int]]]:
    try:
        return trace_tasks([program], slots)
    except Unavailable as error:
        pytest.skip(f"no hardware breakpoints through ptrace here: {error}")


def test_each_thread_hits_as_on_silicon(tmp_path: Path) -> None:
    program = built(tmp_path, THREADS, "-O1", "-no-pie")
    watched = symbol(program, "watched")
    slots = [
        (symbol(program, "total"), 8, "w"),
        (watched, 8, "w"),
        (watched + 16, 8, "rw"),
        (symbol(program, "work"), 1, "x"),
    ]
    expected = native(program, slots)
    assert [len(hits) for hits in expected] == [0, 801, 401, 801, 401]
    assert emulated(program, slots) == expected


def test_each_child_hits_as_on_silicon(tmp_path: Path) -> None:
    program = built(tmp_path, CHILDREN, "-O1", "-no-pie")
    slots = [
        (symbol(program, "word"), 8, "rw"),
        (symbol(program, "other"), 8, "w"),
        (symbol(program, "bump"), 1, "x"),
    ]
    expected = native(program, slots)
    assert len(expected) == 4
    assert all(expected)
    assert emulated(program, slots, children=True) == expected
