"""Instructions as compilers make them, one at a time, on the engine and on this machine's own processor.

`python -m tests.live.instructions [--seed N] [--forms N] FILE...` takes every form of instruction in the code of some files.
Harvested are those that go on to the next one, use neither rsp nor the x87 unit, and are within what CPUID promises.
"""

from __future__ import annotations

import argparse
import ctypes
import mmap
import random
import struct
from collections.abc import Iterator
from functools import cache
from typing import Final, NamedTuple

import iced_x86 as ic
from elftools.elf.elffile import ELFFile

from backends.emulated.engine import EventKind
from backends.emulated.icicle import IcicleEngine
from backends.emulated.sleigh_floats import TRAP
from tests.machine.linux_loop import float_left_to_us

__all__ = ["FILES", "PROMISED", "Disagreement", "compare", "harvest"]

FILES: Final = ("/lib/x86_64-linux-gnu/libc.so.6", "/bin/bash", "/usr/bin/perl", "/usr/bin/python3")
_M, _R = ic.Mnemonic, ic.Register
_GENERAL: Final = (
    *("RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI"),
    *(f"R{n}" for n in range(8, 16)),
)
PROMISED: Final = {
    ic.CpuidFeature.INTEL8086, ic.CpuidFeature.INTEL186, ic.CpuidFeature.INTEL386, ic.CpuidFeature.INTEL486,
    ic.CpuidFeature.X64, ic.CpuidFeature.CMOV, ic.CpuidFeature.SSE, ic.CpuidFeature.SSE2, ic.CpuidFeature.CX8,
    ic.CpuidFeature.CMPXCHG16B, ic.CpuidFeature.MULTIBYTENOP,
}  # fmt: skip
_ELSEWHERE: Final = {  # ours, approximate on silicon, or not comparable one at a time
    _M.CPUID, _M.RDTSC, _M.LDMXCSR, _M.STMXCSR, _M.WAIT, _M.PUSHF, _M.PUSHFQ, _M.POPF, _M.POPFQ, _M.LAHF, _M.SAHF,
    _M.CLD, _M.STD, _M.CLI, _M.STI, _M.HLT, _M.IN, _M.OUT, _M.RCPPS, _M.RCPSS, _M.RSQRTPS, _M.RSQRTSS, _M.DIV, _M.IDIV,
    _M.LSL, _M.LAR, _M.VERR, _M.VERW, _M.SIDT, _M.SGDT, _M.SLDT, _M.STR, _M.SMSW, _M.CLFLUSH, _M.MASKMOVDQU, _M.SYSCALL,
    _M.XLATB,
}  # fmt: skip
_ARITHMETIC: Final = 0x8D5
_FLAGS: Final = (
    (ic.RflagsBits.OF, 0x800),
    (ic.RflagsBits.SF, 0x80),
    (ic.RflagsBits.ZF, 0x40),
    (ic.RflagsBits.CF, 1),
    (ic.RflagsBits.PF, 4),
    (ic.RflagsBits.AF, 0x10),
)
_SCRATCH, _CODE, _PAGE = 0x1000_0000, 0x2000_0000, 4096
_STATE: Final = 144 + 256
_SAVED_RSP, _SAVED_RAX = 3000, 2000
_WHOLE: Final = (
    0,
    1,
    2,
    3,
    7,
    8,
    31,
    32,
    63,
    64,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    1 << 31,
    1 << 32,
)
_DOUBLES: Final = (
    *(
        0,
        1 << 63,
        1,
        0x3FF0 << 48,
        0xBFF0 << 48,
        0x7FF0 << 48,
        0xFFF0 << 48,
        0x7FF8 << 48,
        0x7FF0_0000_0000_0001,
    ),
    *(
        0x43E0 << 48,
        0xC3E0 << 48,
        0x41DF_FFFF_FFC0_0000,
        0x41E0 << 48,
        0x3FE0 << 48,
        0x3FF8 << 48,
        0x4004 << 48,
    ),
)
_FLOATS: Final = (
    *(
        0,
        1 << 31,
        1,
        0x3F80_0000,
        0xBF80_0000,
        0x7F80_0000,
        0x7FC0_0000,
        0x7F80_0001,
        0x4F00_0000,
        0xCF00_0000,
    ),
    *(0x3F00_0000, 0x3FC0_0000, 0x4020_0000),
)


class Disagreement(NamedTuple):
    """An instruction that does something else on silicon: its text and bytes, and what differs, (engine, silicon)."""

    text: str
    code: str
    differences: str


def harvest(path: str, each: int = 4) -> dict[int, list[bytes]]:
    """By form (iced-x86's Code): up to `each` encodings found in a file's .text."""
    with open(path, "rb") as file:
        section = ELFFile(file).get_section_by_name(".text")
        if section is None:
            return {}
        data, base = section.data(), section["sh_addr"]
    found: dict[int, list[bytes]] = {}
    for instruction in ic.Decoder(64, data, ip=base):
        forms = found.setdefault(instruction.code, [])
        if len(forms) < each and _suits(instruction):
            start = instruction.ip - base
            code = data[start : start + instruction.len]
            if code not in forms:
                forms.append(code)
    return {form: codes for form, codes in found.items() if codes}


def _suits(i: ic.Instruction) -> bool:
    registers = [i.op0_register, i.op1_register][: i.op_count]
    return not (
        i.is_invalid
        or i.flow_control != ic.FlowControl.NEXT
        or i.encoding != ic.EncodingKind.LEGACY
        or i.is_stack_instruction
        or i.is_ip_rel_memory_operand
        or i.is_privileged
        or i.segment_prefix != _R.NONE
        or i.mnemonic in _ELSEWHERE
        or not set(i.cpuid_features()) <= PROMISED
        or (i.is_string_instruction and (i.has_rep_prefix or i.has_repne_prefix))
        or any(ic.RegisterExt.is_segment_register(r) or ic.RegisterExt.is_mm(r) for r in registers)
    )


class _Silicon:
    """Runs one instruction natively, between loading and storing a whole state."""

    def __init__(self) -> None:
        protection = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
        self._code = mmap.mmap(-1, 2 * _PAGE, prot=protection)
        self._state = mmap.mmap(-1, _PAGE)
        self._anchors = [ctypes.c_char.from_buffer(memory) for memory in (self._code, self._state)]
        self._call = ctypes.CFUNCTYPE(None)(ctypes.addressof(self._anchors[0]))
        self._base = ctypes.addressof(self._anchors[1])
        self._now = b""
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
        fixed = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x10_0000  # MAP_FIXED_NOREPLACE
        if libc.mmap(_SCRATCH, _PAGE, mmap.PROT_READ | mmap.PROT_WRITE, fixed, -1, 0) != _SCRATCH:
            raise OSError("the scratch page's address is taken")
        self.scratch = (ctypes.c_ubyte * _PAGE).from_address(_SCRATCH)

    def _program(self, code: bytes) -> bytes:
        def to_memory(register: int, opcode: int) -> bytes:
            head = bytes([0x48 | (register >> 3) << 2, opcode, 0x80 | (register & 7) << 3])
            return head + struct.pack("<i", 8 * register)

        def vector(register: int, opcode: int) -> bytes:
            head = (b"\x44" if register > 7 else b"") + bytes([0x0F, opcode, 0x80 | (register & 7) << 3])
            return head + struct.pack("<i", 144 + 16 * register)

        rax_is_state = b"\x48\xb8" + struct.pack("<Q", self._base)
        kept = (3, 5, 12, 13, 14, 15)
        others = [register for register in range(1, 16) if register != 4]
        push = [(b"\x41" if register > 7 else b"") + bytes([0x50 | register & 7]) for register in kept]
        pop = [(b"\x41" if register > 7 else b"") + bytes([0x58 | register & 7]) for register in kept[::-1]]
        return b"".join(
            (
                *push,
                rax_is_state,
                *(vector(n, 0x10) for n in range(16)),
                b"\xff\xb0" + struct.pack("<i", 128) + b"\x9d",  # push flags; popf
                *(to_memory(register, 0x8B) for register in others),
                b"\x48\x8b\x00",  # mov rax, [rax]
                code,
                b"\x48\xa3" + struct.pack("<Q", self._base + _SAVED_RAX),
                rax_is_state,
                *(to_memory(register, 0x89) for register in others),
                b"\x9c\x8f\x80" + struct.pack("<i", 128),  # pushf; pop flags
                *(vector(n, 0x11) for n in range(16)),
                b"\xff\xb0" + struct.pack("<i", _SAVED_RAX) + b"\x8f\x00\xfc",
                *pop,
                b"\xc3",
            )
        )

    def run(
        self, code: bytes, general: list[int], flags: int, xmm: list[int]
    ) -> tuple[list[int], int, list[int]]:
        """The state after it."""
        if code != self._now:
            program = self._program(code)
            self._code[: len(program)] = program
            self._now = code
        state = struct.pack("<16QQQ", *general, flags, 0) + b"".join(v.to_bytes(16, "little") for v in xmm)
        self._state[: len(state)] = state
        self._call()
        after = self._state[:_STATE]
        vectors = [int.from_bytes(after[144 + 16 * n : 160 + 16 * n], "little") for n in range(16)]
        return list(struct.unpack_from("<16Q", after)), struct.unpack_from("<Q", after, 128)[0], vectors


@cache
def _silicon() -> _Silicon:
    """The one that has the scratch page."""
    return _Silicon()


def _number(dice: random.Random) -> int:
    kind = dice.randrange(5)
    if kind == 0:
        return dice.choice(_WHOLE)
    if kind == 1:
        return dice.choice(_DOUBLES)
    if kind == 2:
        return dice.choice(_FLOATS) | dice.choice(_FLOATS) << 32
    return dice.getrandbits(64) if kind == 3 else dice.getrandbits(dice.randrange(1, 65))


def _place_operands(
    dice: random.Random, i: ic.Instruction, info: ic.InstructionInfo, general: list[int]
) -> bool:
    """Choose base and index registers so that the operand lies in the scratch page; False where that cannot be."""
    for memory in info.used_memory():
        if memory.base == _R.NONE or memory.base == memory.index:
            return False
        base = ic.RegisterExt.number(memory.base)
        if i.mnemonic in (_M.BT, _M.BTS, _M.BTR, _M.BTC) and i.op1_kind == ic.OpKind.REGISTER:
            bit = ic.RegisterExt.number(i.op1_register)
            if bit in (base, ic.RegisterExt.number(memory.index) if memory.index else -1):
                return False
            general[bit] = dice.randrange(-6000, 6000) & (1 << 64) - 1
        target = _SCRATCH + 1024 + (dice.randrange(1024) & -16)
        if ic.MemorySizeExt.size(memory.memory_size) < 16:
            target += dice.randrange(16)
        displacement = memory.displacement - (1 << 64 if memory.displacement >> 63 else 0)
        offset = displacement
        if memory.index != _R.NONE:
            index = ic.RegisterExt.number(memory.index)
            general[index] = dice.randrange(100)
            offset += general[index] * memory.scale
        general[base] = (target - offset) & (1 << 64) - 1
    return True


def compare(
    forms: dict[int, list[bytes]], seed: int, times: int = 3
) -> Iterator[tuple[str, Disagreement | None, bool]]:
    """Each instruction some times: its text, how it disagreed, and whether the engine has it at all."""
    dice, silicon, factory = random.Random(seed), _silicon(), ic.InstructionInfoFactory()
    codes = [code for each in forms.values() for code in each]
    engine = IcicleEngine()
    engine.map(_SCRATCH, _PAGE, 3)
    engine.map(_CODE, (32 * len(codes) + _PAGE - 1) & -_PAGE, 7)
    engine.start()
    engine.write(_CODE, b"".join(code.ljust(32, b"\xcc") for code in codes))
    for number, code in enumerate(codes):
        pc = _CODE + 32 * number
        instruction = next(iter(ic.Decoder(64, code, ip=pc)))
        info = factory.info(instruction)
        used = {ic.RegisterExt.full_register(each.register) for each in info.used_registers()}
        if _R.RSP in used:
            continue
        for _ in range(times):
            general = [_number(dice) for _ in range(16)]
            xmm = [_number(dice) | _number(dice) << 64 for _ in range(16)]
            flags = dice.getrandbits(12) & _ARITHMETIC | 2
            if not _place_operands(dice, instruction, info, general):
                break
            memory = b"".join(struct.pack("<Q", _number(dice)) for _ in range(64)) * 8
            ctypes.memmove(_SCRATCH, memory, _PAGE)
            engine.write(_SCRATCH, memory)
            for name, value in zip(_GENERAL, general, strict=True):
                if name != "RSP":
                    engine.set(name, value)
            for n, value in enumerate(xmm):
                engine.set(f"XMM{n}", value)
            engine.set("RFLAGS", flags)
            engine.vm.pc = pc
            kind = engine.single()
            if kind is EventKind.UNMAPPED and engine.event().address == TRAP:
                float_left_to_us(engine)
                kind = EventKind.LIMIT
            if kind is not EventKind.LIMIT or engine.pc != pc + len(code):
                yield f"{instruction}", None, False
                break
            after, flags_after, xmm_after = silicon.run(code, general, flags, xmm)
            found = [
                f"{name} {engine.get(name):#x}, {value:#x}"
                for n, (name, value) in enumerate(zip(_GENERAL, after, strict=True))
                if n != 4 and engine.get(name) != value
            ]
            found += [
                f"XMM{n} {engine.get(f'XMM{n}'):#x}, {value:#x}"
                for n, value in enumerate(xmm_after)
                if engine.get(f"XMM{n}") != value
            ]
            undefined = sum(bit for theirs, bit in _FLAGS if instruction.rflags_undefined & theirs)
            if (engine.get("RFLAGS") ^ flags_after) & _ARITHMETIC & ~undefined:
                found.append(f"flags {engine.get('RFLAGS'):#x}, {flags_after:#x}")
            if engine.read(_SCRATCH, _PAGE) != bytes(silicon.scratch):
                found.append("memory")
            wrong = Disagreement(f"{instruction}", code.hex(), "; ".join(found)) if found else None
            yield f"{instruction}", wrong, True


def main() -> int:
    """Print every disagreement; 1 if there was one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--forms", type=int, default=4, help="encodings of each form")
    parser.add_argument("files", nargs="*", default=FILES)
    options = parser.parse_args()
    ran = wrong = 0
    missing: set[str] = set()
    for path in options.files:
        for text, disagreement, known in compare(harvest(path, options.forms), options.seed):
            ran += known
            if not known:
                missing.add(text.split()[0])
            if disagreement is not None:
                wrong += 1
                print(*disagreement, sep="\t")
    print(f"{ran} ran, {wrong} disagreed; the engine lacks: {', '.join(sorted(missing)) or 'none of them'}")
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
