"""The kernel: what it has, and what it lets this user do."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable
from typing import Final

from backends.base import HwbpError
from tui.session.escape import one_line
from tui.text.checks.check import Check, read_text

__all__ = [
    "bpf",
    "breakpoint_pmu",
    "btf",
    "capability",
    "kernel",
    "lockdown",
    "may_watch_cpus",
    "paranoid",
    "ptrace_scope",
]

_PARANOID: Final = "/proc/sys/kernel/perf_event_paranoid"
_BREAKPOINT_PMU: Final = "/sys/bus/event_source/devices/breakpoint/type"
_BTF: Final = "/sys/kernel/btf/vmlinux"
_LOCKDOWN: Final = "/sys/kernel/security/lockdown"
_PTRACE_SCOPE: Final = "/proc/sys/kernel/yama/ptrace_scope"
_CAPABILITIES: Final = {"CAP_SYS_PTRACE": 19, "CAP_SYS_ADMIN": 21, "CAP_PERFMON": 38, "CAP_BPF": 39}
_OLDEST: Final = (5, 8)
_PERF_TYPE_BREAKPOINT: Final = "5"
_BOOT: Final = "boot a kernel with"


def kernel() -> Check:
    """Its version."""
    means = "5.8 or later has the BPF ring that hits are read from; 6.0 or later counts hits that perf's rings lost"
    release = platform.release()
    numbers = re.match(r"(\d+)\.(\d+)", release)
    if numbers is None:
        return Check("kernel", None, release, means)
    ok = (int(numbers[1]), int(numbers[2])) >= _OLDEST
    return Check("kernel", ok, release, means, "" if ok else "use a newer kernel")


def breakpoint_pmu() -> Check:
    """Whether perf knows breakpoints."""
    means = "perf offers hardware breakpoints as events"
    try:
        found = read_text(_BREAKPOINT_PMU)
    except OSError as error:
        remedy = f"{_BOOT} CONFIG_PERF_EVENTS and CONFIG_HAVE_HW_BREAKPOINT"
        return Check("breakpoint_pmu", False, f"{_BREAKPOINT_PMU}: {error.strerror}", means, remedy)
    return Check(
        "breakpoint_pmu", found == _PERF_TYPE_BREAKPOINT, f"event source of type {one_line(found)}", means
    )


def paranoid() -> Check:
    """What perf lets users do who are not privileged."""
    means = "2 or less lets you watch your own processes, user mode only; 1 or less kernel mode as well"
    try:
        level = int(read_text(_PARANOID))
    except (OSError, ValueError) as error:
        return Check("perf_event_paranoid", None, one_line(f"unreadable: {error}"), means, "mount /proc")
    remedy = "" if level <= 2 else "sudo sysctl kernel.perf_event_paranoid=2"
    return Check("perf_event_paranoid", level <= 2, str(level), means, remedy)


def _effective() -> int:
    """CapEff. Raises OSError, ValueError, StopIteration."""
    lines = read_text("/proc/self/status").splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))


def may_watch_cpus() -> bool | None:
    """Whether events of whole CPUs may be opened: CAP_PERFMON, CAP_SYS_ADMIN, or perf_event_paranoid 0 and less
    (kernel/events/core.c, perf_allow_cpu). None where it is not known."""
    if _holds("CAP_PERFMON") or _holds("CAP_SYS_ADMIN"):
        return True
    try:
        return int(read_text(_PARANOID)) <= 0
    except (OSError, ValueError):
        return None


def _holds(name: str) -> bool | None:
    try:
        return bool(_effective() >> _CAPABILITIES[name] & 1)
    except (OSError, StopIteration, ValueError):
        return None


def capability(name: str, means: str) -> Callable[[], Check]:
    """A check of one capability of this process."""

    def check() -> Check:
        held = _holds(name)
        if held is None:
            return Check(name, None, "/proc/self/status is unreadable", means, "mount /proc")
        return Check(
            name,
            held,
            "held" if held else "not held",
            means,
            "" if held else "sudo hwbp-tui ..., or give it to the interpreter with setcap",
        )

    return check


def ptrace_scope() -> Check:
    """Whether Yama forbids attaching."""
    means = "0 lets you attach to any process of yours; 1 to those that you started; 2 needs CAP_SYS_PTRACE; 3 forbids it"
    try:
        level = int(read_text(_PTRACE_SCOPE))
    except FileNotFoundError:
        return Check("ptrace_scope", True, "this kernel does not have it: as 0", means)
    except (OSError, ValueError) as error:
        return Check("ptrace_scope", None, one_line(f"unreadable: {error}"), means)
    ok = level == 0 or (level < 3 and bool(_holds("CAP_SYS_PTRACE")))
    return Check(
        "ptrace_scope", ok, str(level), means, "" if ok else "sudo sysctl kernel.yama.ptrace_scope=0"
    )


def lockdown() -> Check:
    """Whether the kernel is locked down."""
    means = "in mode confidentiality nobody may read kernel memory: no books, no values at the hit"
    try:
        text = read_text(_LOCKDOWN)
    except FileNotFoundError:
        mounted = os.path.isdir("/sys/kernel/security") and bool(os.listdir("/sys/kernel/security"))
        found = (
            "this kernel cannot be locked down" if mounted else "not to be seen: securityfs is not mounted"
        )
        remedy = "" if mounted else "sudo mount -t securityfs none /sys/kernel/security"
        return Check("lockdown", True if mounted else None, found, means, remedy)
    except OSError as error:
        return Check(
            "lockdown", None, one_line(f"unreadable: {error.strerror}"), means, "sudo hwbp-tui doctor"
        )
    mode = re.search(r"\[(\w+)\]", text)
    if mode is None:
        return Check("lockdown", None, one_line(text), means)
    ok = mode[1] != "confidentiality"
    return Check("lockdown", ok, mode[1], means, "" if ok else "boot without lockdown=confidentiality")


def btf() -> Check:
    """Whether the kernel describes its types."""
    means = "the kernel describes its own structures: needed to read its books"
    try:
        size = os.stat(_BTF).st_size
    except OSError as error:
        return Check("btf", False, f"{_BTF}: {error.strerror}", means, f"{_BOOT} CONFIG_DEBUG_INFO_BTF=y")
    return Check("btf", True, f"{_BTF}, {size} bytes", means)


def bpf() -> Check:
    """Loads the BPF programs that read kernel memory, and reads a word with one."""
    means = (
        "BPF programs may read kernel memory: the value and the register of each hit, and the kernel's books"
    )
    from backends.kernelview.memory import BpfMemory, UnreadableError

    try:
        memory = BpfMemory()
    except HwbpError as error:
        remedy = "sudo hwbp-tui, or give CAP_BPF and CAP_PERFMON to the interpreter (setcap)"
        return Check("bpf", False, one_line(error.message), means, remedy)
    try:
        memory.word(memory.task())
    except (UnreadableError, OSError) as error:
        return Check("bpf", False, one_line(f"loaded, and reads nothing: {error}"), means, "see lockdown")
    finally:
        memory.close()
    return Check("bpf", True, "loaded, and read the kernel's memory", means)
