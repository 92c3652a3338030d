"""perf's and ptrace's words."""

from __future__ import annotations

from dataclasses import replace

from backends.base import HwbpError
from backends.emulated.kernel.attr import FLAGS, SAMPLE, Attr, flag_names
from backends.emulated.kernel.events import PerfEvent
from backends.emulated.kernel.slots import bp_len, bp_type
from backends.emulated.owner_words.reading import Lines, Reading, number

__all__ = ["PerfWords"]


class PerfWords(Reading):
    """perf_event_open and the ioctls of its descriptors."""

    def do_event(self, window: str, *words: str) -> Lines:
        address, length, kind = self._window(window)
        flags, pid, cpu, period, sample = 1 << FLAGS["exclude_kernel"], None, -1, 1, 0
        rest = list(words)
        while rest:
            word = rest.pop(0)
            if word in ("-t", "-C", "-c") and not rest:
                raise HwbpError(f"{word} what?", errno="EINVAL")
            if word == "-t":
                pid = self._task(rest.pop(0)).tid
            elif word == "-C":
                cpu = self._cpu(rest.pop(0))
                pid = -1 if pid is None else pid
            elif word == "-c":
                period = number(rest.pop(0), "a period")
            elif word == "kernel":
                flags &= ~(1 << FLAGS["exclude_kernel"])
            elif word == "sample_period":
                sample = SAMPLE["period"]
            elif word in FLAGS:
                flags |= 1 << FLAGS[word]
            else:
                raise HwbpError(
                    f"'{word}' is no option of perf event",
                    errno="EINVAL",
                    remedy=f"flags: {', '.join(FLAGS)}, kernel",
                )
        attr = Attr(
            flags=flags, sample_period=period, sample_type=sample, bp_type=bp_type(kind), bp_addr=address,
            bp_len=bp_len(kind, length),
        )  # fmt: skip
        perf = self._kernel.perf
        fd = perf.open(self._opener, attr, self._first().tid if pid is None else pid, cpu)
        event = perf.event(self._opener, fd)
        event.owner = replace(event.owner, pid=None)
        yield f"perf event {fd}: {self._said(event)}"

    def _said(self, event: PerfEvent) -> str:
        where = f"task {event.tid}" if event.target is not None else "every task"
        cpu = f"CPU {event.cpu}" if event.cpu >= 0 else "every CPU"
        state = event.state.name.lower()
        flags = " ".join(flag_names(event.attr.flags))
        return f"{event.type} {event.length} {event.address:#x}, {where}, {cpu}, {state}, period {event.attr.sample_period}{', ' * bool(flags)}{flags}"

    def do_read(self, fd: str) -> Lines:
        number = self._fd(fd)
        event = self._kernel.perf.event(self._opener, number)
        yield f"perf event {number}: count {self._kernel.perf.read(self._opener, number)}, {event.total_overflows} overflows"

    def do_list(self) -> Lines:
        perf = self._kernel.perf
        for fd in perf.descriptors(self._opener):
            event = perf.event(self._opener, fd)
            copies = f", {len(event.children)} inherited" if event.children else ""
            yield f"{fd:4}  count {event.total}, {event.total_overflows} overflows  {self._said(event)}{copies}"

    def do_reset(self, fd: str) -> Lines:
        self._kernel.perf.reset(self._opener, self._fd(fd))
        yield f"perf event {fd}: count 0"

    def do_refresh(self, fd: str, count: str) -> Lines:
        self._kernel.perf.refresh(self._opener, self._fd(fd), number(count, "a count", (1 << 31) - 1))
        yield f"perf event {fd} is enabled for {count} more overflows"

    def do_period(self, fd: str, value: str) -> Lines:
        self._kernel.perf.period(self._opener, self._fd(fd), number(value, "a period"))
        yield f"perf event {fd}: the next hit overflows, then every {value}"

    def do_modify(self, fd: str, window: str, *words: str) -> Lines:
        if set(words) - {"disabled"}:
            raise HwbpError(f"{' '.join(words)}: only `disabled` may follow", errno="EINVAL")
        number = self._fd(fd)
        event = self._kernel.perf.event(self._opener, number)
        address, length, kind = self._window(window, event.type)
        attr = event.attr.changed( bp_addr=address, bp_type=bp_type(kind), bp_len=bp_len(kind, length),
            flags=event.attr.flags & ~1 | ("disabled" in words),
        )  # fmt: skip
        self._kernel.perf.modify(self._opener, number, attr)
        yield f"perf event {fd}: {self._said(event)}"
