"""The debug registers themselves: who has them, whether they work here, and room for what they report."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import struct
from typing import Final

from backends.base import HwbpError
from tui.session.escape import escape, one_line
from tui.text.checks.check import Check, read_text

__all__ = ["descriptors", "fires", "ring_memory", "slots_free"]

_SYS_PERF_EVENT_OPEN: Final = 298  # x86-64
_PERF_TYPE_BREAKPOINT: Final = 5
_HW_BREAKPOINT_W: Final = 2
_PINNED_AND_USER_ONLY: Final = 1 << 2 | 1 << 5 | 1 << 6
_ATTR_SIZE: Final = 112  # PERF_ATTR_SIZE_VER5
_CLOSE_ON_EXEC: Final = 8
_MLOCK: Final = "/proc/sys/kernel/perf_event_mlock_kb"
_CAP_IPC_LOCK: Final = 14
_RING_KIB: Final = 512 * 4 + 4
"""One CPU's ring of 512 pages with its control page: what the live backend asks for without BPF."""
_FEW: Final = 1024


def slots_free() -> Check:
    """What a CPU-wide request would still get on each CPU, by the kernel's books."""
    means = "x86 has four debug registers a CPU: what a CPU-wide request would still get"
    from backends.kernelview.now import books_now

    try:
        books = books_now()
    except HwbpError as error:
        return Check("slots_free", None, one_line(error.message), means, "sudo hwbp-tui doctor")
    if books.source == "proc":
        return Check("slots_free", None, "the kernel's books are closed to us", means, "sudo hwbp-tui doctor")
    found = ", ".join(f"CPU {cpu.cpu}: {cpu.free}" for cpu in books.cpus)
    left = [h.target.pid for h in books.holdings if h.orphan and h.enabled and h.target is not None]
    if left:
        found += f"; a dead debugger left a watch armed in process {left[0]}"
        return Check("slots_free", False, found, means, f"hwbp-tui slots {left[0]} --disarm")
    ok = all(cpu.free for cpu in books.cpus)
    return Check("slots_free", ok, found, means, "" if ok else "hwbp-tui slots says who holds them; end one")


def fires() -> Check:
    """Opens a perf event with a hardware breakpoint on a word of our own, writes it, and reads the count."""
    means = "the kernel gives this user a debug register of this CPU, and it counts"
    if platform.machine() != "x86_64":
        return Check("hardware_breakpoint", None, platform.machine(), means, "run it on x86-64")
    word = ctypes.c_uint64(0)
    attr = bytearray(_ATTR_SIZE)
    struct.pack_into("<IIQQ", attr, 0, _PERF_TYPE_BREAKPOINT, _ATTR_SIZE, 0, 0)
    struct.pack_into("<Q", attr, 40, _PINNED_AND_USER_ONLY)
    struct.pack_into("<IQQ", attr, 52, _HW_BREAKPOINT_W, ctypes.addressof(word), 8)
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = (ctypes.c_char * _ATTR_SIZE).from_buffer(attr)
    fd = libc.syscall(_SYS_PERF_EVENT_OPEN, buffer, 0, -1, -1, _CLOSE_ON_EXEC)
    if fd < 0:
        return _refused(ctypes.get_errno(), means)
    try:
        word.value = 1
        count = struct.unpack("<Q", os.read(fd, 8))[0]
    except (OSError, struct.error) as error:
        return Check("hardware_breakpoint", False, one_line(str(error)), means, "use the emulated machine")
    finally:
        os.close(fd)
    if count:
        found = f"opened, and counted {count} write{'s' * (count != 1)}"
        return Check("hardware_breakpoint", True, found, means)
    remedy = "this hypervisor accepts breakpoints and never delivers them: use the emulated machine"
    return Check("hardware_breakpoint", False, "opened, and missed a write", means, remedy)


def _refused(number: int, means: str) -> Check:
    name = errno.errorcode.get(number, str(number))
    found = f"{name}: {os.strerror(number)}"
    if number == errno.ENOSPC:
        from backends.kernelview.now import holders

        held = [escape(line) for line in holders(os.getpid())]
        found += f"; held by {'; '.join(held)}" if held else ""
    remedy = {
        "ENOSPC": "hwbp-tui slots says who holds the registers: end one of them",
        "EACCES": "sudo sysctl kernel.perf_event_paranoid=2",
        "EPERM": "run as root, or allow perf_event_open in this container's seccomp profile",
    }.get(name, "use the emulated machine")
    return Check("hardware_breakpoint", False, found, means, remedy)


def ring_memory() -> Check:
    """How much memory perf lets this user lock for rings, against what a live run without BPF asks for."""
    means = "hits wait in perf's rings where BPF is not allowed; smaller rings lose hits sooner"
    try:
        for_each = int(read_text(_MLOCK))
        status = read_text("/proc/self/status").splitlines()
        effective = next(int(line.split()[1], 16) for line in status if line.startswith("CapEff:"))
    except (OSError, StopIteration, ValueError) as error:
        return Check("ring_memory", None, one_line(f"unreadable: {error}"), means, "mount /proc")
    cpus = os.cpu_count() or 1
    wanted = cpus * _RING_KIB
    soft = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    if effective >> _CAP_IPC_LOCK & 1 or soft == resource.RLIM_INFINITY:
        return Check("ring_memory", True, f"no limit (a run asks for {wanted} KiB)", means)
    allowed = for_each * cpus + soft // 1024
    found = f"{allowed} KiB (perf {for_each} a CPU, and {soft // 1024} locked); a run asks for {wanted}"
    ok = allowed >= wanted
    return Check(
        "ring_memory", ok, found, means, "" if ok else f"sudo sysctl kernel.perf_event_mlock_kb={_RING_KIB}"
    )


def descriptors() -> Check:
    """How many descriptors this process may open: each thread that is watched takes one or more for each slot."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    means = "each watched thread takes a descriptor for each slot, with perf's rings one for each CPU as well"
    most = "unlimited" if hard == resource.RLIM_INFINITY else str(hard)
    ok = hard == resource.RLIM_INFINITY or hard >= _FEW
    remedy = "" if ok else "raise it in /etc/security/limits.conf (nofile), and log in again"
    return Check("descriptors", ok, f"{soft}, and we may raise it to {most}", means, remedy)
