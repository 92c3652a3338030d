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
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

from backends.emulated.sleigh_faults import ALIGNED, UNALIGNED_TABLE, Rule, changes_nothing, expected
from backends.emulated.sleigh_flags import auxiliary_carry, flag_macros, flags_expected
from backends.emulated.sleigh_floats import floats, floats_expected
from backends.emulated.sleigh_vectors import (
    MACROS,
    Mend,
    absolute_differences,
    average,
    from_lower_half,
    high_products,
    saturating,
    scalar_to_integer,
    shift,
    sign_mask,
    to_integers,
    vector,
)

__all__ = ["Mismatch", "mended", "mended_languages"]

_LANGUAGES: Final = Path("Ghidra", "Processors", "x86", "data", "languages")
_CONSTRUCTOR: Final = re.compile(
    r"^:(?P<name>[A-Z0-9]+)(?P<head>[^{}\n]*)\s*\{(?P<body>[^{}]*)\}", re.MULTILINE
)
"""A rule: `:NAME operands is pattern { what it does }`."""


class Mismatch(Exception):
    """The installed files are not those that the mends are for."""


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
    "CVTSD2SI": (scalar_to_integer("hwbpNearest"), 4),
    "CVTSS2SI": (scalar_to_integer("hwbpNearest"), 4),
    "CVTTSD2SI": (scalar_to_integer("hwbpTruncated"), 4),
    "CVTTSS2SI": (scalar_to_integer("hwbpTruncated"), 4),
    "CVTPS2DQ": (vector(to_integers("hwbpNearest", 32), 32), 2),
    "CVTTPS2DQ": (vector(to_integers("hwbpTruncated", 32), 32), 2),
    "CVTPD2DQ": (vector(to_integers("hwbpNearest", 64), 32), 2),
    "CVTTPD2DQ": (vector(to_integers("hwbpTruncated", 64), 32), 2),
    "CVTDQ2PD": (vector(from_lower_half("int2float({s})"), 64), 2),
    "CVTPS2PD": (vector(from_lower_half("float2float({s})"), 64), 2),
    "PSLLW": (shift("<<", 16), 2),
    "PSRLW": (shift(">>", 16), 2),
    "PSRAW": (shift("s>>", 16), 2),
    "PSLLD": (shift("<<", 32), 2),
    "PSLLQ": (shift("<<", 64), 2),
    "PSRLD": (shift(">>", 32), 2),
    "PSRLQ": (shift(">>", 64), 2),
    "PSRAD": (shift("s>>", 32), 2),
    "PMULHUW": (vector(high_products, 16), 2),
    "PAVGB": (vector(average(8), 8), 2),
    "PAVGW": (vector(average(16), 16), 2),
    "PSADBW": (vector(absolute_differences, 64), 2),
    "MOVMSKPS": (sign_mask, 1),
    "PADDSB": (saturating("+", 8, signed=True), 1),
    "PADDSW": (saturating("+", 16, signed=True), 1),
    "PADDUSB": (saturating("+", 8, signed=False), 1),
    "PADDUSW": (saturating("+", 16, signed=False), 1),
    "PSUBSB": (saturating("-", 8, signed=True), 1),
    "PSUBSW": (saturating("-", 16, signed=True), 1),
    "PSUBUSB": (saturating("-", 8, signed=False), 1),
    "PSUBUSW": (saturating("-", 16, signed=False), 1),
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


_LEFT_OUT: Final = ("avx", "avx_manual", "avx2", "avx2_manual", "fma", "mpx")
"""Instructions that this CPU does not have, a quarter of the time that a description takes to read."""


@cache
def _mended_files(languages: Path) -> dict[str, str]:
    """The texts that are not as installed, by file name. Raises Mismatch, OSError."""
    found: dict[str, int] = {}
    texts = {name: mended((languages / name).read_text(), found) for name in ("ia.sinc", "lockable.sinc")}
    texts["macros.sinc"] = f"{(languages / 'macros.sinc').read_text()}\n{MACROS}"
    for name in ("x86.slaspec", "x86-64.slaspec"):
        texts[name] = (languages / name).read_text()
        for each in _LEFT_OUT:
            include = f'@include "{each}.sinc"\n'
            found[each] = found.get(each, 0) + texts[name].count(include)
            texts[name] = texts[name].replace(include, "")
    wanted = (
        {name: count for name, (_, count) in MENDS.items()}
        | dict.fromkeys(_LEFT_OUT, 1)
        | _TABLES
        | expected
        | flags_expected
        | floats_expected
    )
    wrong = [name for name, count in wanted.items() if found.get(name) != count]
    if wrong:
        raise Mismatch(f"icicle-emu is not the version that this was made for: {', '.join(wrong)}")
    return texts


@contextmanager
def mended_languages(installed: Path) -> Iterator[Path]:
    """A folder like the installed one (the package's), with the mends in it. Raises Mismatch, OSError."""
    languages = installed / _LANGUAGES
    texts = _mended_files(languages)
    with tempfile.TemporaryDirectory(prefix="hwbp-engine-") as folder:
        target = Path(folder) / _LANGUAGES
        target.mkdir(parents=True)
        for source in languages.iterdir():
            if source.name in texts:
                (target / source.name).write_text(texts[source.name])
            elif source.is_file():
                os.symlink(source, target / source.name)
        yield Path(folder)
