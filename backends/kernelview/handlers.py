"""Names of kernel functions by their address, for the events that the kernel itself made."""

from __future__ import annotations

import contextlib

__all__ = ["Handlers"]


class Handlers:
    """Looks addresses up in /proc/kallsyms, which is read only when one is asked for that is not known yet.

    It shows addresses to CAP_SYSLOG only (kernel.kptr_restrict); without them every name is empty.
    """

    def __init__(self, path: str = "/proc/kallsyms") -> None:
        self._path = path
        self._names: dict[int, tuple[str, str]] = {}

    def name(self, address: int) -> tuple[str, str]:
        """(function, module) of the function that begins at an address; both empty where it is not listed."""
        if address not in self._names:
            self._names[address] = self._search(address)
        return self._names[address]

    def _search(self, address: int) -> tuple[str, str]:
        wanted = f"{address:016x} "
        names: list[tuple[str, str]] = []
        with contextlib.suppress(OSError), open(self._path, encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith(wanted):
                    words = line.split()
                    names.append((words[2], words[3].strip("[]") if len(words) > 3 else ""))
        return next((name for name in names if not name[0].startswith("__")), names[0] if names else ("", ""))
