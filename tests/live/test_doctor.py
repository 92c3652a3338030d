"""`doctor` against this machine: what it says is so, with and without privileges."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import platform
import subprocess
import sys
from typing import Any

import pytest

from tests.live.bpf_here import needs_bpf
from tests.live.holders import perf_open
from tui.text.checks.registers import fires, slots_free

pytestmark = [pytest.mark.root, pytest.mark.live, pytest.mark.undisturbed, needs_bpf]


def checks(*before: str) -> dict[str, dict[str, Any]]:
    done = subprocess.run(
        [*before, sys.executable, "-m", "tui", "doctor", "--json"],
        capture_output=True,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.stderr == ""
    found: list[dict[str, Any]] = json.loads(done.stdout)["checks"]
    for check in found:
        assert check.keys() == {"name", "ok", "found", "means", "remedy"}
        assert check["ok"] is not False or check["remedy"], f"{check['name']} fails, and no remedy is named"
    return {check["name"]: check for check in found}


def test_a_privileged_user_reads_what_this_machine_has() -> None:
    found = checks()
    assert {name for name in ("breakpoint_pmu", "btf", "bpf", "kernel") if found[name]["ok"]} == {
        *("breakpoint_pmu", "btf", "bpf", "kernel")
    }
    assert found["kernel"]["found"] == platform.release()
    cpus = [part.split(": ") for part in found["slots_free"]["found"].split(";")[0].split(", ")]
    assert len(cpus) == os.cpu_count()
    assert all(0 <= int(free) <= 4 for _, free in cpus)


@pytest.mark.slow
def test_a_user_without_privileges_reads_what_is_missing_and_what_would_help() -> None:
    found = checks("setpriv", "--bounding-set=-all", "--inh-caps=-all")
    assert [found[name]["ok"] for name in ("CAP_BPF", "CAP_PERFMON", "bpf")] == [False, False, False]
    assert found["slots_free"]["ok"] is None
    assert "sudo" in found["slots_free"]["remedy"]
    assert "sudo" in found["bpf"]["remedy"]


@pytest.mark.slow
def test_ring_memory_that_is_too_small_is_said() -> None:
    found = checks("setpriv", "--bounding-set=-all", "--inh-caps=-all", "prlimit", "--memlock=4096:4096")
    assert found["ring_memory"]["ok"] is False
    assert found["ring_memory"]["remedy"].startswith("sudo sysctl kernel.perf_event_mlock_kb=")


def test_few_descriptors_are_said() -> None:
    found = checks("prlimit", "--nofile=200:200")
    assert (found["descriptors"]["ok"], found["descriptors"]["found"]) == (
        False,
        "200, and we may raise it to 200",
    )


def test_an_armed_register_is_tried_for_real() -> None:
    assert "opened, and counted 1 write" in fires().found or "ENOSPC" in fires().found


def test_full_registers_are_named_with_their_holders() -> None:
    word = ctypes.c_uint64(0)
    fds = []
    try:
        with contextlib.suppress(OSError):
            for _ in range(5):
                fds.append(perf_open(ctypes.addressof(word), pid=os.getpid(), disabled=True))
        check = fires()
        assert check.ok is False
        assert check.found.startswith("ENOSPC")
        assert f"perf {os.getpid()} (" in check.found
        assert "hwbp-tui slots" in check.remedy
        assert slots_free().ok is False
    finally:
        for fd in fds:
            os.close(fd)
