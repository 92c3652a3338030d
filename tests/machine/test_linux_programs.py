"""Ordinary programs print under emulation what they print natively, and do it the same way every time."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backends.emulated.linux import Unsupported
from backends.emulated.loader import DEFAULT_PATH
from tests.compiled import compiled
from tests.machine.linux_loop import run

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="needs x86-64 Linux to compare with"
)
ENVIRONMENT = {"PATH": DEFAULT_PATH, "HOME": "/", "LANG": "C", "TERM": "dumb"}
SAMPLE = "".join(f"{n * 7919 % 1000} line {n}\n" for n in range(400))


def native(program: str | Path, *argv: str, stdin: Path | None = None) -> tuple[bytes, bytes, int]:
    with open(stdin or "/dev/null", "rb") as file:
        done = subprocess.run(
            [program, *argv], stdin=file, capture_output=True, env=ENVIRONMENT, check=False, timeout=60
        )
    return done.stdout, done.stderr, done.returncode


@pytest.mark.parametrize(
    "command",
    [
        "echo hello world",
        "true",
        "false",
        "sha256sum FILE",
        "md5sum FILE /nonexistent",
        "wc FILE",
        "cat FILE",
        "xxd FILE",
        "od -c FILE",
        "seq 1 200",
        "sort FILE",
        "sort -n -r FILE",
        "uniq FILE",
        "tac FILE",
        "cut -d/ -f1 FILE",
        "head -n 3 FILE",
        "tail -n 2 FILE",
        "ls DIR",
        "ls /nonexistent",
        "grep 7 FILE",
        "sed s/line/row/ FILE",
        "awk {s+=$1}END{print(s)} FILE",
        "find DIR",
        "stat -c %s FILE",
        "gzip -n -c FILE",
        "bzip2 -c FILE",
        "xz -c FILE",
        "base64 FILE",
        "cmp FILE /nonexistent",
        "expr 6 * 7",
        "factor 1234567890",
        "printf %d\\n 5",
        "readlink /proc/self/exe",
        "uname -s",
        "pwd",
        "env",
        "perl -e print(6*7)",
    ],
)
def test_a_program_prints_what_it_prints_natively(command: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text(SAMPLE)
    words = command.replace("FILE", str(tmp_path / "file")).replace("DIR", str(tmp_path)).split()
    program = shutil.which(words[0], path=DEFAULT_PATH)
    if program is None or Path(program).read_bytes()[:4] != b"\x7fELF":
        pytest.skip(f"{words[0]} is not installed as a program")
    done = run(program, *words[1:])
    assert (done.out, done.err, done.status) == native(program, *words[1:])


def test_standard_input_can_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_text(SAMPLE)
    assert run("/bin/cat", stdin=str(path)).out == SAMPLE.encode()
    assert run("/bin/cat").out == b""


def test_the_date_is_the_machines() -> None:
    assert run("/bin/date", "-u", "+%Y-%m-%d").out == b"2024-01-01\n"


def test_sleeping_passes_the_machines_time_and_nobody_elses() -> None:
    done = run("/bin/sleep", "1000")
    assert 1000 * 10**9 <= done.linux.now() < 1001 * 10**9


COMPUTE = """
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static int order(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }
int main(int argc, char **argv) {
  int *numbers = malloc(1000 * sizeof *numbers);
  for (int i = 0; i < 1000; i++) numbers[i] = (i * 7919) % 1000;
  qsort(numbers, 1000, sizeof *numbers, order);
  char *big = malloc(3 << 20);
  memset(big, 'x', 3 << 20);
  big = realloc(big, 9 << 20);
  big[(3 << 20) + 1] = 0;
  printf("%d %d %zu %g %.3f\\n", numbers[0], numbers[999], strlen(big + 100) > 0 ? strnlen(big, 3 << 20) : 0, 0.1, 2.5);
  free(big);
  FILE *file = fopen(argv[1], "r");
  char line[200];
  long sum = 0;
  while (fgets(line, sizeof line, file)) sum += atol(line);
  fseek(file, 10, SEEK_SET);
  printf("%ld %c %ld\\n", sum, fgetc(file), ftell(file));
  fprintf(stderr, "%s %d\\n", getenv("LANG"), argc);
  return 7;
}
"""


@pytest.mark.parametrize("level", ["-O0", "-O2"])
@pytest.mark.parametrize("kind", ["-static", "-static-pie", "-pie", "-no-pie"])
def test_c_with_glibc(tmp_path: Path, kind: str, level: str) -> None:
    (tmp_path / "file").write_text(SAMPLE)
    program = compiled(tmp_path / "p", COMPUTE, kind, level)
    done = run(program, str(tmp_path / "file"))
    assert (done.out, done.err, done.status) == native(program, str(tmp_path / "file"))
    assert done.status == 7


def test_two_runs_are_the_same_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text(SAMPLE)
    first, second = (run("/bin/sort", str(tmp_path / "file")) for _ in range(2))
    assert first.instructions == second.instructions
    assert first.out == second.out


def test_random_bytes_process_number_and_time_are_the_machines(tmp_path: Path) -> None:
    program = compiled(
        tmp_path / "p",
        "#include <stdio.h>\n#include <sys/random.h>\n#include <time.h>\n#include <unistd.h>\n"
        "int main(void) { unsigned long r; getrandom(&r, 8, 0);\n"
        ' printf("%lx %d %d %d %ld %p\\n", r, getpid(), getppid(), getuid(), time(0), (void *)&r); }\n',
    )
    first, second = run(program), run(program)
    assert first.out == second.out
    assert b" 1000 999 1000 1704067200 " in first.out


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("abort();", -signal.SIGABRT),
        ("raise(SIGTERM);", -signal.SIGTERM),
        ("kill(getpid(), SIGKILL);", -signal.SIGKILL),
        ("*(volatile int *)8 = 1;", -signal.SIGSEGV),
        ("signal(SIGTERM, SIG_IGN); raise(SIGTERM);", 3),
        ("raise(SIGCHLD);", 3),
        ("signal(SIGSEGV, SIG_IGN); *(volatile int *)8 = 1;", -signal.SIGSEGV),
        ("volatile int zero = 0; return 7 / zero;", -signal.SIGFPE),
        ("__builtin_trap();", -signal.SIGILL),
        ("exit(259);", 3),
    ],
)
def test_a_program_ends_as_linux_would_end_it(tmp_path: Path, code: str, status: int) -> None:
    source = f"#include <signal.h>\n#include <stdlib.h>\n#include <unistd.h>\nint main(void) {{ {code} return 3; }}\n"
    program = compiled(tmp_path / "p", source, "-O0")
    assert run(program).status == status
    assert native(program)[2] == status


def test_a_blocked_signal_waits_until_it_is_unblocked(tmp_path: Path) -> None:
    program = compiled(
        tmp_path / "p",
        "#include <signal.h>\n#include <unistd.h>\nint main(void) { sigset_t s; sigemptyset(&s);\n"
        ' sigaddset(&s, SIGTERM); sigprocmask(SIG_BLOCK, &s, 0); raise(SIGTERM); write(1, "on", 2);\n'
        " sigprocmask(SIG_UNBLOCK, &s, 0); return 3; }\n",
    )
    done = run(program)
    assert (done.out, done.status) == (b"on", -signal.SIGTERM)


@pytest.mark.parametrize(
    ("code", "word"),
    [
        ("inotify_add_watch(0, 0, 0);", r"system call 254 \(inotify_add_watch\)"),
    ],
)
def test_what_the_machine_lacks_stops_it_by_name(tmp_path: Path, code: str, word: str) -> None:
    source = (
        "#include <signal.h>\n#include <sys/inotify.h>\n#include <unistd.h>\nvoid handler(int n) {}\n"
        f"int main(void) {{ {code} return 3; }}\n"
    )
    with pytest.raises(Unsupported, match=word):
        run(compiled(tmp_path / "p", source))


def test_a_deep_stack_grows(tmp_path: Path) -> None:
    source = (
        "#include <stdio.h>\nint deep(int n) { volatile char room[4000]; room[0] = n; room[3999] = 1;\n"
        ' return n ? deep(n - 1) + room[3999] : 0; }\nint main(void) { printf("%d\\n", deep(1500)); }\n'
    )
    assert run(compiled(tmp_path / "p", source, "-O0")).out == b"1500\n"


def test_endless_recursion_ends_with_sigsegv(tmp_path: Path) -> None:
    source = (
        "int deep(volatile int n) { volatile char room[60000]; room[0] = n; return deep(n + 1) + room[0]; }\n"
        "int main(void) { return deep(0); }\n"
    )
    assert run(compiled(tmp_path / "p", source, "-O0")).status == -signal.SIGSEGV


def test_programs_that_write_can_be_allowed_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text(SAMPLE)
    copy, made = tmp_path / "copy", tmp_path / "made"
    refused = run("/bin/cp", str(tmp_path / "file"), str(copy))
    assert refused.status == 1
    assert b"Permission denied" in refused.err
    assert run("/bin/cp", str(tmp_path / "file"), str(copy), allow=("write",)).status == 0
    assert copy.read_text() == SAMPLE
    assert run("/bin/mkdir", str(made), allow=("write",)).status == 0
    assert run("/bin/mv", str(copy), str(made), allow=("write",)).status == 0
    assert run("/usr/bin/touch", str(made / "new"), allow=("write",)).status == 0
    assert sorted(os.listdir(made)) == ["copy", "new"]
    assert run("/bin/rm", "-r", str(made), allow=("write",)).status == 0
    assert not made.exists()
