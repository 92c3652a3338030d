"""What a launched program prints, in an unnamed file: a pipe's end would kill the program with us (SIGPIPE)."""

from __future__ import annotations

import os

__all__ = ["CapturedOutput"]


class CapturedOutput:
    """Standard output and error in one memfd, in the order of the writes."""

    def __init__(self) -> None:
        self._fd = -1
        self._known = 0

    def descriptors(self) -> tuple[int, int]:
        """The streams to give to the program. Both append: neither overwrites what the other wrote."""
        if self._fd < 0:
            self._fd = os.memfd_create("hwbp-output", os.MFD_CLOEXEC)
        # A description of its own with O_APPEND; ours reads at any place.
        fd = os.open(f"/proc/self/fd/{self._fd}", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        return fd, fd

    @property
    def total(self) -> int:
        """Bytes so far."""
        return os.fstat(self._fd).st_size if self._fd >= 0 else 0

    def moved(self) -> bool:
        """Whether there is more than at the last call."""
        now = self.total
        if now == self._known:
            return False
        self._known = now
        return True

    def chunks(self, first: int, most: int) -> tuple[tuple[int, bytes], ...]:
        """(stream, bytes) from byte `first` on. Which stream wrote what is not told apart: all is 1."""
        data = os.pread(self._fd, most, max(0, first)) if self._fd >= 0 else b""
        return ((1, data),) if data else ()

    def close(self) -> None:
        """Forget it; the program may write on."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
