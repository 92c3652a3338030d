"""What kind of kernel the machine runs, on what kind of CPU: the switches that change an answer."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CAPABILITIES", "TODAY", "KernelConfig", "nearest_modelled"]

CAPABILITIES = frozenset({"perfmon", "sys_admin", "sys_ptrace", "kill"})
"""Linux capabilities that a breakpoint's request may need, without the CAP_ in front."""

TODAY = (6, 18, 0)
"""The kernel version that the model follows unless told otherwise."""

_LAST_MINOR = {3: 19, 4: 20, 5: 19, 6: 18}
_LAST_2_6 = 39


def nearest_modelled(version: tuple[int, int, int]) -> tuple[int, ...]:
    """Of a version that is no release between 2.6.33, where the layer moved onto perf, and 6.18, the release nearest to it; ()
    of one that is. Stable releases are not counted: any third number is taken from 3.0 on.
    """
    major, minor, patch = version
    if version < (2, 6, 33):
        return 2, 6, 33
    if major == 2:
        return () if minor == 6 and patch <= _LAST_2_6 else (2, 6, _LAST_2_6)
    last = _LAST_MINOR.get(major)
    if last is None:
        return TODAY[:2]
    return () if minor <= last else (major, last)


@dataclass(frozen=True, slots=True)
class KernelConfig:
    """A kernel's version, its sysctls and its build, as far as they decide who gets a debug register.

    `paranoid` is /proc/sys/kernel/perf_event_paranoid. `possible` counts possible CPUs where it is more than those
    online (None: the same). `bpext`: AMD's address masks. `kprobes`: without it every execute breakpoint in the kernel
    is refused. `hypervisor`: the kernel runs as a guest, and then leaves DR7 alone where nothing is enabled.
    `hz` is CONFIG_HZ, the timer ticks of a second, at which attr.freq adapts its periods.
    `cpu_entry` lists kernel ranges [first, last] that no breakpoint may touch, whoever asks.
    """

    version: tuple[int, int, int] = TODAY
    paranoid: int = 2
    possible: int | None = None
    bpext: bool = False
    kprobes: bool = True
    hypervisor: bool = True
    max_sample_rate: int = 100_000
    hz: int = 250
    cpu_entry: tuple[tuple[int, int], ...] = ((0xFFFF_FE00_0000_0000, 0xFFFF_FE7F_FFFF_FFFF),)

    @property
    def one_mutex(self) -> bool:
        """Before 6.1 one mutex (nr_bp_mutex) covered all accounting, and each CPU had its own histogram of tasks."""
        return self.version < (6, 1, 0)

    @property
    def swevent_checks_state(self) -> bool:
        """6.1.170 to 6.1.192: perf_swevent_event drops the hits of events that are not ACTIVE, as kgdb's never are."""
        return (6, 1, 170) <= self.version <= (6, 1, 192)

    @property
    def limit_stops(self) -> bool:
        """An event whose REFRESH has run out is stopped besides being disabled, and enabling a breakpoint does not start it: only
        PERIOD does. Seen on 6.18; the version it began with is a guess."""
        return self.version >= (6, 16, 0)

    @property
    def has_ksym_tracer(self) -> bool:
        """kernel/trace/trace_ksym.c was in 2.6.33 to 2.6.35."""
        return (2, 6, 33) <= self.version < (2, 6, 36)
