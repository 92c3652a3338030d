"""Mends of instructions on XMM registers, lane by lane, and of conversions from float to integer (see `sleigh`)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from backends.emulated.sleigh_faults import Rule

__all__ = [
    "MACROS",
    "Mend",
    "absolute_differences",
    "average",
    "from_lower_half",
    "high_products",
    "saturating",
    "scalar_to_integer",
    "shift",
    "sign_mask",
    "to_integers",
    "vector",
]

MACROS: Final = """
macro hwbpTruncated(result, x) {
    local least:8 = 0xC3E0000000000000;
    local beyond:8 = 0x43E0000000000000;
    local fits:8 = zext((least f<= x) && (x f< beyond));
    local whole:8 = trunc(x);
    result = (whole * fits) | (0x8000000000000000 * (1 - fits));
}

macro hwbpNearest(result, x) {
    local least:8 = 0xC3E0000000000000;
    local beyond:8 = 0x43E0000000000000;
    local fits:8 = zext((least f<= x) && (x f< beyond));
    local whole:8 = trunc(x);
    local back:8 = int2float(whole);
    local rest:8 = x f- back;
    local size:8 = abs(rest);
    local half:8 = 0x3FE0000000000000;
    local away:8 = zext(half f< size) | (zext(half f== size) & (whole & 1));
    local negative:8 = rest >> 63;
    whole = whole + away - 2 * away * negative;
    result = (whole * fits) | (0x8000000000000000 * (1 - fits));
}

macro hwbpFit32(result, x) {
    local low:4 = x:4;
    local wide:8 = sext(low);
    local fits:4 = zext(wide == x);
    result = (low * fits) | (0x80000000 * (1 - fits));
}
"""
"""Numbers as integers: rounded as x87 and SSE do by default, or cut off; what does not fit, or is none, is the indefinite."""


Mend = Callable[[Rule], Rule | None]
"""A mend gives the rule anew, or None for one that it leaves alone."""


def vector(lane: Callable[[str, int], str], bits: int, size: int = 128) -> Mend:
    """An instruction on two XMM registers, or one and memory, lane by lane.

    `lane(target, at)` is the text for the lane at bit `at`; it finds the operands' values in `d` and `s`, which are read
    before anything is written.
    """

    def mend(rule: Rule) -> Rule | None:
        if "Xmm" not in rule.head or "imm8" in rule.head:
            return None
        in_memory = re.search(r"\bm(64|128)\b", rule.head)
        target = "XmmReg" if in_memory else "XmmReg1"
        source = in_memory[0] if in_memory else "XmmReg2_m128" if "_m128" in rule.head else "XmmReg2"
        width = 8 if in_memory and in_memory[1] == "64" else 16
        lines = [f"local s:{width} = {source};", f"local d:16 = {target};"]
        lines += [lane(target, at) for at in range(0, size, bits)]
        return rule._replace(body="\n".join(lines))

    return mend


def from_lower_half(text: str) -> Callable[[str, int], str]:
    """64-bit lanes made from the 32-bit ones of the source's lower half."""
    return lambda target, at: f"{target}[{at},64] = {text.format(s=f's[{at // 2},32]')};"


def to_integers(macro: str, of_bits: int) -> Callable[[str, int], str]:
    """32-bit integers from floats; doubles fill the lower half only."""

    def lane(target: str, at: int) -> str:
        if of_bits == 64 and at >= 64:
            return f"{target}[{at},32] = 0;"
        value = f"s[{at * 2},64]" if of_bits == 64 else f"float2float(s[{at},32])"
        return (
            f"local x{at}:8 = {value}; local w{at}:8 = 0; {macro}(w{at}, x{at}); local n{at}:4 = 0; "
            f"hwbpFit32(n{at}, w{at}); {target}[{at},32] = n{at};"
        )

    return lane


def shift(operator: str, bits: int) -> Mend:
    """By the count in the source's lowest 64 bits, whatever it is."""

    def lane(target: str, at: int) -> str:
        first = f"local large:8 = zext(s[0,64] > {bits - 1}:8); local n:8 = (s[0,64] * (1 - large)) | ({bits} * large);\n"
        return (first if at == 0 else "") + f"{target}[{at},{bits}] = d[{at},{bits}] {operator} n;"

    return vector(lane, bits)


def scalar_to_integer(macro: str) -> Mend:
    """To a register of 32 or 64 bits; what does not fit is the integer indefinite."""

    def mend(rule: Rule) -> Rule | None:
        operands, pattern = rule.head.split(" is ", 1)
        wide = "Reg64" in operands
        source = re.search(r"\b(m32|m64|XmmReg2)\b", operands)
        assert source is not None
        single = "SS" in rule.name
        value = "XmmReg2[0,32]" if single and source[0] == "XmmReg2" else source[0]
        value = "XmmReg2[0,64]" if not single and source[0] == "XmmReg2" else value
        load = f"local f:4 = {value}; local x:8 = float2float(f);" if single else f"local x:8 = {value};"
        body = f"{load} local w:8 = 0; {macro}(w, x);"
        if wide:
            return rule._replace(body=f"{body} Reg64 = w;")
        if "check_Reg32_dest" not in pattern:
            pattern = pattern.replace("Reg32 ...", "Reg32 ... & check_Reg32_dest ...").replace(
                "Reg32 & XmmReg2", "Reg32 & check_Reg32_dest & XmmReg2"
            )
        return Rule(
            rule.name,
            f"{operands} is {pattern}",
            f"{body} local n:4 = 0; hwbpFit32(n, w); Reg32 = n; build check_Reg32_dest;",
        )

    return mend


def sign_mask(rule: Rule) -> Rule:
    """The signs of four floats, into four bits."""
    body = "local s:16 = XmmReg2; " + " ".join(
        f"local b{n}:4 = s[{32 * n},32]; b{n} = (b{n} >> 31) << {n};" for n in range(4)
    )
    head = rule.head.replace("XmmReg2 & Reg32", "XmmReg2 & Reg32 & check_Reg32_dest")
    return Rule(rule.name, head, f"{body} Reg32 = b0 | b1 | b2 | b3; build check_Reg32_dest;")


def high_products(target: str, at: int) -> str:
    """The upper halves of unsigned products of 16 bits."""
    a, b = f"d[{at},16]", f"s[{at},16]"
    return (
        f"local a{at}:2 = {a}; local b{at}:2 = {b}; local p{at}:4 = zext(a{at}) * zext(b{at}); "
        f"{target}[{at},16] = p{at}[16,16];"
    )


def absolute_differences(target: str, at: int) -> str:
    """The sum of eight bytes' distances."""
    lines = [f"local t{at}:8 = 0;"]
    for byte in range(at, at + 64, 8):
        lines.append(
            f"local a{byte}:1 = d[{byte},8]; local b{byte}:1 = s[{byte},8]; local c{byte}:1 = zext(a{byte} < b{byte}); "
            f"t{at} = t{at} + zext(((b{byte} - a{byte}) * c{byte}) + ((a{byte} - b{byte}) * (1 - c{byte})));"
        )
    return "\n".join([*lines, f"{target}[{at},64] = t{at};"])


def saturating(operator: str, bits: int, *, signed: bool) -> Mend:
    """A sum or difference that stays at the end of its range."""
    bytes_ = bits // 8

    def lane(target: str, at: int) -> str:
        a, b = f"a{at}", f"b{at}"
        text = f"local {a}:{bytes_} = d[{at},{bits}]; local {b}:{bytes_} = s[{at},{bits}]; local r{at}:{bytes_} = {a} {operator} {b}; "
        over = {"+": "carry", "-": "borrow"}[operator]
        if signed:
            text += f"local o{at}:{bytes_} = zext(s{over}({a}, {b})); local e{at}:{bytes_} = ({a} >> {bits - 1}) + {(1 << bits - 1) - 1}; "
            return f"{text}{target}[{at},{bits}] = (r{at} * (1 - o{at})) | (e{at} * o{at});"
        if operator == "+":
            return f"{text}local o{at}:{bytes_} = zext(carry({a}, {b})); {target}[{at},{bits}] = r{at} | (0 - o{at});"
        return f"{text}local o{at}:{bytes_} = zext({a} < {b}); {target}[{at},{bits}] = r{at} * (1 - o{at});"

    return vector(lane, bits)


def average(bits: int) -> Callable[[str, int], str]:
    """Half of the sum, rounded up."""

    def lane(target: str, at: int) -> str:
        wide = bits // 4
        return (
            f"local a{at}:{bits // 8} = d[{at},{bits}]; local b{at}:{bits // 8} = s[{at},{bits}]; "
            f"local w{at}:{wide} = (zext(a{at}) + zext(b{at}) + 1) >> 1; {target}[{at},{bits}] = w{at}[0,{bits}];"
        )

    return lane
