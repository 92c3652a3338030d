"""Where lines go: a descriptor that may be closed by whoever reads it, and the watched program's own output."""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from backends.base import Backend, HwbpError
from tui.session.escape import escape, one_line

if TYPE_CHECKING:
    from backends.ring_reader import RingReader

__all__ = ["ClosedOutputError", "Output", "ProgramOutput", "note", "print_lines"]

STDOUT: Final = 1
STDERR: Final = 2
_FLUSH_AT: Final = 1 << 16


def note(text: str) -> None:
    """One line on standard error, for something that is less than was wanted and no error."""
    with contextlib.suppress(OSError):  # nobody can be told then
        os.write(STDERR, f"hwbp-tui: note: {one_line(text)}\n".encode("utf-8", "backslashreplace"))


class ClosedOutputError(Exception):
    """Nobody reads standard output any more: the work is done, quietly."""


class Output:
    """Lines to standard output, or to a file. Raises ClosedOutputError when the reader has gone, HwbpError when the
    file cannot be written."""

    def __init__(self, path: str | None = None) -> None:
        self._name = "standard output" if path is None else escape(path)
        self._fd = STDOUT
        self._own = path is not None
        if path is not None:
            try:
                self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
            except OSError as error:
                raise HwbpError(f"{self._name}: {error.strerror}") from error
        self._lines: list[str] = []
        self._size = 0

    def line(self, text: str) -> None:
        """Add a line."""
        self._lines.append(text)
        self._size += len(text) + 1
        if self._size > _FLUSH_AT:
            self.flush()

    def flush(self) -> None:
        """Write what there is."""
        if not self._lines:
            return
        data = memoryview(("\n".join(self._lines) + "\n").encode("utf-8", "backslashreplace"))
        self._lines.clear()
        self._size = 0
        _write(self._fd, data, self._name)

    def abandoned(self) -> bool:
        """Whether the reader of a pipe has gone."""
        if self._own:
            return False
        poll = select.poll()
        poll.register(self._fd, 0)
        return any(event & select.POLLERR for _, event in poll.poll(0))

    def close(self) -> None:
        """Write what there is, and close a file."""
        with contextlib.suppress(ClosedOutputError):
            self.flush()
        if self._own:
            os.close(self._fd)


class ProgramOutput:
    """Passes on what the program prints: to standard error, or with `keep` each stream to its own."""

    def __init__(self, backend: Backend, ring: RingReader, keep: bool) -> None:
        self._backend = backend
        self._ring = ring
        self._keep = keep
        self._seen = 0

    @property
    def pending(self) -> bool:
        """Whether there is anything new."""
        return self._seen < self._ring.word("output")

    def pump(self) -> None:
        """Write what is new. Raises ClosedOutputError, HwbpError."""
        while self.pending:
            parts = self._backend.output(self._seen)
            if not parts:
                return
            for stream, data in parts:
                self._seen += len(data)
                fd = STDOUT if self._keep and stream == STDOUT else STDERR
                _write(fd, memoryview(data), "the program's output")


def print_lines(lines: Iterable[str]) -> int:
    """Print lines to standard output; 0, the exit code, also when nobody reads them."""
    output = Output()
    with contextlib.suppress(ClosedOutputError):
        for line in lines:
            output.line(line)
        output.flush()
    output.close()
    return 0


def _write(fd: int, data: memoryview, name: str) -> None:
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            select.select([], [fd], [])
        except BrokenPipeError as error:
            raise ClosedOutputError(name) from error
        except OSError as error:
            raise HwbpError(f"{name}: {error.strerror}") from error
