"""The contract between the front end and a machine, and the errors that a person can act on.

The front end holds a `Backend`; so does the backend's process (`backends.host`). Between them runs
`backends.protocol`, which takes the messages from the signatures below: a method added here is a message.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Literal

from backends.condition import Condition
from backends.model import (
    Breakpoint,
    BreakpointRequest,
    DebugException,
    Frame,
    Journal,
    MachineView,
    Site,
    TaskView,
)
from symbols.dataclass import dataclass

__all__ = ["Attach", "Backend", "HwbpError", "Launch", "Register", "Spawn", "no_task"]


class HwbpError(Exception):
    """Something that was asked for and did not happen.

    `message` is one line: what failed and why. `errno` is the errno's name ("ENOSPC") or None, `holders` are lines
    that say who holds the slots, `remedy` what to do next.
    """

    def __init__(
        self, message: str, *, errno: str | None = None, holders: tuple[str, ...] = (), remedy: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.errno = errno
        self.holders = holders
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Launch:
    """What to run and how.

    `stdin` is a file's path, or None for nothing. `allow` holds what an emulated program may do by itself besides
    computing and printing ("write", "network", "exec", "kill", "perfmon"). `stacks` records call stacks with the hits.
    `lossless` lets the machine wait for the reader instead of overwriting hits that were not read.

    For a live program: `env` is all of its environment, `children` follows the processes that it begins, `kernel` reports
    hits in kernel mode too, `guard` disarms watches for part of the time when they hit without pause. Its `output` is captured
    (`Backend.output`), or both streams go to our standard error, or they are its own: ours. In a `scene` it ends with us.
    `cpus` (1 to 64) and `quantum` (instructions a task runs before another that waits has its turn) are an emulated
    machine's.
    """

    program: str
    argv: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    stdin: str | None = None
    allow: tuple[str, ...] = ()
    stacks: bool = True
    lossless: bool = False
    cpus: int = 2
    quantum: int = 10_000
    children: bool = False
    kernel: bool = False
    guard: bool = False
    output: Literal["captured", "error", "own"] = "captured"
    scene: bool = False


@dataclass(frozen=True, slots=True)
class Attach:
    """Which live process to watch, and how; the other fields are those of `Launch`."""

    pid: int
    stacks: bool = True
    lossless: bool = False
    children: bool = False
    kernel: bool = False
    guard: bool = False


@dataclass(frozen=True, slots=True)
class Spawn:
    """A task to make: a `program` with its `argv` (without the program's name), a `pattern` of accesses, or neither: a
    task that never runs.

    A pattern is made again and again: (kind "r", "w" or "x", address, size in bytes, instructions from it to the next).
    `cpus` are those it may run on, none for all.
    """

    name: str = ""
    program: str = ""
    argv: tuple[str, ...] = ()
    pattern: tuple[tuple[str, int, int, int], ...] = ()
    cpus: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Register:
    """One register of a stopped task."""

    name: str
    value: int


def no_task(tid: int, there: Iterable[int]) -> HwbpError:
    """ESRCH, with some of those that there are."""
    tids = sorted(there)
    some = ", ".join(map(str, tids[:8])) + (", ..." if len(tids) > 8 else "")
    return HwbpError(f"no task {tid}", errno="ESRCH", remedy=f"there are: {some}" if some else "")


class Backend(ABC):
    """A machine. Every method may raise `HwbpError`; a request that is refused leaves nothing behind.

    What every machine can do is abstract. The rest has a neutral default, and `MachineView.can` says what works, so that
    a front end need not know which machine it has.
    """

    @abstractmethod
    def launch(self, launch: Launch) -> MachineView:
        """Load a program and stop before its first instruction."""

    def attach(self, attach: Attach) -> MachineView:
        """Watch a process that runs, without stopping it (ESRCH, EPERM; EOPNOTSUPP for an emulated machine)."""
        raise HwbpError("this machine cannot attach to a live process", errno="EOPNOTSUPP")

    @abstractmethod
    def view(self) -> MachineView:
        """The state now."""

    @abstractmethod
    def arm(self, requests: tuple[BreakpointRequest, ...]) -> tuple[Breakpoint, ...]:
        """Reserve and install all of them, or none (ENOSPC, EINVAL, ESRCH)."""

    @abstractmethod
    def disarm(self, ids: tuple[int, ...]) -> None:
        """Remove breakpoints and free their slots (ENOENT)."""

    @abstractmethod
    def enable(self, id: int, on: bool) -> None:  # noqa: A002 - the protocol's word
        """Enable or disable one; a disabled one keeps its slot. Enabled again, hits towards its limit are counted from 0."""

    def move(self, ids: tuple[int, ...], requests: tuple[BreakpointRequest, ...]) -> tuple[Breakpoint, ...]:
        """Give breakpoints other windows, one each, all or none: numbers and slots stay, and the kernel's count of each; our
        totals begin anew (PERF_EVENT_IOC_MODIFY_ATTRIBUTES). ENOENT; EINVAL where the kernel takes no such change; EOPNOTSUPP."""
        raise HwbpError("this machine moves no breakpoint", errno="EOPNOTSUPP")

    def restrict(self, ids: tuple[int, ...], condition: Condition | None, limit: int | None) -> None:
        """What hits of these breakpoints must be like to be recorded, from the next one on, and how many are wanted of all
        of them together, counted from now (ENOENT; EOPNOTSUPP)."""
        raise HwbpError("this machine records every hit", errno="EOPNOTSUPP")

    def ignore(self, ids: tuple[int, ...], count: int) -> None:
        """Of the next hits of these breakpoints that meet their condition, the first `count` of all of them together are
        counted only, instead of those that were to be so (ENOENT; EOPNOTSUPP)."""
        raise HwbpError("this machine records every hit", errno="EOPNOTSUPP")

    @abstractmethod
    def resume(self) -> None:
        """Let the machine run until something stops it."""

    @abstractmethod
    def stop(self) -> MachineView:
        """Stop it at the next instruction boundary."""

    @abstractmethod
    def step(self, count: int, over_calls: bool) -> MachineView:
        """Run `count` instructions (RF honoured: the first one does not hit its own execute slot)."""

    @abstractmethod
    def finish(self) -> MachineView:
        """Run until the current function has returned (EINVAL where its return address is not known exactly)."""

    @abstractmethod
    def run_to(self, address: int) -> MachineView:
        """Run to an address without taking a slot; any other stop comes first."""

    def run_to_mapping(self, until: int) -> MachineView:
        """Before the program has begun: run until something more is mapped, or to the address `until`.

        A machine that cannot tell runs to the address.
        """
        return self.run_to(until)

    def stop_at_mappings(self, loader: int | None) -> None:
        """From now on stop, with reason "mapped", where a thread comes to the address `loader` and more code is mapped than
        before: there the program's dynamic loader calls its debugger. It takes an execute slot. None: no more of that.

        EPERM, ENOSPC; EOPNOTSUPP where nothing of that kind can be done.
        """
        raise HwbpError("this machine does not stop where a library is mapped", errno="EOPNOTSUPP")

    def release(self) -> MachineView:
        """Watch no more: a live program goes on by itself, its slots free; an emulated one stops."""
        return self.stop()

    @abstractmethod
    def read(self, address: int, size: int) -> bytes:
        """Memory, at most 1 MiB a call (EFAULT). A read by the debugger hits no slot."""

    def write(self, address: int, data: bytes) -> None:
        """Write memory of a program that stands still, at most 64 KiB a call, also where it may not write itself (EFAULT,
        EBUSY, EPERM). It hits no slot."""
        raise HwbpError("this machine's memory cannot be written from outside", errno="EOPNOTSUPP")

    def set_register(self, tid: int | None, name: str, value: int) -> None:
        """Write one of `registers` of a task that stands still (ESRCH, EBUSY, EINVAL, EPERM)."""
        raise HwbpError("this machine's registers cannot be written from outside", errno="EOPNOTSUPP")

    @abstractmethod
    def registers(self, tid: int | None) -> tuple[Register, ...]:
        """The general registers, rip, eflags and the segment bases of a task."""

    @abstractmethod
    def write_dr(self, cpu: int, register: int, value: int) -> MachineView:
        """Write a CPU's debug register (0-3, 6, 7) by hand, past the kernel's books."""

    @abstractmethod
    def ptrace_peek(self, tid: int | None, register: int) -> int:
        """PTRACE_PEEKUSER of u_debugreg[register]."""

    @abstractmethod
    def ptrace_poke(self, tid: int | None, register: int, value: int) -> None:
        """PTRACE_POKEUSER of u_debugreg[register] (EIO, EINVAL, ENOSPC)."""

    def owner(self, owner: str, verb: str, arguments: tuple[str, ...]) -> tuple[str, ...]:
        """One word of an owner's, or about a task, with its arguments; the answer in lines.

        Only a machine that has these owners inside can: EOPNOTSUPP elsewhere.
        """
        raise HwbpError(
            f"{owner} {verb}: only the emulated machine has this owner inside", errno="EOPNOTSUPP"
        )

    def kallsyms(self) -> bytes:
        """/proc/kallsyms of the kernel inside an emulated machine; nothing where there is none."""
        return b""

    @abstractmethod
    def stacks(self, first: int) -> tuple[tuple[Frame, ...], ...]:
        """Interned call stacks from number `first` on, at most 4,096 a call."""

    @abstractmethod
    def sites(self) -> tuple[Site, ...]:
        """The exact totals, most hits first, at most 4,096."""

    def select(self, tid: int) -> MachineView:
        """Look at this task from now on: registers, memory, mappings, single steps (ESRCH)."""
        raise HwbpError("this machine has no tasks to choose from", errno="EOPNOTSUPP")

    def spawn(self, spawn: Spawn) -> TaskView:
        """A new task beside those that are there (ENOENT, ENOEXEC, EINVAL, EAGAIN)."""
        raise HwbpError("this machine makes no tasks", errno="EOPNOTSUPP", remedy="the emulated one does")

    def pin(self, tid: int, cpus: tuple[int, ...]) -> TaskView:
        """Say which CPUs a task may run on, none for all of them (ESRCH, EINVAL)."""
        raise HwbpError("this machine pins no tasks", errno="EOPNOTSUPP", remedy="taskset(1) does")

    def hold(self, tid: int, on: bool) -> TaskView:
        """Keep a task from running, or let it run again (ESRCH)."""
        raise HwbpError(
            "this machine holds no tasks back", errno="EOPNOTSUPP", remedy="the emulated one does"
        )

    def journal(self, start_ns: int, end_ns: int) -> Journal:
        """What happened to the debug registers in this span, at most 4,096 rows of each kind: the latest."""
        raise HwbpError("this machine keeps no journal of its registers", errno="EOPNOTSUPP")

    def debug_exceptions(self, first: int) -> tuple[DebugException, ...]:
        """The #DB of a bare machine from number `first` on, or from the oldest kept; at most 1,024 a call.

        EOPNOTSUPP where a kernel takes the #DB: the program then sees signals, and the hits are in the ring.
        """
        raise HwbpError(
            "here the kernel takes every #DB; a list of them is kept in bare mode (--bare)",
            errno="EOPNOTSUPP",
        )

    def show_disabled(self, on: bool) -> MachineView:
        """Let DR6 also show slots that match and are not enabled, as a CPU may (SDM 3B 17.2.3); EOPNOTSUPP elsewhere."""
        raise HwbpError("only a bare machine (--bare) has this switch", errno="EOPNOTSUPP")

    @abstractmethod
    def output(self, first: int) -> tuple[tuple[int, bytes], ...]:
        """What the program printed, as (stream, bytes) from byte `first` of all output on, at most 64 KiB a call."""

    @abstractmethod
    def close(self) -> None:
        """End the machine."""
