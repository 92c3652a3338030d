"""Programs that open perf events on themselves: the same output on this machine's kernel and on the emulated machine."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.live.real_side import slots_are_free
from tests.machine import perf_programs
from tests.machine.tasks_programs import built
from tests.machine.test_perf_programs import Ran

pytestmark = pytest.mark.live
_NEEDS_ROOT = ("ACCOUNT", "KERNEL_MODE", "MIGRATE")


@pytest.mark.slow
@pytest.mark.parametrize("name", perf_programs.__all__)
def test_a_program_prints_the_same_on_both(tmp_path: Path, name: str) -> None:
    if name in _NEEDS_ROOT and os.getuid():
        pytest.skip("needs root")
    if not slots_are_free(os.getpid(), wide=name in _NEEDS_ROOT):
        pytest.skip("somebody else holds hardware breakpoints, or there are none")
    if name == "MIGRATE" and (os.cpu_count() or 1) < 2:
        pytest.skip("needs two CPUs")
    program = built(tmp_path, getattr(perf_programs, name), "-O1", "-no-pie")
    native = subprocess.run([program], capture_output=True, text=True, check=False, timeout=60)
    if not slots_are_free(os.getpid(), wide=name in _NEEDS_ROOT):
        pytest.skip("somebody else held hardware breakpoints meanwhile")
    assert native.returncode == 0
    assert Ran(program, "exec", "perfmon").output == native.stdout
