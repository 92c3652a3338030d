"""The scenes of the running kernel, played as scripts on a real process: each shows what it says."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from backends.base import HwbpError
from backends.emulated.programs import find
from tests.live.bpf_here import needs_bpf
from tui.session.demos import find_demo, live_demos

pytestmark = [pytest.mark.root, pytest.mark.live, pytest.mark.undisturbed, pytest.mark.slow, needs_bpf]


def played(name: str) -> str:
    """A scene's output. The program ends by itself."""
    demo = find_demo(name, "perf")
    program = find(demo.program)
    assert program is not None
    done = subprocess.run(
        [sys.executable, "-m", "tui", "script", "-", "--backend", "perf", "--", program.path, "200000"],
        input="\n".join(demo.script()),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_fifth_wish_is_refused_until_an_event_is_closed() -> None:
    text = played("contention")
    assert text.count("refused as expected: ENOSPC") == 3
    assert len(re.findall(r"held by perf \d+ \(python\) fd", text)) == 6
    assert len(re.findall(r"held by ptrace \d+ \(debugger\)", text)) == 6
    assert "2 slots stay reserved" in text
    assert text.index("watch 0: counter is gone, 1 slot freed") < text.index("watch 4: cfg.limits[3]")


def test_what_a_killed_debugger_left_kills_the_program() -> None:
    text = played("leak")
    assert "1 slot stays reserved" in text
    assert "held by ptrace (left behind): 0x403050/1:x" in text
    assert text.index("kill -9") < text.index("exited: the program has ended: killed by signal 5")


def test_a_dead_task_starves_a_cpu() -> None:
    text = played("starve")
    assert text.count("refused as expected: ENOSPC: 0x403048/8 on CPU 0") == 2
    assert len(re.findall(r"held by perf .* \(greedy\), disabled", text)) == 8
    assert text.index("is closed, 1 slot freed") < text.index("perf event 900: 0x403048/8 -C 0")


def test_a_split_watch_is_all_or_nothing() -> None:
    text = played("split")
    assert re.search(r"watch 0: cfg.limits  w 20 bytes at 0x403020, perf fds \d+, \d+, \d+, 3 slots", text)
    assert text.count("refused as expected: ENOSPC") == 1
    assert "watch 1: cfg.limits+24  w 8 bytes" in text


def test_every_live_scene_has_an_emulated_one_beside_it() -> None:
    for demo in live_demos():
        assert demo.backends == ("emulated", "perf")
        assert find_demo(demo.name).title


def test_a_scene_that_this_kernel_cannot_play_names_those_that_it_can() -> None:
    with pytest.raises(HwbpError, match="for a live machine") as caught:
        find_demo("kgdb", "perf")
    assert "contention" in find_demo("contention", "perf").name
    assert "there is" in caught.value.remedy
