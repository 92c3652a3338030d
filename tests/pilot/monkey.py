"""A monkey at the app: random keys, clicks, resizes and commands, on a scripted machine or on a real one.

    python -m tests.pilot.monkey [--backend scripted|emulated|perf] [--events N] [--seed N]

Fails with a traceback of the app, when it cannot be left, or when a process or an armed slot of it stays behind.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from textual import events
from textual.geometry import Size

from tests.live.real_side import slots_are_free
from tests.pilot.scripted import Machine, app_on, busy_machine
from tests.pilot.test_fast_keys import key
from tui.app.app import HwbpApp
from tui.app.views import VIEWS
from tui.session.commands import COMMANDS
from tui.session.session import Session

__all__ = ["BACKENDS", "Left", "ramble", "ramble_on"]

BACKENDS = ("scripted", "emulated", "perf")
KEYS = (
    *("space", "tab", "shift+tab", "up", "down", "left", "right", "enter", "escape", "backspace", "delete"),
    *("home", "end", "pageup", "pagedown", "f1", "ctrl+p", "ctrl+c", "ctrl+w", "ctrl+u", "ctrl+e", "ctrl+d"),
    *("ctrl+left", "ctrl+right", "f2", "f12", "ctrl+l", "ctrl+z", "ctrl+o", "ctrl+s", "insert"),
    *":/?GTghjklfwdsneturx0123456789&!\\[]{}\"'äß中\u202e;.zboacmFEvyC+-=<>,",
)
ARGUMENTS = (
    "",
    "lock",
    "counter",
    "cfg.limits[3]",
    "counter pending",
    "cfg.limits[3]:rw pending stop",
    "0",
    "all",
    "G0",
    "&",
    "[red]x[/red]",
    "\x1b[31m",
    "99999999999999999999",
    "x " * 300,
)
FILTERS = (
    "w",
    "tid=1000",
    "value>3 !x",
    "add_limit",
    "changed",
    "tid=",
    "\x1b[31m",
    "value=-1",
    '"',
    "x " * 300,
)
NEVER = ("quit", "detach")
"""Commands that end what is tried."""
LINES = tuple(
    f"{command.word} {argument}"
    for command in COMMANDS
    if command.word not in NEVER
    for argument in ARGUMENTS
)
_PATIENCE = 20.0


class Left(AssertionError):
    """Something of the app outlived it, or it did not end."""


def press(app: HwbpApp, chance: random.Random) -> None:
    """A key."""
    app.post_message(key(chance.choice(KEYS)))


def resize(app: HwbpApp, chance: random.Random) -> None:
    """Another size of the terminal, from one cell to more than anybody has; several at once are a storm."""
    for _ in range(chance.choice([1, 1, 1, 12])):
        edges = chance.choice([(1, 12, 1, 6), (1, 200, 1, 60), (60, 140, 20, 45)])
        size = Size(chance.randint(*edges[:2]), chance.randint(*edges[2:]))
        assert app._driver is not None
        app._driver._size = (size.width, size.height)
        app.post_message(events.Resize(size, size))


def click(app: HwbpApp, chance: random.Random) -> None:
    """The mouse, anywhere."""
    x, y = chance.randrange(0, 210), chance.randrange(0, 64)
    for kind in chance.choice(
        [
            (events.MouseDown, events.MouseUp),
            (events.MouseMove,),
            (events.MouseScrollUp,),
            (events.MouseScrollDown,),
        ]
    ):
        app.post_message(kind(None, x, y, 0, 0, chance.choice([0, 1, 3]), False, False, False, x, y))


def write(app: HwbpApp, chance: random.Random) -> None:
    """A command or a filter, at once, pasted, or on the command line."""
    how = chance.random()
    line = chance.choice(LINES)
    if how < 0.4:
        app.run_line(line)
    elif how < 0.7:
        app.post_message(events.Paste(line))
    elif how < 0.85:
        app.run_line(f"view {chance.choice(VIEWS).name}")
    else:
        for each in ("escape", "escape", chance.choice("23"), "slash"):
            app.post_message(key(each))
        app.post_message(events.Paste(chance.choice(FILTERS)))
        app.post_message(key(chance.choice(["enter", "escape"])))


def hit(machine: Machine, chance: random.Random) -> None:
    """Hits of a scripted machine."""
    if machine.state.breakpoints:
        event = chance.choice(machine.state.breakpoints).id
        for _ in range(chance.choice([1, 10, 500])):
            machine.hit(event, chance.getrandbits(64), chance.getrandbits(64))


async def ramble_on(
    app: HwbpApp, chance: random.Random, count: int, between: Callable[[], None] | None = None
) -> None:
    """`count` random events, at times without a pause; then until the machine has answered everything."""
    async with app.run_test(size=(100, 30)) as pilot:
        for number in range(count):
            chance.choices((press, resize, click, write), (70, 10, 10, 10))[0](app, chance)
            if between is not None and chance.random() < 0.05:
                between()
            if chance.random() < 0.3:
                await pilot.pause()
            if chance.random() < 0.1:
                app.tick()
                app.sample()
            if app._exception is not None:
                raise app._exception
            assert app.is_running, number
        end = time.monotonic() + _PATIENCE
        while not app.machine.idle:
            app.machine.interrupt()
            await pilot.pause(0.01)
            if time.monotonic() > end:
                raise Left("the machine never answered")
        await pilot.pause()
    if app._exception is not None:
        raise app._exception


async def ramble(seed: int, count: int, **options: Any) -> HwbpApp:
    """On the scripted machine; the app as it is at the end."""
    chance, machine = random.Random(seed), busy_machine()
    app = app_on(machine, **options)
    await ramble_on(app, chance, count, lambda: hit(machine, chance))
    return app


def on_a_real_machine(backend: str, seed: int, count: int) -> None:
    """The same on a program that runs, emulated or live; nothing of it may be left. Raises Left."""
    from backends.base import Launch
    from backends.emulated.programs import PROGRAMS
    from backends.spawn import spawn
    from tui.session.open import open_session
    from tui.session.watch import Watch

    adopt_orphans()
    before = descendants()
    opening: Future[Session] = Future()
    path = str(PROGRAMS["counter"].path)
    session = open_session(
        spawn(backend, 1 << 12), Launch(path), (Watch.parse("counter"), Watch.parse("total"))
    )
    opening.set_result(session)
    app = HwbpApp(opening, fps=0)
    try:
        asyncio.run(ramble_on(app, random.Random(seed), count))
    finally:
        (app.scene.session or session).close()
    end = time.monotonic() + _PATIENCE
    while left := {pid for pid in descendants() - before if not (ended(pid) or runs_on(pid, path))}:
        if time.monotonic() > end:
            raise Left(f"processes are left behind: {sorted(left)}")
        time.sleep(0.05)
    for pid in descendants() - before:  # programs that we launched live: they run on when we leave
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def adopt_orphans() -> None:
    """What loses its parent becomes our child: nothing can be left behind unseen. prctl(2) PR_SET_CHILD_SUBREAPER."""
    if ctypes.CDLL(None, use_errno=True).prctl(36, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def ended(pid: int) -> bool:
    """Whether this adopted process has ended; it is taken off the kernel's list then."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:  # it has a parent of its own
        return False


def runs_on(pid: int, program: str) -> bool:
    """Whether this is a launched program that nobody traces any longer and in which nothing is armed."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        return (
            os.readlink(f"/proc/{pid}/exe") == program
            and "TracerPid:\t0\n" in status
            and "State:\tT" not in status
            and slots_are_free(pid, wide=False)
        )
    except OSError:  # it has ended
        return False


def descendants() -> set[int]:
    """Our children, their children and so on. Whoever was armed for us is one of them, and slots end with it."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1])
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {os.getpid()}


def main() -> int:
    """Exit code 0 when nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--backend", choices=BACKENDS, action="append")
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:  # settings and history of whoever runs it stay as they are
        for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
            os.environ[name] = folder
        for backend in options.backend or BACKENDS:
            began, done, seed = time.monotonic(), 0, options.seed
            while done < options.events:
                count = min(1000, options.events - done)
                print(f"{backend}: seed {seed}, events {done} to {done + count}", flush=True)
                if backend == "scripted":
                    asyncio.run(ramble(seed, count, ascii=bool(seed % 2)))
                else:
                    on_a_real_machine(backend, seed, count)
                done, seed = done + count, seed + 1
            print(f"{backend}: {done:,} events in {time.monotonic() - began:.0f} s, nothing left behind")
    return 0


if __name__ == "__main__":
    sys.exit(main())
