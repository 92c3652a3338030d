"""kgdb's words: gdb's own, and raw packets."""

from __future__ import annotations

from backends.base import HwbpError
from backends.emulated.kernel.slots import SLOTS
from backends.emulated.owner_words.reading import Lines, Reading

__all__ = ["KgdbWords"]


class KgdbWords(Reading):
    """kgdb and its stub."""

    def do_connect(self) -> Lines:
        self._kernel.kgdb.connect()
        yield f"kgdb is set up: {SLOTS} events on each of {len(self._kernel.cpus)} CPUs, which hold no slot"

    def do_enter(self, cpu: str = "0", why: str = "") -> Lines:
        number = self._cpu(cpu)
        if why not in ("", "nmi"):
            raise HwbpError(f"'{why}': nmi, or nothing", errno="EINVAL")
        if why == "nmi" and not self._kernel.in_nmi(number):
            self._kernel.enter(number, "nmi")
        self._kernel.kgdb.enter(number, "nmi" if why else "breakpoint")
        yield f"CPU {number} is in kgdb, the others were rounded up"
        yield from self._registers()

    def do_packet(self, text: str) -> Lines:
        kgdb = self._kernel.kgdb
        said = len(kgdb.log)
        answer = kgdb.packet(text)
        yield f"-> {text}  <- {answer or '(empty)'}"
        yield from (f"why: {why}" for why in kgdb.log[said:])
        if kgdb.stopped is None:
            self._leave_nmis()
            yield from self._registers()

    def _leave_nmis(self) -> None:
        for cpu in range(len(self._kernel.cpus)):
            while self._kernel.in_nmi(cpu):
                self._kernel.leave(cpu)

    def _set(self, kind: int, window: str) -> Lines:
        address, length, _ = self._window(window, "x" if kind == 1 else "w")
        packet = f"Z{kind},{address:x},{1 if kind == 1 else length:x}"
        kgdb = self._kernel.kgdb
        answer = kgdb.packet(packet)
        if answer != "OK":
            raise HwbpError(
                f"kgdb answers {answer} to {packet}: {kgdb.log[-1]}",
                errno="ENOSPC"
                if "ENOSPC" in kgdb.log[-1]
                else "EAGAIN"
                if "held by" in kgdb.log[-1]
                else "EINVAL",
                holders=self._kernel.layer.holders(),
            )
        yield f"-> {packet}  <- OK"
        yield "it reaches the registers when the machine goes on"

    def do_hbreak(self, window: str) -> Lines:
        yield from self._set(1, window)

    def do_watch(self, window: str) -> Lines:
        yield from self._set(2, window)

    def do_awatch(self, window: str) -> Lines:
        yield from self._set(4, window)

    def do_delete(self, window: str) -> Lines:
        address, length, _ = self._window(window)
        kgdb = self._kernel.kgdb
        packet = f"z2,{address:x},{length:x}"
        if (answer := kgdb.packet(packet)) != "OK":
            raise HwbpError(
                f"kgdb answers {answer} to {packet}: {kgdb.log[-1]}",
                errno="EAGAIN" if "held by" in kgdb.log[-1] else "ENOENT",
            )
        yield f"-> {packet}  <- OK"

    def do_continue(self) -> Lines:
        self._kernel.kgdb.packet("c")
        self._leave_nmis()
        yield "all CPUs go on"
        yield from self._registers()

    def do_detach(self) -> Lines:
        self._kernel.kgdb.packet("D")
        self._leave_nmis()
        yield "gdb has left; what could be removed is removed, and all CPUs go on"
        yield from self._registers()

    def do_info(self) -> Lines:
        kgdb = self._kernel.kgdb
        state = f"stopped on CPU {kgdb.stopped.cpu} ({kgdb.stopped.why})" if kgdb.stopped else "running"
        yield f"kgdb {'is set up' if kgdb.connected else 'is not set up'}, {state}"
        for index, info in enumerate(kgdb.breakinfo):
            if info.enabled:
                yield f"breakinfo[{index}]  {info.type} {info.length} {info.address:#x}"
        yield from self._registers()
