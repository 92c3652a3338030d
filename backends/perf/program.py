"""The BPF program that runs inside the #DB of a hit: it decides whether the hit is wanted, and writes one record of it.

One program for each breakpoint, so that its number costs nothing. It counts the hit, reads the watched window, holds the hit
against the breakpoint's condition and limit, reserves a record in the ring that all programs share, notes the registers and
the comm, asks which register the event sits in, walks the frame pointers where stacks are wanted, and submits without a
wake-up (waking costs more than all the rest). A hit that is not wanted costs no record, only its count.

What may change while the event is armed (`backends.perf.lines`) lies in memory that the program shares with us: it is code
only as far as that is the same for the whole life of the breakpoint.

The context (struct bpf_perf_event_data, include/uapi/linux/bpf_perf_event.h) is the registers of the interrupted code,
then the sample period and the breakpoint's address.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal

from backends.bpf.assembler import Assembler, Helper
from backends.condition import MOST_TERMS, SUBJECTS
from backends.model import WatchType
from backends.perf.lines import (
    COUNT,
    LENGTH,
    PLACE,
    PLACES,
    PLACES_AT,
    PLACES_BITS,
    TABLE,
    TABLES,
    TERM,
    TERMS,
    WORDS,
)
from backends.ring import ACCESS_CODES, FLAG_KERNEL, FROM_CODES, RECORD, RECORD_FIELDS
from symbols.dataclass import dataclass

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "BELOW_WORDS",
    "FRAMES",
    "MOST_IDS",
    "REGISTERS",
    "TOP_WORDS",
    "HitMaps",
    "HitProgram",
    "Layout",
    "SlotSource",
    "TaskSource",
]

MOST_IDS: Final = 1 << 15
"""So many breakpoints can be told apart beside an ip: of two whose numbers are the same modulo this, one is gone."""
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
BELOW_WORDS: Final = 8
"""Words under rsp: what a function that has just returned had pushed and called tells its returns apart."""
_LINE: Final = 64
_HEADER: Final = 8  # bytes of the ring's own before each record
_PROBES: Final = 4
_TRAP, _PREVIOUS = FROM_CODES.index("trap"), FROM_CODES.index("previous")
_MIX: Final = 0x1E3779B97F4A7C15
"""An odd number that spreads a chain of addresses over 64 bits."""

# The program's stack, below r10.
_VALUE, _EVENT, _CPU_KEY, _REGISTERS_OF_CPU, _SLOT, _TASK, _UNREAD, _CPU = (
    *(-8, -16, -20, -56, -64, -72, -80, -88),
)
_FRAME, _OLD, _OLD_FROM = -104, -112, -120


@dataclass(frozen=True, slots=True)
class Layout:
    """The fixed layout of a record: each ring has one. `registers` are those that a record brings, a field each."""

    stacks: bool
    registers: tuple[str, ...] = REGISTERS
    below: bool = True
    """Whether a record brings the BELOW_WORDS words that rsp has left, in rising order of address."""

    @property
    def size(self) -> int:
        """Bytes, without the ring's header."""
        return int(self.dtype.itemsize) - _HEADER

    @property
    def dtype(self) -> np.dtype[Any]:
        """The record behind its ring header (kernel/bpf/ringbuf.c, struct bpf_ringbuf_hdr).

        It begins as the hit ring's row does (`backends.ring.RECORD_FIELDS`), so that `row` is copied as it is: the ring's
        header lies where the row has its number, and `insn_ip`, `stack` and `comm` are for the collector to fill in. `name`
        is the comm's text, `who` breakpoint and pid as one number.
        """
        return _dtype(self.stacks, self.below, self.registers)

    def offset(self, name: str) -> int:
        """Where a field begins in what the program writes."""
        fields = self.dtype.fields
        assert fields is not None
        return int(fields[name][1]) - _HEADER


@cache
def _dtype(stacks: bool, below: bool, registers: tuple[str, ...]) -> np.dtype[Any]:
    import numpy as np

    fields: list[tuple[str, Any]] = [("head", "<u4"), ("page", "<u4")]
    fields += [(name, "<" + kind) for name, kind in RECORD_FIELDS[1:]]
    fields += [("spare", "<u4"), ("name", ("<u8", (2,)))]
    if stacks:
        fields.append(("chain", "<u8"))
    fields += [(name, "<u8") for name in registers]
    if below:
        fields.append(("below", ("<u8", (BELOW_WORDS,))))
    fields.append(("top", ("<u8", (TOP_WORDS if stacks else 1,))))
    if stacks:
        fields.append(("frames", ("<u8", (FRAMES,))))
    names, formats, offsets, at = list[str](), list[Any](), list[int](), 0
    for name, kind in fields:
        names.append(name)
        formats.append(kind)
        offsets.append(at)
        at += np.dtype(kind).itemsize
    offsets += [offsets[names.index("breakpoint")], 0]
    names += ["who", "row"]
    formats += ["<u8", f"V{RECORD.size}"]
    line = _LINE if below else 8  # those of perf's rings are written by us, field by field
    size = -(-at // line) * line
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size})


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
class TaskSource:
    """How plain loads find the current task's numbers and name: a fifth of what the helpers for them cost.

    `numbers` is the offset of struct task_struct's `pid`, with `tgid` behind it, `comm` that of its name. `read_only` and
    `structure` are BTF ids: the kernel function bpf_rdonly_cast, and a structure of at least 16 bytes.
    """

    numbers: int
    comm: int
    read_only: int
    structure: int


@dataclass(frozen=True, slots=True)
class HitMaps:
    """What all programs of a capture share: descriptors of the ring and of the array of lines, and where slots are noted.

    `task` says where a task's numbers and name are, None where helpers have to be asked. `namespace` is (device as the kernel
    has it, inode) of the PID namespace that we are in, None for the first one: there a task's numbers are the kernel's own. A
    task in one further down has the numbers 0.
    """

    ring: int
    control: int
    slot: SlotSource | None = None
    task: TaskSource | None = None
    namespace: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class HitProgram:
    """What the program of one breakpoint must know, beside its maps.

    `line` is the byte in the array where this breakpoint's words begin, `limit_line` where those begin that count hits
    of its watch that are ignored, and towards its limit. `length` and `type` are what its events are opened with; a watch that
    moves may have others later. `tgid` restricts it to one process (an event of a whole CPU sees every process's address).
    `bits` are those of the program that is watched, 64 or 32: its frame pointers and return addresses have so many.
    """

    line: int
    limit_line: int
    breakpoint: int
    length: int
    type: WatchType
    layout: Layout
    kernel_address: bool = False
    tgid: int | None = None
    signal: int | None = None
    bits: Literal[32, 64] = 64

    def assemble(self, maps: HitMaps) -> Assembler:
        """The program: r6 context, r7 the breakpoint's words, r8 its table, r9 the record."""
        a, layout = Assembler(), self.layout
        a.move(6, 1)
        self._task(a, maps)
        if self.tgid is not None:
            a.alu(0, ">>=", 32).jump_if(0, "!=", self.tgid, "ignored")
        a.map_value(7, maps.control, self.line)
        a.set(1, 1).atomic_add(7, WORDS["hits"], 1)
        a.load(1, 7, WORDS["active"]).alu(1, "&=", 1).alu(1, "*=", TABLE)
        a.move(8, 7).alu(8, "+=", TABLES).alu_register(8, "+=", 1)
        a.call(Helper.GET_SMP_PROCESSOR_ID).store(10, _CPU, 0)
        self._read(a)
        self._hold(a, maps)
        if maps.slot is not None:
            self._slot(a, maps.slot)
        else:
            a.set(0, 0xFF)
        a.store(10, _SLOT, 0)
        a.map_fd(1, maps.ring).set(2, layout.size).set(3, 0).call(Helper.RINGBUF_RESERVE)
        a.jump_if(0, "==", 0, "dropped").move(9, 0)
        self._row(a)
        self._name(a, maps)
        for name, where in zip(REGISTERS, _PT_REGS, strict=True):
            a.load(1, 6, where).store(9, layout.offset(name), 1)
        self._top(a)
        if layout.stacks:
            self._stack(a, maps)
        a.move(1, 9).set(2, 1).call(Helper.RINGBUF_SUBMIT)  # 1: BPF_RB_NO_WAKEUP
        if self.signal is not None:
            a.set(1, self.signal).call(Helper.SEND_SIGNAL_THREAD)
            a.set(1, 1).atomic_add(7, WORDS["signals"], 1)
        a.label("ignored").leave(0)
        a.label("filtered").set(1, 1).atomic_add(7, WORDS["filtered"], 1).leave(0)
        a.label("beyond").set(1, 1).atomic_add(7, WORDS["beyond"], 1).leave(0)
        self._dropped(a, maps)
        return a

    @staticmethod
    def _task(a: Assembler, maps: HitMaps) -> None:
        """r0 and the stack = the task's process number, shifted by 32, and thread number."""
        if maps.namespace is None:
            if maps.task is not None:
                _of_task(a, maps.task, maps.task.numbers)
                a.load(0, 0, 0)
            else:
                a.call(Helper.GET_CURRENT_PID_TGID)
            a.store(10, _TASK, 0)
            return
        device, inode = maps.namespace
        a.set(1, device).set(2, inode).move(3, 10).alu(3, "+=", _TASK).set(4, 8)  # struct bpf_pidns_info
        a.call(Helper.GET_NS_CURRENT_PID_TGID).load(0, 10, _TASK)

    def _name(self, a: Assembler, maps: HitMaps) -> None:
        """The task's name, 16 bytes."""
        name = self.layout.offset("name")
        if maps.task is None:
            a.move(1, 9).alu(1, "+=", name).set(2, 16).call(Helper.GET_CURRENT_COMM)
            return
        _of_task(a, maps.task, maps.task.comm)
        a.load(1, 0, 0).store(9, name, 1).load(1, 0, 8).store(9, name + 8, 1)

    def _read(self, a: Assembler) -> None:
        """The window's bytes, and whether they could be read."""
        reader = Helper.PROBE_READ_KERNEL if self.kernel_address else Helper.PROBE_READ_USER
        a.store_value(10, _VALUE, 0).set(0, -1)
        a.load(2, 8, LENGTH).jump_if(2, "==", 0, "read").jump_if(2, ">", 8, "read")
        a.move(1, 10).alu(1, "+=", _VALUE).load(3, 6, _ADDRESS).call(reader)
        a.label("read").store(10, _UNREAD, 0)

    def _hold(self, a: Assembler, maps: HitMaps) -> None:
        """Against the condition, how many are ignored, then the limit. Where hits may be left out, the value of the hit before is
        noted here."""
        a.store_value(10, _OLD_FROM, 0).load(5, 8, COUNT).jump_if(5, "!=", 0, "some")
        a.load(5, 7, WORDS["ignore"]).jump_if(5, "==", 0, "attended").label("some")
        a.load(1, 10, _UNREAD).jump_if(1, "==", 0, "valued").store_value(7, WORDS["last_process"], 0)
        a.jump("noted").label("valued").load(2, 10, _TASK).alu(2, ">>=", 32).move(3, 2)
        a.exchange(7, WORDS["last_process"], 2).load(1, 10, _VALUE).exchange(7, WORDS["last"], 1)
        a.jump_if_register(2, "!=", 3, "noted").store(10, _OLD, 1).store_value(10, _OLD_FROM, _PREVIOUS)
        a.label("noted")
        for number in range(MOST_TERMS):
            at, matched, after = TERMS + number * 8 * len(TERM), f"have {number}", f"holds {number}"
            a.load(5, 8, COUNT).jump_if(5, "<=", number, "matches").load(4, 8, at + 8 * TERM.index("subject"))
            a.jump_if(4, "!=", SUBJECTS.index("value"), f"task {number}")
            a.load(1, 10, _UNREAD).jump_if(1, "!=", 0, after)  # what is not known is no reason to drop it
            a.load(1, 10, _VALUE).jump(matched)
            a.label(f"task {number}").load(1, 10, _TASK).alu(1, "<<=", 32).alu(1, ">>=", 32)
            a.jump_if(4, "==", SUBJECTS.index("thread"), matched)
            a.load(1, 10, _TASK).alu(1, ">>=", 32).jump_if(4, "==", SUBJECTS.index("process"), matched)
            a.load(1, 6, _IP).jump_if(4, "==", SUBJECTS.index("ip"), matched).load(1, 10, _CPU)
            a.label(matched)
            for operator, word in (("&=", "mask"), ("^=", "flip"), ("-=", "low")):
                a.load(2, 8, at + 8 * TERM.index(word)).alu_register(1, operator, 2)
            a.load(2, 8, at + 8 * TERM.index("span")).load(3, 8, at + 8 * TERM.index("outside"))
            a.jump_if_register(1, "<=", 2, f"inside {number}").alu(3, "^=", 1)
            a.label(f"inside {number}").jump_if(3, "!=", 0, "filtered").label(after)
        a.label("matches").load(1, 7, WORDS["ignore"]).jump_if(1, "==", 0, "attended")
        a.map_value(3, maps.control, self.limit_line).set(2, 1).fetch_add(3, WORDS["ignored"], 2)
        a.jump_if_register(2, "<", 1, "filtered").label("attended")
        a.load(1, 7, WORDS["limit"]).jump_if(1, "==", 0, "wanted")
        a.map_value(3, maps.control, self.limit_line).set(2, 1).fetch_add(3, WORDS["passed"], 2)
        a.jump_if_register(2, ">=", 1, "beyond").label("wanted")

    def _row(self, a: Assembler) -> None:
        """The fields of the hit ring's row that follow from the hit alone; the collector knows the others."""
        place = self.layout.offset
        a.call(Helper.KTIME_GET_NS).store(9, place("time"), 0)
        a.load(1, 6, _IP).store(9, place("ip"), 1)
        a.load(1, 6, _ADDRESS).store(9, place("address"), 1)
        a.load(1, 10, _VALUE).store(9, place("value"), 1)
        a.store_value(9, place("breakpoint"), self.breakpoint, 4)
        a.load(1, 10, _TASK).store(9, place("tid"), 1, 4).alu(1, ">>=", 32).store(9, place("pid"), 1, 4)
        a.load(1, 10, _CPU).store(9, place("cpu"), 1, 2)
        a.load(1, 8, LENGTH).jump_if(1, "!=", 0, "long").set(1, 1).label(
            "long"
        )  # an execute window has length 1
        a.store(9, place("length"), 1, 1)
        a.load(1, 10, _SLOT).store(9, place("slot"), 1, 1)
        access = ACCESS_CODES.index("w" if self.type == "w" else "x")
        a.store_value(9, place("access"), access, 4)  # and value_from, old_from, flags
        a.load(1, 10, _UNREAD).jump_if(1, "!=", 0, "unread")
        a.store_value(9, place("value_from"), _TRAP, 1).label("unread")
        a.load(1, 10, _OLD_FROM).jump_if(1, "==", 0, "first").store(9, place("old_from"), 1, 1)
        a.load(1, 10, _OLD).store(9, place("old"), 1).label("first")
        a.load(1, 6, _CS).alu(1, "&=", 3).jump_if(1, "!=", 0, "user")
        a.store_value(9, place("flags"), FLAG_KERNEL, 1).label("user")

    def _dropped(self, a: Assembler, maps: HitMaps) -> None:
        """The ring was full: the hit is lost to the history, and counted at its place (`backends.perf.lines.PLACES`)."""
        a.label("dropped").set(1, 1).atomic_add(7, WORDS["drops"], 1)
        a.set(9, (self.breakpoint & 0xFFFF) << 48).load(2, 6, _IP).alu_register(9, "^=", 2)
        a.set(2, _MIX).move(3, 9).alu_register(3, "*=", 2).alu(3, ">>=", 64 - PLACES_BITS)
        for probe in range(_PROBES):
            a.move(4, 3).alu(4, "+=", probe).alu(4, "&=", PLACES - 1).alu(4, "*=", PLACE)
            a.map_value(5, maps.control, PLACES_AT).alu_register(5, "+=", 4)
            a.set(0, 0).compare_exchange(5, 0, 9).jump_if(0, "==", 0, "place").jump_if_register(
                0, "==", 9, "place"
            )
        a.leave(0)
        a.label("place").set(1, 1).atomic_add(5, 8, 1).leave(0)

    def _top(self, a: Assembler) -> None:
        """The words around rsp, zeros where they cannot be read. Without a stack only where the window lies near: a call
        has written there or a return read it, and the word says which."""
        top, words = self.layout.offset("top"), TOP_WORDS if self.layout.stacks else 1
        a.load(3, 6, _SP)
        if not self.layout.stacks:
            a.store_value(9, top, 0).load(1, 6, _ADDRESS).move(2, 3).alu(2, "+=", 16)
            a.jump_if_register(1, ">=", 2, "elsewhere").load(2, 8, LENGTH).alu_register(1, "+=", 2)
            a.alu(1, "+=", 16).jump_if_register(1, "<=", 3, "elsewhere")
        more = 8 * BELOW_WORDS if self.layout.below else 0
        a.move(1, 9).alu(1, "+=", top - more).alu(3, "-=", more).set(2, more + 8 * words)
        a.call(Helper.PROBE_READ_USER)
        a.label("elsewhere")

    def _stack(self, a: Assembler, maps: HitMaps) -> None:
        """The chain of frame pointers: rising, each frame (saved rbp, return address). `chain` tells chains apart."""
        frames, chain = self.layout.offset("frames"), self.layout.offset("chain")
        for number in range(FRAMES):
            a.store_value(9, frames + 8 * number, 0)
        a.load(8, 6, _BP).load(7, 6, _IP)
        width = self.bits // 8
        for number in range(FRAMES):
            a.move(1, 10).alu(1, "+=", _FRAME).set(2, 2 * width).move(3, 8).call(Helper.PROBE_READ_USER)
            a.jump_if(0, "!=", 0, "walked")
            a.load(1, 10, _FRAME + width, width).store(9, frames + 8 * number, 1)
            a.alu_register(7, "^=", 1)
            a.set(2, _MIX).alu_register(7, "*=", 2)
            a.load(1, 10, _FRAME, width).jump_if_register(1, "<=", 8, "walked").move(8, 1)
        a.label("walked").store(9, chain, 7)
        a.map_value(7, maps.control, self.line)

    def _slot(self, a: Assembler, source: SlotSource) -> None:
        """r0 = the register that this CPU's bp_per_reg gives to our event, 0xff where it cannot be told."""
        if source.casts is not None:
            self._slot_by_casts(a, source, source.casts)
            return
        a.store_value(10, _EVENT, 0)
        a.move(1, 10).alu(1, "+=", _EVENT).set(2, 8).move(3, 6).alu(3, "+=", source.event_offset)
        a.call(Helper.PROBE_READ_KERNEL).jump_if(0, "!=", 0, "no slot")
        a.load(1, 10, _CPU).store(10, _CPU_KEY, 1, 4)
        a.map_fd(1, source.bp_per_reg).move(2, 10).alu(2, "+=", _CPU_KEY).call(Helper.MAP_LOOKUP_ELEM)
        a.jump_if(0, "==", 0, "no slot").load(3, 0, 0)
        a.move(1, 10).alu(1, "+=", _REGISTERS_OF_CPU).set(2, 32).call(Helper.PROBE_READ_KERNEL)
        a.jump_if(0, "!=", 0, "no slot").load(1, 10, _EVENT)
        for number in range(4):
            a.set(0, number).load(2, 10, _REGISTERS_OF_CPU + 8 * number)
            a.jump_if_register(1, "==", 2, "slot known")
        a.label("no slot").set(0, 0xFF).label("slot known")

    @staticmethod
    def _slot_by_casts(a: Assembler, source: SlotSource, casts: tuple[int, int, int]) -> None:
        to_kernel, read_only, structure = casts
        a.move(1, 6).call_kfunc(to_kernel).load(1, 0, source.event_offset).store(10, _EVENT, 1)
        a.load(1, 10, _CPU).store(10, _CPU_KEY, 1, 4)
        a.map_fd(1, source.bp_per_reg).move(2, 10).alu(2, "+=", _CPU_KEY).call(Helper.MAP_LOOKUP_ELEM)
        a.jump_if(0, "==", 0, "no slot").load(1, 0, 0)
        a.set(2, structure).call_kfunc(read_only).move(3, 0).load(1, 10, _EVENT)
        for number in range(4):
            a.set(0, number).load(2, 3, 8 * number).jump_if_register(1, "==", 2, "slot known")
        a.label("no slot").set(0, 0xFF).label("slot known")


def _of_task(a: Assembler, source: TaskSource, offset: int) -> None:
    """r0 = an address in the current task's structure that can be loaded from."""
    a.call(Helper.GET_CURRENT_TASK).move(1, 0).alu(1, "+=", offset)
    a.set(2, source.structure).call_kfunc(source.read_only)
