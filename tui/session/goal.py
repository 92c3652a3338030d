"""What a `wait` waits for. The machine's state and hit count are read from the ring's header, without asking it."""

from __future__ import annotations

import math
import re
import time

from backends.ring_reader import RingReader
from symbols.dataclass import dataclass
from tui.session.escape import escape
from tui.session.result import UsageError

__all__ = ["Goal"]

_GRAMMAR = "wait [N hits | exit | stop | SECONDS]"


@dataclass(frozen=True, slots=True)
class Goal:
    """Over when the machine stands still, and earlier at hit number `hits` or at `until` (time.monotonic).

    `exit`: whoever waits wanted the program's end, and nothing else will do. A wait for a time goes on while the
    machine stands still, unless `or_still`.
    """

    hits: int | None = None
    until: float | None = None
    exit: bool = False
    or_still: bool = False

    @classmethod
    def parse(cls, text: str, head: int) -> Goal:
        """`3 hits`, `exit`, `stop`, `0.5`, `0.5s` or nothing; hits count from `head` on. Raises UsageError."""
        words = text.lower().split()
        if not words or words == ["stop"]:
            return cls()
        if words == ["exit"]:
            return cls(exit=True)
        if len(words) == 2 and words[1] in ("hit", "hits") and re.fullmatch(r"[0-9]{1,18}", words[0]):
            return cls(hits=head + int(words[0]))
        if len(words) == 1 and re.fullmatch(r"[0-9]+(\.[0-9]*)?s?", words[0]):
            seconds = float(words[0].rstrip("s"))
            if math.isfinite(seconds):
                return cls(until=time.monotonic() + seconds)
        raise UsageError(f"cannot wait for '{escape(text.strip())}'", _GRAMMAR)

    def hits_seen(self, ring: RingReader) -> bool:
        """Whether the hits it waits for have been recorded."""
        return self.hits is not None and ring.head >= self.hits

    def reached(self, ring: RingReader) -> bool:
        """Whether the wait is over. A wait for hits also ends when the machine stands still."""
        if self.hits_seen(ring):
            return True
        if self.until is not None and time.monotonic() >= self.until:
            return True
        if self.until is not None and not self.or_still:
            return False
        return ring.state != "running"
