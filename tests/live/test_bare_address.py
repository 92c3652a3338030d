"""Watching a bare address of a process reads no symbols: nothing of `symbols` that could is even imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.live.tracing import needs_breakpoints

pytestmark = [pytest.mark.live, pytest.mark.slow, needs_breakpoints]

_TARGET = """
import ctypes, sys
place = (ctypes.c_long * 2)()
print(ctypes.addressof(place) + 7 & ~7, flush=True)
sys.stdin.read()
"""
_BACKEND = """
import sys
from backends.base import Attach
from backends.model import BreakpointRequest
from backends.perf.backend import PerfBackend
from backends.ring import create_memfd
machine = PerfBackend(create_memfd(1 << 12), (1, 2))
machine.attach(Attach(int(sys.argv[1])))
machine.arm((BreakpointRequest(int(sys.argv[2]), 8, "w", owner="perf"),))
for _ in range(5):
    machine.run_slice()
machine.view()
print(*sorted(name for name in sys.modules if name.startswith("symbols.")))
machine.close()
"""
_FRONT_END = """
import sys
from backends.base import Attach
from backends.spawn import spawn
from tui.session.open import open_session
from tui.session.watch import Watch
session = open_session(spawn("perf"), Attach(int(sys.argv[1])), (Watch.parse(f"{int(sys.argv[2]):#x}/8"),))
assert session.look().breakpoints
print(*sorted(name for name in sys.modules if name.startswith("symbols.")))
session.close()
"""


@pytest.mark.parametrize("side", [_BACKEND, _FRONT_END], ids=["backend", "front end"])
def test_a_bare_address_loads_no_symbols(side: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _TARGET], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as target:
        try:
            assert target.stdout is not None
            address = target.stdout.readline().strip()
            done = subprocess.run(
                [sys.executable, "-c", side, str(target.pid), address],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        finally:
            target.kill()
    assert done.returncode == 0, done.stderr
    assert not {"symbols.elf", "symbols.table", "symbols.space", "symbols.dwarf"} & set(done.stdout.split())
