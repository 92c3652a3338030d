"""Which tests may run beside which, when pytest-xdist shares them out (`-n 2 --dist loadgroup`).

A run in the background of a script has SIGINT ignored, and all that it starts would inherit that; tests send Ctrl-C.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Final

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_LIVE: Final = Path(__file__).parent / "live"


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist, which reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever may use debug registers stays together, in order: four slots per CPU are all there are, and a test that
    says who holds them would see the others. Any other file stays together for the sake of its module's fixtures."""
    for item in items:
        registers = (
            item.path.is_relative_to(_LIVE)
            or item.get_closest_marker("live")
            or item.get_closest_marker("root")
        )
        item.add_marker(pytest.mark.xdist_group("registers" if registers else item.location[0]))
