"""The system call instruction: from a number in RAX to a handler and back."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType

from backends.base import Launch
from backends.emulated.linux import (
    clocks,
    clone,
    ending,
    events,
    execute,
    files,
    frames,
    futex,
    mapping,
    metadata,
    perf_events,
    pipes,
    process,
    robust,
    signals,
)
from backends.emulated.linux.descriptors import MustWait
from backends.emulated.linux.numbers import NAMES, NUMBERS
from backends.emulated.linux.output import Output
from backends.emulated.linux.sending import send, siginfo
from backends.emulated.linux.state import Blocked, Handler, Process, System, Task, Unsupported, first_process
from backends.emulated.loader import Image
from backends.emulated.mm import Mm
from backends.emulated.scheduler import Scheduler

__all__ = ["PROBED", "TABLE", "Linux"]

_MASK = (1 << 64) - 1
_SIGPIPE, _SIGALRM, _SI_KERNEL = 13, 14, 0x80

TABLE: Mapping[int, Handler] = MappingProxyType(
    {
        NUMBERS[name]: handler
        for module in (
            files,
            metadata,
            mapping,
            perf_events,
            pipes,
            process,
            robust,
            clone,
            execute,
            ending,
            events,
            futex,
            clocks,
            signals,
            frames,
        )
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
    """The kernel side of the emulated machine: one program to begin with, and all it starts.

    `clock` gives the instructions run so far. `exit_status` is that of the first process: None until it ends, 0-255, or
    -N for death by signal N. `refusals` holds one line for each kind of thing that programs may not do.
    """

    def __init__(
        self,
        mm: Mm,
        image: Image,
        launch: Launch,
        clock: Callable[[], int],
        scheduler: Scheduler[Task] | None = None,
    ) -> None:
        self.scheduler: Scheduler[Task] = scheduler if scheduler is not None else Scheduler()
        self.system = System(launch, clock, self.scheduler)
        self.system.on_timer = self._alarm
        self.first = first_process(self.system, mm, image, launch)
        self.current = self.first
        self.scheduler.add(self.first)
        mm.resident = self.first

    @property
    def pid(self) -> int:
        """The first process's number."""
        return self.first.process.pid

    @property
    def exit_status(self) -> int | None:
        """How the first process ended, None while it has not."""
        return self.first.process.exit_status

    @property
    def alive(self) -> bool:
        """Whether any program is left."""
        return bool(self.system.programs)

    @property
    def output(self) -> Output:
        """What the programs printed."""
        return self.system.output

    @property
    def refusals(self) -> list[str]:
        """What was refused, one line for each kind."""
        return self.system.refusals

    def now(self) -> int:
        """Nanoseconds since the machine started, sleeps included."""
        return self.system.now()

    def idle(self) -> bool:
        """Nothing is runnable: let the time pass to the next sleep's end. False when nobody will ever wake."""
        deadline = self.system.next_deadline()
        if deadline is None:
            return False
        self.system.slept_ns += max(0, deadline - self.system.now())
        self.system.expire()
        return True

    def _alarm(self, process: Process) -> None:
        send(self.system, process, _SIGALRM, siginfo(_SIGALRM, _SI_KERNEL))

    def enter(self, task: Task) -> bool:
        """The task has the engine now: finish what it waited for, and deliver signals. False when it cannot run."""
        self.current = task
        if task.result is not None:
            result, task.result = task.result, None
            self._finish(task, result)
        if task.signalled or task.notify_resume or task.saved_mask is not None:
            self._resume(task)
        return task.wait is None and not task.ended and not task.stopped

    def _resume(self, task: Task) -> None:
        """On the way back to user mode (exit_to_user_mode_loop)."""
        if task.notify_resume:
            task.notify_resume = False
            self.system.on_resume(task)
        if task.signalled or task.saved_mask is not None:
            signals.deliver(task)

    def _runs(self, task: Task) -> bool:
        return task.wait is None and not task.ended and not task.stopped

    def syscall(self) -> bool:
        """Do the system call that pc is at, and step over it; whether the task goes on.

        Raises Unsupported, or CodeRewritten from the address space, with pc still at the instruction.
        """
        task = self.current
        engine = task.engine
        number = engine.get("RAX") & 0xFFFF_FFFF
        try:
            result = self._result(task, number)
        except Blocked as blocked:
            self.system.block(task, blocked.wait)
            return False
        if result is not None:
            self._finish(task, result)
        self._resume(task)
        return self._runs(task)

    def _result(self, task: Task, number: int) -> int | None:
        handler = TABLE.get(number)
        if handler is None:
            return self._missing(number)
        get = task.engine.get
        arguments = (get("RDI"), get("RSI"), get("RDX"), get("R10"), get("R8"), get("R9"))
        try:
            return handler(task, *arguments)
        except MustWait as must:
            raise task.wait_for("a pipe", *must.keys) from None
        except OSError as error:
            if error.errno == errno.EPIPE:
                send(self.system, task.process, _SIGPIPE, siginfo(_SIGPIPE, 0), task)
            return -(error.errno or errno.EIO)
        except (OverflowError, ValueError, struct.error):
            return -errno.EINVAL

    def _finish(self, task: Task, result: int) -> None:
        task.until = None
        engine = task.engine
        pc = engine.pc + 2
        engine.set("RCX", pc)
        engine.set("R11", engine.get("RFLAGS"))
        engine.set("RAX", result & _MASK)
        engine.pc = pc

    def deliver_fault(self, number: int, address: int, code: int = 0) -> bool:
        """A fault's signal (SIGSEGV, SIGILL, SIGFPE, SIGTRAP, SIGBUS) for the current task; whether it goes on."""
        task = self.current
        signals.raise_fault(task, number, address, code)
        if not task.ended:
            signals.deliver(task)
        return self._runs(task)

    def close(self) -> None:
        """Give the host's files back."""
        for each in tuple(self.system.processes.values()):
            each.files.close_range(0, 1 << 32)

    def _missing(self, number: int) -> int:
        if number in PROBED or number not in NAMES:
            return -errno.ENOSYS
        raise Unsupported(f"system call {number} ({NAMES[number]})")
