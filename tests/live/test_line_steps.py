"""step, next and advance on a live program stop where they stop on the emulated machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live.tracing import needs_breakpoints
from tests.machine.test_line_steps import held_to

pytestmark = [pytest.mark.live, pytest.mark.slow, needs_breakpoints]


def test_steps_go_by_lines(tmp_path: Path) -> None:
    held_to(tmp_path, "perf")
