"""The system call instruction: from a number in RAX to a handler and back."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType

from backends.base import Launch
from backends.emulated.engine import Engine
from backends.emulated.linux import clocks, files, mapping, metadata, pipes, process, signals
from backends.emulated.linux.numbers import NAMES, NUMBERS
from backends.emulated.linux.output import Output
from backends.emulated.linux.state import PID, Handler, State, Unsupported
from backends.emulated.loader import Image
from backends.emulated.memory import AddressSpace

__all__ = ["PROBED", "TABLE", "Linux"]

_MASK = (1 << 64) - 1

TABLE: Mapping[int, Handler] = MappingProxyType(
    {
        NUMBERS[name]: handler
        for module in (files, metadata, mapping, pipes, process, clocks, signals)
        for name, handler in module.HANDLERS.items()
        if name in NUMBERS
    }
)
"""Handler by number."""

PROBED = frozenset(
    NUMBERS[name]
    for name in [
        "rseq",
        "membarrier",
        "io_uring_setup",
        "openat2",
        "copy_file_range",
        "splice",
        "tee",
        "vmsplice",
        "pidfd_open",
        "process_madvise",
        "landlock_create_ruleset",
        "memfd_secret",
        "seccomp",
        "bpf",
        "perf_event_open",
        "userfaultfd",
        "keyctl",
        "add_key",
        "request_key",
        "inotify_init",
        "inotify_init1",
        "fanotify_init",
        "mincore",
        "futex_waitv",
        "cachestat",
        "map_shadow_stack",
        "mseal",
        "fallocate",
        "preadv2",
        "pwritev2",
        "pkey_alloc",
        "pkey_free",
        "name_to_handle_at",
        "mbind",
        "set_mempolicy",
        "get_mempolicy",
        "syslog",
        "quotactl",
        "kcmp",
        "modify_ldt",
        "epoll_pwait2",
        "remap_file_pages",
        "sync_file_range",
    ]
)
"""Calls that programs try and can do without: ENOSYS, as from a kernel built without them."""


class Linux:
    """The kernel side of one emulated program.

    `clock` gives the machine's time in nanoseconds; `now` adds what the program slept. `exit_status` is None until
    it ends: 0-255, or -N for death by signal N. `refusals` holds one line for each kind of thing it may not do.
    """

    def __init__(
        self, engine: Engine, space: AddressSpace, image: Image, launch: Launch, clock: Callable[[], int]
    ) -> None:
        self.state = State(engine, space, image, launch, clock)
        self.pid = PID
        self.tid = PID
        self._engine = engine

    @property
    def exit_status(self) -> int | None:
        """How the program ended, None while it has not."""
        return self.state.exit_status

    @property
    def comm(self) -> str:
        """The task's name, at most 15 bytes (PR_SET_NAME changes it)."""
        return self.state.comm

    @property
    def output(self) -> Output:
        """What it printed."""
        return self.state.output

    @property
    def refusals(self) -> list[str]:
        """What was refused, one line for each kind."""
        return self.state.refusals

    def now(self) -> int:
        """Nanoseconds since the machine started, sleeps included."""
        return self.state.now()

    def syscall(self) -> None:
        """Do the system call that pc is at, and step over it.

        Raises Unsupported, or CodeRewritten from the address space, with pc still at the instruction.
        """
        engine = self._engine
        number = engine.get("RAX") & 0xFFFF_FFFF
        handler = TABLE.get(number)
        if handler is None:
            result: int | None = self._missing(number)
        else:
            arguments = [engine.get(name) for name in ("RDI", "RSI", "RDX", "R10", "R8", "R9")]
            try:
                result = handler(self.state, *arguments)
            except OSError as error:
                result = -(error.errno or errno.EIO)
            except (OverflowError, ValueError, struct.error):
                result = -errno.EINVAL
        pc = engine.pc + 2
        engine.set("RCX", pc)
        engine.set("R11", engine.get("RFLAGS"))
        if result is not None:
            engine.set("RAX", result & _MASK)
        engine.pc = pc

    def deliver_fault(self, number: int, address: int) -> None:
        """A fault's signal (SIGSEGV, SIGILL, SIGFPE, SIGTRAP, SIGBUS) at an address: the program ends by it.

        Raises Unsupported where it has a handler for that signal.
        """
        signals.raise_fault(self.state, number)

    def close(self) -> None:
        """Give the host's files back."""
        self.state.files.close_range(0, 1 << 32)

    def _missing(self, number: int) -> int:
        if number in PROBED or number not in NAMES:
            return -errno.ENOSYS
        raise Unsupported(f"system call {number} ({NAMES[number]})")
