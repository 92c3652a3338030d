"""The BPF program that runs inside the #DB of a hit and writes one record of it.

One program for each breakpoint, so that its number costs nothing. It counts the hit, reserves a record in the ring that
all programs share, reads the watched window, notes the registers and the comm, asks which register the event sits in, walks
the frame pointers where stacks are wanted, and submits without a wake-up (waking costs more than all the rest).

The context (struct bpf_perf_event_data, include/uapi/linux/bpf_perf_event.h) is the registers of the interrupted code,
then the sample period and the breakpoint's address.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

from backends.bpf.assembler import Assembler, Helper
from backends.model import WatchType
from symbols.dataclass import dataclass

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "CONTROL_SIZE",
    "CONTROL_WORDS",
    "FLAG_KERNEL_MODE",
    "FLAG_VALUE",
    "FRAMES",
    "REGISTERS",
    "TOP_WORDS",
    "HitMaps",
    "HitProgram",
    "Layout",
    "SlotSource",
]

REGISTERS: Final = (
    *("r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi"),
    *("rsp", "eflags"),
)
"""The registers of a record, in its order: at their places in struct pt_regs (arch/x86/include/asm/ptrace.h)."""
_PT_REGS: Final = (*range(0, 15 * 8, 8), 152, 144)
_IP, _CS, _BP, _SP, _ADDRESS = 128, 136, 32, 152, 176
FRAMES: Final = 15
"""Return addresses in a record, beyond the ip itself."""
TOP_WORDS: Final = 8
"""Words from rsp on that a record with a stack carries: a leaf without a frame has its caller there. Without a stack it is
one: behind a call it says which call that was."""
FLAG_KERNEL_MODE: Final = 1
FLAG_VALUE: Final = 2

CONTROL_WORDS: Final = {"hits": 0, "drops": 1, "signals": 2}
"""64-bit words of a breakpoint's control line, in an array that programs and host share."""
CONTROL_SIZE: Final = 64

_RECORD_BUSY: Final = 8  # bytes of the ring's own header before each record


@dataclass(frozen=True, slots=True)
class Layout:
    """The fixed layout of a record: each ring has one. `registers` are those that a record brings; others are 0 in it."""

    stacks: bool
    registers: tuple[str, ...] = REGISTERS

    @property
    def size(self) -> int:
        """Bytes, without the ring's header."""
        return int(self.dtype.itemsize) - _RECORD_BUSY

    @property
    def dtype(self) -> np.dtype[Any]:
        """The record behind its ring header (kernel/bpf/ringbuf.c, struct bpf_ringbuf_hdr)."""
        return _dtype(self.stacks)

    def offset(self, name: str) -> int:
        """Where a field begins in what the program writes."""
        fields = self.dtype.fields
        assert fields is not None
        return int(fields[name][1]) - _RECORD_BUSY


@cache
def _dtype(stacks: bool) -> np.dtype[Any]:
    import numpy as np

    fields: list[tuple[Any, ...]] = [
        ("head", "<u4"),
        ("page", "<u4"),
        ("time", "<u8"),
        ("seq", "<u8"),
        ("ip", "<u8"),
        ("tid", "<u4"),
        ("pid", "<u4"),
        ("address", "<u8"),
        ("value", "<u8"),
        ("breakpoint", "<u4"),
        ("cpu", "<u2"),
        ("slot", "u1"),
        ("flags", "u1"),
        ("comm", "<u8", (2,)),
        ("regs", "<u8", (len(REGISTERS),)),
        ("top", "<u8", (TOP_WORDS if stacks else 1,)),
    ]
    if stacks:
        fields.append(("frames", "<u8", (FRAMES,)))
    return np.dtype(fields)


@dataclass(frozen=True, slots=True)
class SlotSource:
    """Where the kernel notes which event sits in which register.

    `bp_per_reg` is an array map from CPU number to the address of that CPU's `bp_per_reg` (x86 hw_breakpoint.c),
    `event_offset` where struct bpf_perf_event_data_kern holds its event. `casts` are BTF ids that make plain loads of
    both possible, which cost nothing beside helper calls: the kernel functions bpf_cast_to_kern_ctx and
    bpf_rdonly_cast, and a structure of at least 32 bytes; None where the kernel has them not (before 6.2).
    """

    bp_per_reg: int
    event_offset: int = 16
    casts: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class HitMaps:
    """What all programs of a capture share: descriptors of the ring and of the control array, and where slots are noted."""

    ring: int
    control: int
    slot: SlotSource | None = None


@dataclass(frozen=True, slots=True)
class HitProgram:
    """What the program of one breakpoint must know, beside its maps.

    `line` is the byte in the control array where this breakpoint's words begin. `tgid` restricts it to one process (an
    event of a whole CPU sees every process's address).
    """

    line: int
    breakpoint: int
    length: int
    type: WatchType
    layout: Layout
    kernel_address: bool = False
    tgid: int | None = None
    signal: int | None = None

    def assemble(self, maps: HitMaps) -> Assembler:
        """The program: r6 context, r7 control words, r8 sequence number, r9 record."""
        a, layout = Assembler(), self.layout
        a.move(6, 1)
        if self.tgid is not None:
            a.call(Helper.GET_CURRENT_PID_TGID).alu(0, ">>=", 32)
            a.jump_if(0, "!=", self.tgid, "ignored")
        a.map_value(7, maps.control, self.line)
        a.set(8, 1).fetch_add(7, 8 * CONTROL_WORDS["hits"], 8)
        if maps.slot is not None:
            self._slot(a, maps.slot)
        else:
            a.set(0, 0xFF)
        a.store(10, -8, 0)
        a.map_fd(1, maps.ring).set(2, layout.size).set(3, 0).call(Helper.RINGBUF_RESERVE)
        a.jump_if(0, "==", 0, "dropped").move(9, 0)
        a.call(Helper.KTIME_GET_NS).store(9, layout.offset("time"), 0)
        a.store(9, layout.offset("seq"), 8)
        a.load(1, 6, _IP).store(9, layout.offset("ip"), 1)
        a.call(Helper.GET_CURRENT_PID_TGID).store(9, layout.offset("tid"), 0)
        a.load(1, 6, _ADDRESS).store(9, layout.offset("address"), 1)
        a.store_value(9, layout.offset("breakpoint"), self.breakpoint, 4)
        a.call(Helper.GET_SMP_PROCESSOR_ID).store(9, layout.offset("cpu"), 0, 2)
        a.load(1, 10, -8).store(9, layout.offset("slot"), 1, 1)
        a.move(1, 9).alu(1, "+=", layout.offset("comm")).set(2, 16).call(Helper.GET_CURRENT_COMM)
        for number, where in enumerate(_PT_REGS):
            a.load(1, 6, where).store(9, layout.offset("regs") + 8 * number, 1)
        self._value(a)
        self._top(a)
        if layout.stacks:
            self._stack(a)
        a.move(1, 9).set(2, 1).call(Helper.RINGBUF_SUBMIT)  # 1: BPF_RB_NO_WAKEUP
        if self.signal is not None:
            a.set(1, self.signal).call(Helper.SEND_SIGNAL_THREAD)
            a.set(1, 1).atomic_add(7, 8 * CONTROL_WORDS["signals"], 1)
        a.leave(0)
        a.label("dropped").set(1, 1).atomic_add(7, 8 * CONTROL_WORDS["drops"], 1).leave(0)
        if self.tgid is not None:
            a.label("ignored").leave(0)
        return a

    def _value(self, a: Assembler) -> None:
        """The window's bytes, and the flags: CPL 0 or not, and whether they could be read."""
        layout = self.layout
        a.store_value(9, layout.offset("value"), 0)
        a.set(0, -1)
        if self.type != "x":
            reader = Helper.PROBE_READ_KERNEL if self.kernel_address else Helper.PROBE_READ_USER
            a.move(1, 9).alu(1, "+=", layout.offset("value")).set(2, self.length).load(3, 6, _ADDRESS)
            a.call(reader)
        a.set(2, FLAG_VALUE).jump_if(0, "==", 0, "read").set(2, 0).label("read")
        a.load(1, 6, _CS).alu(1, "&=", 3).jump_if(1, "!=", 0, "user")
        a.alu(2, "|=", FLAG_KERNEL_MODE).label("user")
        a.store(9, layout.offset("flags"), 2, 1)

    def _top(self, a: Assembler) -> None:
        """The words at rsp, zeros where they cannot be read. Without a stack only where the window lies near: a call
        has written there or a return read it, and the word says which."""
        top, words = self.layout.offset("top"), TOP_WORDS if self.layout.stacks else 1
        a.load(3, 6, _SP)
        if not self.layout.stacks:
            a.store_value(9, top, 0).load(1, 6, _ADDRESS).move(2, 3).alu(2, "+=", 16)
            a.jump_if_register(1, ">=", 2, "elsewhere").alu(1, "+=", self.length + 16)
            a.jump_if_register(1, "<=", 3, "elsewhere")
        a.move(1, 9).alu(1, "+=", top).set(2, 8 * words).call(Helper.PROBE_READ_USER)
        a.label("elsewhere")

    def _stack(self, a: Assembler) -> None:
        """The chain of frame pointers: rising, each frame (saved rbp, return address)."""
        frames = self.layout.offset("frames")
        for number in range(FRAMES):
            a.store_value(9, frames + 8 * number, 0)
        a.load(8, 6, _BP)
        for number in range(FRAMES):
            a.move(1, 10).alu(1, "+=", -32).set(2, 16).move(3, 8).call(Helper.PROBE_READ_USER)
            a.jump_if(0, "!=", 0, "walked")
            a.load(1, 10, -24).store(9, frames + 8 * number, 1)
            a.load(1, 10, -32).jump_if_register(1, "<=", 8, "walked").move(8, 1)
        a.label("walked")

    def _slot(self, a: Assembler, source: SlotSource) -> None:
        """r0 = the register that this CPU's bp_per_reg gives to our event, 0xff where it cannot be told."""
        if source.casts is not None:
            self._slot_by_casts(a, source, source.casts)
            return
        a.store_value(10, -16, 0)
        a.move(1, 10).alu(1, "+=", -16).set(2, 8).move(3, 6).alu(3, "+=", source.event_offset)
        a.call(Helper.PROBE_READ_KERNEL).jump_if(0, "!=", 0, "no slot")
        a.call(Helper.GET_SMP_PROCESSOR_ID).store(10, -20, 0, 4)
        a.map_fd(1, source.bp_per_reg).move(2, 10).alu(2, "+=", -20).call(Helper.MAP_LOOKUP_ELEM)
        a.jump_if(0, "==", 0, "no slot").load(3, 0, 0)
        a.move(1, 10).alu(1, "+=", -56).set(2, 32).call(Helper.PROBE_READ_KERNEL)
        a.jump_if(0, "!=", 0, "no slot").load(1, 10, -16)
        for number in range(4):
            a.set(0, number).load(2, 10, -56 + 8 * number).jump_if_register(1, "==", 2, "slot known")
        a.label("no slot").set(0, 0xFF).label("slot known")

    @staticmethod
    def _slot_by_casts(a: Assembler, source: SlotSource, casts: tuple[int, int, int]) -> None:
        to_kernel, read_only, structure = casts
        a.move(1, 6).call_kfunc(to_kernel).load(1, 0, source.event_offset).store(10, -16, 1)
        a.call(Helper.GET_SMP_PROCESSOR_ID).store(10, -20, 0, 4)
        a.map_fd(1, source.bp_per_reg).move(2, 10).alu(2, "+=", -20).call(Helper.MAP_LOOKUP_ELEM)
        a.jump_if(0, "==", 0, "no slot").load(1, 0, 0)
        a.set(2, structure).call_kfunc(read_only).move(3, 0).load(1, 10, -16)
        for number in range(4):
            a.set(0, number).load(2, 3, 8 * number).jump_if_register(1, "==", 2, "slot known")
        a.label("no slot").set(0, 0xFF).label("slot known")
