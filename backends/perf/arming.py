"""Breakpoints on all threads of a target, all or nothing."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from backends.base import HwbpError
from backends.condition import Condition
from backends.model import BreakpointRequest
from backends.perf import events
from backends.perf.capture import Capture, Carrier
from backends.perf.opener import Opener
from backends.perf.program import MOST_IDS
from backends.perf.sideband import Started, online_cpus
from backends.perf.target import Target

__all__ = ["Arming", "can_open"]

_KEPT_FREE: Final = 64
"""Descriptors left for everything else."""
_USER_END: Final = (1 << 47) - 4096
_NARROW_END: Final = 1 << 32
"""Where the addresses of a program of 32 bits end."""
_KERNEL_START: Final = 1 << 63


class Arming:
    """The breakpoints of one target. `carriers` are those that hold slots now.

    `born` says who began a thread, where the kernel has told.
    """

    def __init__(
        self,
        opener: Opener,
        target: Target,
        capture: Capture,
        born: Callable[[int], Started | None],
        *,
        children: bool,
        kernel: bool,
    ) -> None:
        self._opener = opener
        self._born = born
        self._target = target
        self._capture = capture
        self._children = children
        self._kernel = kernel
        self._ids = 0
        self._lost = 0
        self._signalled = 0
        """Threads that breakpoints which are gone have told to stop."""
        self._gone: list[Carrier] = []
        self.carriers: list[Carrier] = []
        self.wide = False

    @property
    def notice(self) -> str:
        """What a person should know of how the threads are watched, empty where each has events of its own."""
        if not self.wide:
            return ""
        return "more threads than descriptors: it is watched by events of whole CPUs, filtered by process (ulimit -n)"

    def find(self, id_: int) -> Carrier:
        """A breakpoint by its number (ENOENT)."""
        for carrier in self.carriers:
            if carrier.id == id_:
                return carrier
        raise HwbpError(f"no breakpoint {id_}", errno="ENOENT")

    @property
    def stops(self) -> list[int]:
        """The numbers of those whose hits stop the program."""
        return [carrier.id for carrier in self.carriers if carrier.request.stop]

    def signals(self) -> int:
        """How many times a hit has told its thread to stop, since the beginning."""
        return self._signalled + sum(
            self._capture.signals(carrier) for carrier in self.carriers if carrier.request.stop
        )

    def arm(self, requests: tuple[BreakpointRequest, ...]) -> tuple[Carrier, ...]:
        """Open the events of all requests on all threads, disabled, or none of them. Raises HwbpError."""
        for request in requests:
            self._check(request)
        made: list[Carrier] = []
        try:
            for request in requests:
                made.append(self._carrier(request))
            self._open(made)
        except OSError as error:
            for carrier in made:
                self._capture.forget(carrier)
            first = requests[min(len(made), len(requests)) - 1]
            what = first.text or f"{first.address:#x}"
            raise events.refusal(
                error,
                what,
                f"process {self._target.pid}",
                self.holders() if error.errno == errno.ENOSPC else (),
            ) from error
        self.carriers += made
        return tuple(made)

    def start(self, carriers: tuple[Carrier, ...]) -> None:
        """Enable what was asked to be."""
        for carrier in carriers:
            if carrier.request.enabled:
                carrier.enable(True)

    def holders(self) -> tuple[str, ...]:
        """Who holds slots of this target, as far as it is known: a line each."""
        # A breakpoint on whole CPUs has to leave room for every task, so any task may be in its way.
        own = tuple(
            f"perf fd {next(iter(carrier.each()), '?')} of this session: "
            f"{carrier.request.text or hex(carrier.request.address)}"
            for carrier in self.carriers
        )
        return self._opener.holders(None if self.wide else self._target.pid, own)

    def _check(self, request: BreakpointRequest) -> None:
        if request.stop and not self._capture.can_stop:
            raise HwbpError(
                "to stop at a hit needs BPF", errno="EPERM", remedy="as root, or with CAP_BPF and CAP_PERFMON"
            )
        if request.owner != "perf":
            raise HwbpError(
                f"a live breakpoint is a perf event here, not {request.owner}'s", errno="EOPNOTSUPP"
            )
        if request.address >= _KERNEL_START and not self._kernel:
            raise HwbpError(
                f"{request.address:#x} is a kernel address",
                errno="EPERM",
                remedy="--kernel watches those too",
            )
        end = _NARROW_END if self._target.bits == 32 else _USER_END
        if end <= request.address < _KERNEL_START:
            raise HwbpError(f"{request.address:#x} is no address of a program", errno="EINVAL")

    def _carrier(self, request: BreakpointRequest) -> Carrier:
        self._ids += 1
        while any((carrier.id - self._ids) % MOST_IDS == 0 for carrier in self.carriers):
            self._ids += 1
        attr = events.breakpoint_attributes(
            request.address,
            request.length,
            request.type,
            children=self._children,
            kernel=self._kernel,
            sampled=self._capture.sampled,
        )
        return Carrier(self._ids, request, attr, sifted=request.condition is not None or request.ignore > 0)

    # On threads

    def _open(self, made: list[Carrier]) -> None:
        needed = len(made) * max(1, len(self._target.threads())) * self._capture.events_per_thread
        if not can_open(needed):
            self._open_wide(made)
            return
        for carrier in made:
            self._capture.prepare(carrier, None)
        with self._target.tracer.still() as tids:
            if tids is not None:
                for tid in tids:
                    self._open_on(made, tid)
                return
        self._open_running(made)

    def _open_on(self, made: list[Carrier], tid: int) -> bool:
        """On one thread; one that is gone has nothing to watch."""
        try:
            for carrier in made:
                self._capture.open(carrier, tid)
        except ProcessLookupError:
            if not self._target.threads():
                raise
            return False
        return True

    def _open_running(self, made: list[Carrier]) -> None:
        """Where threads cannot be held still: until nothing new appears. A thread that an armed one began has its
        events from it, and opening them again would count its hits twice; the kernel tells whose child it is."""
        seen: set[int] = set()
        armed: dict[int, int] = {}
        while new := [tid for tid in self._target.threads() if tid not in seen]:
            for tid in new:
                seen.add(tid)
                birth = self._born(tid)
                if birth is not None and birth.time > armed.get(birth.ptid, birth.time):
                    armed[tid] = birth.time
                elif self._open_on(made, tid):
                    armed[tid] = time.monotonic_ns()

    def _open_wide(self, made: list[Carrier]) -> None:
        """More threads than descriptors: one event for each CPU, and the program looks whose hit it is."""
        if self._children:
            raise OSError(errno.EMFILE, "too many threads")
        self.wide = True
        for carrier in made:
            carrier.wide = True
            events.for_whole_cpus(carrier.attr)
            self._capture.prepare(carrier, self._target.pid)
            for cpu in online_cpus():
                self._capture.open(carrier, -1, cpu)

    # The rest of their life

    def move(self, carriers: list[Carrier], requests: tuple[BreakpointRequest, ...]) -> None:
        """Give breakpoints that are disabled other windows, all or none. Raises HwbpError; nothing has changed then."""
        if len(carriers) != len(requests):
            raise HwbpError("a breakpoint moves to one window, no more and no fewer", errno="EINVAL")
        for carrier, request in zip(carriers, requests, strict=True):
            self._check(request)
            if (request.address >= _KERNEL_START) != (carrier.request.address >= _KERNEL_START):
                raise HwbpError("a breakpoint does not move between a program and the kernel", errno="EINVAL")
            if request.stop != carrier.request.stop:
                raise HwbpError("whether a hit stops the program is fixed when it is armed", errno="EINVAL")
        done: list[tuple[int, events.Attributes]] = []
        attrs = []
        try:
            for carrier, request in zip(carriers, requests, strict=True):
                attr = events.moved(carrier.attr, request.address, request.length, request.type)
                attrs.append(attr)
                for fd in carrier.each():
                    events.modify(fd, attr)
                    done.append((fd, carrier.attr))
        except OSError as error:
            for fd, attr in done:
                with contextlib.suppress(OSError):
                    events.modify(fd, attr)
            what = requests[0].text or f"{requests[0].address:#x}"
            raise events.refusal(error, what, f"process {self._target.pid}") from error
        for carrier, request, attr in zip(carriers, requests, attrs, strict=True):
            carrier.request, carrier.attr = request, attr
            self._capture.hold(carrier)
            self._capture.allow(carrier)
            self._capture.begin_anew(carrier)
            carrier.sifted |= request.condition is not None or request.ignore > 0
        self._capture.ignore(carriers)

    def restrict(self, carrier: Carrier, condition: Condition | None, limit: int | None) -> None:
        """Hits must be like this from the next one on, and this many of them are wanted."""
        carrier.request = replace(carrier.request, condition=condition, limit=limit)
        carrier.sifted |= condition is not None
        self._capture.hold(carrier)
        self._capture.allow(carrier)

    def ignore(self, carriers: list[Carrier], count: int) -> None:
        """Of the next hits of these breakpoints, so many of all of them together are counted only."""
        for carrier in carriers:
            carrier.request = replace(carrier.request, ignore=count)
            carrier.sifted |= count > 0
        self._capture.ignore(carriers)

    def enable_all(self, on: bool) -> None:
        """Enable or disable all of them."""
        for carrier in self.carriers:
            with contextlib.suppress(OSError):
                carrier.enable(on)

    def switch(self, on: bool) -> None:
        """Disarm those that are enabled for a while, or arm them again: they stay enabled as far as anybody is told.

        Those that stop the program stay armed: they wait for it after each hit.
        """
        for carrier in self.carriers:
            if carrier.enabled and not carrier.request.stop:
                for fd in carrier.each():
                    (events.enable if on else events.disable)(fd)

    def drop(self, carrier: Carrier) -> None:
        """Close one: its slots are free."""
        if carrier.request.stop:
            carrier.enable(False)
            self._signalled += self._capture.signals(carrier)
        self._capture.forget(carrier)
        self._lost += self._capture.counted(carrier)[1]
        if carrier.sifted:
            self._gone.append(carrier)
        self.carriers.remove(carrier)

    def drop_all(self) -> int:
        """Close all; how many there were."""
        count = len(self.carriers)
        for carrier in list(self.carriers):
            self.drop(carrier)
        return count

    def filtered(self, held: Callable[[Carrier], tuple[int, bool]]) -> int:
        """Hits that did not meet their breakpoint's condition or were ignored, since the beginning, as `held` tells of each."""
        return sum(held(carrier)[0] for carrier in (*self._gone, *self.carriers))

    def missed(self) -> int:
        """Those of `lost` that are known without asking the kernel for the count of every event."""
        return self._lost + sum(self._capture.missed(carrier) for carrier in self.carriers)

    def lost(self) -> int:
        """Hits that happened and did not reach us, since the beginning."""
        return self._lost + sum(self._capture.counted(carrier)[1] for carrier in self.carriers)


def can_open(needed: int, kept_free: int = _KEPT_FREE) -> bool:
    """Whether so many more can be open, raising the soft limit as far as it goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = needed + len(os.listdir("/proc/self/fd")) + kept_free
    if wanted <= soft:
        return True
    if hard != resource.RLIM_INFINITY and wanted > hard:
        return False
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return True
