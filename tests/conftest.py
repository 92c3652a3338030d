"""Which tests may run beside which, when pytest-xdist shares them out (`-n 2 --dist loadgroup`)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

_LIVE: Final = Path(__file__).parent / "live"


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
