"""Ordinary programs of this machine: how long they take emulated, beside native and beside qemu-x86_64."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench.programs import Built, Missing
from tests.bench.report import Report, Row, Spread

__all__ = ["bench"]

_QEMU = "qemu-x86_64"
_LOOP = "n = 0\nfor i in range(20000): n += i * i % 7\nprint(n)"
_SQL = (
    "with recursive c(x) as (select 1 union all select x + 1 from c where x < 3000) select sum(x * x) from c;"
)
_PROGRAMS: dict[str, tuple[str, ...]] = {
    "sort": ("sort", "-n", "FILE"),
    "grep": ("grep", "-c", "7.*3", "FILE"),
    "gzip": ("gzip", "-c", "FILE"),
    "sha256sum": ("sha256sum", "FILE"),
    "awk": ("awk", "{s += $1 * 1.5} END {print s}", "FILE"),
    "sqlite3": ("sqlite3", ":memory:", _SQL),
    "python3 -S": ("/usr/bin/python3", "-S", "-c", _LOOP),
}


def bench(_built: Built, quick: bool) -> Report:
    """Each in turn; the ratio is against qemu's user-mode emulation."""
    if shutil.which(_QEMU) is None:
        raise Missing(f"{_QEMU} is not installed: apt-get install qemu-user")
    rows = []
    with tempfile.TemporaryDirectory(prefix="hwbp-bench-") as folder:
        path = Path(folder) / "numbers"
        path.write_text("".join(f"{n * 7919 % 100_003}\n" for n in range(4000)))
        for name, (program, *rest) in _PROGRAMS.items():
            if (found := shutil.which(program)) is None:
                rows.append(Row(f"ordinary: {name}", "skipped: not installed"))
                continue
            command = [found, *(word.replace("FILE", str(path)) for word in rest)]
            ours = [sys.executable, "-m", "tui", "trace", "-o", os.devnull, "--", *command]
            times = [
                (_seconds(ours), _seconds([_QEMU, *command]), _seconds(command))
                for _ in range(1 if quick else 3)
            ]
            mine, qemu, native = (Spread.of([row[n] for row in times]) for n in range(3))
            peer = f"{qemu.text('s')}, qemu-x86_64; native {native.text('s')}"
            rows.append(Row(f"ordinary: {name}", mine.text("s"), peer, mine.over(qemu).text("x")))
    return Report(tuple(rows))


def _seconds(command: Sequence[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start
