"""How many full hits a second reach the ring: address, instruction, old and new value."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Sequence

from backends.base import Launch
from backends.client import start
from backends.ring_reader import RingReader
from tests.bench.machine import Slot, in_process, requests, run_for
from tests.bench.programs import Built, Missing
from tests.bench.report import Report, Row, Spread, skipped

__all__ = ["bench"]

_GOAL = 150_000
_GOAL_STACKS = 80_000
_GOAL_GDB = 30
_WARM_UP = 0.4
_GDB_HITS = 4000
_GDB = """\
set pagination off
set confirm off
break main
run
delete 1
watch -l hot
commands
silent
continue
end
continue
"""


def bench(built: Built, quick: bool) -> Report:
    """In this process, through the machine's own process, and gdb beside them."""
    rounds, seconds = (3, 0.5) if quick else (5, 1.0)
    variables = ("hot", "warm", "cool", "cold")
    programs = {
        mode: built.program("hits", mode) for mode in ("write", "deep", "descend", "read", "four", "rep")
    }

    def slots(mode: str, count: int = 1, kind: str = "w") -> list[Slot]:
        path = programs[mode]
        return [(built.address(path, name), 8, "rw" if kind == "rw" else "w") for name in variables[:count]]

    write, deep = programs["write"], programs["deep"]
    report = _against_gdb(write, slots("write"), rounds, seconds)

    def add(what: str, program: str, armed: Sequence[Slot], goal: int | None, **more: bool) -> None:
        nonlocal report
        runs = [_hits_here(program, armed, seconds, **more) for _ in range(rounds)]
        report += _row(what, runs, goal)

    def add_child(what: str, program: str, armed: Sequence[Slot], goal: int | None, **more: bool) -> None:
        nonlocal report
        runs = [_hits_there(program, armed, seconds, **more) for _ in range(rounds)]
        report += _row(what, runs, goal)

    add("hits: in process, 16 frames", deep, slots("deep"), _GOAL_STACKS, stacks=True)
    add_child("hits: through the child, 16 frames", deep, slots("deep"), _GOAL_STACKS, stacks=True)
    add("hits: 16 frames, down and up for each", programs["descend"], slots("descend"), None, stacks=True)
    add_child("hits: through the child, every record copied", write, slots("write"), None, lossless=True)
    add("hits: in process, interpreted", write, slots("write"), None, jit=False)
    add("hits: in process, translated", write, slots("write"), None, jit=True)
    add("hits: 4 slots armed, one hit", write, slots("write", 4), None)
    add("hits: 4 slots armed, all hit in turn", programs["four"], slots("four", 4), None)
    add("hits: rep stosb, per element", programs["rep"], slots("rep"), None)
    add("hits: read-write slot, load and store", programs["read"], slots("read", kind="rw"), None)
    add("hits: write slot beside loads of it", programs["read"], slots("read"), None)
    return report


def _row(what: str, runs: list[float], goal: int | None) -> Report:
    spread = Spread.of(runs)
    met = spread.middle >= goal if goal else None
    return Report((Row(what, spread.text("hits/s"), goal=f">= {goal:,}/s" if goal else "", met=met),))


def _hits_here(
    program: str, slots: Sequence[Slot], seconds: float, *, stacks: bool = False, jit: bool | None = None
) -> float:
    with in_process(program, slots, stacks=stacks, jit=jit) as (backend, ring):
        if jit is False:
            backend.stay_cold()
        run_for(backend, _WARM_UP)
        before = ring.head
        spent = run_for(backend, seconds)
        return (ring.head - before) / spent


def _hits_there(
    program: str, slots: Sequence[Slot], seconds: float, *, stacks: bool = False, lossless: bool = False
) -> float:
    """With a reader beside it: the newest 40 rows 15 times a second as the app reads, or every row (`lossless`)."""
    client = start("emulated", 1 << 16)
    try:
        ring = RingReader(client.ring_fd)
        client.launch(Launch(program, stacks=stacks, lossless=lossless))
        if lossless:
            ring.set_flow(True)
        client.arm(requests(slots))
        client.resume()
        _read(ring, _WARM_UP + 0.3, lossless)
        before, began = ring.head, time.perf_counter()
        rows = _read(ring, seconds, lossless)
        rate = (ring.head - before) / (time.perf_counter() - began)
        if not rows:
            raise RuntimeError("nothing could be read")
        ring.close()
        return rate
    finally:
        client.close()


def _read(ring: RingReader, seconds: float, lossless: bool) -> int:
    end, rows = time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        if lossless:
            rows += len(ring.consume())
            time.sleep(0.005)
        else:
            rows += len(ring.read(ring.head - 40, 40))
            time.sleep(1 / 15)
    return rows


def _against_gdb(program: str, slots: Sequence[Slot], rounds: int, seconds: float) -> Report:
    here, there, peer = [], [], []
    report = Report(())
    try:
        gdb_works = bool(_gdb_rate(program, 100))
    except Missing as missing:
        gdb_works = False
        report = skipped("hits: gdb's hardware watchpoint", str(missing))
    for _ in range(rounds):
        here.append(_hits_here(program, slots, seconds))
        there.append(_hits_there(program, slots, seconds))
        if gdb_works:
            peer.append(_gdb_rate(program, _GDB_HITS))
    rows = _row("hits: in process", here, _GOAL) + _row("hits: through the child", there, _GOAL) + report
    if gdb_works:
        theirs = Spread.of(peer)
        for what, runs in (("in process", here), ("through the child", there)):
            mine = Spread.of(runs)
            ratio = mine.over(theirs)
            row = Row(
                f"hits: {what}, against gdb",
                mine.text("hits/s"),
                theirs.text("hits/s, gdb watch"),
                ratio.text("x"),
                f">= {_GOAL_GDB}x",
                ratio.middle >= _GOAL_GDB,
            )
            rows += Report((row,))
    return rows


def _gdb_rate(program: str, hits: int) -> float:
    """Stops a second of a hardware watchpoint that goes on by itself; gdb's own start is measured and taken off."""
    if shutil.which("gdb") is None:
        raise Missing("gdb is not installed")
    none, all_ = _gdb_run(program, 1), _gdb_run(program, hits)
    return (hits - 1) / max(1e-6, all_ - none)


def _gdb_run(program: str, hits: int) -> float:
    """Seconds of a whole run. Raises Missing where hardware watchpoints do not work."""
    script = f"{program}.gdb"
    with open(script, "w", encoding="ascii") as file:
        file.write(_GDB)
    began = time.perf_counter()
    try:
        done = subprocess.run(
            ["gdb", "-nx", "-q", "-batch", "-x", script, "--args", program, str(hits)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
    except subprocess.TimeoutExpired:
        raise Missing("gdb did not come to an end") from None
    spent = time.perf_counter() - began
    if "Hardware watchpoint" not in done.stdout or "exited normally" not in done.stdout:
        why = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:] or ["no reason given"]
        raise Missing(f"gdb's hardware watchpoint does not work here: {why[0]}")
    return spent
