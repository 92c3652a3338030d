"""docs/comparison.md: what it says of other tools is tried where they are installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.live.tracing import needs_breakpoints

pytestmark = [pytest.mark.slow, pytest.mark.live, needs_breakpoints]

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "backends/emulated/programs/lock"


def needs(tool: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(tool) is None, reason=f"no {tool}: apt-get install {tool}")


def said(*words: str | Path) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


def gdb(program: Path, *commands: str) -> str:
    options = [word for command in ("break main", "run 10", *commands) for word in ("-ex", command)]
    return said("gdb", "-nx", "-q", "-batch", *options, program)


@needs("gdb")
def test_gdb_makes_a_software_watchpoint_of_a_large_object_and_says_so_only_by_a_missing_word() -> None:
    counter = ROOT / "backends/emulated/programs/counter"
    text = gdb(counter, "watch cfg", "info watchpoints", "kill")
    assert re.search(r"^Watchpoint 2: cfg$", text, re.MULTILINE)
    assert "hw watchpoint" not in text
    assert "Hardware watchpoint 2: counter" in gdb(counter, "watch counter", "kill")


@needs("gdb")
def test_gdb_fails_with_the_fifth_when_the_program_goes_on_not_when_it_is_set() -> None:
    counter = ROOT / "backends/emulated/programs/counter"
    names = ("counter", "total", "seed", "cfg.limits[0]", "cfg.limits[1]")
    text = gdb(counter, *(f"watch {name}" for name in names), "continue", "kill")
    assert text.count("Hardware watchpoint") == 5
    assert "You may have requested too many hardware breakpoints/watchpoints" in text


@needs("gdb")
def test_gdb_reports_only_writes_that_change_the_value(tmp_path: Path) -> None:
    script = tmp_path / "count.py"
    script.write_text(
        "import gdb\n"
        "count = 0\n"
        "class Watch(gdb.Breakpoint):\n"
        "    def stop(self):\n"
        "        global count\n"
        "        count += 1\n"
        "        return False\n"
        "gdb.execute('break main')\n"
        "gdb.execute('run 64 >/dev/null')\n"
        "watch = Watch('lock', gdb.BP_WATCHPOINT, gdb.WP_WRITE)\n"
        "gdb.execute('continue')\n"
        "print('COUNTED', count)\n"
    )
    text = said("gdb", "-nx", "-q", "-batch", "-x", script, LOCK)
    assert "COUNTED 128" in text, "of 136 writes: 8 failing cmpxchg write what was there"


@pytest.mark.root
@needs("perf")
def test_perf_counts_the_same_writes_and_has_no_value(tmp_path: Path) -> None:
    data = tmp_path / "perf.data"
    said("perf", "record", "-q", "-c", "1", "-e", "mem:0x403030/4:wu", "-o", data, LOCK, "64")
    text = said("perf", "script", "-i", data, "-F", "ip,sym,symoff")
    hits = [line for line in text.splitlines() if "acquire+" in line or "release+" in line]
    assert len(hits) == 136
    fields = said("perf", "script", "-F", "help")
    assert "value" not in fields


@pytest.mark.root
@needs("bpftrace")
def test_bpftrace_counts_the_same_writes_and_those_of_the_kernel_while_it_loads() -> None:
    script = "watchpoint:0x403030:4:w { @hits = count(); }"
    found = re.search(r"@hits: (\d+)", said("bpftrace", "-c", f"{LOCK} 64", "-e", script))
    assert found is not None
    assert 136 <= int(found[1]) <= 144
