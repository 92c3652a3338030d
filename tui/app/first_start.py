"""Whether somebody is here for the first time, to whom the tour may be offered: once, and to no robot."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping

__all__ = ["is_first_start", "remember_offer"]


def is_first_start(config: str, offered: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Nobody has settings, was asked before (`offered` is the file that says so), or is a robot (CI)."""
    return not environ.get("CI") and not os.path.exists(config) and not os.path.exists(offered)


def remember_offer(offered: str) -> bool:
    """Write down that it was offered; False where that cannot be kept, and so is not to be offered at each start."""
    with contextlib.suppress(OSError):
        os.makedirs(os.path.dirname(offered), mode=0o700, exist_ok=True)
        os.close(os.open(offered, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        return True
    return False
