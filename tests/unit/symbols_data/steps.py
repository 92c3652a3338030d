"""Run inside gdb: step through a program and write each state and gdb's own backtrace as JSON lines.

Arguments by environment: STEPS_OUT, STEPS_COUNT, STEPS_BREAK (a breakpoint), STEPS_EVERY (record each n-th step).
"""

import json
import os

import gdb  # type: ignore[import-untyped]  # gdb brings it

NAMES = ["rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp"] + [f"r{n}" for n in range(8, 16)] + ["rip"]


def number(name: str) -> int:
    return int(gdb.parse_and_eval(f"(unsigned long)${name}")) & (1 << 64) - 1


def frames() -> list[int]:
    found: list[int] = []
    frame = gdb.newest_frame()
    while frame is not None and len(found) < 16:
        if frame.type() not in (gdb.INLINE_FRAME, gdb.TAILCALL_FRAME):  # these have nothing on the stack
            found.append(frame.pc())
        try:
            frame = frame.older()
        except gdb.error:
            break
    return found


gdb.execute("set pagination off")
gdb.execute("set confirm off")
gdb.execute("set debuginfod enabled off")
gdb.execute("set backtrace past-main on")
gdb.execute("set backtrace past-entry off")
gdb.execute("set backtrace limit 64")
if os.environ["STEPS_BREAK"] == "_start":
    gdb.execute("starti", to_string=True)
else:
    gdb.execute("break " + os.environ["STEPS_BREAK"], to_string=True)
    gdb.execute("run > /dev/null", to_string=True)
every = int(os.environ["STEPS_EVERY"])
with open(os.environ["STEPS_OUT"], "w") as out:
    maps: list[tuple[int, int, str, int, str]] = []
    with open(f"/proc/{gdb.selected_inferior().pid}/maps") as lines:
        for line in lines:
            parts = line.split(None, 5)
            start, end = (int(x, 16) for x in parts[0].split("-"))
            maps.append((start, end, parts[1], int(parts[2], 16), parts[5].strip() if len(parts) > 5 else ""))
    top = next(row[1] for row in maps if row[4] == "[stack]")
    out.write(json.dumps(maps) + "\n")
    for _ in range(int(os.environ["STEPS_COUNT"])):
        try:
            sp = number("rsp")
        except gdb.error:
            break
        memory = bytes(gdb.selected_inferior().read_memory(sp - 128, min(top - sp, 8192) + 128))
        registers = {name: number(name) for name in NAMES}
        out.write(
            json.dumps({"regs": registers, "low": sp - 128, "stack": memory.hex(), "frames": frames()}) + "\n"
        )
        try:
            gdb.execute(f"stepi {every}", to_string=True)
        except gdb.error:
            break
gdb.execute("kill")
