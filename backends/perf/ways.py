"""Which way of capture works here: BPF where it may be loaded, else perf's own rings."""

from __future__ import annotations

import os
import struct

from backends.base import HwbpError
from backends.bpf.syscall import BpfError, MapType, create_map, update
from backends.kernelview.btf import Btf, Kind
from backends.perf.capture import BpfCapture, Capture
from backends.perf.program import SlotSource

__all__ = ["choose"]


def choose(*, stacks: bool) -> Capture:
    """The best way that this kernel allows us."""
    try:
        return BpfCapture(stacks=stacks, slot=_slot_source())
    except BpfError as error:
        from backends.perf.rings import RingCapture

        return RingCapture(stacks=stacks, why=str(error))


def _slot_source() -> SlotSource | None:
    """Where the kernel notes which event sits in which register; None where its books cannot be read."""
    from backends.kernelview.memory import BpfMemory
    from backends.kernelview.percpu import PerCpu

    try:
        btf = Btf.load()
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
    try:
        functions = [btf.find(Kind.FUNC, name) for name in ("bpf_cast_to_kern_ctx", "bpf_rdonly_cast")]
        return functions[0], functions[1], btf.find(Kind.STRUCT, "pt_regs")
    except HwbpError:
        return None
