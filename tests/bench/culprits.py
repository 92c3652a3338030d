"""Culprits a second once warm, over stores all through a libc, beside capstone from the start of the function each time."""

from __future__ import annotations

import time
from functools import partial

import iced_x86 as ic
import numpy as np
from capstone import CS_ARCH_X86, CS_MODE_64, Cs

from symbols.boundaries import function_at
from symbols.culprit import REGISTERS, WRITE, Culprits
from symbols.elf import ElfImage
from symbols.space import AddressSpace
from tests.bench.programs import Built, Missing
from tests.bench.report import Report, Row, Spread

__all__ = ["bench"]

_GOAL = 300_000
_BASE = 0x7F00_0000_0000
_CODE = 1 << 19  # bytes of .text that stores are taken from
_BATCH = 20_000


def _libc() -> str:
    with open("/proc/self/maps") as lines:
        paths = {line.split()[-1] for line in lines if "/libc.so" in line or "/libc-" in line}
    if not paths:
        raise Missing("Python here is not linked with a libc of its own file")
    return min(paths)


def bench(built: Built, quick: bool) -> Report:
    """One hit has one ip of thousands, random registers, and the window that its store then writes."""
    path = _libc()
    image = ElfImage.open(path)
    low, high = image.load_range
    space = AddressSpace([(_BASE + low & -4096, _BASE + high + 4095 & -4096, "r-xp", 0, path)], path)
    bias = space.modules[0].bias
    text = image.sections[".text"]
    code = image.read(text.addr, min(text.size, _CODE))
    sites = [
        (insn.next_ip, insn.memory_base, insn.memory_displacement)
        for insn in ic.Decoder(64, code, ip=text.addr + bias)
        if insn.mnemonic == ic.Mnemonic.MOV
        and insn.op0_kind == ic.OpKind.MEMORY
        and insn.memory_index == ic.Register.NONE
        and ic.Register.RAX <= insn.memory_base <= ic.Register.R15
    ]

    def read(address: int, size: int) -> bytes:
        return image.read(address - bias, size)

    rng = np.random.default_rng(1)
    picked = np.array(sites, object)[rng.integers(0, len(sites), _BATCH)]
    registers = {
        name: rng.integers(1 << 20, 1 << 47, _BATCH).astype(np.uint64)
        for name in REGISTERS
        if name != "fs_base"
    }
    table = np.stack([registers[name] for name in REGISTERS[:16]])
    bases = (picked[:, 1] - ic.Register.RAX).astype(np.intp)
    ips = picked[:, 0].astype(np.uint64)
    with np.errstate(over="ignore"):
        windows = table[bases, np.arange(_BATCH)] + np.array(
            [d & (1 << 64) - 1 for d in picked[:, 2]], np.uint64
        )
    begun = time.perf_counter()
    culprits = Culprits(read, partial(function_at, space))
    found = culprits.find(ips, windows, 1, WRITE, registers)
    cold = time.perf_counter() - begun
    given = float(np.count_nonzero(found.insn_ip)) / _BATCH
    ours, peer = [], []
    for _ in range(3 if quick else 9):
        begun = time.perf_counter()
        for _ in range(5):
            culprits.find(ips, windows, 1, WRITE, registers)
        ours.append(5 * _BATCH / (time.perf_counter() - begun))
        peer.append(_capstone(space, read, ips[:200].tolist()))
    speed, other = Spread.of(ours), Spread.of(peer)
    distinct = len(np.unique(ips))
    return Report(
        (
            Row(
                "culprits, warm",
                speed.text("/s"),
                other.text("/s capstone"),
                speed.over(other).text("x"),
                f">= {_GOAL:,}/s",
                speed.middle >= _GOAL,
            ),
        ),
        (
            f"culprits: {distinct} places in {path}, {100 * given:.1f} % given (with random registers a `call` is none);"
            f" the first batch took {cold:.2f} s, {1e6 * cold / distinct:.0f} us a place",
        ),
    )


def _capstone(space: AddressSpace, read: object, ips: list[int]) -> float:
    """Instructions from the function's start up to ip, each time."""
    decoder = Cs(CS_ARCH_X86, CS_MODE_64)
    begun = time.perf_counter()
    for ip in ips:
        function = function_at(space, ip - 1)
        if function is not None:
            code = read(function[0], ip - function[0])  # type: ignore[operator]
            for _ in decoder.disasm_lite(code, function[0]):
                pass
    return len(ips) / (time.perf_counter() - begun)
