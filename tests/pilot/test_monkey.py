"""Whatever is pressed, clicked, typed and resized, in whatever order: the app stays, and says so in no traceback.

`make monkey` does it 20,000 times on each backend.
"""

from __future__ import annotations

import pytest

from tests.live.bpf_here import needs_bpf
from tests.pilot.monkey import on_a_real_machine, ramble


@pytest.mark.parametrize("ascii_", [False, True])
async def test_a_few_events_leave_no_traceback(ascii_: bool) -> None:
    await ramble(1, 60, ascii=ascii_)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
async def test_thousands_of_random_events_leave_no_traceback(seed: int) -> None:
    await ramble(seed, 500, ascii=bool(seed % 2))


@pytest.mark.slow
def test_a_program_that_runs_emulated_leaves_nothing_behind(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    on_a_real_machine("emulated", 1, 300)


@pytest.mark.slow
@pytest.mark.live
@needs_bpf
def test_a_live_program_leaves_nothing_behind(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    on_a_real_machine("perf", 1, 300)
