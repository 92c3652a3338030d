"""Where the pictures go: to standard output, which is the terminal; standard error may be somebody's log."""

from __future__ import annotations

import sys
from typing import Any

from textual.drivers.linux_driver import LinuxDriver

__all__ = ["OutputDriver"]


class OutputDriver(LinuxDriver):
    """Textual's own writes to standard error."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._file = sys.__stdout__
