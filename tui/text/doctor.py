"""`hwbp-tui doctor`: what this machine allows, what it forbids, and what would change that (docs/cli.md).

Every check really tries or reads the thing. A check that could not be made says null.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Final

from tui.session.escape import escape, one_line
from tui.text.hit_lines import dump
from tui.text.output import ClosedOutputError, Output

__all__ = ["CHECKS", "Check", "doctor"]

_PARANOID: Final = "/proc/sys/kernel/perf_event_paranoid"
_BTF: Final = "/sys/kernel/btf/vmlinux"
_CAPABILITIES: Final = {"CAP_SYS_ADMIN": 21, "CAP_PERFMON": 38, "CAP_BPF": 39}
_SYS_PERF_EVENT_OPEN: Final = 298  # x86-64
_PERF_TYPE_BREAKPOINT: Final = 5
_HW_BREAKPOINT_W: Final = 2
_PINNED_AND_USER_ONLY: Final = 1 << 2 | 1 << 5 | 1 << 6
_ATTR_SIZE: Final = 112  # PERF_ATTR_SIZE_VER5
_SMALLEST: Final = (80, 24)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `ok` is None where it could not be told."""

    name: str
    ok: bool | None
    found: str
    means: str
    remedy: str = ""


def _python() -> Check:
    found = f"{platform.python_implementation()} {platform.python_version()}"
    return Check("python", sys.version_info >= (3, 11), found, "hwbp-tui needs Python 3.11 or later", "")


def _system() -> Check:
    found = f"{platform.system()} {platform.release()} {platform.machine()}"
    ok = platform.system() == "Linux" and platform.machine() == "x86_64"
    return Check("system", ok, found, "Linux on x86-64 is supported", "" if ok else "run it on Linux x86-64")


def _emulator() -> Check:
    means = "the emulated machine runs programs: no root, no hardware"
    try:
        icicle = import_module("icicle")
    except Exception as error:  # a broken installation may fail in any way: that is the finding
        found = one_line(f"cannot be imported: {type(error).__name__}: {error}")
        return Check("emulator", False, found, means, "pip install icicle-emu==0.0.11")
    return Check("emulator", True, f"icicle {getattr(icicle, '__version__', '')}".strip(), means)


def _paranoid() -> Check:
    means = "2 or less lets you watch your own processes, user mode only; 1 or less kernel mode as well"
    try:
        with open(_PARANOID, encoding="ascii") as file:
            level = int(file.read())
    except (OSError, ValueError) as error:
        return Check("perf_event_paranoid", None, one_line(f"unreadable: {error}"), means, "mount /proc")
    remedy = "" if level <= 2 else "sudo sysctl kernel.perf_event_paranoid=2"
    return Check("perf_event_paranoid", level <= 2, str(level), means, remedy)


def _capability(name: str, means: str) -> Callable[[], Check]:
    def check() -> Check:
        held = 0
        try:
            with open("/proc/self/status", encoding="utf-8", errors="replace") as file:
                held = next(int(line.split()[1], 16) for line in file if line.startswith("CapEff:"))
        except (OSError, StopIteration, ValueError) as error:
            return Check(name, None, one_line(f"unreadable: {error}"), means, "mount /proc")
        ok = bool(held >> _CAPABILITIES[name] & 1)
        return Check(name, ok, "held" if ok else "not held", means, "" if ok else "run as root, or use sudo")

    return check


def _btf() -> Check:
    means = "the kernel describes its own structures: needed to read its books"
    try:
        size = os.stat(_BTF).st_size
    except OSError as error:
        return Check(
            "btf", False, f"{_BTF}: {error.strerror}", means, "a kernel with CONFIG_DEBUG_INFO_BTF=y"
        )
    return Check("btf", True, f"{_BTF}, {size} bytes", means)


def _breakpoint() -> Check:
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
    fd = libc.syscall(_SYS_PERF_EVENT_OPEN, buffer, 0, -1, -1, 8)
    if fd < 0:
        import errno

        number = ctypes.get_errno()
        name = errno.errorcode.get(number, str(number))
        remedy = {
            "ENOSPC": "another debugger or profiler holds the registers: end it",
            "EACCES": "sudo sysctl kernel.perf_event_paranoid=2",
            "EPERM": "run as root, or allow perf_event_open in this container's seccomp profile",
        }.get(name, "use the emulated machine")
        return Check("hardware_breakpoint", False, f"{name}: {os.strerror(number)}", means, remedy)
    try:
        word.value = 1
        count = struct.unpack("<Q", os.read(fd, 8))[0]
    except (OSError, struct.error) as error:
        return Check("hardware_breakpoint", False, one_line(str(error)), means, "use the emulated machine")
    finally:
        os.close(fd)
    if count:
        return Check(
            "hardware_breakpoint", True, f"opened, and counted {count} write{'s' * (count != 1)}", means
        )
    remedy = "this hypervisor accepts breakpoints and never delivers them: use the emulated machine"
    return Check("hardware_breakpoint", False, "opened, and missed a write", means, remedy)


def _terminal() -> Check:
    means = f"the app needs a terminal of at least {_SMALLEST[0]}x{_SMALLEST[1]}; trace and script need none"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return Check("terminal", None, "none here", means, "run it in a terminal")
    size = os.get_terminal_size(sys.stderr.fileno())
    ok = size.columns >= _SMALLEST[0] and size.lines >= _SMALLEST[1]
    found = f"{escape(os.environ.get('TERM', ''))} {size.columns}x{size.lines}".strip()
    return Check("terminal", ok, found, means, "" if ok else "make the window larger")


def _colours() -> Check:
    means = "256 colours or more look as intended; fewer work, because colour never carries meaning alone"
    term, colorterm = os.environ.get("TERM", ""), os.environ.get("COLORTERM", "")
    if not term:
        return Check("colours", None, "TERM is not set", means, "export TERM=xterm-256color")
    ok = colorterm in ("truecolor", "24bit") or "256" in term or "direct" in term
    found = f"TERM={escape(term)}" + (f" COLORTERM={escape(colorterm)}" if colorterm else "")
    return Check("colours", ok, found, means, "" if ok else "export TERM=xterm-256color")


def _utf8() -> Check:
    import locale

    encoding = locale.getpreferredencoding(False)
    ok = encoding.lower().replace("-", "") == "utf8"
    remedy = "" if ok else "export LANG=C.UTF-8, or use --ascii"
    return Check("utf8", ok, encoding, "lines and boxes are drawn with Unicode", remedy)


CHECKS: Final[tuple[Callable[[], Check], ...]] = (
    _python,
    _system,
    _emulator,
    _breakpoint,
    _paranoid,
    _capability("CAP_SYS_ADMIN", "watches any process, and reads the kernel's own books"),
    _capability("CAP_PERFMON", "watches any process with perf events"),
    _capability("CAP_BPF", "captures values at the hit with a small BPF program"),
    _btf,
    _terminal,
    _colours,
    _utf8,
)


def doctor(*, json: bool = False) -> int:
    """Print the checks. Failed ones are the answer, not a failure: always 0."""
    checks = [check() for check in CHECKS]
    output = Output()
    try:
        if json:
            output.line(dump({"schema": 1, "checks": [asdict(check) for check in checks]}))
        else:
            for check in checks:
                mark = {True: "ok", False: "NO", None: "?"}[check.ok]
                output.line(f"{mark:<3} {check.name:<20} {check.found}")
                output.line(f"{'':<24} {check.means}")
                if check.remedy:
                    output.line(f"{'':<24} -> {check.remedy}")
        output.flush()
    except ClosedOutputError:
        pass
    finally:
        output.close()
    return 0
