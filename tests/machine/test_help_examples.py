"""The examples in the commands' help do what they say, as they are written, on the built-in program."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backends.base import Launch
from backends.spawn import spawn
from tui.session.commands import COMMANDS
from tui.session.open import open_session
from tui.session.session import Session

pytest.importorskip("icicle", reason="icicle-emu is not installed: pip install icicle-emu")

COUNTER = Path(__file__).parents[2] / "backends" / "emulated" / "programs" / "counter"
FOUR = ("watch counter", "watch total", "watch seed", "watch cfg.limits[0]")
STOPPED_IN_ADD_LIMIT = ("watch cfg.limits[3]", "continue 3", "advance add_limit")
HITS = ("watch counter", "continue 3")

BEFORE: dict[str, tuple[str, ...]] = {
    "delete": FOUR,
    "delete 1-3 5": (*FOUR, "delete 0", "watch counter", "delete 4", "watch counter"),
    "condition": FOUR,
    "ignore": FOUR,
    "watch counter ignore 99 stop": (),
    "enable": FOUR,
    "disable": FOUR,
    "edit": FOUR,
    "undo": FOUR,
    "dr7 ask": FOUR,
    "redo": ("watch counter", "undo"),
    "continue": ("watch counter",),
    "finish": STOPPED_IN_ADD_LIMIT,
    "step": STOPPED_IN_ADD_LIMIT,
    "next": STOPPED_IN_ADD_LIMIT,
    "frame": STOPPED_IN_ADD_LIMIT,
    "up": STOPPED_IN_ADD_LIMIT,
    "down": (*STOPPED_IN_ADD_LIMIT, "up"),
    "info line": STOPPED_IN_ADD_LIMIT,
    "info stack": HITS,
    "expect": HITS,
    "who": ("watch counter", "watch cfg.limits[3]", "continue 200"),
    "task": ("spawn pattern w:counter/8@1000",),
    "pin": ("spawn pattern w:counter/8@1000",),
    "sleep": ("spawn pattern w:counter/8@1000",),
    "wake": ("spawn pattern w:counter/8@1000", "sleep 1001"),
    **dict.fromkeys(
        (f"task {verb}" for verb in ("run", "fork", "thread", "exec", "exit")), ("task new worker 1",)
    ),
    **dict.fromkeys(
        (
            f"perf {verb}"
            for verb in ("close", "enable", "disable", "read", "reset", "refresh", "period", "modify")
        ),
        ("perf event counter",),
    ),
    "ptrace detach": ("ptrace attach", "ptrace watch counter", "continue"),
    "kgdb enter": ("kgdb connect",),
    **dict.fromkeys(
        (f"kgdb {verb}" for verb in ("hbreak", "watch", "awatch", "packet", "continue", "detach")),
        ("kgdb connect", "kgdb enter 0"),
    ),
    "kgdb delete": ("kgdb connect", "kgdb enter 0", "kgdb watch jiffies/4"),
    **dict.fromkeys(
        (f"kvm {verb}" for verb in ("guest_debug", "mov", "enter", "code", "interrupt")),
        ("kvm create vcpu0",),
    ),
    "kvm exit": ("kvm create vcpu0", "kvm enter vcpu0 1"),
    "kvm run": ("kvm create vcpu0", "kvm code vcpu0 0x1000 fb 31c0 0fa2 fa"),
    **dict.fromkeys(
        ("ftrace enable", "ftrace disable", "ftrace trigger"),
        ("ftrace dynamic_events w:my_probe w@jiffies:4",),
    ),
    **dict.fromkeys(
        ("ftrace current_tracer", "ftrace ksym_trace_filter", "ftrace ksym_trace", "ftrace ksym_profile"),
        ("kernel version 2.6.33",),
    ),
    "nmi end": ("nmi begin 0",),
}
"""What has to be done first, by the command's word or by the example."""

NOT_HERE = {
    "detach": "the program lives in this machine",
    "dr6 disabled": "only a bare machine",
    "ptrace kill": "this machine has no ptrace kill",
}
"""Commands of live and of bare programs, and what they answer here."""


LOOKING = {command.word for command in COMMANDS if command.group == "looking"} - BEFORE.keys()
"""They change nothing, so one machine does for all of them."""


def examples() -> list[tuple[str, str]]:
    """(command, example), in the order of the commands."""
    return [
        (command.word, each.strip())
        for command in COMMANDS
        for each in command.help.partition("Example: ")[2].split("\n")[0].split("   ")
    ]


@contextmanager
def machine(*before: str) -> Iterator[Session]:
    """The built-in program, after some commands."""
    session = open_session(spawn("emulated"), Launch(str(COUNTER)), patient=True)
    try:
        for line in before:
            done = session.execute(line)
            assert done.ok, f"{line}: {done.error}"
        yield session
    finally:
        session.close()


def refusal(session: Session, example: str) -> str:
    """Why an example is refused; empty if it is not."""
    done = session.execute(example)
    return "" if done.ok else f"{example}: {done.error}"


def test_every_command_has_an_example() -> None:
    assert [word for word, example in examples() if not example] == []


@pytest.mark.slow
def test_every_example_is_accepted_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "src").mkdir()  # of `directory src`
    refused = []
    with machine() as looked_at:
        for word, example in examples():
            if word in LOOKING:
                refused.append(refusal(looked_at, example))
                continue
            with machine(*BEFORE.get(example, BEFORE.get(word, ()))) as session:
                why = refusal(session, example)
            if word in NOT_HERE:
                assert NOT_HERE[word] in why
            else:
                refused.append(why)
    assert list(filter(None, refused)) == []
