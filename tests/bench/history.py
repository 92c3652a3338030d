"""The history of hits: filters over a million of them, exact totals of ten million, and memory while they come."""

from __future__ import annotations

import os
import time

import numpy as np

from backends.base import Launch
from backends.client import start
from backends.ring import HEADER, RingMemory, create_memfd
from backends.ring_reader import RingReader, record_dtype
from tests.bench import flood
from tests.bench.first_picture import set_running
from tests.bench.machine import requests
from tests.bench.programs import Built
from tests.bench.report import Report, Row, Spread
from tests.bench.terminal import Terminal, resident
from tui.app.hit_filter import parse
from tui.app.hit_index import HitIndex, SceneTexts
from tui.app.names import Name
from tui.app.scene import Scene

__all__ = ["bench"]

_CAPACITY = 1 << 20
_HITS = 10_000_000
_SLICE = 0.008
_GOAL_FILTER = 100
_GOAL_MEMORY = 1.02
_PATIENCE = 240.0
_FLOOD = 400_000
_PLACES = 200


def bench(_built: Built, quick: bool) -> Report:
    """A ring of ours for the filters, the machine's process for the totals, the app in a terminal for memory."""
    report = _filters(3 if quick else 9)
    hits = _HITS // 4 if quick else _HITS
    return report + _totals(_built, hits) + _front_end(hits)


def _filters(rounds: int) -> Report:
    fd = create_memfd(_CAPACITY)
    memory = RingMemory(fd)
    ring = RingReader(fd)
    rows = np.frombuffer(memory.records, dtype=record_dtype())
    chance = np.random.default_rng(1)
    rows["seq"] = np.arange(_CAPACITY)
    rows["time"] = rows["seq"] * 37
    rows["insn_ip"] = 0x401000 + 4 * chance.integers(0, _PLACES, _CAPACITY)
    rows["value"], rows["old"] = chance.integers(0, 1000, (2, _CAPACITY))
    rows["value_from"] = rows["old_from"] = 1
    rows["tid"] = 1000 + chance.integers(0, 8, _CAPACITY)
    rows["length"], rows["access"] = 8, 2
    memory.words[HEADER["head"]] = _CAPACITY
    scene = Scene()
    scene.ring = ring
    scene.names.learn({0x401000 + 4 * n: Name(f"function_{n}+0x4", f"file.c:{n}") for n in range(_PLACES)})
    report = Report(())
    peers = {
        "tid=1003": lambda r: r["tid"] == 1003,
        "value>500 changed": lambda r: (r["value"] > 500) & (r["value"] != r["old"]),
        "function_7 !tid=1001": None,
    }
    for text, peer in peers.items():
        ours, theirs, longest = [], [], 0.0
        for _ in range(rounds):
            index = HitIndex(parse(text), SceneTexts(scene))
            began, done = time.perf_counter(), False
            while not done:
                slice_began = time.perf_counter()
                done = index.work(ring, _SLICE)
                longest = max(longest, time.perf_counter() - slice_began)
            ours.append(1000 * (time.perf_counter() - began))
            if peer is not None:
                began = time.perf_counter()
                found = np.flatnonzero(peer(ring.read(0, _CAPACITY)))
                theirs.append(1000 * (time.perf_counter() - began))
                assert len(index) >= len(found) - 2 * 16
        report += _filter_row(text, Spread.of(ours), Spread.of(theirs) if theirs else None, longest)
    del rows
    ring.close()
    os.close(fd)
    return report


def _filter_row(text: str, ours: Spread, theirs: Spread | None, longest: float) -> Report:
    row = Row(
        f"filter of {_CAPACITY:,} hits: {text}",
        ours.text("ms"),
        f"{theirs.text('ms')}, numpy on a copy of the rows" if theirs else "",
        f"{ours.over(theirs).text('x')}" if theirs else "",
        f"<= {_GOAL_FILTER} ms",
        ours.middle <= _GOAL_FILTER,
    )
    return Report(
        (row,), (f"filter {text}: the longest slice that keys wait for took {1000 * longest:.1f} ms",)
    )


def _totals(built: Built, hits: int) -> Report:
    """The machine hits as fast as it can; every total must be exact, and the ring hold the last million."""
    program = built.program("hits", "write")
    client = start("emulated", _CAPACITY)
    try:
        ring = RingReader(client.ring_fd)
        client.launch(Launch(program))
        client.arm(requests([(built.address(program, "hot"), 8, "w")]))
        ring.set_limit(hits)
        end, began = time.monotonic() + _PATIENCE, time.perf_counter()
        client.resume()
        full = 0.0
        while ring.head < hits:
            if not full and ring.head > 1.2 * _CAPACITY:
                full = resident(client.pid)
            if time.monotonic() > end:
                raise RuntimeError("the hits did not come in time")
            time.sleep(0.05)
        took = time.perf_counter() - began
        while ring.state == "running":
            time.sleep(0.01)
        view, last = client.view(), resident(client.pid)
        head = ring.head
        totals = (
            head,
            view.hits,
            sum(b.hits for b in view.breakpoints),
            sum(s.count for s in client.sites()),
        )
        kept = ring.read(ring.first, _CAPACITY)
        whole = len(kept) == _CAPACITY - 32 and np.array_equal(
            kept["seq"], np.arange(head - len(kept), head, dtype=np.uint64)
        )
        ring.close()
    finally:
        client.close()
    exact = len(set(totals)) == 1 and head >= hits
    return Report(
        (
            Row(
                f"totals of {hits:,} hits: ring, view, slots, sites",
                f"{totals[0]:,} everywhere" if exact else " / ".join(f"{n:,}" for n in totals),
                goal="exact",
                met=exact,
            ),
            Row(
                "the newest million of them in the ring",
                f"{len(kept):,} rows in order" if whole else "broken",
                goal="whole",
                met=bool(whole),
            ),
            _memory(f"the machine's process, {hits:,} hits", full or last, last),
        ),
        (f"{hits:,} hits took {took:.1f} s",),
    )


def _memory(what: str, first: float, last: float) -> Row:
    ratio = last / first
    return Row(
        f"memory: {what}",
        f"{last:.1f} MiB",
        f"{first:.1f} MiB, ring full",
        f"{ratio:.3f} x",
        f"<= {_GOAL_MEMORY}x",
        ratio <= _GOAL_MEMORY,
    )


def _front_end(hits: int) -> Report:
    """The views of hits (filtered and grouped), sites, values and time, one after the other, in a flood."""
    with Terminal(flood.command(_FLOOD, _CAPACITY)) as terminal:
        set_running(terminal)
        terminal.until(lambda text: "kept)" in text, "a full ring", 60.0)
        for key in "345":
            terminal.send(key)
            terminal.watch(1.5)
        terminal.send("2b")
        terminal.watch(3.0)
        terminal.send("bbbbb/value>10\r")
        terminal.watch(6.0)
        first, began = resident(terminal.pid), time.perf_counter()
        seconds = hits / _FLOOD
        rounds = 4
        for _ in range(rounds):
            for key in ("3", "4", "5", "2"):
                terminal.send(key)
                terminal.watch(seconds / rounds / 4)
        last = resident(terminal.pid)
        came = int((time.perf_counter() - began) * _FLOOD)
    return Report((_memory(f"the front end, all views in turn, {came:,} hits", first, last),))
