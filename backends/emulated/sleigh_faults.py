"""Mends so that an instruction which faults has changed nothing, and faults where silicon does (see `sleigh`).

The engine runs a rule's lines one by one and comes back at the first access that is not allowed: what the lines before it did stays
done. So what a rule accesses is accessed first: memory that it will write is written with what it holds, before flags or
registers change. This also makes the write of a failing compare-and-exchange, and a bit test accesses its whole operand.

Operands that must be aligned: an address that is not becomes one that cannot exist, and the access is #GP, as it should be.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

__all__ = ["ALIGNED", "UNALIGNED_TABLE", "Rule", "changes_nothing", "expected"]


class Rule(NamedTuple):
    """One constructor."""

    name: str
    head: str
    body: str


_LOCKABLE: Final = {"ADC", "ADD", "AND", "OR", "SBB", "SUB", "XOR", "INC", "DEC", "NEG", "XADD"} | {
    "CMPXCHG", "CMPXCHG8B", "CMPXCHG16B", "BTC", "BTR", "BTS",
}  # fmt: skip
_SHIFTS: Final = {"RCL", "RCR", "ROL", "ROR", "SAR", "SHL", "SHR", "SHLD", "SHRD"}
_LOGICAL: Final = {"AND", "OR", "XOR", "TEST"}
"""They clear flags before they read their source; none of these rules writes it."""
_UNALIGNED: Final = {
    *("MOVUPS", "MOVUPD", "MOVDQU", "LDDQU", "PCMPESTRI", "PCMPESTRM", "PCMPISTRI", "PCMPISTRM"),
    *("INVEPT", "INVPCID", "INVVPID"),
}
ALIGNED: Final = re.compile(r'^m128: "xmmword ptr" Mem\s+is Mem\s*\{ export \*:16 Mem; \}', re.MULTILINE)
UNALIGNED_TABLE: Final = """\
m128: "xmmword ptr" Mem is Mem { local at:8 = Mem ^ (zext((Mem & 15) != 0) << 63); export *:16 at; }
hwbpM128: "xmmword ptr" Mem is Mem { export *:16 Mem; }"""
"""What `ALIGNED` becomes: the operand as most instructions have it, and the one of the few that do not ask."""
expected: Final = {
    "written first": 204,
    "bit tests": 12,
    "unaligned": 17,
    "leave": 1,
    "enter": 3,
    "widened": 2,
    "branches": 4,
    "m128": 1,
}
"""How many rules of each kind are to be found."""


def changes_nothing(rule: Rule, found: dict[str, int]) -> tuple[Rule, ...]:
    """The rule, in which what can fault comes first, or those that it becomes; counts in `found`."""
    name = rule.name
    if name == "LEAVE" and "pop88" in rule.body:
        found["leave"] = found.get("leave", 0) + 1
        return (rule._replace(body=" local frame:8 = *:8 RBP; RSP = RBP + 8; RBP = frame; "),)
    if name in ("RET", "JMP", "CALL") and (body := _to_canonical(rule)):
        found["branches"] = found.get("branches", 0) + 1
        return (rule._replace(body=body),)
    if name in ("MOVSX", "MOVZX") and "Reg32,spec_rm16" in rule.head:
        found["widened"] = found.get("widened", 0) + 1
        opcode = "bf" if name == "MOVSX" else "b7"
        narrow = (
            f" Reg16,spec_rm16 is vexMode=0 & opsize=0 & byte=0xf; byte=0x{opcode}; spec_rm16 & Reg16 ... "
        )
        head = rule.head.replace("vexMode=0 &", "vexMode=0 & opsize=1 &")
        return rule._replace(head=head), Rule(name, narrow, " Reg16 = spec_rm16; ")
    if name == "ENTER" and "push88" in rule.body:
        found["enter"] = found.get("enter", 0) + 1
        if "low5" in rule.head:
            level = int(rule.head.split("low5=", 1)[1].split()[0], 16)
            return (rule._replace(body=_enter(level)),)
        return tuple([Rule(name, f"{rule.head} & low5={level:#x} ", _enter(level)) for level in range(2, 32)])
    if name in _LOGICAL and (source := re.search(r"\b(?:spec_)?rm(?:8|16|32|64)\b", rule.head)):
        found["read first"] = found.get("read first", 0) + 1
        size = int(re.sub(r"\D", "", source[0])) // 8
        work = re.sub(rf"\b{source[0]}\b", "hwbpV", rule.body)
        return (rule._replace(body=f" local hwbpV:{size} = {source[0]}; {work}"),)
    if name in _UNALIGNED and re.search(r"\bm128\b", rule.head):
        found["unaligned"] = found.get("unaligned", 0) + 1
        body = rule.body
        if (
            body.strip() == "XmmReg = m128;"
        ):  # of a load over two pages, the first would be in the register when the second faults
            body = " local hwbpV:16 = m128; XmmReg[0,64] = hwbpV[0,64]; XmmReg[64,64] = hwbpV[64,64]; "
        return (
            Rule(name, re.sub(r"\bm128\b", "hwbpM128", rule.head), re.sub(r"\bm128\b", "hwbpM128", body)),
        )
    if name in ("BT", "BTC", "BTR", "BTS") and (bits := re.search(r"\bMem,Reg(16|32|64)\b", rule.head)):
        found["bit tests"] = found.get("bit tests", 0) + 1
        return (rule._replace(body=_bit_test(name, int(bits[1]))),)
    if name in _LOCKABLE and "lockx" in rule.head:
        operand = re.search(r"\b(?:spec_)?m(?:8|16|32|64|128)\b", rule.head)
        after = operand and re.search(rf"build lockx;(\s*build {operand[0]};)?", rule.body)
    elif name in _SHIFTS:
        operand = re.search(r"\brm(?:8|16|32|64)\b", rule.head)
        after = operand and re.match("", rule.body)
    else:
        return (rule,)
    if not operand or not after:
        return (rule,)
    found["written first"] = found.get("written first", 0) + 1
    return (rule._replace(body=_written_first(rule.body, operand[0], after.end())),)


_BRANCHES: Final = {
    # the target, an address that the instruction accesses in any case, and the rest of it
    "RET": ("*:8 RSP", "RSP", "RSP = RSP + 8; RIP = hwbpTo; return [hwbpTo];"),
    "RET imm16": ("*:8 RSP", "RSP", "RSP = RSP + 8 + imm16; RIP = hwbpTo; return [hwbpTo];"),
    "JMP": ("rm64", "inst_start", "goto [hwbpTo];"),
    "CALL": ("rm64", "inst_start", "*:8 (RSP - 8) = &:8 inst_next; RSP = RSP - 8; call [hwbpTo];"),
}


def _to_canonical(rule: Rule) -> str:
    """A branch to an address that is not canonical is #GP there, not at its target."""
    operands = rule.head.split(" is ")[0].split()
    if "LONGMODE_ON" not in rule.head or (rule.name != "RET" and operands != ["rm64"]):
        return ""
    target, accessed, rest = _BRANCHES["RET imm16" if "imm16" in operands else rule.name]
    bad = "local hwbpBad:8 = zext(((hwbpTo s>> 47) + 1) > 1);"
    return f"local hwbpTo:8 = {target}; {bad} local hwbpAt:8 = {accessed} ^ (hwbpBad << 63); local hwbpIs:1 = *:1 hwbpAt; {rest}"


def _enter(level: int) -> str:
    """ENTER without a loop: the engine does not find back into one."""
    lines = ["local frame:8 = RSP - 8;", "*:8 frame = RBP;"]
    lines += [f"*:8 (frame - {8 * n}) = *:8 (RBP - {8 * n});" for n in range(1, level)]
    if level:
        lines.append(f"*:8 (frame - {8 * level}) = frame;")
    return " ".join([*lines, f"RBP = frame; RSP = frame - {8 * level} - imm16;"])


def _written_first(body: str, operand: str, start: int) -> str:
    """From `start` on, work on a copy of the operand, which is written back at once, and again at the end."""
    size = int(re.sub(r"\D", "", operand)) // 8
    end = body.rfind("build unlock;")
    work = body[start : end if end >= 0 else None]
    work = re.sub(rf"(?<!build )\b{operand}\b", "hwbpV", work)
    first = f"local hwbpV:{size} = {operand}; {operand} = hwbpV;"
    return f"{body[:start]} {first} {work} {operand} = hwbpV; {body[end:] if end >= 0 else ''}"


def _bit_test(name: str, bits: int) -> str:
    """On the operand that holds the bit, which the register counts from the address in whole operands."""
    bytes_, shift = bits // 8, {16: 4, 32: 5, 64: 6}[bits]
    index = f"Reg{bits}" if bits == 64 else f"sext(Reg{bits})"
    lines = [f"local index:8 = {index};", f"local at:8 = Mem + ((index s>> {shift}) * {bytes_});"]
    lines += [f"local old:{bytes_} = *:{bytes_} at;", f"local bit:{bytes_} = 1 << (index & {bits - 1});"]
    change = {"BT": "", "BTC": "old ^ bit", "BTR": "old & ~bit", "BTS": "old | bit"}[name]
    if change:
        lines.append(f"*:{bytes_} at = {change};")
    lines.append("CF = (old & bit) != 0;")
    if name == "BT":
        return " ".join(lines)
    return "\n".join(["build lockx;", "build Mem;", *lines, "build unlock;"])
