"""ftrace's words: today's wprobe events, and the ksym tracer of 2.6.33 to 2.6.35."""

from __future__ import annotations

from backends.base import HwbpError
from backends.emulated.kernel.wprobe_triggers import EVENTS
from backends.emulated.owner_words.reading import ROWS, Lines, Reading

__all__ = ["FtraceWords"]


class FtraceWords(Reading):
    """Files of tracefs."""

    def do_dynamic_events(self, *words: str) -> Lines:
        if not words:
            yield from self._kernel.wprobe.listing() or ("no wprobes",)
            return
        made = self._kernel.wprobe.write(" ".join(words))
        yield f"{made}: defined, no slot is taken yet" if made else "removed"

    def do_enable(self, name: str) -> Lines:
        self._kernel.wprobe.enable(name, self._opener)
        yield f"{name} is enabled: a slot on each of {len(self._kernel.cpus)} CPUs"

    def do_disable(self, name: str) -> Lines:
        self._kernel.wprobe.disable(name)
        yield f"{name} is disabled, its slots are free"

    def do_trace(self) -> Lines:
        yield from self._kernel.wprobe.trace()[-ROWS:] or ("nothing was traced yet",)

    def do_ksym_trace_filter(self, *words: str) -> Lines:
        if words:
            self._kernel.ksym.write("" if words == ('""',) else " ".join(words), self._opener)
        yield from self._kernel.ksym.filter() or ("no filter",)

    def do_current_tracer(self, name: str) -> Lines:
        self._kernel.ksym.select(name == "ksym_tracer")
        yield f"current_tracer: {name}"

    def do_ksym_trace(self) -> Lines:
        yield from self._kernel.ksym.trace()[-ROWS:]

    def do_ksym_profile(self) -> Lines:
        yield from self._kernel.ksym.profile()

    def do_trigger(self, event: str = "", *line: str) -> Lines:
        triggers = self._kernel.triggers
        if event:
            triggers.write(event, " ".join(line), self._opener)
        yield from triggers.listing() or ("no triggers",)

    def do_fire(self, event: str, *values: str) -> Lines:
        """FIELD=ADDRESS for each field that matters; it happens on CPU 0."""
        fields = EVENTS.get(event)
        if fields is None:
            raise HwbpError(f"no event {event!r}", errno="ENOENT", remedy=f"there is {', '.join(EVENTS)}")
        said: dict[str, int] = {}
        for value in values:
            name, sign, where = value.partition("=")
            if not sign or name not in fields:
                raise HwbpError(f"{value!r}: FIELD=ADDRESS, fields are {', '.join(fields)}", errno="EINVAL")
            said[name] = self._address(where)
        self._kernel.triggers.fire(event, said)
        armed = self._kernel.triggers.armed
        yield from (f"{name} watches {address:#x}" for name, address in armed.items())
        if not armed:
            yield f"no wprobe is armed, {self._kernel.triggers.missed} missed"
