"""Random sequences of requests to the hw-breakpoint layer, as plain data: drawn, printed as a script, shrunk."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from backends.emulated.kernel.attr import Attr

__all__ = ["CODE", "DATA", "MAPPED_SAMPLES", "TASKS", "Step", "draw", "rings", "script", "shrink"]

Step = tuple[Any, ...]
"""("open", ...) and so on: what `kernel_pair.Side` has methods for, and their arguments."""

DATA, CODE = 0x7A5F_0000_0000, 0x7A5F_0001_0000
TASKS = 6
MAPPED_SAMPLES = 0x1 | 0x2 | 0x4 | 0x8 | 0x100
"""sample_type bits that make a record of eight bytes each, so that overflows can be counted in the ring."""

_ADDRESSES = (
    *(DATA + n for n in (0, 0, 0, 4, 8, 8, 16, 1, 2, 3, 7)),
    *(CODE, CODE, CODE + 16, CODE + 3),
)  # fmt: skip
_STRANGE = (
    0, 1, 0x7FFF_FFFF_EFF8, 0x7FFF_FFFF_F000, 0x7FFF_FFFF_EFFF, (1 << 64) - 1, (1 << 64) - 8, 0xFFFF_C900_DEAD_B000,
    0xFFFF_C900_DEAD_B001, 0xFFFF_FE00_0000_1000, 0x8000_0000_0000,
)  # fmt: skip
_FLAG = {
    "disabled": 0, "inherit": 1, "pinned": 2, "exclude_user": 4, "exclude_kernel": 5, "exclude_hv": 6, "freq": 10,
    "enable_on_exec": 12, "namespaces": 28, "inherit_thread": 35, "remove_on_exec": 36, "sigtrap": 37,
}  # fmt: skip


def rings(attr: Attr, cpu: int) -> bool:
    """Whether an event's samples are counted in its ring: nothing but samples of one length comes into it.

    With `namespaces` each fork writes a record of its own (kernel/events/core.c perf_event_fork).
    """
    return (
        attr.sampling
        and not attr.sample_type & ~MAPPED_SAMPLES
        and not (attr.flag("inherit") and cpu == -1)
        and not attr.flag("namespaces")
    )


def _address(rng: random.Random) -> int:
    return rng.choice(_STRANGE if rng.random() < 0.06 else _ADDRESSES)


def _attr(rng: random.Random) -> dict[str, int]:
    kind = rng.choices((2, 3, 4, 0, 1, 5, 6, 7, 8), (30, 30, 22, 1, 2, 1, 1, 1, 1))[0]
    length = rng.choices((1, 2, 4, 8, 0, 3, 16, 5), (8, 8, 10, 20, 1, 1, 1, 1))[0]
    if kind == 4 and rng.random() < 0.9:
        length = 8
    flags = 1 << _FLAG["exclude_kernel"] if rng.random() < 0.85 else 0
    for name, chance in (
        ("disabled", 0.3), ("inherit", 0.3), ("pinned", 0.5), ("exclude_user", 0.08), ("exclude_hv", 0.5),
        ("enable_on_exec", 0.12), ("inherit_thread", 0.08), ("remove_on_exec", 0.15), ("sigtrap", 0.12),
        ("namespaces", 0.01),
    ):  # fmt: skip
        flags |= (rng.random() < chance) << _FLAG[name]
    if flags >> _FLAG["sigtrap"] & 1 and rng.random() < 0.9:
        flags = flags | 1 << _FLAG["remove_on_exec"]
    if flags >> _FLAG["remove_on_exec"] & 1 and rng.random() < 0.9:
        flags &= ~(1 << _FLAG["enable_on_exec"])
    if flags >> _FLAG["inherit_thread"] & 1 and rng.random() < 0.9:
        flags |= 1 << _FLAG["inherit"]
    address = _address(rng)
    if rng.random() < 0.8 and length in (1, 2, 4, 8) and kind != 4:
        address &= -length
    if kind == 4 and rng.random() < 0.8:
        address = rng.choice((CODE, CODE + 16))
    elif rng.random() < 0.6 and address >= CODE:
        address = DATA
    return {
        "bp_type": kind,
        "bp_len": length,
        "bp_addr": address,
        "flags": flags,
        "sample_period": rng.choices((0, 1, 2, 3, 5, 1 << 63), (10, 30, 8, 6, 4, 1))[0],
        "sample_type": rng.choices((0, 1, 1 | 8, 1 | 2 | 4, 0x100, 1 | 0x100, 0x10, 0x800, 1 << 30), (20, 20, 9, 9, 5, 4, 1, 1, 1))[0],
        "sig_data": rng.choice((0, 0, 0xC0FFEE)),
        "size": rng.choices((136, 64, 72, 128, 60, 5000), (60, 1, 1, 2, 1, 1))[0],
    }  # fmt: skip


def _open(rng: random.Random, wide: bool) -> Step:
    cpu = -1
    target = rng.choices(("task", "self", "nobody", "foreign", "all"), (60, 4, 2, 3, 2))[0]
    if rng.random() < 0.12:
        cpu = rng.choice((1, 1, 1, 0, 77, -2))
    if wide and rng.random() < 0.18:
        target, cpu = "all", rng.choice((1, 1, 0))
    elif target == "all":
        cpu = rng.choice((-1, 77))  # whoever else holds a slot would be in the way of a real CPU
    leader = rng.randrange(8) if rng.random() < 0.15 else -1
    flags = rng.choices((0, 8, 1, 0x40), (30, 4, 1, 1))[0]
    return ("open", target, rng.randrange(TASKS), cpu, leader, flags, _attr(rng))


def _dr7(rng: random.Random) -> int:
    value = rng.choice((0, 0, 0x400, 0x100))
    for slot in range(4):
        if rng.random() < 0.4:
            nibble = rng.choice((0x1, 0x1, 0x3, 0xD, 0xD, 0xF, 0x9, 0xB, 0x5, 0x0, 0x2, 0x4, 0x8))
            value |= nibble << 16 + 4 * slot | rng.choice((0, 1, 2, 3, 1)) << 2 * slot
    return value | rng.choice((0, 0, 0, 0, 0x2000, 0xFFFF_FFFF_0000_FC00))


def _poke(rng: random.Random, task: int) -> Step:
    register = rng.choices((0, 1, 2, 3, 4, 5, 6, 7), (8, 4, 3, 3, 1, 1, 2, 14))[0]
    if register == 7:
        return ("poke", task, 7, _dr7(rng))
    return ("poke", task, register, rng.choice((0, 0x4001, 0xFFFF0FF0)) if register == 6 else _address(rng))


def _one(rng: random.Random, wide: bool, weight: dict[str, float]) -> Step:
    kind = rng.choices(tuple(weight), tuple(weight.values()))[0]
    event, task = rng.randrange(12), rng.choice((0, 0, 0, *range(TASKS)))
    match kind:
        case "open":
            return _open(rng, wide)
        case "refresh":
            return (kind, event, rng.choice((1, 2, 3, 0)))
        case "period":
            return (kind, event, rng.choice((1, 2, 3, 4, 0, 1 << 63)))
        case "modify":
            changes = {
                k: v for k, v in _attr(rng).items() if k in ("bp_type", "bp_len", "bp_addr", "sig_data")
            }
            changes["disabled"] = rng.choice((0, 0, 1))
            if rng.random() < 0.1:
                changes["sample_period"] = 7
            return (kind, event, changes)
        case "close" | "enable" | "disable" | "reset":
            return (kind, event)
        case "attach" | "detach" | "exec" | "exit":
            return (kind, task)
        case "poke":
            return _poke(rng, task)
        case "fork" | "thread":
            return (kind, task, rng.randrange(TASKS))
        case _:
            access = rng.choice("wwrx")
            if access == "x":
                return ("access", task, "x", CODE + rng.choice((0, 0, 16, 32)), 1)
            address = rng.choice((DATA, DATA, DATA, DATA + 4, DATA + 8, DATA + 1, DATA + 3, DATA + 7, CODE))
            return ("access", task, "r" if address == CODE else access, address, rng.choice((1, 2, 4, 8)))


_PERF = {
    "open": 26.0, "close": 7, "enable": 7, "disable": 6, "reset": 3, "refresh": 4, "period": 4, "modify": 7,
    "access": 26, "fork": 3, "thread": 3, "exec": 1.5, "exit": 1.5,
}  # fmt: skip
_PTRACE = {
    "attach": 8.0,
    "detach": 2,
    "poke": 26,
    "access": 22,
    "fork": 2,
    "thread": 2,
    "exec": 1.5,
    "exit": 1,
}


def draw(seed: int, length: int = 30, *, wide: bool = False) -> list[Step]:
    """A sequence. The same seed draws the same one. `wide` also asks for CPU-wide events."""
    rng = random.Random(seed)
    style = rng.randrange(3)
    weight = _PERF if style == 0 else _PTRACE if style == 1 else {**_PTRACE, **_PERF, "access": 30.0}
    return [_one(rng, wide, weight) for _ in range(length)]


def script(steps: Sequence[Step]) -> str:
    """The sequence as a Python literal, one step a line: what `--replay` reads."""
    return "[\n" + "".join(f"    {step!r},\n" for step in steps) + "]\n"


def shrink(steps: list[Step], fails: Callable[[list[Step]], bool], attempts: int = 300) -> list[Step]:
    """A shorter sequence that still fails: pieces are left out, ever smaller ones."""
    size = len(steps) // 2
    while size and attempts:
        at = 0
        while at < len(steps) and attempts:
            shorter = steps[:at] + steps[at + size :]
            attempts -= 1
            if shorter and fails(shorter):
                steps = shorter
            else:
                at += size
        size //= 2
    return steps
