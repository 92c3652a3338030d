"""Programs of this machine that nobody made for us: what they print and how they end is what they do natively."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C"}
NUMBERS = "".join(f"{n * 7919 % 1009} word{n % 37}\n" for n in range(400))
SQL = "create table t(a, b real); insert into t values (1, 2.5), (2, 1e300), (3, -0.1); select sum(a), avg(b), b*3 from t;"
SCRIPT = """
import math, itertools
print(math.sqrt(2), 1e100 / 3, 2 ** 200, repr(0.1 + 0.2), "%.3f" % math.pi, sorted("hello"))
class E(Exception): pass
try: raise E("caught")
except E as error: print(error, list(itertools.accumulate(range(5))), {n: n * n for n in range(3)})
"""

COMMANDS: dict[str, tuple[str, ...]] = {
    "sort": ("sort", "-n", "FILE"),
    "sort by word": ("sort", "-k2,2", "-u", "FILE"),
    "ls": ("ls", "-la", "/usr/lib/os-release", "/etc/passwd"),
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
    "no such file": ("cat", "/nonexistent"),
}  # fmt: skip


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with words in it, and a script."""
    directory = tmp_path_factory.mktemp("ordinary")
    (directory / "words").write_text(NUMBERS)
    (directory / "words.tcl").write_text("puts [expr {sqrt(2) * 3}]; puts [lsort {c a b}]\n")
    return directory


@pytest.mark.parametrize("name", COMMANDS)
def test_it_prints_what_it_prints_natively_and_ends_as_natively(name: str, directory: Path) -> None:
    words = str(directory / "words")
    program, *rest = COMMANDS[name]
    found = shutil.which(program, path=ENVIRONMENT["PATH"])
    if found is None:
        pytest.skip(f"{program} is not installed")
    arguments = [part.replace("FILE", words) for part in rest]
    native = subprocess.run(
        [found, *arguments],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    options = [f"--env={key}={value}" for key, value in ENVIRONMENT.items()]
    ours = subprocess.run(
        [sys.executable, "-m", "tui", "trace", "-o", os.devnull, *options, "--", found, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert b"hwbp-tui: error" not in ours.stderr
    assert ours.stdout == native.stdout
    assert ours.returncode == 0
