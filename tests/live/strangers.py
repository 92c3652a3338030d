"""Who else holds debug registers of this machine while a test runs: programs that are none of this test run's."""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Iterator
from typing import Final

from backends.base import HwbpError
from backends.kernelview.books import Books, Holding
from backends.kernelview.scanner import Scanner

__all__ = ["Strangers"]

_EVERY: Final = 0.25
"""Seconds between two scans."""


@functools.cache
def _scanner() -> Scanner | None:
    try:
        return Scanner.of_host()
    except HwbpError:
        return None


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def _ours(pid: int | None) -> bool:
    """Whether a process belongs to this test run, by its parents."""
    while pid and pid != os.getpid():
        pid = _parent(pid)
    return bool(pid)


def _text(holding: Holding) -> str:
    owner = holding.owner
    who = f"{owner.comm} {owner.pid}" if owner.pid else owner.kind
    where = f" on {holding.target.comm} {holding.target.pid}" if holding.target else ""
    return f"{who}{where}"


def _foreign(books: Books) -> Iterator[str]:
    for holding in books.holdings:
        target = holding.target.pid if holding.target else None
        if not _ours(holding.owner.pid) and not _ours(target):
            yield _text(holding)


class Strangers:
    """While it is entered, looks into the kernel's books now and then. `seen` are those who were found, in words."""

    def __init__(self) -> None:
        self.seen: dict[str, None] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _look(self) -> None:
        scanner = _scanner()
        if scanner is not None:
            self.seen.update(dict.fromkeys(_foreign(scanner.scan())))

    def _watch(self) -> None:
        while not self._over.wait(_EVERY):
            self._look()

    @staticmethod
    def wait_until_gone(patience: float) -> None:
        """Wait until nobody else holds a register, or so many seconds."""
        until, scanner = time.monotonic() + patience, _scanner()
        while scanner is not None and any(_foreign(scanner.scan())) and time.monotonic() < until:
            time.sleep(_EVERY)

    def __enter__(self) -> Strangers:
        self._look()
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()
        self._look()
