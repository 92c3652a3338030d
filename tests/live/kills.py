"""kill -9 of each of our processes at any moment: what it leaves of a watched program. `python -m tests.live.kills --rounds 200`.

After each the program must run on, its slots be free within a second, and no process of ours be left.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from backends.perf import events
from symbols.elf import ElfImage
from symbols.table import SymbolTable

__all__ = ["SOURCE", "Case", "Outcome", "draw", "play"]

ROOT = Path(__file__).parents[2]
SOURCE = r"""
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
volatile long counter;
static int slow;
static void *loop(void *n) {
    for (;;) { __atomic_add_fetch(&counter, 1, 5); if (slow) usleep(300); }
    return n;
}
int main(int argc, char **argv) {
    slow = argc < 2 || strcmp(argv[1], "flat");
    pthread_t t;
    if (argc > 3) pthread_create(&t, 0, loop, 0);
    loop(0);
}
"""
_IN_ONE = 1.0
"""Seconds within which slots must be free and the program must get on."""
_ALL_GONE = 10.0
_START = 20.0
_MARK = "HWBP_TUI_KILLS"

Victim = Literal["front end", "backend", "root process"]


@dataclass(frozen=True)
class Case:
    """One round. `moment` is how long after the start of the front end, in seconds; where `armed`, after events were open."""

    victim: Victim
    how: Literal["watching", "stopping", "stepping"]
    launched: bool
    flat: bool
    threads: bool
    sudo: bool
    armed: bool
    moment: float


@dataclass(frozen=True)
class Outcome:
    """`armed`: events were open at the kill; `freed` and `went_on` are seconds after it; `wrong` is empty if all is well."""

    armed: bool
    freed: float
    went_on: float
    wrong: str


def draw(chance: random.Random) -> Case:
    """A round. Every other one hits flat out; a quarter is killed while it starts."""
    victim: Victim = chance.choice(("front end", "backend", "root process"))
    armed = chance.random() < 0.75
    return Case(
        victim=victim,
        how=chance.choice(("watching", "stopping", "stepping")),
        launched=chance.random() < 0.5,
        flat=chance.random() < 0.5,
        threads=chance.random() < 0.5,
        sudo=victim == "root process" or chance.random() < 0.3,
        armed=armed,
        moment=chance.uniform(0, 1.0),
    )


def _script(how: str) -> str:
    if how == "stopping":
        return "stop\nwatch counter stop\n" + "continue\n" * 20_000
    return "watch counter\nstop\n" + "stepi\n" * 20_000


def _command(case: Case, program: str, words: list[str], pid: int, folder: Path) -> list[str]:
    sudo = ["--sudo"] * case.sudo
    where = ["--backend", "perf", "--", program, *words] if case.launched else ["-p", str(pid)]
    if case.how == "watching":
        rest = ["trace", *sudo, "-w", "counter", "-o", os.devnull, *where]
    else:
        (folder / "script").write_text(_script(case.how))
        rest = ["script", str(folder / "script"), *sudo, *where]
    return [sys.executable, "-m", "tui.cli", *rest]


def play(case: Case, program: str, folder: Path) -> Outcome:
    """One round. Leaves nothing behind, whatever comes out."""
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    address = SymbolTable(ElfImage.open(program)).find("counter")[0].value
    words = ["flat" if case.flat else "slow", mark, *["threads"] * case.threads]
    target = None if case.launched else subprocess.Popen([program, *words], stdout=subprocess.DEVNULL)
    with (folder / "said").open("w") as said:
        front = subprocess.Popen(
            _command(case, program, words, target.pid if target else 0, folder),
            cwd=ROOT,
            env={**os.environ, _MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if case.how == "watching" else said,
            stderr=said,
        )
    try:
        if case.armed:
            _until(time.monotonic(), lambda: any(map(_holds_events, _ours(mark, program))), _START)
        time.sleep(case.moment)
        outcome = _kill(case, front, program, mark, address)
        if outcome.wrong:
            outcome = replace(outcome, wrong=f"{outcome.wrong} ... {_text(str(folder / 'said'))[-400:]!r}")
        return outcome
    finally:
        for pid in [*_ours(mark, program), *_targets(mark, program)]:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        for process in filter(None, (front, target)):
            process.wait()


def _kill(case: Case, front: subprocess.Popen[bytes], program: str, mark: str, address: int) -> Outcome:
    victim = _find(case, front, mark, program)
    if victim is None:
        return Outcome(False, 0, 0, f"no {case.victim} (the front end's status is {front.poll()})")
    armed = any(_holds_events(pid) for pid in _ours(mark, program))
    os.kill(victim, signal.SIGKILL)
    began = time.monotonic()
    if case.victim == "root process":
        wrong = _goes_on_watching(front, mark, program, address)
        if wrong:
            return Outcome(armed, 0, 0, wrong)
        front.kill()
        began = time.monotonic()
    freed = went_on = 0.0
    # A program that was to be launched may not have begun: then it must not be there, half begun, either.
    for pid in _targets(mark, program):
        if not _until(began, lambda pid=pid: _free_slots(pid) >= _free_slots(os.getpid())):  # type: ignore[misc]
            return Outcome(armed, 0, 0, f"{_free_slots(pid)} of 4 slots free after {_IN_ONE} s")
        freed = max(freed, time.monotonic() - began)
        before = _word(pid, address)
        moved = time.monotonic()
        if not _until(moved, lambda pid=pid, before=before: _word(pid, address) != before):  # type: ignore[misc]
            return Outcome(armed, freed, 0, f"the program does not get on: {_state(pid)}")
        went_on = max(went_on, time.monotonic() - moved)
    if not case.launched and not _targets(mark, program):
        return Outcome(armed, freed, 0, "the program is gone")
    front.poll()
    if not _until(began, lambda: front.poll() is not None and not _ours(mark, program), _ALL_GONE):
        left = ", ".join(_text(f"/proc/{pid}/cmdline") for pid in _ours(mark, program))
        return Outcome(armed, freed, went_on, f"still there: {left}")
    return Outcome(armed, freed, went_on, "")


def _goes_on_watching(front: subprocess.Popen[bytes], mark: str, program: str, address: int) -> str:
    """Without the root process what is armed stays armed, and the program runs or stands as it did."""
    time.sleep(0.05)
    for pid in _targets(mark, program):
        if _word(pid, address) == 0 and _state(pid) == "Z":
            return "the program has ended"
    return ""


def _find(case: Case, front: subprocess.Popen[bytes], mark: str, program: str) -> int | None:
    """The process that is to be killed, once it is there."""
    if case.victim == "front end":
        return front.pid if front.poll() is None else None
    word = "backends.host" if case.victim == "backend" else "backends/root/__main__.py"
    found: list[int] = []

    def look() -> bool:
        found[:] = [pid for pid in _ours(mark, program) if word in _text(f"/proc/{pid}/cmdline")]
        return bool(found) or front.poll() is not None

    _until(time.monotonic(), look, 20)
    return found[-1] if found else None


def _until(began: float, good: Callable[[], bool], within: float = _IN_ONE) -> bool:
    while not good():
        if time.monotonic() - began > within:
            return good()
        time.sleep(0.005)
    return True


def _text(path: str) -> str:
    try:
        return Path(path).read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _state(pid: int) -> str:
    return (_text(f"/proc/{pid}/stat").rpartition(")")[2].split() or ["gone"])[0]


def _is_program(pid: int, program: str) -> bool:
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/exe") == program
    return False


def _ours(mark: str, program: str) -> list[int]:
    """Processes that came of the front end, the watched program left out; zombies are gone."""
    return [
        pid
        for pid in _pids()
        if f"{_MARK}={mark}" in _text(f"/proc/{pid}/environ").split("\0") and not _is_program(pid, program)
    ]


def _targets(mark: str, program: str) -> list[int]:
    return [
        pid
        for pid in _pids()
        if _is_program(pid, program) and mark in _text(f"/proc/{pid}/cmdline").split("\0")
    ]


def _holds_events(pid: int) -> bool:
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/fd/{name}") == "anon_inode:[perf_event]":
                    return True
    return False


def _word(pid: int, address: int) -> int:
    try:
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            memory.seek(address)
            return int.from_bytes(memory.read(8), "little")
    except OSError:
        return -1


def _free_slots(pid: int) -> int:
    """How many breakpoints a process may have now: as many as any other if none of ours is left (somebody may hold a slot of
    a whole CPU)."""
    attr = events.breakpoint_attributes(0x1000, 8, "w", children=False, kernel=False, sampled=False)
    fds: list[int] = []
    with contextlib.suppress(OSError):
        while len(fds) < 4:
            fds.append(events.open_event(attr, pid))
    for fd in fds:
        os.close(fd)
    return len(fds)


def main() -> int:
    from tests.live.tracing import build

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    tally: Counter[str] = Counter()
    slowest = Outcome(False, 0, 0, "")
    with tempfile.TemporaryDirectory() as name:
        program = str(build(Path(name), "flat", SOURCE, "-no-pie"))
        for number in range(options.rounds):
            case = draw(chance)
            outcome = play(case, program, Path(name))
            tally[case.victim] += 1
            tally["armed"] += outcome.armed
            tally["wrong"] += bool(outcome.wrong)
            slowest = Outcome(
                True, max(slowest.freed, outcome.freed), max(slowest.went_on, outcome.went_on), ""
            )
            if outcome.wrong:
                print(f"round {number}: {outcome.wrong}: {case}", flush=True)
    print(f"{options.rounds} rounds, seed {options.seed}: {dict(tally)}")
    print(f"slots free after at most {slowest.freed:.3f} s, the program on after {slowest.went_on:.3f} s")
    return 1 if tally["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
