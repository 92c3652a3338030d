"""ftrace's words: today's wprobe events, and the ksym tracer of 2.6.33 to 2.6.35."""

from __future__ import annotations

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
