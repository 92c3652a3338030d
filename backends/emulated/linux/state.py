"""What Linux keeps about the one process of the emulated machine, and what every system call may use."""

from __future__ import annotations

import errno
import os
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from backends.base import Launch
from backends.emulated.engine import Engine, Unsupported
from backends.emulated.linux.descriptors import Descriptors, open_standard_input
from backends.emulated.linux.output import Output
from backends.emulated.loader import Image
from backends.emulated.memory import AddressSpace

__all__ = [
    "EPOCH_NS",
    "GID",
    "NO_ACTION",
    "NO_STACK",
    "PID",
    "PPID",
    "TRANSFER_LIMIT",
    "UID",
    "Handler",
    "Signals",
    "State",
    "Unsupported",
    "fail",
]

PID, PPID, UID, GID = 1000, 999, 1000, 1000
EPOCH_NS = 1_704_067_200 * 10**9
"""CLOCK_REALTIME when the machine starts: 2024-01-01 00:00 UTC."""
_LATEST_NS = 100 * 365 * 86_400 * 10**9
TRANSFER_LIMIT = 1 << 20
"""The most that one read or write moves; a short transfer is what POSIX allows."""


NO_ACTION = bytes(32)
"""`struct kernel_sigaction` of a signal whose action is the default."""
NO_STACK = (0, 2, 0)
"""`stack_t` without a stack: ss_sp, SS_DISABLE, ss_size."""


@dataclass(slots=True)
class Signals:
    """Actions (`struct kernel_sigaction`, 32 bytes), the blocked mask, what waits, and the alternate stack."""

    actions: dict[int, bytes] = field(default_factory=dict)
    blocked: int = 0
    pending: int = 0
    stack: tuple[int, ...] = NO_STACK

    def handler(self, number: int) -> int:
        """sa_handler: 0 default, 1 ignored, else an address."""
        return int.from_bytes(self.actions.get(number, NO_ACTION)[:8], "little")


class State:
    """The process: its memory, files, names, clock and end."""

    def __init__(
        self, engine: Engine, space: AddressSpace, image: Image, launch: Launch, clock: Callable[[], int]
    ) -> None:
        self.engine = engine
        self.space = space
        self.image = image
        self.allow = frozenset(launch.allow)
        self.output = Output()
        self.files = Descriptors(self.output, open_standard_input(launch.stdin))
        self.random = random.Random(0xD1CE)
        self.comm = os.path.basename(image.argv[0])[:15]
        self.cwd = os.getcwd()
        self.umask = 0o022
        self.exit_status: int | None = None
        self.refusals: list[str] = []
        self.signals = Signals()
        self.slept_ns = 0
        self.limits: dict[int, tuple[int, int]] = {}
        self._clock = clock

    def now(self) -> int:
        """Nanoseconds since the machine started: what it computed and what it slept."""
        return self._clock() + self.slept_ns

    def sleep_until(self, when_ns: int) -> None:
        """Let the machine's time pass; nobody waits."""
        if when_ns > _LATEST_NS:
            raise Unsupported("a sleep of more than a hundred years")
        self.slept_ns += max(0, when_ns - self.now())

    def refuse(self, word: str, what: str, code: int = errno.EACCES) -> OSError:
        """Record that something was refused, once for each kind, and give the error that says so."""
        if word in self.allow:
            code = errno.ENOSYS
            line = f"{what}: ENOSYS (the machine cannot do this, --allow {word} or not)"
        else:
            line = f"{what}: {errno.errorcode[code]} (refused without --allow {word})"
        if line not in self.refusals and len(self.refusals) < 1000:
            self.refusals.append(line)
        return fail(code)

    def path(self, address: int) -> str:
        """A path argument (EFAULT, ENAMETOOLONG)."""
        return os.fsdecode(self.space.text(address))

    def unpack(self, layout: str, address: int) -> tuple[int, ...]:
        """Integers from the program's memory (EFAULT)."""
        values: tuple[int, ...] = struct.unpack(layout, self.space.copy_out(address, struct.calcsize(layout)))
        return values

    def pack(self, layout: str, address: int, *values: int) -> None:
        """Integers into the program's memory (EFAULT)."""
        self.space.copy_in(address, struct.pack(layout, *values))


Handler = Callable[[State, int, int, int, int, int, int], int | None]
"""A system call: six raw 64-bit arguments, the result or None where there is none (the process has ended)."""


def fail(code: int) -> OSError:
    """The error with this number, to be raised."""
    return OSError(code, os.strerror(code))
