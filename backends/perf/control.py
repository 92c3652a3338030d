"""Stopping a live program: by request, at a hit, after a step. What stops a thread is a signal that is ignored by default."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, Literal

from backends.base import HwbpError
from backends.bpf.syscall import BpfError
from backends.perf import events, ptrace
from backends.perf.arming import Arming
from backends.perf.gate import Gate
from backends.perf.opener import Opener
from backends.perf.stepping import StopAt, following
from backends.perf.target import Target
from symbols.dataclass import dataclass

if TYPE_CHECKING:
    from symbols.space import AddressSpace

__all__ = ["Arrived", "Control"]

_SI_KERNEL: Final = 0x80
Read = Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True)
class Arrived:
    """A thread has stopped: at a hit, where a step was to lead, or where its loader calls its debugger."""

    tid: int
    why: Literal["hit", "step", "loader"]


class Control:
    """The stops of one target. `current` is the thread that registers and steps are about."""

    def __init__(self, opener: Opener, target: Target, arming: Arming) -> None:
        self._opener = opener
        self._target = target
        self._tracer = target.tracer
        self._arming = arming
        self._known_signals = 0
        self._gate: Gate | None = None
        self._passes = 0
        """Of gates that are closed."""
        self._known_passes = 0
        self._step: StopAt | None = None
        self._left = 0
        self._read: Read | None = None
        self._over_calls = False
        self.current = target.pid
        self._tracer.ours = self._ours

    def _ours(self, tid: int) -> bool:
        """Whether a SIGURG is one that our BPF program sent: the kernel's own, and a hit or step that explains it."""
        if ptrace.signal_code(tid) != _SI_KERNEL:
            return False
        if self._step is not None and self._step.tid == tid and self._step.reached:
            return True
        return self._arming.signals() > self._known_signals or self._passed > self._known_passes

    @property
    def _passed(self) -> int:
        """How often a thread has come to where its loader calls."""
        return self._passes + (self._gate.passed if self._gate is not None else 0)

    # Standing still

    def stop(self) -> None:
        """Stop every thread. Raises HwbpError where that is not permitted or one cannot be reached."""
        try:
            complete = self._tracer.stop_all()
        except PermissionError as error:
            self._tracer.let_go()
            raise _denied(self._target.pid) from error
        if not complete and not self._tracer.stopped:
            self._tracer.let_go()
            raise HwbpError(
                "no thread of the program could be stopped (uninterruptible sleep)", errno="EBUSY"
            )
        self._came_to_rest(self._tracer.hits[0] if self._tracer.hits else None)

    def _came_to_rest(self, tid: int | None) -> None:
        self._tracer.hits.clear()
        self._known_signals = self._arming.signals()
        self._known_passes = self._passed
        self._end_step()
        if tid is not None:
            self.current = tid
        if self.current not in self._tracer.stopped:
            pid = self._target.pid
            self.current = pid if pid in self._tracer.stopped else min(self._tracer.stopped, default=pid)

    def watch_over(self) -> None:
        """Be there for hits that stop a running program. Raises HwbpError."""
        try:
            self._tracer.seize_all()
        except PermissionError as error:
            self._tracer.let_go()
            raise _denied(self._target.pid) from error

    def go_on(self, *, stay: object) -> None:
        """Let every thread run; with `stay`, or where the loader is waited for, we remain there for the next stop."""
        if stay or self._gate is not None:
            self._tracer.go_on()
        else:
            self._tracer.let_go()

    def arrived(self) -> Arrived | None:
        """Whether a hit or a step has stopped a thread since it last ran; all others are stopped then too."""
        if not self._tracer.hits:
            return None
        tid = self._tracer.hits[0]
        stepped = self._step is not None and self._step.tid == tid and self._step.reached
        if stepped and self._arming.signals() == self._known_signals and self._left > 1:
            self._tracer.hits.clear()
            self._left -= 1
            try:
                self._one_step(tid)
            except HwbpError:
                self._left = 0
            else:
                return None
        if not self._target.look():
            return None
        hit = self._arming.signals() > self._known_signals
        loader = self._passed > self._known_passes
        self._tracer.stop_all()
        self._came_to_rest(tid)
        return Arrived(tid, "hit" if hit else "step" if stepped else "loader" if loader else "hit")

    # Where the loader calls

    def watch_loader(self, address: int | None) -> None:
        """Stop each thread that comes to where the dynamic loader calls its debugger; None: no more. Raises HwbpError."""
        if self._gate is not None:
            self._passes += self._gate.close()
            self._gate = None
        if address is None:
            return
        what = "a stop where a library is mapped"
        if not self._tracer.attached:
            self.watch_over()
        with self._refusing(what, f"process {self._target.pid}"):
            self._gate = Gate(self._opener, self._target, address)

    @contextlib.contextmanager
    def _refusing(self, what: str, whom: str) -> Iterator[None]:
        """Say what could not be opened, for whom, and who holds the slots."""
        try:
            yield
        except BpfError as error:
            raise HwbpError(
                f"{what} needs BPF: {error.strerror}",
                errno=errno.errorcode.get(error.errno or 0),
                remedy="as root",
            ) from error
        except OSError as error:
            raise events.refusal(error, what, whom, self._arming.holders()) from error

    # Steps

    def step(self, read: Read, count: int, over_calls: bool) -> None:
        """Begin steps of the current thread; the others stay stopped. Raises HwbpError (ENOSPC before anything ran)."""
        self._read, self._over_calls, self._left = read, over_calls, count
        self._one_step(self.current)

    def _one_step(self, tid: int) -> None:
        assert self._read is not None
        registers = ptrace.registers(tid).values
        address, above = following(registers, self._read, over_calls=self._over_calls, bits=self._target.bits)
        self._until(tid, address, above)

    def finish(self, read: Read, space: AddressSpace) -> None:
        """Run the current thread until its function has returned (EINVAL where that place is not known exactly)."""
        from symbols.frames import Unwinder

        values = ptrace.registers(self.current).values
        frames = Unwinder(space, read).walk(
            values["rip"], values["rsp"], values["rbp"], 2, lambda name: values[name.lower()]
        )
        if len(frames) < 2 or frames[1][1]:
            raise HwbpError("the caller of this function is not known exactly", errno="EINVAL")
        self._left = 1
        self._until(self.current, frames[1][0], values["rsp"], alone=False)

    def run_to(self, address: int) -> None:
        """Run the program until the current thread comes to an address."""
        self._left = 1
        self._until(self.current, address, 0, alone=False)

    def _until(self, tid: int, address: int, above: int, alone: bool = True) -> None:
        self._end_step()
        what = f"a stop at {address:#x}"
        with self._refusing(what, f"thread {tid}"):
            self._step = StopAt(self._opener, tid, address, above)
        self._tracer.go_on(only=tid if alone else None)

    def _end_step(self) -> None:
        if self._step is not None:
            self._step.close()
            self._step = None

    def close(self) -> None:
        """Free what a step holds."""
        with contextlib.suppress(OSError):
            self._end_step()
        if self._gate is not None:
            self._gate.close()
            self._gate = None


def _denied(pid: int) -> HwbpError:
    return HwbpError(
        f"process {pid} may not be stopped: another debugger has it, or ptrace is not permitted",
        errno="EPERM",
        remedy="as root, or with CAP_SYS_PTRACE; sysctl kernel.yama.ptrace_scope",
    )
