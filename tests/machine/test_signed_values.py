"""Negative numbers of signed variables are shown as people write them, in text; JSON has the bytes as an unsigned number."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path

import pytest

from backends.base import Launch
from backends.spawn import spawn
from tests.compiled import compiled
from tests.pilot.scripted import screen_text, settle
from tui.app.app import HwbpApp
from tui.session.open import open_session
from tui.session.session import Session

pytest.importorskip("icicle", reason="icicle-emu is not installed: pip install icicle-emu")

pytestmark = pytest.mark.slow
SOURCE = r"""
volatile int signed_one = 7;
volatile unsigned unsigned_one = 7;
int main(void)
{
    signed_one = -3;
    unsigned_one = -3;
    signed_one = 5;
    return 0;
}
"""
WATCHES = "signed_one", "unsigned_one"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("signed") / "signs", SOURCE, "-g", "-static", "-O1")


def _trace(program: Path, *options: str) -> list[str]:
    asked = [word for watch in WATCHES for word in ("-w", watch)]
    done = subprocess.run(
        [sys.executable, "-m", "tui", "trace", *asked, *options, "--", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.splitlines()


def test_trace_writes_them_with_their_sign_and_json_as_they_are(program: Path) -> None:
    first, second, third = _trace(program)[1:4]
    assert "7 -> -3 " in first
    assert "7 -> 4294967293 " in second
    assert "-3 -> 5 " in third
    hits = [json.loads(line) for line in _trace(program, "--json")[1:4]]
    assert [(hit["old"], hit["value"]) for hit in hits] == [(7, 2**32 - 3), (7, 2**32 - 3), (2**32 - 3, 5)]


@pytest.fixture
def session(program: Path) -> Session:
    return open_session(spawn("emulated"), Launch(str(program)), patient=True)


async def test_the_app_shows_them_in_hits_sites_and_slots(session: Session) -> None:
    opening: Future[Session] = Future()
    opening.set_result(session)
    app = HwbpApp(opening, fps=0)
    async with app.run_test(size=(140, 45)) as pilot:
        await settle(pilot)
        for line in (*(f"watch {watch}" for watch in WATCHES), "continue 2"):
            app.run_line(line, quiet=True)
            await settle(pilot)
        app.sample()
        await settle(pilot)
        seen = screen_text(app).splitlines()
        assert sum("7 → -3" in line for line in seen) >= 2, "the card, the row"
        assert any("7 → 0xfffffffd" in line for line in seen)
        await pilot.press("3")
        for _ in range(3):
            await settle(pilot)
            app.sample()
        await settle(pilot)
        assert any("7 → -3" in line and "signs.c:6" in line for line in screen_text(app).splitlines())
    session.close()
