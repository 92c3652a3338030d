"""Names, lines, inlined calls and variables beside what nm, readelf, llvm-symbolizer, addr2line and gdb say of the same files.

python -m tests.peers.names [--addresses N] [--examples N] [SUBJECT]...

Subjects are programs that are not in the tree: this machine's libc with its debug symbols, a Python with symbols, C++ and Rust,
DWARF 4 and 5, compressed, split and stripped files, a Go program, and this kernel's symbols. Differences are counted by what they are; exit code 1
if there is one that nothing here explains.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from symbols.demangle import demangle
from symbols.elf import ElfImage
from symbols.kernel import KALLSYMS, KernelNames
from symbols.space import AddressSpace
from symbols.target import ExpressionError
from tests.live.culprit_programs import CPLUSPLUS, RUST

__all__ = ["SUBJECTS", "Count", "compare", "subjects"]

_GO = """package main
import "fmt"
type Node struct { Key int64; Name string; Next *Node }
var Counter int64
var table [8]int32
var head *Node
//go:noinline
func bump(n int64) int64 { Counter += n; table[n&7]++; head = &Node{n, "x", head}; return Counter }
func main() { for i := int64(0); i < 10; i++ { bump(i) }; fmt.Println(Counter, head.Key) }
"""
_BUILDS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "c++": (CPLUSPLUS, "cc", ("g++", "-O2", "-g")),
    "c++ dwarf 4": (CPLUSPLUS, "cc", ("g++", "-O2", "-gdwarf-4")),
    "c++ compressed": (CPLUSPLUS, "cc", ("g++", "-O1", "-g", "-gz=zlib")),
    "c++ split": (CPLUSPLUS, "cc", ("g++", "-O2", "-g", "-gsplit-dwarf")),
    "c++ types": (CPLUSPLUS, "cc", ("g++", "-O2", "-g", "-fdebug-types-section")),
    "stripped": (CPLUSPLUS, "cc", ("g++", "-O2", "-s")),
    "rust": (RUST, "rs", ("rustc", "-O", "-g")),
    "rust v0": (RUST, "rs", ("rustc", "-O", "-g", "-Csymbol-mangling-version=v0")),
    "go": (_GO, "go", ("go", "build")),
}
SUBJECTS = ("libc", "python", *_BUILDS, "kernel")


class Count:
    """How often each check agreed, and how it differed otherwise. A difference of `explained` is none of ours."""

    def __init__(self) -> None:
        self.same: Counter[str] = Counter()
        self.differ: Counter[tuple[str, str]] = Counter()
        self.examples: dict[tuple[str, str], list[str]] = {}
        self.explained: set[tuple[str, str]] = set()

    def note(self, check: str, why: str | None, example: str = "", *, explained: bool = False) -> None:
        """One comparison; `why` is None where both say the same."""
        if why is None:
            self.same[check] += 1
            return
        self.differ[check, why] += 1
        self.examples.setdefault((check, why), []).append(example)
        if explained:
            self.explained.add((check, why))

    @property
    def unexplained(self) -> int:
        """Differences that nothing explains."""
        return sum(count for each, count in self.differ.items() if each not in self.explained)


@contextmanager
def subjects(wanted: list[str]) -> Iterator[dict[str, str]]:
    """Paths by name; what cannot be built here, or is not here, is left out."""
    found: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in wanted:
            if name in _BUILDS:
                source, suffix, (compiler, *options) = _BUILDS[name]
                if shutil.which(compiler) is None:
                    continue
                place = Path(folder, re.sub(r"\W", "", name))
                place.mkdir()
                (place / f"main.{suffix}").write_text(source)
                environment = (
                    os.environ | {"HOME": folder, "GO111MODULE": "off", "GOFLAGS": ""}
                    if suffix == "go"
                    else None
                )
                done = subprocess.run(
                    [compiler, *options, "-o", "prog", f"main.{suffix}"],
                    cwd=place,
                    env=environment,
                    capture_output=True,
                )
                if done.returncode == 0:
                    found[name] = str(place / "prog")
            elif name == "libc" and os.path.exists("/lib/x86_64-linux-gnu/libc.so.6"):
                found[name] = "/lib/x86_64-linux-gnu/libc.so.6"
            elif name == "python":
                places = [
                    *Path(sys.base_prefix).glob("lib/libpython3*.so.1.0"),
                    Path(sys.executable).resolve(),
                ]
                found[name] = next(str(each) for each in places if each.exists())
            elif name == "kernel" and os.path.exists(KALLSYMS):
                found[name] = KALLSYMS
        yield found


def compare(name: str, path: str, addresses: int) -> Count:
    """Every check that the tools of this machine allow."""
    count = Count()
    if name == "kernel":
        _kernel(path, addresses, count)
        return count
    image = ElfImage.open(path)
    space = AddressSpace(
        [
            (
                s.vaddr & -4096,
                s.vaddr + s.memsz + 4095 & -4096,
                "r-xp" if s.flags & 1 else "rw-p",
                s.offset & -4096,
                path,
            )
            for s in image.segments
            if s.type == 1
        ],
        path,
    )
    rng = random.Random(1)
    text = image.sections[".text"]
    places = sorted(rng.randrange(text.addr, text.addr + text.size) for _ in range(addresses))
    checks: dict[str, Callable[[AddressSpace, str, list[int], Count], None]] = {
        "nm": _nm,
        "readelf": _readelf,
        "llvm-symbolizer": _symbolizer,
        "addr2line": _addr2line,
        "gdb": _gdb,
    }
    for tool, check in checks.items():
        if shutil.which(tool):
            check(space, path, places, count)
    return count


def _nm(space: AddressSpace, path: str, places: list[int], count: Count) -> None:
    """Every defined symbol is found by its name, where nm has it."""
    names = space.modules[0].names
    assert names is not None
    for options in (("--defined-only",), ("--defined-only", "-D", "--with-symbol-versions")):
        done = subprocess.run(
            ["nm", *options, path], capture_output=True, text=True, errors="surrogateescape"
        )
        for line in done.stdout.splitlines():
            word, kind, symbol = line.split(maxsplit=2)
            if (
                kind in "aAuNn" or kind == "i"
            ):  # absolute, unique to the linker, debugging; ifuncs are functions
                continue
            plain, _, _version = symbol.partition("@")
            address = int(word, 16)
            found = names.table.find(plain)
            tls = kind in "dDbB" and any(each.kind == "tls" for each in names.table.find(plain))
            here = any(each.value == address for each in found)
            count.note(
                "nm",
                None
                if here or tls
                else "a mapping symbol or one of a discarded section"
                if not address
                else "not found",
                f"{symbol} {word} {kind} {[hex(each.value) for each in found][:3]}",
                explained=not address,
            )


_SYMBOL = re.compile(
    r"\s*\d+: (?P<value>[0-9a-f]+)\s+(?P<size>\d+|0x[0-9a-f]+) (?P<type>\w+)\s+(?P<bind>\w+)\s+\w+\s+(?:\[.*\]\s+)?"
    r"(?P<section>\w+) (?P<name>.+?)(?: \(\d+\))?$"
)
_SECTION = re.compile(r"\s*\[\s*\d+\] (\S+)\s+\S+\s+([0-9a-f]{16}) ([0-9a-f]+) ([0-9a-f]+) ")
_TYPES = {"FUNC": "func", "IFUNC": "func", "OBJECT": "object", "COMMON": "object", "TLS": "tls"}


def _readelf(space: AddressSpace, path: str, places: list[int], count: Count) -> None:
    """Value, size, kind, binding and version of symbols of .symtab and .dynsym; sections; the build id."""
    names = space.modules[0].names
    assert names is not None
    image = ElfImage.open(path)

    def said(*options: str) -> str:
        return subprocess.run(
            ["readelf", *options, path], capture_output=True, text=True, errors="surrogateescape"
        ).stdout

    rows: list[re.Match[str]] = []
    for line in said("-sW").splitlines():
        told_row = _SYMBOL.match(line)
        if told_row is not None:
            rows.append(told_row)
    rows = [
        row for row in rows if row["section"] not in ("UND", "ABS") and row["type"] not in ("SECTION", "FILE")
    ]
    # Of several rows of one name and one place (versions, or a local and a global one) we keep one.
    alike: dict[tuple[str, str], set[tuple[str, ...]]] = {}
    for row in rows:
        variant = (row["name"].strip(), row["size"], row["type"], row["bind"])
        alike.setdefault((row["name"].partition("@")[0].strip(), row["value"]), set()).add(variant)
    for row in random.Random(3).sample(rows, min(len(rows), 4000)):
        plain, at, _ = row["name"].strip().partition("@")
        version = row["name"].strip()[len(plain) :]
        found = [each for each in names.table.find(plain) if each.value == int(row["value"], 16)]
        size = int(row["size"], 0)
        told = (size, _TYPES.get(row["type"], "other"))
        why = None
        if not found:
            why = "not found"
        elif all((each.size, each.kind) != told for each in found):
            why = "another size or kind"
        elif all(each.bind != row["bind"].lower() for each in found) and row["bind"] != "UNIQUE":
            why = "another binding"
        elif at and all(each.version != version for each in found):
            why = "another version"
        elsewhere = why == "another binding" and names.debug_image.path != path  # that file's row is kept
        one_of_many = bool(found) and len(alike[plain, row["value"]]) > 1
        discarded = not int(row["value"], 16) and not size
        if elsewhere or (why and one_of_many):
            why = "one of several rows of one name and place"
        count.note(
            "readelf -s", why, f"{row[0]} {found[:3]}", explained=discarded or one_of_many or elsewhere
        )
    ours = {(each.name, each.addr, each.offset, each.size) for each in image.section_table if each.name}
    theirs = {
        (found[1], int(found[2], 16), int(found[3], 16), int(found[4], 16))
        for found in _SECTION.finditer(said("-SW"))
    }
    for each in sorted(ours ^ theirs):
        count.note("readelf -S", "we have no such section" if each in theirs else "they have none", f"{each}")
    count.same["readelf -S"] += len(ours & theirs)
    build_id = next(iter(re.findall(r"Build ID: ([0-9a-f]+)", said("-nW"))), None)
    same = build_id == image.build_id
    count.note("readelf -n", None if same else "another build id", f"{build_id} {image.build_id}")


def _symbolizer(space: AddressSpace, path: str, places: list[int], count: Count) -> None:
    """Function, file, line and column of every level of inlined calls."""
    done = subprocess.run(
        ["llvm-symbolizer", f"--obj={path}", "--output-style=JSON", "--inlines", "--no-demangle"],
        input="\n".join(map(hex, places)),
        capture_output=True,
        text=True,
    )
    for line in done.stdout.splitlines():
        row = json.loads(line)
        address = int(row["Address"], 16)
        theirs = [
            (demangle(each["FunctionName"]), _base(each["FileName"]), each["Line"], each["Column"])
            for each in row.get("Symbol", [])
        ]
        ours = [(f.function, _base(f.file), f.line, f.column) for f in space.frames(address)]
        theirs = [each for each in theirs if each[1] and each[2]]
        ours = [each for each in ours if each[1] and each[2]]
        _levels("llvm-symbolizer", address, ours, theirs, count)


def _levels(
    check: str,
    address: int,
    ours: list[tuple[str, str, int, int]],
    theirs: list[tuple[str, str, int, int]],
    count: Count,
) -> None:
    example = f"{address:#x}: {ours} / {theirs}"
    if [each[1:] for each in ours] == [each[1:] for each in theirs]:
        names = [
            (a[0], b[0])
            for a, b in zip(ours, theirs, strict=True)
            if a[0] and b[0] and not _alike(a[0], b[0])
        ]
        # They name the outermost function by its symbol (`main.cold`, one of several names of one place), we by its entry.
        count.note(check, "another name for the function" if names else None, example, explained=True)
    elif not theirs or not ours:
        count.note(check, f"{'they' if not theirs else 'we'} have no line", example, explained=not theirs)
    elif len(ours) != len(theirs):
        count.note(check, "another depth of inlined calls", example)
    elif [each[1:3] for each in ours] == [each[1:3] for each in theirs]:
        count.note(check, "another column", example)
    else:
        count.note(check, "another line", example)


def _alike(one: str, other: str) -> bool:
    """Whether two demanglers mean one function: parameters, templates and hashes aside."""

    def short(name: str) -> str:
        name = re.sub(r"::h[0-9a-f]{16}$|\[[0-9a-f]{5,16}\]", "", name)
        while (fewer := re.sub(r"<[^<>]*>|\([^()]*\)|\[[^\[\]]*\]", "", name)) != name:
            name = fewer
        return re.sub(r"^.* |const$|&$|\W", "", name.replace("operator ", "operator"))

    return (
        short(one) == short(other) or short(one).endswith(short(other)) or short(other).endswith(short(one))
    )


def _addr2line(space: AddressSpace, path: str, places: list[int], count: Count) -> None:
    """File and line of the innermost level."""
    image = space.modules[0].names
    assert image is not None
    target = image.debug_image.path
    done = subprocess.run(
        ["addr2line", "-e", target, *map(hex, places[:1000])], capture_output=True, text=True
    )
    for address, line in zip(places, done.stdout.splitlines(), strict=False):
        file, _, number = line.partition(" ")[0].rpartition(":")
        theirs = (_base(file), int(number)) if number.isdigit() and int(number) else None
        row = image.lines.row(address)
        ours = (_base(row[0]), row[1]) if row else None
        if ours == theirs:
            count.note("addr2line", None)
        elif theirs is None or ours is None:
            # Padding behind the last function of a unit belongs to none by the unit's own ranges.
            padding = ours is None and image.sections.unit_at(address) is None
            why = "they have no line" if theirs is None else "padding" if padding else "we have no line"
            count.note("addr2line", why, f"{address:#x} {ours} {theirs}", explained=theirs is None or padding)
        else:  # where a header's code was inlined, binutils may give the line there and the file around it
            same = ours[1] == theirs[1]
            why = "the same line of another file" if same else "another line"
            count.note("addr2line", why, f"{address:#x} {ours} {theirs}", explained=same)


def _base(path: str) -> str:
    return path.rpartition("/")[2]


def _gdb(space: AddressSpace, path: str, places: list[int], count: Count) -> None:
    """Address and size of global variables that have a type."""
    names = space.modules[0].names
    assert names is not None
    listed = subprocess.run(
        ["nm", names.debug_image.path], capture_output=True, text=True, errors="surrogateescape"
    ).stdout
    variables = sorted(
        {found[1] for found in re.finditer(r"^[0-9a-f]+ [dDbBrR] ([A-Za-z_]\w*)$", listed, re.MULTILINE)}
    )
    random.Random(2).shuffle(variables)
    variables = variables[:150]
    if not variables:
        return
    commands = [
        part
        for name in variables
        for part in (
            "-ex",
            f"output/x (long)&{name}",
            "-ex",
            "echo \\n",
            "-ex",
            f"output sizeof({name})",
            "-ex",
            "echo \\n",
        )
    ]
    done = subprocess.run(
        ["gdb", "-batch", "-nx", *commands, path], capture_output=True, text=True, timeout=300
    )
    answers = _answers(done.stdout)
    for name, (place, size) in zip(variables, answers, strict=False):
        if place is None or size is None:
            continue
        try:
            found = space.resolve(name)
        except ExpressionError as error:
            ambiguous = "ambiguous" in str(error) or " is in " in str(error) or error.candidates
            count.note(
                "gdb",
                "ambiguous: gdb takes the first" if ambiguous else "not found",
                f"{name}: {error}",
                explained=bool(ambiguous),
            )
            continue
        if found.address != place:
            count.note("gdb", "another address", f"{name} {found.address:#x} {place:#x}")
        else:
            # The symbol of an object that ends in a flexible array counts its elements, its type does not.
            longer = found.size is not None and found.size > size
            why = "an object longer than its type" if longer else "another size"
            count.note(
                "gdb", None if found.size == size else why, f"{name} {found.size} {size}", explained=longer
            )


def _answers(text: str) -> list[tuple[int | None, int | None]]:
    """Pairs of lines: the address, the size."""
    rows = text.split("\n")
    pairs = []
    for place, size in zip(rows[::2], rows[1::2], strict=False):
        pairs.append(
            (
                int(place, 16) if re.fullmatch(r"0x[0-9a-f]+", place) else None,
                int(size) if size.isdigit() else None,
            )
        )
    return pairs


def _kernel(path: str, addresses: int, count: Count) -> None:
    """kallsyms' symbols by name and by address."""
    rows = []
    for line in Path(path).read_text().splitlines():
        word, kind, symbol, *module = line.split()
        if kind not in "aAuU" and int(word, 16) >= 1 << 63:
            rows.append((int(word, 16), symbol, module[0].strip("[]") if module else ""))
    kernel = KernelNames.running()
    rng = random.Random(1)
    named: dict[int, set[str]] = {}
    for address, symbol, _ in rows:
        named.setdefault(address, set()).add(symbol)
    for address, _, _ in rng.sample(rows, min(addresses, len(rows))):
        at = kernel.at(address)
        same = at is not None and at[0].name in named[address] and at[1] == 0
        count.note("kallsyms", None if same else "another name", f"{address:#x}")
    for address, symbol, owner in rng.sample(rows, min(addresses, len(rows))):
        here = any(each.address == address and each.module == owner for each in kernel.find(symbol))
        count.note("kallsyms", None if here else "not found", symbol)


def main() -> int:
    """Exit code 1 if there is a difference that nothing explains."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=", ".join(SUBJECTS))
    parser.add_argument("--addresses", type=int, default=2000, help="of each file (default 2000)")
    parser.add_argument("--examples", type=int, default=2, help="shown of each difference (default 2)")
    options = parser.parse_args()
    wrong = 0
    with subjects(options.subjects or list(SUBJECTS)) as found:
        for name in options.subjects or SUBJECTS:
            if name not in found:
                print(f"{name:15} not here")
                continue
            count = compare(name, found[name], options.addresses)
            wrong += count.unexplained
            for check in sorted({*count.same, *(check for check, _ in count.differ)}):
                differ = sum(number for (of, _), number in count.differ.items() if of == check)
                print(f"{name:15} {check:16} {count.same[check]:7} same {differ:6} differ", flush=True)
                for (of, why), number in count.differ.most_common():
                    if of == check:
                        print(
                            f"    {number:6} {why}{'' if (of, why) in count.explained else '   <- not explained'}"
                        )
                        for example in count.examples[of, why][: options.examples]:
                            print(f"           {example[:300]}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
