"""Broken programs and nonsense into every parser of symbols/: real files with damage, lies about sizes, hostile names.

python -m tests.fuzz.names [--seconds N] [--seed N] [FILE...]

Whatever is given, an answer comes back or an error that belongs to it, in bounded time. A failure prints its seed.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import struct
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from symbols.btf import Btf, BtfError
from symbols.btf_types import BtfTypes
from symbols.ctype import Type
from symbols.demangle import demangle
from symbols.elf import ElfError, ElfImage
from symbols.expression import parse, spell
from symbols.kernel import KernelNames
from symbols.line_rows import END, run
from symbols.process import JitNames
from symbols.scope import Context
from symbols.space import AddressSpace
from symbols.target import ExpressionError
from symbols.values import Style, describe, layout, spell_value
from symbols.whole_lines import WholeLines
from tests.fuzz.line_machine import line_programs, stepped

__all__ = ["broken", "exercise", "nonsense"]

SLOW = 20.0  # seconds that one case may take on a busy machine
_WORDS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)
_NAMES = (
    "cfg",
    "main",
    "head",
    "count",
    "grid",
    "current",
    "calls",
    "shapes::total",
    "per_thread",
    "nothing",
    "_start",
)
_EXPRESSIONS = (
    "cfg.limits[1]", "cfg", "*cfg.head->next", "head->next->value", "objects.c::counter", "add_limit::calls", "main:40",
    "objects.c:40", "(struct node *)cfg", "sizeof (config_t)", "shapes::box.id", "grid[1][1]", "current->grid", "calls",
    "main::argc", "shapes::Box<int>::made", "per_thread", "twice+4", "*argv@3", "((config_t *)4)->limits",
)  # fmt: skip
_TEXT = "abcfg.limits[]0x1+-*/&|^<>()'\"@:$ \n\x1b\x7fé\udc80~!=,;{}%"


def broken(data: bytes, chance: random.Random) -> bytes:
    """A program file with some damage in the sections that names come from."""
    image = bytearray(data)
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        sections = [
            section
            for section in ElfImage.open(file.name, loadable=False).section_table
            if section.size
            and section.type != 8
            and section.offset + section.size <= len(data)
            and section.name.startswith(
                (".debug", ".sym", ".str", ".dyn", ".gnu", ".eh", ".note", ".rela", ".plt")
            )
        ]
    headers = struct.unpack_from("<Q", data, 40)[0]
    for _ in range(chance.choice((1, 2, 5, 20, 200))):
        kind = chance.randrange(8)
        if kind == 0 and headers + 64 <= len(data):  # a section header lies
            count = struct.unpack_from("<H", data, 60)[0]
            at = headers + 64 * chance.randrange(max(1, count)) + 8 * chance.randrange(8)
            image[at : at + 8] = struct.pack("<Q", chance.choice(_WORDS))
            continue
        section = chance.choice(sections)
        at = section.offset + chance.randrange(section.size)
        if kind < 4:
            image[at] = chance.choice((0, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        elif kind < 6:
            size = chance.choice((2, 4, 8))
            image[at : at + size] = struct.pack("<Q", chance.choice(_WORDS))[:size]
        else:  # a piece of one place at another
            other = chance.choice(sections)
            start = other.offset + chance.randrange(other.size)
            size = min(chance.choice((4, 16, 64)), len(image) - max(at, start))
            image[at : at + size] = image[start : start + size]
    return bytes(image[: chance.choice((len(image),) * 8 + (chance.randrange(len(image)),))])


def exercise(path: str, chance: random.Random) -> None:
    """Ask everything of a file; raises only what is a bug."""
    try:
        image = ElfImage.open(path)
    except ElfError:
        return
    low, high = image.load_range
    addresses = [low + chance.randrange(max(1, high - low)) for _ in range(20)]
    mapped = [
        (
            s.vaddr & -4096,
            s.vaddr + s.memsz + 4095 & -4096,
            "r-xp" if s.flags & 1 else "rw-p",
            s.offset & -4096,
            path,
        )
        for s in image.segments
        if s.type == 1
    ]
    space = AddressSpace(mapped, path)
    memory = image.read if chance.random() < 0.8 else bytes_of_nothing
    context = Context(
        memory, {"rip": addresses[0], "rsp": high, "rbp": high, "rax": 1}.__getitem__, True, lambda: (high,)
    )
    for address in addresses:
        found = space.lookup(address)
        assert found.line is None or found.line > 0
        space.frames(address)
        space.data_name(address)
        assert space.name(address)
    located = space.lookup_many(np.array(addresses, np.uint64))
    assert len(located.symbol) == len(addresses)
    for module in space.modules:
        if module.names is not None:
            table = module.names.table
            for name in _NAMES:
                table.find(name)
                table.find_source(name)
                table.near(name)
            table.names("", 20)
            table.names("c", 20)
            module.names.lines.addresses("objects.c", 40)
            module.names.debug.in_scope(addresses[0])
            module.names.frames.row(addresses[0])
    for text in _EXPRESSIONS:
        with contextlib.suppress(ExpressionError):
            target = space.resolve(text, context=context)
            assert 0 <= target.address < 1 << 64
        with contextlib.suppress(ExpressionError):
            value = space.evaluate(text, context)[0]
            if value.type is not None:
                written(value.type, chance)


def written(kind: Type, chance: random.Random) -> None:
    """Write a type and values of it, whatever it has become."""
    assert str(kind) is not None
    assert layout(kind)
    size = min(kind.size or 8, 4096)
    data = chance.randbytes(chance.choice((size, size // 2, 0)))
    assert spell_value(data, kind, Style(read=bytes_of_nothing, name=lambda address: None)) is not None
    describe(0, 8, kind, data)


def bytes_of_nothing(address: int, size: int) -> bytes:
    raise OSError("nothing is there")


def nonsense(chance: random.Random, folder: str) -> None:
    """Texts and small files that nobody wrote."""
    text = "".join(chance.choice(_TEXT) for _ in range(chance.randrange(60)))
    with contextlib.suppress(ExpressionError):
        assert spell(parse(text))
    for prefix in ("_Z", "_R", "_ZN", "_RNv", "_D8", "$s"):
        letters = "".join(chance.choice("0123456789SKRPNEItTvilc_aZX") for _ in range(chance.randrange(300)))
        assert demangle(prefix + letters) is not None
    words = bytes(chance.choice(b"0123456789abcdefTtdD \n\t[]x\xff\0") for _ in range(chance.randrange(800)))
    kernel = KernelNames(words)
    kernel.name(0xFFFF_FFFF_8100_0000)
    with contextlib.suppress(ExpressionError):
        kernel.resolve("a + 1")
    line_rows(chance)
    path = Path(folder) / "perf.map"
    path.write_bytes(words)
    names = JitNames(str(path))
    names.refresh()
    names.at(0x1000)
    raw = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 64, 64, 8) + chance.randbytes(64) + b"\0ab\0cd\0\0"
    with contextlib.suppress(BtfError):
        types = BtfTypes(Btf(raw))
        for number in range(1, 6):
            written(types.type(number), chance)
    rows, count = chance.randrange(4), chance.randrange(3)
    tail = chance.choice((bytes(16 * rows), chance.randbytes(16 * rows))) + b"a\0" * count
    header = struct.pack("<8sQQQ", b"HWBPLIN1", rows, count, chance.choice((2 * count, 0, 1 << 63)))
    with contextlib.suppress(ValueError):
        lines = WholeLines.loaded((header + tail)[: chance.choice((None, None, chance.randrange(60)))])
        numbers, _ = lines.at_many(np.array([0, 1 << 31, 1 << 63], np.uint64))
        for number in numbers.tolist():
            assert number < 0 or lines.file(number) is not None


def line_rows(chance: random.Random) -> None:
    """Line-number programs that nobody wrote give what a machine that takes them opcode by opcode gives."""
    data, programs = line_programs(chance)
    rows = run(data, programs)
    brief = run(data, programs, brief=True)
    for number, program in enumerate(programs):
        mine = np.flatnonzero(rows.unit == number)
        columns = (rows.address, rows.line, rows.file, rows.column, rows.flags)
        found = list(zip(*(each[mine].tolist() for each in columns), strict=True))
        assert found == stepped(data, program), program
    ends = rows.flags & END
    last = (rows.address[1:] != rows.address[:-1]) | (ends[1:] != 0) | (ends[:-1] != 0)
    kept = np.flatnonzero(np.append(last, True)[: len(ends)])
    assert (brief.unit == rows.unit[kept]).all()
    assert (brief.address == rows.address[kept]).all()
    assert (brief.line == rows.line[kept]).all()
    assert (brief.file == rows.file[kept]).all()
    assert (brief.flags == ends[kept]).all()


def check(seed: int, programs: list[bytes], packages: Sequence[tuple[bytes, bytes]] = ()) -> None:
    """One case, and a damaged .dwp of a program in `packages`. Raises for anything but an answer, and where it takes too long."""
    chance = random.Random(seed)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        nonsense(chance, folder)
        path = Path(folder) / "prog"
        path.write_bytes(broken(chance.choice(programs), chance))
        exercise(str(path), chance)
        if packages:
            program, package = chance.choice(packages)
            path = Path(folder) / "split"
            path.write_bytes(program if chance.random() < 0.8 else broken(program, chance))
            Path(f"{path}.dwp").write_bytes(broken(package, chance))
            exercise(str(path), chance)
    assert time.monotonic() - began < SLOW, "too slow"


def main() -> int:
    """Run cases for a while; print the seed of the first that fails."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int)
    parser.add_argument("files", nargs="*")
    options = parser.parse_args()
    programs = [Path(name).read_bytes() for name in options.files] or built()
    packages = packaged()
    end, seed = time.monotonic() + options.seconds, random.randrange(1 << 32)
    count = 0
    while options.seed is not None or time.monotonic() < end:
        case = options.seed if options.seed is not None else seed + count
        try:
            check(case, programs, packages)
        except BaseException:
            print(f"names: seed {case} fails", file=sys.stderr)
            raise
        count += 1
        if options.seed is not None:
            break
    print(f"names: {count} cases, none failed")
    return 0


def built() -> list[bytes]:
    """The tests' own sources, compiled in several ways."""
    from tests.unit.symbols_data.builds import DATA, run

    found = []
    with tempfile.TemporaryDirectory() as folder:
        for compiler, source, flags in (
            ("gcc", "objects.c", ("-g", "-O0", "-no-pie")),
            ("gcc", "objects.c", ("-gdwarf-4", "-O2", "-no-pie")),
            ("gcc", "values.c", ("-gdwarf-5", "-O1", "-gz=zlib")),
            ("g++", "shapes.cpp", ("-g", "-O2")),
            ("g++", "shapes.cpp", ("-gdwarf-4", "-O1", "-fdebug-types-section")),
        ):
            path = Path(folder) / "prog"
            run(compiler, *flags, "-o", path, DATA / source)
            found.append(path.read_bytes())
    return found


def packaged() -> list[tuple[bytes, bytes]]:
    """Programs whose debug information lies in a .dwp package, with that; none where nothing here makes packages."""
    from tests.unit.symbols_data.builds import DATA, run

    found = []
    if shutil.which("llvm-dwp") is None:
        return []
    with tempfile.TemporaryDirectory() as folder:
        for version in ("4", "5"):
            path = Path(folder) / f"prog{version}"
            run(
                "gcc", f"-gdwarf-{version}", "-gsplit-dwarf", "-O1", "-no-pie", "-o", path, DATA / "objects.c"
            )
            run("llvm-dwp", "-e", path, "-o", f"{path}.dwp")
            found.append((path.read_bytes(), Path(f"{path}.dwp").read_bytes()))
    return found


if __name__ == "__main__":
    sys.exit(main())
