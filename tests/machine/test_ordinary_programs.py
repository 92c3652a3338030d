"""Programs of this machine that nobody made for us: what they print and how they end is what they do natively."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C"}
NUMBERS = "".join(f"{n * 7919 % 1009} word{n % 37}\n" for n in range(200))
SQL = "create table t(a, b real); insert into t values (1, 2.5), (2, 1e300), (3, -0.1); select sum(a), avg(b), b*3 from t;"
SCRIPT = """
import math, itertools
print(math.sqrt(2), 1e100 / 3, 2 ** 200, repr(0.1 + 0.2), "%.3f" % math.pi, sorted("hello"))
class E(Exception): pass
try: raise E("caught")
except E as error: print(error, list(itertools.accumulate(range(5))), {n: n * n for n in range(3)})
"""

MODULES = """
import json, re, sqlite3, threading, _sha1, decimal, struct
print(json.dumps(json.loads('{"a": [1, 2.5e3, "x"]}'), indent=1))
print(re.findall(r'(\\w+)@(\\w+)', 'bob@example.com, al@test.com'), re.sub(r'(a+)b', r'<\\1>', 'aab ab b'))
c = sqlite3.connect(':memory:'); c.execute('create table t(a)'); c.executemany('insert into t values(?)', [(n,) for n in range(9)])
print(c.execute('select avg(a), count(*) from t where a % 2').fetchall())
out = []
threads = [threading.Thread(target=lambda n=n: out.append(n * n)) for n in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
print(sorted(out), _sha1.sha1(b'x').hexdigest(), decimal.Decimal(1) / 7, struct.pack('>d', 0.1).hex())
"""
WORDS = 'print join("|", map { ucfirst } reverse split(" ", "the quick brown fox")), " ", "abc def" =~ s/(\\w)(\\w+)/$2$1ay/gr; printf "%.15g", atan2(1,1)*4'

COMMANDS: dict[str, tuple[str, ...]] = {
    "sort": ("sort", "-n", "FILE"),
    "sort by word": ("sort", "-k2,2", "-u", "FILE"),
    "ls": ("ls", "-la", "/usr/lib/os-release", "FILE"),
    "gzip": ("gzip", "-9", "-n", "-c", "FILE"),
    "grep": ("grep", "-n", "-E", "word(1|2)$", "FILE"),
    "sqlite3": ("sqlite3", ":memory:", SQL),
    "python3": ("/usr/bin/python3", "-S", "-c", SCRIPT),
    "awk": ("awk", "{s += $1 / 3} END {printf \"%.6f %d %s\\n\", s, NR, toupper($2)}", "FILE"),
    "perl": ("perl", "-ne", "$h{$1}++ if /(word\\d)/; END {print map {\"$_ $h{$_}\\n\"} sort keys %h}", "FILE"),
    "sed": ("sed", "-n", "s/word\\([0-9]*\\)/\\1 w/p;5q", "FILE"),
    "cut": ("cut", "-d", " ", "-f2", "FILE"),
    "wc": ("wc", "FILE"),
    "md5sum": ("md5sum", "FILE"),
    "sha256sum": ("sha256sum", "FILE"),
    "seq in long double": ("seq", "1", "0.1", "4"),
    "printf in long double": ("/usr/bin/printf", "%.18Lf %Le %g %a\n", "3.14159265358979323", "1e300", "0.1", "2.5"),
    "factor": ("factor", "1234567890123", "97"),
    "od": ("od", "-A", "x", "-t", "x1z", "FILE"),
    "base64": ("base64", "FILE"),
    "xz": ("xz", "-c", "FILE"),
    "bzip2": ("bzip2", "-c", "FILE"),
    "find": ("find", "/etc/apt", "-maxdepth", "1", "-name", "*.d"),
    "bash": ("bash", "-c", "for i in 1 2 3; do x=$((i * i)); echo \"$x ${x/4/four}\"; done; [[ abc =~ b(.) ]] && echo ${BASH_REMATCH[1]}"),
    "diff": ("diff", "FILE", "/etc/passwd"),
    "tac": ("tac", "FILE"),
    "bc": ("bc", "-q", "/dev/null"),
    "date": ("date", "-u", "-d", "@86400", "+%A %F %T"),
    "expr": ("expr", "17", "*", "3"),
    "jq": ("jq", "-n", "[range(5)] | map(. * 1.5) | add"),
    "tclsh": ("tclsh", "FILE.tcl"),
    "tar": ("tar", "-C", "DIR", "-cf", "-", "words"),
    "tar in a pipe": ("sh", "-c", "tar -C DIR -cf - words words.c | tar -tvf -"),
    "dc": ("dc", "-e", "2 100 ^ p 10 k 2 v p"),
    "bc in a pipe": ("bash", "-c", "echo 'scale=20; 4*a(1); 2^64' | bc -l"),
    "python modules": ("/usr/bin/python3", "-S", "-c", MODULES),
    "perl -e": ("perl", "-e", WORDS),
    "git --version": ("git", "--version"),
    "git log": ("git", "-c", "safe.directory=*", "-C", "DIR/repository", "log", "--format=%s %an"),
    "git diff": ("git", "diff", "--no-index", "FILE.c", "FILE.mk"),
    "make -n": ("make", "-n", "-r", "-f", "FILE.mk", "a"),
    "gcc -E": ("gcc", "-E", "-P", "FILE.c"),
    "openssl dgst": ("openssl", "dgst", "-sha256", "FILE"),
    "jq on a file": ("jq", "-c", ".a[2].b, (.a[0] + .a[1])", "FILE.json"),
    "tr in a pipe": ("sh", "-c", "tr a-z A-Z < FILE | head -3"),
    "sort in a pipe": ("sh", "-c", "cut -d' ' -f2 FILE | sort | uniq -c | sort -rn | head -4"),
    "gunzip in a pipe": ("sh", "-c", "gzip -n -c FILE | gunzip | cksum"),
    "xargs": ("sh", "-c", "printf '%s\\n' 1 2 3 | xargs -n1 echo n"),
    "dash": ("dash", "-c", 'f() { echo "$1 $(($2 + 1))"; }; for x in a b; do f $x 4; done'),
    "paste": ("paste", "FILE", "FILE.c"),
    "comm": ("comm", "FILE", "FILE.c"),
    "fold": ("fold", "-w", "20", "FILE"),
    "pr": ("pr", "-t", "-3", "FILE"),
    "numfmt": ("numfmt", "--to=si", "123456", "7e9"),
    "b2sum": ("b2sum", "FILE"),
    "strings": ("strings", "/bin/true"),
    "readelf": ("readelf", "-hlS", "/bin/true"),
    "file": ("file", "/bin/true"),
    "hexdump": ("hexdump", "-C", "FILE.c"),
    "column": ("column", "-t", "FILE"),
    "zstd": ("zstd", "-c", "FILE"),
    "no such file": ("cat", "/nonexistent"),
}  # fmt: skip


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with words in it, and a script."""
    directory = tmp_path_factory.mktemp("ordinary")
    (directory / "words").write_text(NUMBERS)
    os.utime(directory / "words", (1e9, 1e9))  # `ls` shows the hour of what is new by the machine's own clock
    (directory / "words.c").write_text("#define TWICE(x) ((x) * 2)\nint main(void) { return TWICE(21); }\n")
    (directory / "words.mk").write_text("a:\n\techo $(shell expr 3 + 4) $@\n")
    (directory / "words.json").write_text('{"a": [1, 2.5, {"b": "c"}], "d": null}')
    if shutil.which("git") is not None:
        who = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main")
        for words in (
            ("init", "-q"),
            ("commit", "-q", "--allow-empty", "-m", "first"),
            ("commit", "-q", "--allow-empty", "-m", "second"),
        ):
            subprocess.run(
                ["git", *who, *words, *(["repository"] if words[0] == "init" else [])],
                cwd=directory if words[0] == "init" else directory / "repository",
                check=True,
            )
    (directory / "words.tcl").write_text("puts [expr {sqrt(2) * 3}]; puts [lsort {c a b}]\n")
    return directory


Ends = tuple[subprocess.CompletedProcess[bytes], subprocess.CompletedProcess[bytes]]


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest, directory: Path) -> Iterator[dict[str, Future[Ends | None]]]:
    """What the chosen programs did, natively and emulated: two at a time."""
    items = [item for item in request.session.items if item.path == request.path]
    names = [str(item.callspec.params["name"]) for item in items if isinstance(item, pytest.Function)]
    with ThreadPoolExecutor(2) as pool:
        yield {name: pool.submit(_run, COMMANDS[name], directory) for name in names}


def _run(command: tuple[str, ...], directory: Path) -> Ends | None:
    program, *rest = command
    found = shutil.which(program, path=ENVIRONMENT["PATH"])
    if found is None:
        return None
    words = str(directory / "words")
    arguments = [part.replace("FILE", words).replace("DIR", str(directory)) for part in rest]
    options = [f"--env={key}={value}" for key, value in ENVIRONMENT.items()]
    ours = [sys.executable, "-m", "tui", "trace", "--allow", "exec", "-o", os.devnull, *options, "--", found]
    native, emulated = (
        subprocess.run(
            [*begin, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=300,
            check=False,
        )
        for begin, environment in (([found], ENVIRONMENT), (ours, None))
    )
    return native, emulated


@pytest.mark.parametrize("name", COMMANDS)
def test_it_prints_what_it_prints_natively_and_ends_as_natively(
    name: str, runs: dict[str, Future[Ends | None]]
) -> None:
    ends = runs[name].result()
    if ends is None:
        pytest.skip(f"{COMMANDS[name][0]} is not installed")
    native, ours = ends
    assert b"hwbp-tui: error" not in ours.stderr
    assert ours.stdout == native.stdout
    assert ours.returncode == 0
