"""What takes privileges on the way to a hit: opening events, loading the programs that run at them, reading what is not
everybody's. A backend asks for it here and nowhere else, so that a process with more rights can do it in its place."""

from __future__ import annotations

import contextlib
import os
import signal
import struct
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, NamedTuple

from backends.base import HwbpError
from backends.bpf.assembler import Assembler, Helper
from backends.bpf.syscall import BpfError, MapType, ProgramType, create_map, load_program, update
from backends.kernelview.btf import Btf, Kind
from backends.perf import events
from backends.perf.lines import Lines
from backends.perf.program import HitMaps, HitProgram, SlotSource, TaskSource

if TYPE_CHECKING:
    from backends.kernelview.books import Books
    from backends.kernelview.scanner import Scanner

__all__ = ["WANTED_RING", "Buffers", "Opener", "OwnOpener"]

WANTED_RING: Final = 32 << 20
"""Bytes of the ring where memory is not refused."""
_SMALLEST_RING: Final = 1 << 16
_FIRST_NAMESPACE: Final = 0xEFFFFFFC
_SP: Final = 152  # of struct pt_regs


class Buffers(NamedTuple):
    """Descriptors of the maps that hits are written to: the ring of `size` bytes, and the array of lines."""

    ring: int
    size: int
    control: int


class Opener(ABC):
    """Opens what concerns one process. Descriptors belong to the caller; everything else goes with `close`.

    OSError with the kernel's errno where something is refused.
    """

    def target(self, pid: int) -> None:  # noqa: B027 - with one's own privileges there is nothing to say
        """Which process it is about, before anything else is asked."""

    @abstractmethod
    def buffers(self) -> Buffers:
        """The maps of a capture by BPF, made once (BpfError: EPERM where BPF is not allowed)."""

    @abstractmethod
    def load(self, number: int, program: HitProgram, attr: events.Attributes) -> None:
        """Make a breakpoint's program ready; `open` opens its events."""

    @abstractmethod
    def open(self, number: int, tid: int, cpu: int = -1) -> int:
        """An event of a breakpoint on a thread, or with -1 on a CPU, disabled, its program attached."""

    @abstractmethod
    def unload(self, number: int) -> None:
        """Forget a breakpoint's program: no more events of it will be opened."""

    @abstractmethod
    def stop_at(self, tid: int, address: int, sp_above: int, *, inherited: bool = False) -> int:
        """An execute event on a thread, enabled, that sends it SIGURG at an address where rsp is above `sp_above`;
        `inherited` by the threads that it begins, which are sent theirs."""

    @abstractmethod
    def follow(self, tid: int, cpu: int, *, children: bool) -> int:
        """An event that tells of a thread's mappings, names, threads and exits on a CPU."""

    @abstractmethod
    def ring_owner(self, cpu: int) -> int:
        """An event that never happens, to own a CPU's ring."""

    @abstractmethod
    def memory(self, pid: int) -> int:
        """/proc/PID/mem, for reading."""

    @abstractmethod
    def mappings(self, pid: int) -> int:
        """/proc/PID/maps, for reading."""

    @abstractmethod
    def executable(self, pid: int) -> int:
        """/proc/PID/exe, for reading."""

    @abstractmethod
    def books(self) -> Books:
        """The kernel's own books now. Raises HwbpError where they are closed."""

    def holders(self, pid: int | None, own: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Who holds slots that a request on this process (None: on whole CPUs) meets, a line each. Never raises.

        `own` are lines for what this process holds, which only the kernel's books have.
        """
        from backends.kernelview.now import holders_in
        from backends.kernelview.procfs import hints

        try:
            return holders_in(self.books(), pid) or own
        except (HwbpError, OSError):
            return own + hints(pid)

    @abstractmethod
    def close(self) -> None:
        """Give back what it holds."""


class OwnOpener(Opener):
    """With this process's own privileges."""

    def __init__(self) -> None:
        self._maps: HitMaps | None = None
        self._programs: dict[int, tuple[int, events.Attributes]] = {}
        self._scanner: Scanner | None = None

    def buffers(self) -> Buffers:
        size = WANTED_RING
        while True:
            try:
                ring = create_map(MapType.RINGBUF, 0, 0, size, name="hits")
                break
            except BpfError:
                if size <= _SMALLEST_RING:
                    raise
                size //= 2
        try:
            control = create_map(MapType.ARRAY, 4, Lines.SIZE, 1, mappable=True, name="hwbp")
        except BaseException:
            os.close(ring)
            raise
        btf = _btf()
        slot = _slot_source(btf) if btf is not None else None
        task = _task_source(btf) if btf is not None else None
        self._maps = HitMaps(os.dup(ring), os.dup(control), slot, task, _namespace())
        return Buffers(ring, size, control)

    def load(self, number: int, program: HitProgram, attr: events.Attributes) -> None:
        assert self._maps is not None
        self.unload(number)
        fd = load_program(ProgramType.PERF_EVENT, program.assemble(self._maps), "hwbp_hit")
        self._programs[number] = fd, attr

    def open(self, number: int, tid: int, cpu: int = -1) -> int:
        program, attr = self._programs[number]
        fd = events.open_event(attr, tid, cpu)
        try:
            events.set_program(fd, program)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def unload(self, number: int) -> None:
        if (loaded := self._programs.pop(number, None)) is not None:
            os.close(loaded[0])

    def stop_at(self, tid: int, address: int, sp_above: int, *, inherited: bool = False) -> int:
        a = Assembler()
        if sp_above:
            a.load(2, 1, _SP).set(3, sp_above).jump_if_register(2, "<=", 3, "deeper")
        a.set(1, signal.SIGURG).call(Helper.SEND_SIGNAL_THREAD)
        a.label("deeper").leave(0)
        program = load_program(ProgramType.PERF_EVENT, a, "hwbp_stop")
        try:
            attr = events.breakpoint_attributes(address, 1, "x", children=False, kernel=False, sampled=False)
            if not inherited:
                attr.flags &= ~int(events.Flag.INHERIT | events.Flag.INHERIT_THREAD)
            fd = events.open_event(attr, tid)
            try:
                events.set_program(fd, program)
                events.enable(fd)
            except BaseException:
                os.close(fd)
                raise
        finally:
            os.close(program)
        return fd

    def follow(self, tid: int, cpu: int, *, children: bool) -> int:
        return events.open_event(events.sideband_attributes(children=children), tid, cpu)

    def ring_owner(self, cpu: int) -> int:
        return events.open_event(events.idle_attributes(), 0, cpu)

    def memory(self, pid: int) -> int:
        return os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)

    def mappings(self, pid: int) -> int:
        return os.open(f"/proc/{pid}/maps", os.O_RDONLY | os.O_CLOEXEC)

    def executable(self, pid: int) -> int:
        return os.open(f"/proc/{pid}/exe", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)

    def books(self) -> Books:
        if self._scanner is None:
            from backends.kernelview.scanner import Scanner

            self._scanner = Scanner.of_host()
        return self._scanner.scan()

    def close(self) -> None:
        for number in list(self._programs):
            self.unload(number)
        if self._maps is not None:
            os.close(self._maps.ring)
            os.close(self._maps.control)
            if self._maps.slot is not None:
                os.close(self._maps.slot.bp_per_reg)
            self._maps = None
        if self._scanner is not None:
            self._scanner.close()
            self._scanner = None


def _namespace() -> tuple[int, int] | None:
    """The PID namespace that this process is in, None for the first one (include/linux/proc_ns.h, PROC_PID_INIT_INO)."""
    try:
        state = os.stat("/proc/self/ns/pid")
    except OSError:
        return None
    if state.st_ino == _FIRST_NAMESPACE:
        return None
    return os.major(state.st_dev) << 20 | os.minor(
        state.st_dev
    ), state.st_ino  # MKDEV, include/linux/kdev_t.h


def _btf() -> Btf | None:
    """The kernel's own types, None where it does not tell them."""
    with contextlib.suppress(HwbpError):
        return Btf.load()
    return None


def _slot_source(btf: Btf) -> SlotSource | None:
    """Where the kernel notes which event sits in which register; None where its books cannot be read."""
    from backends.kernelview.memory import BpfMemory
    from backends.kernelview.percpu import PerCpu

    try:
        memory = BpfMemory()
        try:
            bases = PerCpu.of(btf, memory)
        finally:
            memory.close()
        addresses = {cpu: bases.address("bp_per_reg", cpu) for cpu in bases.bases}
        offset = btf.field("bpf_perf_event_data_kern", "event").offset
        casts = _casts(btf)
    except (HwbpError, BpfError):
        return None
    table = create_map(MapType.ARRAY, 4, 8, max(addresses, default=0) + 1, name="bp_per_reg")
    try:
        for cpu, address in addresses.items():
            update(table, struct.pack("<I", cpu), struct.pack("<Q", address))
    except BaseException:
        os.close(table)
        raise
    return SlotSource(table, offset, casts)


def _casts(btf: Btf) -> tuple[int, int, int] | None:
    with contextlib.suppress(HwbpError):
        functions = [btf.find(Kind.FUNC, name) for name in ("bpf_cast_to_kern_ctx", "bpf_rdonly_cast")]
        return functions[0], functions[1], btf.find(Kind.STRUCT, "pt_regs")
    return None


def _task_source(btf: Btf) -> TaskSource | None:
    """Where a task's numbers and name lie; None where BPF programs cannot load from there."""
    try:
        casts = _casts(btf)
        numbers, group, comm = (btf.field("task_struct", name).offset for name in ("pid", "tgid", "comm"))
    except HwbpError:
        return None
    if casts is None or group != numbers + 4:
        return None
    return TaskSource(numbers, comm, *casts[1:])
