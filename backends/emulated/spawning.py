"""Tasks that a person adds to the machine: other programs, patterns of accesses, and tasks that never run."""

from __future__ import annotations

import os
import struct

from backends.base import HwbpError, Spawn
from backends.emulated.engine import EXEC, READ, WRITE
from backends.emulated.linux.descriptors import Descriptors
from backends.emulated.linux.state import Process, System, Task, add_thread
from backends.emulated.loader import DEFAULT_PATH, Image, enter, find_program, load_program
from backends.emulated.mm import Mm
from backends.emulated.regions import MIN_ADDRESS, PAGE, USER_END, page_down

__all__ = ["MOST_TASKS", "spawn"]

MOST_TASKS = 4096
_MOST_ACCESSES = 256
_MOST_GAP = 1 << 30
_STORE = {1: "418803", 2: "66418903", 4: "418903", 8: "498903"}  # mov [r11], al|ax|eax|rax
_LOAD = {1: "418a0b", 2: "66418b0b", 4: "418b0b", 8: "498b0b"}  # mov cl|cx|ecx|rcx, [r11]
_STACK = 0x7FFE_0000_0000


def spawn(system: System, wish: Spawn, beside: Mm) -> Task:
    """Make the task, not yet runnable. `beside` is another address space of the machine, whose stacks it shares."""
    if len(system.tasks) >= MOST_TASKS:
        raise HwbpError(f"there are {MOST_TASKS} tasks already", errno="EAGAIN")
    if wish.program and wish.pattern:
        raise HwbpError("a task runs a program or a pattern, not both", errno="EINVAL")
    mm = Mm.fresh(beside.stacks)
    mm.on_change = beside.on_change
    if wish.program:
        path = find_program(wish.program, os.environ.get("PATH", DEFAULT_PATH))
        argv = (wish.program, *wish.argv)
        environment = (f"PATH={DEFAULT_PATH}", "HOME=/", "LANG=C", "TERM=dumb")
        image = load_program(path, wish.program, argv, environment, mm.space)
        enter(mm.engine, image)
    else:
        name = wish.name or ("pattern" if wish.pattern else "idle")
        image = Image(name, (name,), 0, 0, 0, 0, None, _STACK)
        if wish.pattern:
            _lay_out(mm, wish.pattern)
    pid = system.new_tid()
    process = Process(
        pid, None, mm, image, Descriptors(system.output, None), os.getcwd(), pgid=pid, sid=pid,
        kind="program" if wish.program else "pattern" if wish.pattern else "nothing",
    )  # fmt: skip
    return add_thread(system, process, pid, (wish.name or os.path.basename(image.argv[0]))[:15])


def _lay_out(mm: Mm, pattern: tuple[tuple[str, int, int, int], ...]) -> None:
    """The pattern as a small program: an access, instructions that pass the time, the next access, and again."""
    code = bytearray()
    pages: dict[int, int] = {}
    for kind, address, size, gap in pattern:
        _check(kind, address, size, gap)
        code += b"\x49\xbb" + struct.pack("<Q", address)  # mov r11, address
        if kind == "w":
            code += bytes.fromhex("48ffc0" + _STORE[size])  # inc rax
        else:
            code += bytes.fromhex(_LOAD[size] if kind == "r" else "41ffd3")  # or call r11, to a ret
        code += _pause(gap - (2 if kind == "r" else 3))
        for page in {page_down(address), page_down(address + size - 1)}:
            pages[page] = pages.get(page, 0) | (READ | EXEC if kind == "x" else READ | WRITE)
    if len(pattern) > _MOST_ACCESSES:
        raise HwbpError(f"{len(pattern)} accesses: at most {_MOST_ACCESSES}", errno="EINVAL")
    code += b"\xe9" + struct.pack("<i", -len(code) - 5)  # jmp to the start
    for page in sorted(pages):
        prot = pages[page]
        rets = [
            address - page for kind, address, _, _ in pattern if kind == "x" and page_down(address) == page
        ]
        data = bytearray(PAGE)
        for at in rets:
            data[at] = 0xC3
        mm.space.map(page, PAGE, prot, fixed=True, data=bytes(data) if rets else None)
    mm.space.map(_STACK - PAGE, PAGE, READ | WRITE, fixed=True, path="[stack]")
    start = mm.space.map(None, len(code), READ | EXEC, data=bytes(code), path="[pattern]")
    mm.engine.set("RSP", _STACK - 64)
    mm.engine.pc = start


def _check(kind: str, address: int, size: int, gap: int) -> None:
    if kind not in ("r", "w", "x"):
        raise HwbpError(f"{kind!r} is no kind of access: r, w or x", errno="EINVAL")
    if size not in (1, 2, 4, 8) or (kind == "x" and size != 1):
        raise HwbpError(f"an access of kind {kind} has no size {size}", errno="EINVAL")
    if not MIN_ADDRESS <= address <= min(USER_END, _STACK - (1 << 20)) - size:
        raise HwbpError(f"{address:#x}: a pattern accesses user memory only", errno="EINVAL")
    if not 0 <= gap <= _MOST_GAP:
        raise HwbpError(f"{gap} instructions: between 0 and {_MOST_GAP}", errno="EINVAL")


def _pause(instructions: int) -> bytes:
    """Code that takes so many instructions: none below 1."""
    if instructions <= 0:
        return b""
    turns = (instructions - 1) // 2
    if not turns:
        return b"\x90" * instructions
    loop = b"\xb9" + struct.pack("<I", turns) + b"\xff\xc9\x75\xfc"  # mov ecx, turns; dec ecx; jnz
    return loop + b"\x90" * (instructions - 1 - 2 * turns)
