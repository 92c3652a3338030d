"""Five programs watched on this machine's hardware: how many culprits and values are given, and are they right?

python -m tests.live.culprit_programs [--groups N] [--limit N] [--seed N] [--unknown] [PROGRAM]...

Each group of four windows is run twice (`tests.live.tracee`): what was accused in the first run is stepped alone in the second,
so "right" is what the CPU did. Every hit of the second run counts, the dynamic loader's included. "symbols": function starts
by symbol, else by call-frame rules; "stripped": by call-frame rules alone; "bare": by nothing. "plain stores" are mov and push of
registers and immediates; "covering" those of them that wrote the whole window: what a narrower one left beside itself was in
memory, where no register says it.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import iced_x86 as ic
import numpy as np

from symbols.boundaries import LONGEST, function_at
from symbols.culprit import READ_WRITE, WRITE, Culprits, Found
from symbols.disasm import one
from symbols.pointers import Pointers
from symbols.space import AddressSpace
from tests.live.ptrace import Slots, Unavailable
from tests.live.tracee import USER_REGS, Tracee, WatchHit, watch

__all__ = ["CPLUSPLUS", "PROGRAMS", "RUST", "Finder", "Tally", "measure", "programs"]

ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/bin:/bin", "PYTHONHASHSEED": "0"}
WAYS = ("symbols", "stripped", "bare")
_STACK = 0x1800  # bytes below the first rsp
_TRIES = 24  # groups of windows that are tried for one that is hit

_SQL = (
    "create table t(a integer primary key, b text, c real);"
    "with recursive n(x) as (select 1 union all select x+1 from n where x<400)"
    " insert into t select x, printf('%x', x*x), x/3.0 from n;"
    "create index i on t(b); select count(*), sum(c), max(b) from t where b like '%a%';"
    "delete from t where a%3=0; select group_concat(b) from (select b from t order by b desc limit 20);"
)
_PYTHON = (
    "import re\nclass A:\n def __init__(s, n): s.n = n\n def f(s): return s.n * 3\n"
    "d = {str(i): A(i) for i in range(300)}\n"
    "print(sum(x.f() for x in d.values()), sorted(d)[:5], re.sub('[0-9]', 'x', '-'.join(d))[:9])\n"
    "def g(n):\n  yield n\n  if n: yield from g(n - 1)\n"
    "print(list(g(30)), '%.3f' % sum(i / 7 for i in range(99)))\n"
)
CPLUSPLUS = r"""
#include <algorithm>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>
struct Shape { virtual ~Shape() {} virtual double area() const = 0; };
struct Square : Shape { double a; explicit Square(double a) : a(a) {} double area() const override { return a * a; } };
struct Disc : Shape { double r; explicit Disc(double r) : r(r) {} double area() const override { return 3.14 * r * r; } };
static long totals[16]; static std::map<std::string, long> words; thread_local long calls;
template <typename T> static T fold(const std::vector<T>& v) { T sum{}; for (auto& x : v) { sum += x; calls++; } return sum; }
int main() {
    std::vector<std::unique_ptr<Shape>> shapes;
    for (int i = 0; i < 200; i++) {
        if (i % 3) shapes.emplace_back(new Square(i)); else shapes.emplace_back(new Disc(i));
        totals[i & 15] += static_cast<long>(shapes.back()->area());
        std::ostringstream text; text << "w" << i % 17; words[text.str()] += i;
    }
    std::sort(shapes.begin(), shapes.end(), [](auto& a, auto& b) { return a->area() > b->area(); });
    std::vector<long> numbers(totals, totals + 16);
    try { if (fold(numbers) > 0) throw std::string("thrown"); } catch (std::string& s) { std::cout << s << calls << '\n'; }
    for (auto& [word, n] : words) std::cout << word << ' ' << n << '\n';
}
"""
RUST = r"""
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Write;
static mut TOTAL: u64 = 0;
trait Step { fn step(&mut self, n: u64) -> u64; }
struct Add(u64);
struct Mix { state: u64, seen: VecDeque<u64> }
impl Step for Add { fn step(&mut self, n: u64) -> u64 { self.0 = self.0.wrapping_add(n); self.0 } }
impl Step for Mix {
    fn step(&mut self, n: u64) -> u64 {
        self.state = self.state.rotate_left(5) ^ n;
        self.seen.push_back(self.state);
        if self.seen.len() > 8 { self.seen.pop_front(); }
        self.seen.iter().fold(0, |a, b| a ^ b)
    }
}
fn main() {
    let mut steps: Vec<Box<dyn Step>> = vec![Box::new(Add(1)), Box::new(Mix { state: 7, seen: VecDeque::new() })];
    let mut counts: HashMap<u64, Vec<u64>> = HashMap::new();
    let mut words = BTreeMap::new();
    for n in 0..400u64 {
        let mut sum = 0;
        for step in steps.iter_mut() { sum ^= step.step(n); }
        counts.entry(sum % 13).or_default().push(sum);
        let mut text = String::new();
        write!(text, "k{:04x}", sum & 0xff).unwrap();
        *words.entry(text).or_insert(0u64) += n;
        unsafe { TOTAL += sum; }
    }
    let mut lists: Vec<_> = counts.into_values().map(|mut v| { v.sort(); v.len() as u64 }).collect();
    lists.sort_unstable();
    println!("{:?} {} {:?}", lists, words.len(), words.iter().next());
}
"""


@contextmanager
def programs(wanted: list[str]) -> Iterator[dict[str, list[str]]]:
    """Command lines by name; those whose compiler or file is missing are left out."""
    with tempfile.TemporaryDirectory() as folder:
        found = {
            name: argv
            for name, argv in {
                "sqlite3": ["/usr/bin/sqlite3", ":memory:", _SQL],
                "python3": ["/usr/bin/python3", "-S", "-c", _PYTHON],
                "gzip": ["/usr/bin/gzip", "-c", "/etc/services"],
                "c++": [f"{folder}/cpp"],
                "rust": [f"{folder}/rust"],
            }.items()
            if name in wanted
        }
        for name, compiler, source, suffix in (
            ("c++", "g++", CPLUSPLUS, "cc"),
            ("rust", "rustc", RUST, "rs"),
        ):
            if name in found and (path := shutil.which(compiler)):
                file = Path(f"{found[name][0]}.{suffix}")
                file.write_text(source)
                options = ["-O2", "-g"] if name == "c++" else ["-O", "-g"]
                subprocess.run([path, *options, "-o", found[name][0], file], check=True, capture_output=True)
        yield {name: argv for name, argv in found.items() if os.path.exists(argv[0])}


PROGRAMS = ("sqlite3", "python3", "gzip", "c++", "rust")


def _by_frames(space: AddressSpace, address: int) -> tuple[int, int] | None:
    """What a stripped file still says."""
    module = space.module_at(address)
    if module is None or module.names is None:
        return None
    bounds = module.names.frames.bounds(address - module.bias)
    return None if bounds is None else (bounds[0] + module.bias, bounds[1] - bounds[0])


class Finder:
    """The culprits of one run's hits, batch by batch, with the memory of a process that stands still meanwhile."""

    def __init__(self, tracee: Tracee, space: AddressSpace, slots: Slots, way: str = "symbols") -> None:
        functions: dict[str, Callable[[int], tuple[int, int] | None]] = {
            "symbols": partial(function_at, space),
            "stripped": partial(_by_frames, space),
            "bare": lambda address: None,
        }
        self._tracee, self._space, self._slots = tracee, space, slots
        self._culprits = Culprits(tracee.read, functions[way], Pointers(space))
        self._code: set[tuple[int, int, str, int, str]] = set()
        self.hits: list[WatchHit] = []
        self.found: list[Found] = []

    def add(self, hits: list[WatchHit]) -> None:
        """Look at the next hits."""
        if not hits:
            return
        rows = self._tracee.mappings()
        code = {row for row in rows if "x" in row[2]}
        if code != self._code:
            self._code = code
            self._space.update(rows)
            self._culprits.forget()
        slot = np.array([hit.slot for hit in hits], np.intp)
        sampled = np.array([hit.registers for hit in hits], np.uint64).reshape(-1, len(USER_REGS))
        registers = {name: sampled[:, column] for column, name in enumerate(USER_REGS) if name != "fs_base"}
        self.hits += hits
        self.found.append(
            self._culprits.find(
                np.array([hit.ip for hit in hits], np.uint64),
                np.array([address for address, _, _ in self._slots], np.uint64)[slot],
                np.array([length for _, length, _ in self._slots])[slot],
                np.array([WRITE if kind == "w" else READ_WRITE for _, _, kind in self._slots])[slot],
                registers,
                np.array([hit.top or 0 for hit in hits], np.uint64),
                np.array([hit.top is not None for hit in hits]),
                below=[hit.below for hit in hits],
            )
        )

    @property
    def total(self) -> Found:
        """Of all hits."""
        return Found(*(np.concatenate(column) for column in zip(*self.found, strict=True)))

    @property
    def insn_ips(self) -> set[int]:
        """The instructions that were found."""
        return {ip for found in self.found for ip in found.insn_ip.tolist()} - {0}


class Tally:
    """Counts of one program and one way."""

    def __init__(self) -> None:
        self.hits = self.given = self.wrong = self.unchecked = 0
        self.values = self.wrong_values = 0
        self.plain = self.covering = self.plain_given = self.covering_given = 0
        self.unknown: Counter[str] = Counter()
        self.bad: list[str] = []


def _plain(tracee: Tracee, address: int) -> int:
    """Bytes that a plain store writes (mov or push of a general register or an immediate); 0 for anything else."""
    insn = next(iter(ic.Decoder(64, tracee.read(address, LONGEST), ip=address)))
    source = insn.op1_kind if insn.mnemonic == ic.Mnemonic.MOV else insn.op0_kind
    if insn.mnemonic == ic.Mnemonic.MOV:
        if insn.op0_kind != ic.OpKind.MEMORY:
            return 0
        register = insn.op1_register if source == ic.OpKind.REGISTER else ic.Register.RAX
    elif insn.mnemonic == ic.Mnemonic.PUSH and source != ic.OpKind.MEMORY:
        register = insn.op0_register if source == ic.OpKind.REGISTER else ic.Register.RAX
    else:
        return 0
    return ic.MemorySizeExt.size(insn.memory_size) or 8 if ic.RegisterExt.is_gpr(register) else 0


def _count(
    tracee: Tracee,
    space: AddressSpace,
    slots: Slots,
    finder: Finder,
    accused: set[int],
    tally: Tally,
) -> None:
    if not finder.found:
        return
    insn_ips, _, values, told, _, _ = (
        np.concatenate(column).tolist() for column in zip(*finder.found, strict=True)
    )
    rows = zip(finder.hits, insn_ips, values, told, strict=True)
    sizes: dict[int, int] = {}
    for hit, insn_ip, value, known in rows:
        _, length, kind = slots[hit.slot]
        tally.hits += 1
        tally.given += insn_ip != 0
        tally.values += known
        place = f"{kind}{length} {space.name(hit.ip)}"
        if insn_ip and insn_ip not in accused:
            tally.unchecked += 1  # the first run had no such hit
        elif insn_ip and insn_ip != hit.insn_ip:
            tally.wrong += 1
            tally.bad.append(f"{place}: {space.name(insn_ip)} {one(tracee.read(insn_ip, LONGEST), insn_ip)}")
        if not insn_ip:
            tally.unknown[place] += 1
        if known and value != hit.value:
            tally.wrong_values += 1
            tally.bad.append(f"{place}: value {value:#x}, memory {hit.value:#x}")
        if hit.insn_ip and hit.insn_ip not in sizes:
            sizes[hit.insn_ip] = _plain(tracee, hit.insn_ip)
        if size := sizes.get(hit.insn_ip or 0, 0):
            tally.plain += 1
            tally.covering += size >= length
            tally.plain_given += known
            tally.covering_given += known and size >= length


def _areas(argv: list[str]) -> dict[str, list[tuple[int, int]]]:
    with Tracee(argv, ENVIRONMENT) as tracee:
        top = tracee.registers()[USER_REGS.index("rsp")]
        while tracee.go() is not None:
            pass
        rows = tracee.mappings()
    path = os.path.realpath(argv[0])
    areas: dict[str, list[tuple[int, int]]] = {
        "stack": [(top - _STACK, top)],
        "heap": [],
        "globals": [],
        "libraries": [],
    }
    for at, (start, end, perms, _, name) in enumerate(rows):
        if "w" not in perms or name.startswith("[stack"):
            continue
        before = rows[at - 1][4] if at else ""
        if name == "[heap]":
            areas["heap"].append((start, end))
        elif path in (name, before) and (name or start == rows[at - 1][1]):
            areas["globals"].append((start, end))
        elif name:
            areas["libraries"].append((start, end))
    return {name: spans for name, spans in areas.items() if spans}


def _add(finders: list[Finder], hits: list[WatchHit]) -> None:
    for finder in finders:
        finder.add(hits)


def measure(
    argv: list[str], groups: int, limit: int, seed: int, ways: tuple[str, ...] = WAYS
) -> dict[str, Tally]:
    """Watch a program with `groups` groups of windows in each of its areas."""
    chance = random.Random(seed)
    space = AddressSpace([], argv[0])
    tallies = {way: Tally() for way in ways}
    for spans in _areas(argv).values():
        good = 0
        for _ in range(_TRIES * groups):
            if good == groups:
                break
            slots = []
            for _ in range(4):
                start, end = chance.choice(spans)
                length = chance.choice([1, 2, 4, 8, 8, 8])
                slots.append(
                    (chance.randrange(start, end) & -length, length, chance.choice(["w", "w", "rw"]))
                )
            with Tracee(argv, ENVIRONMENT) as tracee:
                finders = [Finder(tracee, space, slots, way) for way in ways]
                if not watch(tracee, slots, limit, each=partial(_add, finders)):
                    continue
                accused = {ip for finder in finders for ip in finder.insn_ips}
            with Tracee(argv, ENVIRONMENT) as tracee:
                finders = [Finder(tracee, space, slots, way) for way in ways]
                watch(tracee, slots, limit, accused, partial(_add, finders))
                for way, finder in zip(ways, finders, strict=True):
                    _count(tracee, space, slots, finder, accused, tallies[way])
            good += 1
    return tallies


def main() -> int:
    """Exit code 1 if anything that was given was wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("programs", nargs="*", metavar="PROGRAM", help=", ".join(PROGRAMS))
    parser.add_argument(
        "--groups", type=int, default=3, help="groups of four windows in each area (default 3)"
    )
    parser.add_argument("--limit", type=int, default=4000, help="hits of one run (default 4000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--unknown", action="store_true", help="list what was not given")
    options = parser.parse_args()
    wrong = 0
    heading = (
        "program",
        "functions by",
        "hits",
        "given",
        "wrong",
        "unchecked",
        "values",
        "wrong",
        "plain stores",
        "valued",
        "covering",
        "valued",
    )
    print(
        "{:8}  {:12}  {:>7}  {:>8}  {:>5}  {:>9}  {:>7}  {:>5}  {:>12}  {:>7}  {:>8}  {:>7}".format(*heading)
    )
    with programs(options.programs or list(PROGRAMS)) as built:
        for name in options.programs or PROGRAMS:
            if name not in built:
                print(f"{name:8}  not here")
                continue
            try:
                tallies = measure(built[name], options.groups, options.limit, options.seed)
            except Unavailable as error:
                print(f"{name:8}  {error}")
                continue
            for way, tally in tallies.items():
                wrong += tally.wrong + tally.wrong_values
                given = f"{100 * tally.given / max(1, tally.hits):.2f} %"
                valued = f"{100 * tally.plain_given / max(1, tally.plain):.1f} %"
                covering = f"{100 * tally.covering_given / max(1, tally.covering):.1f} %"
                print(
                    f"{name:8}  {way:12}  {tally.hits:7}  {given:>8}  {tally.wrong:5}  {tally.unchecked:9}  {tally.values:7}  {tally.wrong_values:5}"
                    f"  {tally.plain:12}  {valued:>7}  {tally.covering:8}  {covering:>7}",
                    flush=True,
                )
                for line, count in Counter(tally.bad).most_common(20):
                    print(f"    WRONG {count} x {line}")
                if options.unknown:
                    for line, count in tally.unknown.most_common(20):
                        print(f"    unknown {count} x {line}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
