"""The auxiliary carry flag, which the engine's description of instructions leaves out (see `sleigh`).

It is bit 4 of what an addition or subtraction carries from place to place: operand ^ operand ^ result. The engine's register AF
holds that byte as it is, so that no instruction has to cut a bit out; who reads the flag looks at bit 4 (`AF_BIT`). Where the
manual leaves AF undefined it keeps its value, but logical instructions clear it, as processors do.
"""

from __future__ import annotations

import re
from typing import Final

from backends.emulated.sleigh_faults import Rule

__all__ = ["AF_BIT", "auxiliary_carry", "flag_macros", "flags_expected"]

AF_BIT: Final = 0x10
_MACROS: Final = {
    r"(macro addflags\(op1,op2\) \{)": r"\1 local hwbpA = op1 + op2; hwbpA = hwbpA ^ op1 ^ op2; AF = hwbpA:1;",
    r"(macro subflags\(op1,op2\) \{)": r"\1 local hwbpA = op1 - op2; hwbpA = hwbpA ^ op1 ^ op2; AF = hwbpA:1;",
    r"(macro negflags\(op1\) \{)": r"\1 local hwbpA = -op1; hwbpA = hwbpA ^ op1; AF = hwbpA:1;",
    r"(macro logicalflags\(\) \{)": r"\1 AF = 0;",
    r"(macro (?:add|sub)CarryFlags \( op1, op2 \) \{)([^{}]*?op1 = result [+-] CFcopy;)": (
        r"\1 local hwbpA = op1 ^ op2;\2 hwbpA = hwbpA ^ op1; AF = hwbpA:1;"
    ),
    r"AF = \(tmp & 0x0010\) != 0;": "AF = tmp:1;",
    r"0x0010 \* zext\(AF&1\)": "zext(AF & 0x10)",
}
_COUNTS: Final = re.compile(r"OF = s(carry|borrow)\((\w+),\s*1\);")
flags_expected: Final = {"flag macros": 8, "counts": 20, "flags moved": 2}
"""How many of each kind are to be found."""


def flag_macros(text: str, found: dict[str, int]) -> str:
    """A file's text, its macros with AF."""
    for pattern, replacement in _MACROS.items():
        text, count = re.subn(pattern, replacement, text)
        found["flag macros"] = found.get("flag macros", 0) + count
    return text


def auxiliary_carry(rule: Rule, found: dict[str, int]) -> Rule:
    """The rules that set or move flags themselves."""
    if rule.name in ("INC", "DEC"):
        found["counts"] = found.get("counts", 0) + 1
        sign = "+" if rule.name == "INC" else "-"
        change = rf"\g<0> local hwbpA = \2 ^ (\2 {sign} 1); AF = hwbpA:1;"
        return rule._replace(body=_COUNTS.sub(change, rule.body))
    if rule.name in ("LAHF", "SAHF"):
        found["flags moved"] = found.get("flags moved", 0) + 1
        body = rule.body.replace("(AF<<4)", "(AF & 0x10)").replace("AF = (AH & 0x10) != 0;", "AF = AH;")
        return rule._replace(body=body)
    return rule
