"""Which way of capture works here: BPF where it may be loaded, else perf's own rings."""

from __future__ import annotations

from backends.bpf.syscall import BpfError
from backends.perf.capture import BpfCapture, Capture
from backends.perf.opener import Opener

__all__ = ["choose"]


def choose(opener: Opener, *, stacks: bool) -> Capture:
    """The best way that this kernel allows."""
    try:
        return BpfCapture(opener, stacks=stacks)
    except BpfError as error:
        from backends.perf.rings import RingCapture

        return RingCapture(opener, stacks=stacks, why=error.strerror or str(error))
