"""The app on a terminal of its own (a pty), whose other end is a web page. No shell is between: the command is fixed."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import struct
import sys
import termios
from collections.abc import Mapping, Sequence
from typing import Final

__all__ = ["LARGEST", "Seat", "app_command"]

LARGEST: Final = 1000
"""Columns and lines at most: a page may ask for any number."""

_PATIENCE: Final = 3.0
"""Seconds that an app has to end by itself once its terminal is gone."""
_READ: Final = 1 << 16


def app_command(words: Sequence[str]) -> list[str]:
    """This very `hwbp-tui`, with the interpreter that runs now. Modules are not looked for where we were started."""
    here = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    start = f"import sys; sys.path.insert(0, {here!r}); from tui.__main__ import main; sys.exit(main())"
    return [sys.executable, "-P", "-c", start, *words]


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Ours, on the terminal that xterm.js is."""
    kept = {name: value for name, value in environ.items() if name not in ("COLUMNS", "LINES", "TMUX", "STY")}
    return {**kept, "TERM": "xterm-256color", "COLORTERM": "truecolor"}


class Seat:
    """A process on a pty. Made by `start`, read until `read` answers b"", and always ended by `end`.

    The kernel hangs up the terminal's processes when our end is closed, also when it is closed because we were killed:
    the app ends as in a terminal whose window was closed, and its watches with it.
    """

    def __init__(self, pid: int, terminal: int) -> None:
        self.pid = pid
        self._terminal = terminal
        self._process = os.pidfd_open(pid)

    @classmethod
    def start(
        cls, command: Sequence[str], width: int, height: int, environ: Mapping[str, str] = os.environ
    ) -> Seat:
        """Start the command as the leader of a session whose terminal is the pty. Raises OSError."""
        terminal, theirs = os.openpty()
        try:
            _resize(terminal, width, height)
            # A session's leader that opens a terminal gets it as its controlling one (tty_ioctl(4), drivers/tty/tty_io.c).
            pid = os.posix_spawn(
                command[0],
                list(command),
                _environment(environ),
                setsid=True,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.ttyname(theirs), os.O_RDWR, 0),
                    (os.POSIX_SPAWN_DUP2, 0, 1),
                    (os.POSIX_SPAWN_DUP2, 0, 2),
                ],
            )
        except BaseException:
            os.close(terminal)
            raise
        finally:
            os.close(theirs)
        os.set_blocking(terminal, False)
        return cls(pid, terminal)

    def resize(self, width: int, height: int) -> None:
        """Another size, between 1 and `LARGEST`; the kernel tells the app (SIGWINCH)."""
        _resize(self._terminal, width, height)

    async def read(self) -> bytes:
        """What the app has written since, b"" once it is gone."""
        while True:
            try:
                return os.read(self._terminal, _READ)
            except BlockingIOError:
                await _ready(self._terminal, writing=False)
            except OSError:  # EIO: nobody has the other end any more
                return b""

    async def write(self, data: bytes) -> None:
        """What was typed; waits while the app does not read."""
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._terminal, left) :]
            except BlockingIOError:
                await _ready(self._terminal, writing=True)
            except OSError:
                return

    async def end(self) -> None:
        """Hang up, and wait until the app is gone; one that stays is killed with all of its group."""
        os.close(self._terminal)
        try:
            try:
                await asyncio.wait_for(_ready(self._process, writing=False), _PATIENCE)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)
                await _ready(self._process, writing=False)
        finally:
            os.close(self._process)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def _resize(terminal: int, width: int, height: int) -> None:
    width, height = (max(1, min(cells, LARGEST)) for cells in (width, height))
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))


async def _ready(fd: int, *, writing: bool) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    add, remove = (loop.add_writer, loop.remove_writer) if writing else (loop.add_reader, loop.remove_reader)

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    add(fd, wake)
    try:
        await ready
    finally:
        remove(fd)
