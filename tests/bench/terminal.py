"""A pseudo-terminal with a program in it: keys in, what it paints out, and how long that took."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["Terminal", "TooLate", "cpu_seconds", "resident"]

_ESCAPES = re.compile(
    rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[PX^_][^\x1b]*\x1b\\|[ -/]*[0-~])"
)
_TICKS = os.sysconf("SC_CLK_TCK")


class TooLate(Exception):
    """What was waited for did not appear; the text says what, and what stood there instead."""


class Terminal:
    """140 columns, 45 lines. A context: at its end nothing is left running."""

    def __init__(self, command: Sequence[str], *, columns: int = 140, lines: int = 45) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        left_out = (
            "TEXTUAL",
            "NO_COLOR",
            "PYTHONDONTWRITEBYTECODE",
        )  # the last: nobody starts without bytecode
        environment = {k: v for k, v in os.environ.items() if not k.startswith(left_out)}
        environment |= {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"}
        self.began = time.perf_counter()
        self._process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
        )
        os.close(slave)
        self._painted = b""

    @property
    def pid(self) -> int:
        """The program's pid."""
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the program, and all that it started."""
        if self._master < 0:
            return
        started = self.started()
        if self._process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
        for pid in started:  # a live program would run on
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._master)
        self._master = -1
        end = time.monotonic() + 2
        while any(Path(f"/proc/{pid}/exe").is_symlink() and _alive(pid) for pid in started):
            if time.monotonic() > end:
                raise RuntimeError(f"still running: {started}")
            time.sleep(0.01)

    def children(self) -> list[int]:
        """What it has started."""
        try:
            return [
                int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
            ]
        except OSError:
            return []

    def started(self) -> list[int]:
        """What it has started, and what these have."""
        found = self.children()
        for pid in found:
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    found += [int(each) for each in (task / "children").read_text().split()]
        return found

    def text(self) -> str:
        """What has been painted since the last `forget`, without its escape sequences."""
        return _ESCAPES.sub(b"", self._painted).decode("utf-8", "replace")

    def forget(self) -> None:
        """Look only at what comes from now on."""
        self.read(0)
        self._painted = b""

    def read(self, seconds: float) -> bool:
        """Take what comes within some seconds, at most one piece; False when nothing came."""
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._master, 1 << 16)
        except OSError:
            data = b""
        if not data:
            raise TooLate(f"the program has ended; the last it said: {self.text()[-300:]!r}")
        self._painted += data
        return True

    def watch(self, seconds: float) -> None:
        """Take everything for some seconds."""
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            self.read(left)
            if len(self._painted) > 1 << 20:
                self._painted = self._painted[-4096:]

    def until(self, seen: Callable[[str], bool], what: str, seconds: float = 20.0) -> float:
        """Wait until the painted text satisfies `seen`; returns the moment. Raises TooLate."""
        end = time.perf_counter() + seconds
        while True:
            left = end - time.perf_counter()
            if left <= 0:
                raise TooLate(f"{what} did not appear; instead: {self.text()[-300:]!r}")
            if self.read(left):
                now = time.perf_counter()
                if seen(self.text()):
                    return now

    def press(
        self, key: str, sign: str | tuple[str, ...], last: str = "", seconds: float = 5.0
    ) -> tuple[float, float]:
        """Press a key; returns the seconds until `sign` (one of several) is painted anew, and until `last` is."""
        signs = (sign,) if isinstance(sign, str) else sign
        while self.read(0):
            pass
        self._painted = b""
        start = time.perf_counter()
        os.write(self._master, key.encode())
        seen = self.until(
            lambda text: any(each in text for each in signs), f"{sign!r} after {key!r}", seconds
        )
        if last in self.text():
            return seen - start, seen - start
        return seen - start, self.until(lambda text: last in text, f"{last!r} after {key!r}", seconds) - start

    def send(self, keys: str) -> None:
        """Press keys, wait for nothing."""
        os.write(self._master, keys.encode())


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident(pid: int) -> float:
    """Resident memory in MiB, shared pages included."""
    found = re.search(r"VmRSS:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def _alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
