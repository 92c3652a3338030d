"""Running `hwbp-tui trace` on programs compiled for a test, with BPF and without."""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from backends.client import ClientBackend, start
from backends.perf import events
from tests.compiled import compiled
from tests.live.bpf_here import reason as no_bpf
from tests.machine.scripts import ROOT, answers, told

__all__ = [
    "PLAIN",
    "ROOT",
    "WAYS",
    "Traced",
    "build",
    "command",
    "connected",
    "needs_breakpoints",
    "script",
    "script_text",
    "trace",
]

PLAIN = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
"""Without any capability: what a user without privileges has for programs of their own."""

WAYS = [
    pytest.param("bpf", marks=[pytest.mark.root, pytest.mark.skipif(bool(no_bpf()), reason=no_bpf() or "")]),
    pytest.param(
        "rings",
        marks=pytest.mark.skipif(
            os.getuid() == 0 and shutil.which("setpriv") is None,
            reason="no setpriv to drop capabilities with",
        ),
    ),
]


@functools.cache
def _no_breakpoints() -> str:
    attr = events.breakpoint_attributes(0x10000, 8, "w", children=False, kernel=False, sampled=False)
    try:
        os.close(events.open_event(attr, os.getpid()))
    except OSError as error:
        return f"no hardware breakpoints here: {error.strerror}"
    return ""


needs_breakpoints = pytest.mark.skipif(bool(_no_breakpoints()), reason=_no_breakpoints() or "they work here")


def build(folder: Path, name: str, source: str, *flags: str) -> Path:
    """A program from C."""
    return compiled(folder / name, source, "-O1", "-g", "-pthread", *flags)


def command(way: str, *arguments: str) -> list[str]:
    """The command line of `hwbp-tui` for a way of capture."""
    plain = PLAIN if way == "rings" and os.getuid() == 0 else []
    return [*plain, sys.executable, "-m", "tui.cli", *arguments]


@functools.cache
def _plain_python() -> str:
    """An interpreter without capabilities."""
    with tempfile.NamedTemporaryFile("w", suffix=".sh", delete=False) as script:
        script.write(f'#!/bin/sh\nexec {" ".join(PLAIN)} {sys.executable} "$@"\n')
    os.chmod(script.name, 0o755)
    atexit.register(os.unlink, script.name)
    return script.name


def connected(way: str) -> ClientBackend:
    """The live backend's process, which captures in this way."""
    python = sys.executable
    try:
        if way == "rings" and os.getuid() == 0:
            sys.executable = _plain_python()
        return start("perf", 1 << 16)
    finally:
        sys.executable = python


@dataclass(frozen=True)
class Traced:
    hits: list[dict[str, Any]]
    summary: dict[str, Any]
    errors: str
    status: int

    def by_watch(self, watch: int) -> list[dict[str, Any]]:
        return [hit for hit in self.hits if hit["watch"] == watch]


def trace(way: str, watches: list[str], *rest: str, backend: str = "perf", timeout: float = 60) -> Traced:
    """`trace --json` with watches; `rest` are more options and the program after `--`."""
    options = [part for watch in watches for part in ("-w", watch)]
    backends = [] if "-p" in rest else ["--backend", backend]
    done = subprocess.run(
        command(way, "trace", *backends, "--json", *options, *rest),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    hits = [line for line in lines if "hit" in line]
    summary: dict[str, Any] = next((line["summary"] for line in lines if "summary" in line), {})
    return Traced(hits, summary, done.stderr, done.returncode)


def script_text(program: Sequence[str], *lines: str, way: str = "bpf", status: int | None = 0) -> str:
    """What `script` prints about a live program, given with its arguments."""
    return told(command(way, "script", "-", "--backend", "perf", "--", *program), lines, status)


def script(backend: str, program: str, *lines: str, way: str = "bpf") -> list[dict[str, Any]]:
    """What each line of a `script --json` gave, in order; empty for one that was refused as expected."""
    words = command(way, "script", "-", "--json", "--backend", backend, "--", program)
    return [answer.get("result", {}) for answer in answers(told(words, lines))]
