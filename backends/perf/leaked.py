"""Watches that a debugger left in a process when it was killed or detached: found, and disarmed.

ptrace's breakpoints stay armed when their tracer goes (kernel/ptrace.c: detaching clears single stepping only), and the next
hit is a SIGTRAP that nobody expects: it kills the process. Writing 0 to u_debugreg[7] disarms them. Their slots stay taken
until the task execs or exits: ptrace has no way to give one back (arch/x86/kernel/ptrace.c, ptrace_write_dr7).
"""

from __future__ import annotations

import errno
import os
import signal
import time
from typing import Final

from backends import dr
from backends.base import HwbpError
from backends.perf import ptrace
from symbols.dataclass import dataclass

__all__ = ["Disarmed", "disarm_leaked"]

_PATIENCE: Final = 2.0
_TRAP_HWBKPT: Final = 4
"""si_code of a SIGTRAP by a hardware breakpoint (arch/x86/kernel/traps.c)."""


@dataclass(frozen=True, slots=True)
class Disarmed:
    """One watch of a thread that was armed and is not any more."""

    tid: int
    index: int
    address: int
    length: int
    type: dr.SlotType


def disarm_leaked(pid: int) -> tuple[Disarmed, ...]:
    """Disarm every ptrace watch in the threads of a process that nobody traces. The process runs on; being killed here at
    any moment leaves it running.

    Raises `HwbpError`: ESRCH for no such process; EPERM where it is another user's; EBUSY while somebody traces it, whose
    affair the watches then are.
    """
    try:
        tids = sorted(int(name) for name in os.listdir(f"/proc/{pid}/task"))
    except OSError as error:
        raise HwbpError(f"there is no process {pid}", errno="ESRCH") from error
    tracer = _tracer(pid)
    if tracer:
        raise HwbpError(
            f"process {pid} is traced by {tracer}: its watches are not left behind",
            errno="EBUSY",
            remedy=f"let {tracer} remove them",
        )
    found: list[Disarmed] = []
    for tid in tids:
        try:
            found += _disarm_thread(tid)
        except ProcessLookupError:
            continue  # it has ended, and its slots are free
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, "")
            raise HwbpError(
                f"thread {tid} of process {pid} may not be traced by us: {error.strerror}",
                errno=name,
                remedy="as root, or with CAP_SYS_PTRACE; kernel.yama.ptrace_scope may forbid it",
            ) from error
    return tuple(found)


def _tracer(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("TracerPid:")), 0)
    except OSError:
        return 0


def _disarm_thread(tid: int) -> list[Disarmed]:
    ptrace.seize(tid)
    ptrace.interrupt(tid)
    pending = 0
    stopped = False
    try:
        status = _stop(tid)
        stopped = True
        # A watch that hit just now stops the thread with its SIGTRAP, which is not delivered. Any other signal is.
        if status.event == 0 and not _is_hit(tid, status):
            pending = status.signal
        control = ptrace.debug_register(tid, 7)
        armed = [n for n in range(4) if dr.enabled(control, n)]
        addresses = [ptrace.debug_register(tid, n) for n in armed]
        if armed:
            ptrace.write_debug_register(tid, 7, 0)
        return [
            Disarmed(tid, n, address, dr.slot_length(control, n), dr.slot_type(control, n))
            for n, address in zip(armed, addresses, strict=True)
        ]
    finally:
        if stopped:
            ptrace.detach(tid, pending)


def _stop(tid: int) -> ptrace.WaitStatus:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            status = ptrace.wait(tid, block=False)
        except ChildProcessError as error:
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH)) from error
        if status is not None and status.exit is None:
            return status
        if status is not None:
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
        if time.monotonic() > deadline:
            raise OSError(errno.EAGAIN, "it does not stop (uninterruptible sleep?)")
        time.sleep(0.001)


def _is_hit(tid: int, status: ptrace.WaitStatus) -> bool:
    return status.signal == signal.SIGTRAP and ptrace.signal_code(tid) == _TRAP_HWBKPT
