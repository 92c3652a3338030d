"""MXCSR's exception flags: an SSE instruction whose flags are not plain to see stops before it does anything (see `sleigh`).

The engine computes, but keeps no flags. So in front of each instruction on floats it is asked whether all is ordinary: rounding to
nearest with exceptions masked and denormals kept, operands and results normal numbers or zeros, and the result exact unless
the precision flag is set already. Then nothing but the result changes, and the engine goes on at full speed. Else it reads
from `TRAP`, an address that cannot exist, and the instruction is run by `backends.emulated.sse`, to the bit, with its flags.

Whether a result is exact: of a sum, by the error that the sum's own rounding leaves (Knuth's two-sum); of a product, a quotient or a
root, where the factors have few enough digits that their product has them all.
"""

from __future__ import annotations

import re
from typing import Final

from backends.emulated.sleigh_faults import Rule

__all__ = ["TRAP", "floats", "floats_expected"]

TRAP: Final = 0x8000_4857_4250_0000
_WIDTH: Final = {"D": 64, "S": 32}
_ARITHMETIC: Final = re.compile(r"(ADD|SUB|MUL|DIV|SQRT|MIN|MAX)([SP])([SD])")
_REFUSED: Final = re.compile(r"ADDSUBP[SD]|H(ADD|SUB)P[SD]|DPP[SD]|ROUND[SP][SD]|EMMS")
_STOP: Final = f"local hwbpStop:1 = *:1 {TRAP:#x}:8;"
_CONTROL: Final = "local ok:1 = (MXCSR & 0xFFC0) == 0x1F80; local pe:1 = (MXCSR & 0x20) != 0;"
floats_expected: Final = {"arithmetic": 56, "compared": 16, "converted": 37, "refused": 237}
"""How many of each kind are to be found."""


def floats(rule: Rule, found: dict[str, int]) -> Rule:
    """The rule with what asks in front; counts in `found`."""
    body = kind = ""
    if "mmxreg" in rule.head or _REFUSED.fullmatch(rule.name):
        body, kind = f"{_STOP} {rule.body}", "refused"
    elif match := _ARITHMETIC.fullmatch(rule.name):
        body, kind = _arithmetic(rule, match[1], match[2] == "P", _WIDTH[match[3]]), "arithmetic"
    elif (name := _compares(rule)) and "Xmm" in rule.head:
        tests = _lanes(
            rule, name[-2] == "P", _WIDTH[name[-1]], lambda a, b, bits: [_good(a, bits), _good(b, bits)]
        )
        body, kind = f"{tests} {rule.body}", "compared"
    elif rule.name.startswith("CVT") and (tests := _conversion(rule)):
        body, kind = f"{tests} {rule.body}", "converted"
    if not kind:
        return rule
    found[kind] = found.get(kind, 0) + 1
    return rule._replace(body=body)


def _compares(rule: Rule) -> str:
    """COMISD, UCOMISS and the like, and CMPPD, whose rule's name is made of pieces."""
    if re.fullmatch(r"U?COMIS[SD]", rule.name):
        return rule.name
    found = re.match(r'\^XmmCond\w+\^"([SP][SD])"', rule.head)
    return f"CMP{found[1]}" if rule.name == "CMP" and found else ""


def _good(x: str, bits: int) -> str:
    """A normal number or zero."""
    if bits == 64:
        return f"(((({x} >> 52) & 0x7FF) - 1) < 0x7FE || ({x} << 1) == 0)"
    return f"(((({x} >> 23) & 0xFF) - 1) < 0xFE || ({x} << 1) == 0)"


def _normal(x: str, bits: int) -> str:
    return f"(((({x} >> 52) & 0x7FF) - 1) < 0x7FE)" if bits == 64 else f"(((({x} >> 23) & 0xFF) - 1) < 0xFE)"


def _short(x: str, bits: int) -> str:
    """So few digits that a product of two such numbers is exact."""
    return f"(({x} & {0x7FFFFFF if bits == 64 else 0xFFF:#x}) == 0)"


def _operands(rule: Rule, packed: bool, bits: int) -> tuple[str, list[str], list[str], list[str]]:
    """Lines that read them; by lane the target, and the names of the two values."""
    operands = rule.head.split(" is ", 1)[0]
    memory = re.search(r"\bm(32|64|128)\b", operands)
    target = "XmmReg" if memory else "XmmReg1"
    places = range(0, 128, bits) if packed else (0,)
    size = bits // 8
    if not packed or (memory and memory[1] == "64" and bits == 32):
        pieces = 2 if packed else 1
        source = memory[0] if memory else "XmmReg2"
        lines = [f"local hwbpS:{size * pieces} = {source if memory else f'{source}[0,{bits * pieces}]'};"]
        places = range(0, bits * pieces, bits)
    else:
        lines = [f"local hwbpS:16 = {memory[0] if memory else 'XmmReg2'};"]
    for at in places:
        whole = not packed
        lines.append(
            f"local a{at}:{size} = {target}[{at},{bits}]; local b{at}:{size} = {'hwbpS' if whole else f'hwbpS[{at},{bits}]'};"
        )
    return (
        " ".join(lines),
        [f"{target}[{at},{bits}]" for at in places],
        [f"a{at}" for at in places],
        [f"b{at}" for at in places],
    )


def _guard(lines: list[str], tests: list[str]) -> str:
    asked = " ".join(f"ok = ok && {test};" for test in tests)
    return f"{' '.join(lines)} {_CONTROL} {asked} if (ok) goto <hwbpFits>; {_STOP}\n<hwbpFits>\n"


def _lanes(rule: Rule, packed: bool, bits: int, test) -> str:  # type: ignore[no-untyped-def]
    read, _, firsts, seconds = _operands(rule, packed, bits)
    return _guard([read], [each for a, b in zip(firsts, seconds, strict=True) for each in test(a, b, bits)])


def _arithmetic(rule: Rule, operation: str, packed: bool, bits: int) -> str:
    read, targets, firsts, seconds = _operands(rule, packed, bits)
    size, sign = bits // 8, 1 << bits - 1
    lines, tests, results = [read], [], []
    for n, (a, b) in enumerate(zip(firsts, seconds, strict=True)):
        r = f"r{n}"
        if operation in ("MIN", "MAX"):
            test = f"{a} f< {b}" if operation == "MIN" else f"{b} f< {a}"
            lines.append(
                f"local c{n}:{size} = zext({test}); local {r}:{size} = ({a} * c{n}) | ({b} * (1 - c{n}));"
            )
            tests += [_good(a, bits), _good(b, bits)]
        elif operation in ("ADD", "SUB"):
            other = b if operation == "ADD" else f"o{n}"
            if operation == "SUB":
                lines.append(f"local o{n}:{size} = {b} ^ {sign:#x};")
            lines.append(
                f"local {r}:{size} = {a} f+ {other}; local v{n}:{size} = {r} f- {a}; "
                f"local e{n}:{size} = ({a} f- ({r} f- v{n})) f+ ({other} f- v{n});"
            )
            tests += [_good(a, bits), _good(b, bits), _good(r, bits), f"(pe || (e{n} << 1) == 0)"]
        elif operation == "MUL":
            lines.append(f"local {r}:{size} = {a} f* {b};")
            nothing = f"(({a} << 1) == 0 || ({b} << 1) == 0)"
            tests += [_good(a, bits), _good(b, bits), f"({_normal(r, bits)} || {nothing})"]
            tests.append(f"(pe || {nothing} || ({_short(a, bits)} && {_short(b, bits)}))")
        elif operation == "DIV":
            lines.append(f"local {r}:{size} = {a} f/ {b}; local p{n}:{size} = {r} f* {b};")
            tests += [_good(a, bits), _normal(b, bits), f"({_normal(r, bits)} || ({a} << 1) == 0)"]
            tests.append(
                f"(pe || ({a} << 1) == 0 || ({_short(r, bits)} && {_short(b, bits)} && p{n} == {a}))"
            )
        else:
            lines.append(f"local {r}:{size} = sqrt({b}); local p{n}:{size} = {r} f* {r};")
            tests += [f"({b} s>= 0 || ({b} << 1) == 0)", _good(b, bits), _good(r, bits)]
            tests.append(f"(pe || ({b} << 1) == 0 || ({_short(r, bits)} && p{n} == {b}))")
        results.append(r)
    commit = " ".join(f"{target} = {r};" for target, r in zip(targets, results, strict=True))
    return _guard(lines, tests) + commit


def _conversion(rule: Rule) -> str:
    name = rule.name
    if name in ("CVTSS2SD", "CVTPS2PD"):
        return (
            _lanes(rule, name == "CVTPS2PD", 32, lambda a, b, bits: [_good(b, bits)])
            if name == "CVTSS2SD"
            else _halves(rule)
        )
    if name in ("CVTSD2SS", "CVTPD2PS"):
        read, _, _, seconds = _operands(rule, name == "CVTPD2PS", 64)
        lines, tests = [read], []
        for n, b in enumerate(seconds):
            lines.append(f"local f{n}:4 = float2float({b}); local w{n}:8 = float2float(f{n});")
            tests += [_good(b, 64), f"({_normal(f'f{n}', 32)} || ({b} << 1) == 0)", f"(pe || w{n} == {b})"]
        return _guard(lines, tests)
    if name in ("CVTSI2SD", "CVTSI2SS"):
        source = "rm64" if "rm64" in rule.head else "rm32"
        if (name, source) == ("CVTSI2SD", "rm32"):
            return ""
        limit = 1 << (53 if name == "CVTSI2SD" else 24)
        value = (
            f"local n:8 = {source};" if source == "rm64" else f"local k:4 = {source}; local n:8 = sext(k);"
        )
        return _guard([value], [f"(pe || (n + {limit:#x}) < {2 * limit:#x})"])
    if name == "CVTDQ2PS":
        return _lanes(rule, True, 32, lambda a, b, bits: [f"(pe || ({b} + 0x1000000) < 0x2000000)"])
    if match := re.fullmatch(r"CVTT?([SP])([SD])2(SI|DQ)", name):
        return _to_integer(rule, match[1] == "P", _WIDTH[match[2]], 64 if "Reg64" in rule.head else 32)
    return ""


def _halves(rule: Rule) -> str:
    """CVTPS2PD: the two lower floats."""
    memory = "m64" in rule.head
    source = "m64" if memory else "XmmReg2[0,64]"
    lines = [f"local hwbpS:8 = {source}; local b0:4 = hwbpS[0,32]; local b1:4 = hwbpS[32,32];"]
    return _guard(lines, [_good("b0", 32), _good("b1", 32)])


def _to_integer(rule: Rule, packed: bool, bits: int, to: int) -> str:
    operands = rule.head.split(" is ", 1)[0]
    memory = re.search(r"\bm(32|64|128)\b", operands)
    size, limit = bits // 8, "0x43E0000000000000" if to == 64 else "0x41DFFFFFFFC00000"
    places = range(0, 128, bits) if packed else (0,)
    source = memory[0] if memory else "XmmReg2" if packed else f"XmmReg2[0,{bits}]"
    lines = [f"local hwbpS:{16 if packed else size} = {source}; local hmost:8 = {limit};"]
    tests = []
    for at in places:
        value = f"hwbpS[{at},{bits}]" if packed else "hwbpS"
        lines.append(
            f"local hb{at}:{size} = {value}; local hx{at}:8 = {f'float2float(hb{at})' if bits == 32 else f'hb{at}'};"
        )
        lines.append(
            f"local ht{at}:8 = trunc(hx{at}); local hw{at}:8 = int2float(ht{at}); local hm{at}:8 = abs(hx{at});"
        )
        tests += [f"(hm{at} f< hmost)", f"(pe || hw{at} f== hx{at})"]
    return _guard(lines, tests)
