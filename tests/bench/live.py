"""A live program that hits without pause: its own time and the collector's, beside `perf record` of the same event."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

from backends.base import Launch
from backends.client import ClientBackend
from backends.model import BreakpointRequest
from backends.ring_reader import RingReader
from symbols.elf import ElfImage
from symbols.table import SymbolTable
from tests.bench.programs import Built, Missing
from tests.bench.report import Report, Row, Spread, skipped
from tests.live.tracing import connected

__all__ = ["bench"]

_SOURCE = Path(__file__).parent / "programs" / "live.c"
_GDB_HITS = 2000

Run = Callable[[int], tuple[float, float]]
"""One run of so many hits: microseconds of the program's own time a hit, and of the collector's."""


class _Target:
    """The program, and how each collector runs it."""

    def __init__(self, folder: str, hits: int) -> None:
        if shutil.which("gcc") is None:
            raise Missing("gcc is not installed")
        self.path = str(Path(folder) / "live")
        flags = ["-O1", "-g", "-fno-omit-frame-pointer", "-no-pie"]
        subprocess.run(["gcc", *flags, "-o", self.path, str(_SOURCE)], check=True, capture_output=True)
        self.address = SymbolTable(ElfImage.open(self.path)).find("hot")[0].value
        self.hits = hits
        self._data = str(Path(folder) / "perf.data")

    def ours(self, hits: int, *, stacks: bool, plain: bool = False) -> tuple[float, float]:
        """Through the backend's process; `plain` without capabilities, so through perf's rings."""
        client = _connect(plain)
        try:
            client.launch(Launch(self.path, (str(hits),), stacks=stacks))
            client.arm((BreakpointRequest(self.address, 8, "w"),))
            before = _cpu(client.pid)
            client.resume()
            ring = RingReader(client.ring_fd)
            while ring.state == "running":
                time.sleep(0.02)
            ring.close()
            collector = _cpu(client.pid) - before
            view = client.view()
            if view.hits != hits or view.lost:
                raise RuntimeError(f"{view.hits} of {hits} hits, {view.lost} lost ({view.engine})")
            text = b"".join(data for _, data in client.output(0)).split()
            return float(text[0]) * 1e6 / hits, collector * 1e6 / hits
        finally:
            client.close()

    def perf(self, hits: int, *options: str) -> tuple[float, float]:
        """`perf record` of the same event, written into a file."""
        event = f"mem:{self.address:#x}/8:w"
        command = ["perf", "record", "-q", "-o", self._data, *options, "-e", event, "-c", "1"]
        process = subprocess.Popen(
            [*command, self.path, str(hits)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        text = process.stdout.read().split()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode or len(text) < 2:
            raise Missing("perf record of a breakpoint does not work here")
        loop, all_ = (float(each) for each in text[:2])
        collector = usage.ru_utime + usage.ru_stime - all_
        return loop * 1e6 / hits, collector * 1e6 / hits

    def bpftrace(self) -> float:
        """Microseconds of the program's own time a hit while bpftrace counts the hits by their ip."""
        program = f'watchpoint:{self.address:#x}:8:w {{ @[reg("ip")] = count(); }}'
        done = subprocess.run(
            ["bpftrace", "-q", "-e", program, "-c", f"{self.path} {self.hits}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        counted = max(
            map(int, re.findall(r"^@\[.*\]: (\d+)$", done.stdout, re.MULTILINE)), default=0
        )  # others are the kernel, clearing it
        if counted != self.hits:
            raise RuntimeError(f"bpftrace counted {counted} of {self.hits} hits")
        loop = next(float(word) for word in done.stdout.split() if re.fullmatch(r"\d+\.\d{9}", word))
        return loop * 1e6 / self.hits

    def gdb(self) -> float:
        """Microseconds of wall time a stop of gdb's hardware watchpoint, its own start taken off."""
        commands = ["-ex", "break main", "-ex", "run", "-ex", "delete 1", "-ex", "watch -l hot"]
        script = Path(self.path + ".gdb")
        script.write_text("commands\nsilent\ncontinue\nend\ncontinue\n")

        def once(hits: int) -> float:
            began = time.perf_counter()
            subprocess.run(
                ["gdb", "-nx", "-q", "-batch", *commands, "-x", str(script), "--args", self.path, str(hits)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=120,
                check=True,
            )
            return time.perf_counter() - began

        return (once(_GDB_HITS) - once(1)) * 1e6 / (_GDB_HITS - 1)


def _connect(plain: bool) -> ClientBackend:
    if plain and os.getuid() == 0 and shutil.which("setpriv") is None:
        raise Missing("setpriv is not installed")
    return connected("rings" if plain else "bpf")


def _cpu(pid: int) -> float:
    """Seconds on a CPU, of all threads (/proc/PID/task/TID/schedstat: nanoseconds, not ticks)."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def bench(_built: Built, quick: bool) -> Report:
    """Rounds in shuffled order, each collector once a round; ratios round by round."""
    if shutil.which("perf") is None:
        raise Missing("perf is not installed: apt-get install linux-perf")
    rounds, hits = (3, 60_000) if quick else (5, 200_000)
    with tempfile.TemporaryDirectory() as folder:
        target = _Target(folder, hits)
        runs: dict[str, Run] = {
            "bpf": partial(target.ours, stacks=False),
            "bpf-stacks": partial(target.ours, stacks=True),
            "rings": partial(target.ours, stacks=False, plain=True),
            "rings-stacks": partial(target.ours, stacks=True, plain=True),
            "perf": target.perf,
            "perf-stacks": lambda hits: target.perf(hits, "-g"),
        }
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
        starts: dict[str, list[float]] = {name: [] for name in runs}
        order = list(runs)
        for _ in range(rounds):
            random.shuffle(order)
            for name in order:
                found[name].append(runs[name](hits))
                # What the collector spends for a single hit is its start: modules, names, perf's own.
                starts[name].append(runs[name](1)[1])
        beyond = {
            name: [(loop, collector - median(starts[name]) / hits) for loop, collector in each]
            for name, each in found.items()
        }
        return (
            _report(beyond) + _against_bpftrace(target, beyond["bpf"]) + _against_gdb(target, beyond["bpf"])
        )


def _report(found: dict[str, list[tuple[float, float]]]) -> Report:
    rows = Report(())
    for what, ours, peer, goal in (
        ("live: program's time a hit, values and slots", "bpf", "perf", 1.00),
        ("live: the same with stacks", "bpf-stacks", "perf-stacks", 0.95),
        ("live: program's time a hit, perf's rings", "rings", "perf", 1.05),
        ("live: the same with stacks", "rings-stacks", "perf-stacks", 1.10),
    ):
        tool = "perf record -g" if peer.endswith("stacks") else "perf record"
        mine, theirs = (Spread.of([run[0] for run in found[name]]) for name in (ours, peer))
        ratio = mine.over(theirs)
        row = Row(
            what,
            mine.text("us"),
            theirs.text(f"us, {tool}"),
            ratio.text("x"),
            f"<= {goal:.2f}x",
            ratio.middle <= goal,
        )
        rows += Report((row,))
        mine, theirs = (Spread.of([max(run[1], 1e-3) for run in found[name]]) for name in (ours, peer))
        ratio = mine.over(theirs)
        row = Row(
            "live: collector's time a hit", mine.text("us"), theirs.text(f"us, {tool}"), ratio.text("x"), "<= 1.0x",
            ratio.middle <= 1.0,
        )  # fmt: skip
        rows += Report((row,))
    return rows


def _against_bpftrace(target: _Target, ours: list[tuple[float, float]]) -> Report:
    if shutil.which("bpftrace") is None:
        return skipped("live: bpftrace's watchpoint", "bpftrace is not installed: apt-get install bpftrace")
    mine, theirs = (
        Spread.of([run[0] for run in ours[:2]]),
        Spread.of([target.bpftrace() for _ in range(len(ours[:2]))]),
    )
    ratio = mine.over(theirs)
    text = theirs.text("us, bpftrace counting")
    return Report((Row("live: against bpftrace", mine.text("us"), text, ratio.text("x")),))


def _against_gdb(target: _Target, ours: list[tuple[float, float]]) -> Report:
    if shutil.which("gdb") is None:
        return skipped("live: gdb's hardware watchpoint", "gdb is not installed")
    mine, theirs = Spread.of([run[0] for run in ours[:1]]), Spread.of([target.gdb()])
    return Report(
        (
            Row(
                "live: against gdb",
                mine.text("us"),
                theirs.text("us, gdb watch"),
                mine.over(theirs).text("x"),
            ),
        )
    )
