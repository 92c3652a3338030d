"""What the engine's description of instructions says, mended where silicon says otherwise.

icicle reads what each instruction does from Ghidra's SLEIGH files, which lie beside it, when a virtual machine is made. Some of
them are wrong and some are missing. Here they are put right in the text, so that the engine itself runs them rightly, at full
speed: for each virtual machine a folder with the mended files is made, and gone once it has been read.

Found by running every form of instruction of this machine's libraries on both (`tests/live/test_instructions.py`). SLEIGH in
short: `x[lo,bits]` is a bit field, `f<` compares floats, `s>>` shifts signed, `zext` widens, `trunc` and `int2float` convert.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from backends.emulated.sleigh_faults import ALIGNED, UNALIGNED_TABLE, Rule, changes_nothing, expected
from backends.emulated.sleigh_flags import auxiliary_carry, flag_macros, flags_expected
from backends.emulated.sleigh_floats import floats, floats_expected

__all__ = ["Mismatch", "mended", "mended_languages"]

_LANGUAGES: Final = Path("Ghidra", "Processors", "x86", "data", "languages")
_CONSTRUCTOR: Final = re.compile(
    r"^:(?P<name>[A-Z0-9]+)(?P<head>[^{}\n]*)\s*\{(?P<body>[^{}]*)\}", re.MULTILINE
)
"""A rule: `:NAME operands is pattern { what it does }`."""


class Mismatch(Exception):
    """The installed files are not those that the mends are for."""


Mend = Callable[[Rule], Rule | None]
"""A mend gives the rule anew, or None for one that it leaves alone."""

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


def _vector(lane: Callable[[str, int], str], bits: int, size: int = 128) -> Mend:
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


def _from_lower_half(text: str) -> Callable[[str, int], str]:
    """64-bit lanes made from the 32-bit ones of the source's lower half."""
    return lambda target, at: f"{target}[{at},64] = {text.format(s=f's[{at // 2},32]')};"


def _to_integers(macro: str, of_bits: int) -> Callable[[str, int], str]:
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


def _shift(operator: str, bits: int) -> Mend:
    """By the count in the source's lowest 64 bits, whatever it is."""

    def lane(target: str, at: int) -> str:
        first = f"local large:8 = zext(s[0,64] > {bits - 1}:8); local n:8 = (s[0,64] * (1 - large)) | ({bits} * large);\n"
        return (first if at == 0 else "") + f"{target}[{at},{bits}] = d[{at},{bits}] {operator} n;"

    return _vector(lane, bits)


def _scalar_to_integer(macro: str) -> Mend:
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


def _bit_scan(rule: Rule) -> Rule:
    """Zero leaves the destination alone, all of it (glibc's memrchr counts on that)."""
    found = re.search(r"Reg(16|32|64)", rule.head)
    assert found is not None
    bits, bytes_ = int(found[1]), int(found[1]) // 8
    if rule.name == "BSR":
        index = f"local n:{bytes_} = lzcount(v); n = {bits - 1} - n;"
    else:
        index = f"local n:{bytes_} = popcount((v & (-v)) - 1);"
    widen = " build check_Reg32_dest;" if bits == 32 else ""
    return rule._replace(
        body=f"local v:{bytes_} = rm{bits}; ZF = (v == 0); if (ZF == 1) goto <same>; {index} Reg{bits} = n;{widen}\n<same>\n"
    )


def _exchange(rule: Rule) -> Rule | None:
    """xchg of 32 bits with memory clears the upper half of the register."""
    if "m32,Reg32" not in rule.head:
        return None
    head = rule.head.replace("m32 & Reg32 ...", "m32 & Reg32 ... & check_Reg32_dest ...")
    return Rule(rule.name, head, rule.body.replace("Reg32 = tmp;", "Reg32 = tmp; build check_Reg32_dest;"))


def _sign_extended(rule: Rule) -> Rule | None:
    """sbb of 64 bits with a constant of 32, which has a sign."""
    if "opsize=2" not in rule.head or not re.search(r"\bimm32\b", rule.head):
        return None
    return Rule(
        rule.name, re.sub(r"\bimm32\b", "simm32", rule.head), re.sub(r"\bimm32\b", "simm32", rule.body)
    )


def _translate(rule: Rule) -> Rule | None:
    """xlat with fs or gs counts from their base."""
    if "RBX" not in rule.head:
        return None
    return rule._replace(body="local at:8 = segWide + RBX + zext(AL); AL = *:1 at;")


def _load_string(rule: Rule) -> Rule:
    """lodsd clears the upper half of RAX, where an element is loaded at all."""
    return rule._replace(body=rule.body.replace("EAX=dseSI4;", "RAX = zext(dseSI4);"))


def _compare_8(rule: Rule) -> Rule:
    """A cmpxchg8b that fails clears the upper halves of RAX and RDX."""
    return rule._replace(
        body=rule.body.replace("EDX = dest(4);", "local high:4 = dest(4); RDX = zext(high);").replace(
            "EAX = dest:4;", "local low:4 = dest:4; RAX = zext(low);"
        )
    )


def _shift_by_one(rule: Rule) -> Rule | None:
    """OF after a logical shift to the right by one is the sign that was there."""
    found = re.search(r"\brm(8|16|32|64),n1", rule.head)
    return found and rule._replace(body=rule.body.replace("OF = 0;", f"OF = rm{found[1]} s< 0;"))


def _rotate_through_carry(rule: Rule) -> Rule | None:
    """By a count: OF is that of a rotation by one (where it is defined), and CF of 64 bits is bit 64, not 60."""
    found = re.search(r"\brm(8|16|32|64),(CL|imm8)", rule.head)
    if not found:
        return None
    operand, count = f"rm{found[1]}", found[2]
    other = "CF" if rule.name == "RCL" else f"(({operand} << 1) s< 0)"
    mask = 0x3F if found[1] == "64" else 0x1F
    lines = [
        f"local hwbpN:1 = {count} & {mask}; local hwbpT:1 = (hwbpN != 0);",
        re.sub(r"CF=\(tmp&0x1000000000000000\)!=0;", "CF = tmp[64,1];", rule.body),
        f"local hwbpO:1 = {other} ^ ({operand} s< 0); OF = (OF & (hwbpT ^ 1)) | (hwbpO & hwbpT);",
    ]
    return rule._replace(body="\n".join(lines))


def _no_operation(rule: Rule) -> Rule | None:
    """With any REX prefix but REX.B, 90 is a nop."""
    if "byte=0x90" not in rule.head or "rexWRXBprefix=8" not in rule.head:
        return None
    more = " | ".join(f"rexWRXBprefix={prefix}" for prefix in (2, 4, 6, 8, 10, 12, 14))
    return rule._replace(head=rule.head.replace("rexWRXBprefix=8", more))


def _sign_mask(rule: Rule) -> Rule:
    body = "local s:16 = XmmReg2; " + " ".join(
        f"local b{n}:4 = s[{32 * n},32]; b{n} = (b{n} >> 31) << {n};" for n in range(4)
    )
    head = rule.head.replace("XmmReg2 & Reg32", "XmmReg2 & Reg32 & check_Reg32_dest")
    return Rule(rule.name, head, f"{body} Reg32 = b0 | b1 | b2 | b3; build check_Reg32_dest;")


def _high_products(target: str, at: int) -> str:
    a, b = f"d[{at},16]", f"s[{at},16]"
    return (
        f"local a{at}:2 = {a}; local b{at}:2 = {b}; local p{at}:4 = zext(a{at}) * zext(b{at}); "
        f"{target}[{at},16] = p{at}[16,16];"
    )


def _absolute_differences(target: str, at: int) -> str:
    lines = [f"local t{at}:8 = 0;"]
    for byte in range(at, at + 64, 8):
        lines.append(
            f"local a{byte}:1 = d[{byte},8]; local b{byte}:1 = s[{byte},8]; local c{byte}:1 = zext(a{byte} < b{byte}); "
            f"t{at} = t{at} + zext(((b{byte} - a{byte}) * c{byte}) + ((a{byte} - b{byte}) * (1 - c{byte})));"
        )
    return "\n".join([*lines, f"{target}[{at},64] = t{at};"])


def _saturating(operator: str, bits: int, *, signed: bool) -> Mend:
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

    return _vector(lane, bits)


def _average(bits: int) -> Callable[[str, int], str]:
    """Half of the sum, rounded up."""

    def lane(target: str, at: int) -> str:
        wide = bits // 4
        return (
            f"local a{at}:{bits // 8} = d[{at},{bits}]; local b{at}:{bits // 8} = s[{at},{bits}]; "
            f"local w{at}:{wide} = (zext(a{at}) + zext(b{at}) + 1) >> 1; {target}[{at},{bits}] = w{at}[0,{bits}];"
        )

    return lane


def _pop_to_memory(rule: Rule) -> Rule | None:
    """The operand's address is that after the pop, which shows where it counts from RSP (SDM 2, POP)."""
    found = re.search(r"^ rm(16|64) +is \$\(LONGMODE_ON\)", rule.head)
    if not found:
        return None
    operand, size = f"rm{found[1]}", int(found[1]) // 8
    return rule._replace(
        body=f" local hwbpV:{size} = *:{size} RSP; RSP = RSP + {size}; build {operand}; {operand} = hwbpV; "
    )


def _narrow_loop(rule: Rule) -> Rule | None:
    """Counting down ECX clears the upper half of RCX, as every 32-bit result does."""
    if "ECX = ECX -1;" not in rule.body:
        return None
    return rule._replace(body=rule.body.replace("ECX = ECX -1;", "RCX = zext(ECX - 1);"))


MENDS: Final[dict[str, tuple[Mend, int]]] = {
    "BSF": (_bit_scan, 3),
    "BSR": (_bit_scan, 3),
    "SBB": (_sign_extended, 2),
    "SHR": (_shift_by_one, 4),
    "RCL": (_rotate_through_carry, 8),
    "RCR": (_rotate_through_carry, 8),
    "NOP": (_no_operation, 1),
    "CVTSD2SI": (_scalar_to_integer("hwbpNearest"), 4),
    "CVTSS2SI": (_scalar_to_integer("hwbpNearest"), 4),
    "CVTTSD2SI": (_scalar_to_integer("hwbpTruncated"), 4),
    "CVTTSS2SI": (_scalar_to_integer("hwbpTruncated"), 4),
    "CVTPS2DQ": (_vector(_to_integers("hwbpNearest", 32), 32), 2),
    "CVTTPS2DQ": (_vector(_to_integers("hwbpTruncated", 32), 32), 2),
    "CVTPD2DQ": (_vector(_to_integers("hwbpNearest", 64), 32), 2),
    "CVTTPD2DQ": (_vector(_to_integers("hwbpTruncated", 64), 32), 2),
    "CVTDQ2PD": (_vector(_from_lower_half("int2float({s})"), 64), 2),
    "CVTPS2PD": (_vector(_from_lower_half("float2float({s})"), 64), 2),
    "PSLLW": (_shift("<<", 16), 2),
    "PSRLW": (_shift(">>", 16), 2),
    "PSRAW": (_shift("s>>", 16), 2),
    "PSLLD": (_shift("<<", 32), 2),
    "PSLLQ": (_shift("<<", 64), 2),
    "PSRLD": (_shift(">>", 32), 2),
    "PSRLQ": (_shift(">>", 64), 2),
    "PSRAD": (_shift("s>>", 32), 2),
    "PMULHUW": (_vector(_high_products, 16), 2),
    "PAVGB": (_vector(_average(8), 8), 2),
    "PAVGW": (_vector(_average(16), 16), 2),
    "PSADBW": (_vector(_absolute_differences, 64), 2),
    "MOVMSKPS": (_sign_mask, 1),
    "PADDSB": (_saturating("+", 8, signed=True), 1),
    "PADDSW": (_saturating("+", 16, signed=True), 1),
    "PADDUSB": (_saturating("+", 8, signed=False), 1),
    "PADDUSW": (_saturating("+", 16, signed=False), 1),
    "PSUBSB": (_saturating("-", 8, signed=True), 1),
    "PSUBSW": (_saturating("-", 16, signed=True), 1),
    "PSUBUSB": (_saturating("-", 8, signed=False), 1),
    "PSUBUSW": (_saturating("-", 16, signed=False), 1),
    "LOOP": (_narrow_loop, 1),
    "LOOPZ": (_narrow_loop, 1),
    "LOOPNZ": (_narrow_loop, 1),
    "POP": (_pop_to_memory, 2),
    "LODSD": (_load_string, 1),
    "XLAT": (_translate, 1),
    "XCHG": (_exchange, 1),
    "CMPXCHG8B": (_compare_8, 1),
}
"""By mnemonic: the mend, and how many rules it must find."""


_TABLES: Final = {"string sources": 8, "segment pushes": 1}
"""How many tables and macros are mended."""


def mended(text: str, found: dict[str, int]) -> str:
    """A file's text with its rules mended; counts them in `found`."""

    def replace(match: re.Match[str]) -> str:
        rule = as_it_is = Rule(match["name"], match["head"], match["body"])
        entry = MENDS.get(rule.name)
        if entry and (better := entry[0](rule)):
            rule = better
            found[rule.name] = found.get(rule.name, 0) + 1
        rules = changes_nothing(floats(auxiliary_carry(rule, found), found), found)
        if rules == (as_it_is,):
            return match[0]
        return "\n".join([f":{each.name}{each.head}\n{{\n{each.body}\n}}" for each in rules])

    text = flag_macros(text, found)
    text, tables = ALIGNED.subn(UNALIGNED_TABLE, text)
    found["m128"] = found.get("m128", 0) + tables
    text, sources = _STRING_SOURCE.subn(_with_segment, text)
    found["string sources"] = found.get("string sources", 0) + sources
    text, pushes = _SEGMENT_PUSH.subn(_WHOLE_PUSH, text)
    found["segment pushes"] = found.get("segment pushes", 0) + pushes
    return _CONSTRUCTOR.sub(replace, text)


_STRING_SOURCE: Final = re.compile(
    r"^(dseSI[1248]): (?:segWide\^ESI|RSI)\s+is addrsize=(1 & segWide & E|2 & R)SI \{ (?:tmp:4|local tmp) = [ER]SI;",
    re.MULTILINE,
)


def _with_segment(match: re.Match[str]) -> str:
    """The source of a string instruction counts from the base of fs or gs."""
    register, value = ("ESI", "zext(ESI)") if match[2].startswith("1") else ("RSI", "RSI")
    size = 1 if register == "ESI" else 2
    return f"{match[1]}: segWide^{register} is addrsize={size} & segWide & {register} {{ local tmp:8 = segWide + {value};"


_SEGMENT_PUSH: Final = re.compile(r"mysave:2 = x;\s*\*:2 \(\$\(STACKPTR\)-8\) = mysave;")
_WHOLE_PUSH: Final = "mysave:8 = zext(x); *:8 ($(STACKPTR)-8) = mysave;"
"""A push of fs or gs writes all eight bytes, as found on an AMD Zen 5."""


@contextmanager
def mended_languages(installed: Path) -> Iterator[Path]:
    """A folder like the installed one (the package's), with the mends in it. Raises Mismatch, OSError."""
    found: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="hwbp-engine-") as folder:
        target = Path(folder) / _LANGUAGES
        target.mkdir(parents=True)
        for source in (installed / _LANGUAGES).iterdir():
            if source.name in ("ia.sinc", "lockable.sinc"):
                (target / source.name).write_text(mended(source.read_text(), found))
            elif source.name == "macros.sinc":
                (target / source.name).write_text(f"{source.read_text()}\n{MACROS}")
            elif source.is_file():
                os.symlink(source, target / source.name)
        wanted = (
            {name: count for name, (_, count) in MENDS.items()}
            | _TABLES
            | expected
            | flags_expected
            | floats_expected
        )
        wrong = [name for name, count in wanted.items() if found.get(name) != count]
        if wrong:
            raise Mismatch(f"icicle-emu is not the version that this was made for: {', '.join(wrong)}")
        yield Path(folder)
