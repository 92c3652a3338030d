"""Words that look: who counts where, what was written, who sat where; and which kernel this is."""

from __future__ import annotations

import re
from dataclasses import replace

from backends.base import HwbpError
from backends.emulated.kernel.config import TODAY, nearest_modelled
from backends.emulated.kernel.journal import CAUSES
from backends.emulated.kernel.slots import SLOTS
from backends.emulated.owner_words.reading import ROWS, Lines, Reading, number

__all__ = ["InfoWords"]

_HZ = (100, 250, 300, 1000)  # kernel/Kconfig.hz


class InfoWords(Reading):
    """The books."""

    def do_accounting(self) -> Lines:
        """Who counts where, and what each CPU has left."""
        layer = self._kernel.layer
        for registers in self._kernel.cpus:
            budget = layer.accounting.budget(registers.cpu, None)
            yield f"{budget} of {SLOTS}; a CPU-wide request would get {SLOTS - budget.used}"
        yield from layer.holders() or ("nobody holds a slot",)

    def do_writes(self) -> Lines:
        journal = self._kernel.journal
        for registers in self._kernel.cpus:
            causes = [
                f"{cause} {count}" for cause in CAUSES if (count := journal.written(registers.cpu, cause))
            ]
            yield f"CPU {registers.cpu}: {registers.writes} register writes{': ' if causes else ''}{', '.join(causes)}"

    def do_timeline(self, cpu: str = "") -> Lines:
        wanted = None if not cpu else self._cpu(cpu)
        rows = [row for row in self._kernel.journal.occupancies if wanted in (None, row.cpu)]
        names = {event.id: event.described().split(", ")[0] for event in self._kernel.layer.events}
        for row in rows[-ROWS:]:
            end = "now" if row.end_ns is None else row.end_ns
            who = names.get(row.event, f"{row.owner}, no longer in the books")
            yield f"CPU {row.cpu} DR{row.slot}  {row.start_ns:>12} to {end:>12}  {who}"
        if not rows:
            yield "no breakpoint has been in a register yet"


class KernelWords(Reading):
    """The kernel's version."""

    def do_version(self, text: str = "", hz: str = "") -> Lines:
        if text:
            if not re.fullmatch(r"\d{1,3}\.\d{1,3}(\.\d{1,4})?", text):
                raise HwbpError(f"'{text}' is no version: 6.18 or 6.1.180, for example", errno="EINVAL")
            parts = [int(part) for part in text.split(".")]
            version = (parts[0], parts[1], parts[2] if len(parts) > 2 else 0)
            if nearest := nearest_modelled(version):
                raise HwbpError(
                    f"no Linux {text} is modelled: the releases from 2.6.33 to 6.18 are",
                    errno="EINVAL",
                    remedy=f"the nearest is {'.'.join(map(str, nearest))}",
                )
            ticks = number(hz, "timer ticks a second") if hz else self._kernel.config.hz
            if ticks not in _HZ:
                raise HwbpError(
                    f"CONFIG_HZ is one of {', '.join(map(str, _HZ))}, not {ticks}", errno="EINVAL"
                )
            self._kernel.configure(replace(self._kernel.config, version=version, hz=ticks))
        config = self._kernel.config
        yield f"Linux {'.'.join(map(str, config.version))}: " + ", ".join(
            (
                f"accounting under {self._kernel.layer.lock}",
                "perf_swevent_event checks the event's state"
                if config.swevent_checks_state
                else "kgdb's hits are seen",
                "ftrace has ksym_tracer" if config.has_ksym_tracer else "ftrace has wprobe events",
                f"{config.hz} Hz",
            )
        )
        if config.version[:2] != TODAY[:2]:
            yield "all else is as in 6.18, which the model was compared with"
