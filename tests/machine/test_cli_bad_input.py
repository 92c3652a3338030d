"""Bad input to the real command: one clear line, the right exit code, no output, nothing left running."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from backends.emulated.programs import PROGRAMS
from tests.compiled import compiled

pytest.importorskip("icicle", reason="icicle-emu is not installed: pip install icicle-emu")

ROOT = Path(__file__).parents[2]
COUNTER = str(PROGRAMS["counter"].path)
COMMAND = [sys.executable, "-m", "tui"]


def run(
    *argv: str, stdin: bytes = b"", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*COMMAND, *argv], cwd=ROOT, capture_output=True, input=stdin, timeout=60, check=False, env=env
    )
    return subprocess.CompletedProcess(argv, done.returncode, done.stdout.decode(), done.stderr.decode())


def left_running(marker: str) -> list[str]:
    """The processes that carry our mark in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if (
                entry.name.isdigit()
                and f"HWBP_TEST_MARK={marker}".encode() in (entry / "environ").read_bytes()
            ):
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                found += [entry.name] if state != "Z" else []
        except OSError:
            continue
    return found


def refused(*argv: str, code: int = 1) -> str:
    """Run what must fail with one line; returns that line without its prefix."""
    marker = f"{os.getpid()}-{id(argv)}"
    done = run(*argv, env={**os.environ, "HWBP_TEST_MARK": marker})
    assert done.stderr.startswith("hwbp-tui: error: "), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "fault in" not in done.stderr
    assert done.returncode == code, done.stderr
    assert left_running(marker) == []
    return done.stderr.removeprefix("hwbp-tui: error: ").rstrip("\n")


@dataclass(frozen=True)
class Header:
    """An ELF-64 program with one segment; what is given here is what lies about it."""

    magic: bytes = b"\x7fELF"
    bits: int = 2
    order: int = 1
    kind: int = 2
    machine: int = 62
    entry: int = 0x401000
    phoff: int = 64
    phentsize: int = 56
    phnum: int = 1
    segment: int = 1
    flags: int = 5
    offset: int = 0
    vaddr: int = 0x400000
    filesz: int = 0x1010
    memsz: int = 0x1010
    interpreter: bytes | None = None
    cut: int | None = None

    def make(self) -> bytes:
        ident = self.magic + bytes([self.bits, self.order, 1]) + bytes(9)
        form = "<" if self.order == 1 else ">"
        phnum = self.phnum + (self.interpreter is not None)
        data = ident + struct.pack(
            f"{form}HHIQQQIHHHHHH",
            self.kind, self.machine, 1, self.entry, self.phoff, 0, 0, 64, self.phentsize, phnum, 64, 0, 0,
        )  # fmt: skip
        data += struct.pack(
            "<IIQQQQQQ",
            self.segment, self.flags, self.offset, self.vaddr, self.vaddr, self.filesz, self.memsz, 0x1000,
        )  # fmt: skip
        if self.interpreter is not None:
            at = 64 + 2 * 56
            data += struct.pack("<IIQQQQQQ", 3, 4, at, 0x400000 + at, 0, len(self.interpreter), 0, 1)
            data += self.interpreter
        data = data.ljust(0x1000, b"\0") + bytes.fromhex("31ffb83c0000000f05").ljust(16, b"\x90")
        return data[: self.cut]


def test_the_header_without_lies_is_a_program_that_runs(tmp_path: Path) -> None:
    path = tmp_path / "prog"
    path.write_bytes(Header().make())
    path.chmod(0o755)
    done = run("trace", "-w", "0x401000:x", "--", str(path))
    assert done.returncode == 0, done.stderr
    assert "exit status 0" in done.stdout


NO_PROGRAMS = {
    "empty": (b"", "empty"),
    "text": (b"hello, world\n" * 10, "not an ELF program"),
    "a script": (b"#!/bin/sh\necho hi\n", "a script, not a program: run its interpreter (/bin/sh "),
    "only the magic": (b"\x7fELF", "truncated: no whole ELF header"),
    "half a header": (Header(cut=40).make(), "truncated: no whole ELF header"),
    "only a header": (Header(cut=64).make(), "truncated: its program headers lie beyond the end of the file"),
    "half a program": (Header(cut=0x800).make(), "truncated: segment 0 lies beyond the end of the file"),
    "32-bit": (Header(bits=1, machine=3).make(), "a 32-bit ELF (32-bit x86); only 64-bit can be used"),
    "32-bit ARM": (Header(bits=1, machine=40).make(), "a 32-bit ELF (ARM)"),
    "x32": (Header(bits=1, machine=62).make(), "a 32-bit ELF"),
    "aarch64": (Header(machine=183).make(), "a program for aarch64; only x86-64 can be used"),
    "RISC-V": (Header(machine=243).make(), "a program for RISC-V"),
    "a machine unheard of": (Header(machine=9999).make(), "a program for machine 9999"),
    "big-endian": (Header(order=2, machine=21).make(), "a big-endian ELF"),
    "an unknown class": (Header(bits=7).make(), "unknown class"),
    "an object file": (Header(kind=1).make(), "a relocatable object, not a program (link it first)"),
    "a core file": (Header(kind=4).make(), "a core file, not a program"),
    "no headers": (Header(phnum=0).make(), "no program headers"),
    "a few thousand headers": (Header(phnum=60000).make(), "60000 program headers"),
    "headers elsewhere": (Header(phoff=1 << 40).make(), "beyond the end of the file"),
    "headers before the file": (Header(phoff=(1 << 64) - 8).make(), "beyond the end of the file"),
    "headers of another size": (Header(phentsize=32).make(), "program headers of 32 bytes"),
    "nothing to load": (Header(segment=4).make(), "no PT_LOAD segment"),
    "no bytes to load": (Header(filesz=0, memsz=0).make(), "nothing to load"),
    "a file part too long": (Header(filesz=1 << 30, memsz=1 << 30).make(), "beyond the end of the file"),
    "a file part larger than all": (Header(filesz=0x1000, memsz=16).make(), "more bytes in the file"),
    "an offset elsewhere": (Header(offset=(1 << 63)).make(), "beyond the end of the file"),
    "256 TiB": (Header(memsz=1 << 48).make(), "beyond user addresses"),
    "4 GiB": (Header(memsz=4 << 30).make(), "4096 MiB, more than 1024 MiB"),
    "a kernel address": (Header(vaddr=0xFFFF_8000_0000_0000).make(), "beyond user addresses"),
    "an offset askew": (Header(vaddr=0x400800).make(), "cannot be mapped"),
    "its interpreter is missing": (
        Header(interpreter=b"/nonexistent/ld.so\0").make(),
        "its dynamic loader /nonexistent/ld.so is missing",
    ),
    "its interpreter is a directory": (Header(interpreter=b"/tmp\0").make(), "/tmp: a directory"),
    "its interpreter is no ELF": (Header(interpreter=b"/etc/passwd\0").make(), "/etc/passwd: not an ELF"),
    "its interpreter does not end": (Header(interpreter=b"/lib64/x").make(), "is not terminated"),
    "its interpreter is hostile": (Header(interpreter=b"/\x1b]0;x\x07\n\0").make(), r"/\x1b]0;x\x07"),
    "an entry nowhere": (Header(entry=0xDEAD000).make(), None),
}
REAL = ["text", "32-bit", "its interpreter is hostile"]


@pytest.mark.parametrize(
    "name", [name for name, (_, said) in NO_PROGRAMS.items() if said and name not in REAL]
)
def test_what_is_no_program_is_refused_by_the_machine(tmp_path: Path, name: str) -> None:
    from backends.base import HwbpError, Launch
    from backends.emulated.backend import EmulatedBackend
    from backends.ring import create_memfd

    data, said = NO_PROGRAMS[name]
    path = tmp_path / "prog"
    path.write_bytes(data)
    path.chmod(0o755)
    fd = create_memfd(64)
    with pytest.raises(HwbpError) as caught:
        EmulatedBackend(fd).launch(Launch(str(path)))
    os.close(fd)
    assert said is not None
    line = f"{caught.value.message} ({caught.value.remedy})".replace("\x1b", r"\x1b")
    assert said in line
    assert str(path) in line or line.startswith(("/tmp: ", "/etc/passwd: "))


@pytest.mark.parametrize("name", REAL)
def test_what_is_no_program_is_one_line_of_the_command(tmp_path: Path, name: str) -> None:
    data, said = NO_PROGRAMS[name]
    path = tmp_path / "prog"
    path.write_bytes(data)
    path.chmod(0o755)
    line = refused("trace", "-w", "main", "--", str(path))
    assert said is not None
    assert said in line
    assert str(path) in line


def test_an_entry_point_where_nothing_is_ends_by_sigsegv_as_on_linux(tmp_path: Path) -> None:
    path = tmp_path / "prog"
    path.write_bytes(Header(entry=0xDEAD000).make())
    path.chmod(0o755)
    done = run("trace", "-w", "0x401000", "--", str(path))
    assert done.returncode == 0
    assert "died by signal 11" in done.stdout


@pytest.mark.slow
def test_every_cut_of_a_real_program_is_refused_or_runs_and_is_never_a_fault(tmp_path: Path) -> None:
    """In this process: sixty starts of a new one would take a minute."""
    from backends.base import HwbpError, Launch
    from backends.emulated.backend import EmulatedBackend
    from backends.ring import create_memfd

    whole = Path(COUNTER).read_bytes()
    path = tmp_path / "prog"
    for cut in [*range(0, 600, 97), *range(600, len(whole), len(whole) // 12)]:
        path.write_bytes(whole[:cut])
        path.chmod(0o755)
        fd = create_memfd(64)
        with contextlib.suppress(HwbpError):
            view = EmulatedBackend(fd).launch(Launch(str(path)))
            assert view.state == "loaded"
        os.close(fd)


TRACED = [
    # arguments before `--`, exit code, what is said
    (["-w", "countr"], 1, "counter"),
    (["-w", "cfg.limts"], 1, "limits"),
    (["-w", "counter.c:99999"], 1, "99999"),
    (["-w", "cfg.limits[99]"], 1, "99"),
    (["-w", "cfg/40"], 1, "need 5 windows: 8+8+8+8+8; an x86 CPU has 4 slots"),
    (["-w", "counter+1/26"], 1, "windows"),
    (["-w", "0x404001"], 1, "is not aligned to 8 bytes"),
    (["-w", "0xffffffffffffffff/8"], 1, "0xffffffffffffffff"),
    (["-w", "0x10000000000000000"], 2, "beyond 64 bits"),
    ([*["-w", "counter"] * 5], 1, "5 watches need 5 slots together"),
    (["-w", "cfg.limits", "-w", "counter"], 1, "2 watches need 5 slots together"),
    (["-w", "counter/0"], 2, "at least 1 byte"),
    (["-w", "counter:r"], 2, "rw"),
    (["-w", "main/4:x"], 2, "an execute watch has length 1"),
    (["-w", "counter", "-o", "/"], 1, "/: Is a directory"),
    (["-w", "counter", "--stdin", "/nonexistent"], 1, "/nonexistent"),
]


@pytest.mark.parametrize(
    ("argv", "code", "said"), TRACED, ids=[" ".join(argv) or "none" for argv, _, _ in TRACED]
)
def test_what_cannot_be_watched_is_one_line(
    capfd: pytest.CaptureFixture[str], argv: list[str], code: int, said: str
) -> None:
    """In this process, except for the machine's own: half the time."""
    from tui.cli import main

    assert main(["trace", *argv, "--", COUNTER, "3"]) == code
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("hwbp-tui: error: ")
    assert captured.err.count("\n") == 1
    assert "fault in" not in captured.err
    assert said in captured.err


def test_a_refusal_names_who_holds_the_slots_and_what_would_fit() -> None:
    line = refused("trace", "-w", "cfg", "--", COUNTER)
    assert "the first 32 bytes would fit" in line
    assert "EXPR/LEN" in line


def test_a_directory_is_no_program(tmp_path: Path) -> None:
    assert refused("trace", "--", str(tmp_path)) == f"{tmp_path}: is a directory, not a program"


@pytest.mark.slow
def test_devices_and_pipes_are_no_programs_and_nobody_waits_for_them(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (str(fifo), "/dev/zero"):
        assert refused("trace", "--", path) == f"{path}: not a regular file"


def test_a_file_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    shutil.copy(COUNTER, path)
    path.chmod(0o711)
    command = [*COMMAND, "trace", "-w", "counter", "--", str(path)]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may read everything, and there is no setpriv (apt-get install util-linux)")
        path.chmod(0o100)
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"hwbp-tui: error: {path}: permission denied\n"


@pytest.fixture(scope="module")
def ambiguous(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A program with two statics of one name, each in its own file."""
    folder = tmp_path_factory.mktemp("ambiguous")
    (folder / "one.c").write_text("static volatile long twin; void one(void) { twin++; }\n")
    (folder / "two.c").write_text(
        "static volatile long twin; void one(void);\nint main(void) { one(); twin += 2; return 0; }\n"
    )
    return str(compiled(folder / "prog", folder / "one.c", "-g", "-static", str(folder / "two.c")))


@pytest.mark.slow
def test_a_name_of_two_objects_is_refused_with_the_way_to_say_which(ambiguous: str) -> None:
    line = refused("trace", "-w", "twin", "--", ambiguous)
    assert "one.c::twin" in line
    assert "two.c::twin" in line
    done = run("trace", "-w", "two.c::twin", "--", ambiguous)
    assert done.returncode == 0
    assert "0 -> 2" in done.stdout


@pytest.mark.parametrize("argv", [[], ["run", "--", COUNTER], ["demo"]])
def test_the_app_without_a_terminal_is_refused_and_trace_is_offered(argv: list[str]) -> None:
    line = refused(*argv)
    assert "needs a terminal" in line
    assert "hwbp-tui trace" in line


def test_the_app_is_refused_when_one_of_its_streams_is_no_terminal() -> None:
    main_end, other_end = pty.openpty()
    done = subprocess.run(
        COMMAND, cwd=ROOT, stdin=other_end, stdout=subprocess.PIPE, stderr=other_end, timeout=30, check=False
    )
    os.close(other_end)
    said = os.read(main_end, 4096).decode()
    os.close(main_end)
    assert done.returncode == 1
    assert "standard output is not one" in said
    assert done.stdout == b""


@pytest.mark.parametrize(
    ("term", "said"),
    [("dumb", "TERM is dumb"), ("no-such-terminal", "no-such-terminal"), ("", "TERM is not set")],
)
def test_a_terminal_that_cannot_be_drawn_on_is_one_line(term: str, said: str) -> None:
    main_end, other_end = pty.openpty()
    done = subprocess.run(
        COMMAND,
        cwd=ROOT,
        env={**os.environ, "TERM": term},
        stdin=other_end,
        stdout=other_end,
        stderr=subprocess.PIPE,
        timeout=30,
        check=False,
    )
    os.close(other_end)
    os.set_blocking(main_end, False)
    with pytest.raises(OSError, match=r"Input/output error|temporarily unavailable"):
        os.read(main_end, 4096)
    os.close(main_end)
    assert done.returncode == 1
    assert said in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


@pytest.mark.slow
def test_the_app_runs_with_its_standard_error_in_a_file(tmp_path: Path) -> None:
    main_end, other_end = pty.openpty()
    with (tmp_path / "log").open("wb") as log:
        app = subprocess.Popen(
            COMMAND,
            cwd=ROOT,
            env={**os.environ, "TERM": "xterm-256color"},
            stdin=other_end,
            stdout=other_end,
            stderr=log,
        )
    seen = b""
    while b"SLOTS" not in seen:
        seen += os.read(main_end, 65536)
    os.write(main_end, b"q")
    while app.poll() is None:
        if select.select([main_end], [], [], 0.05)[0]:
            os.read(main_end, 65536)
    os.close(main_end)
    os.close(other_end)
    assert app.returncode == 0
    assert (tmp_path / "log").read_bytes() == b""


@pytest.mark.parametrize("argv", [["--help"], ["trace", "--help"], ["--version"]])
def test_what_cannot_be_printed_is_one_line_and_a_failure(argv: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, *argv], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, timeout=30, check=False
        )
    assert done.returncode == 1
    assert done.stderr == b"hwbp-tui: error: standard output: No space left on device\n"


@pytest.mark.parametrize("options", ["--json", "--stack"])
def test_a_pipe_that_is_closed_after_one_line_ends_everything_quietly(options: str) -> None:
    marker = f"{os.getpid()}-head{options}"
    shell = f'{sys.executable} -m tui trace {options} -w counter -- {COUNTER} | head -1; echo "${{PIPESTATUS[0]}}"'
    done = subprocess.run(
        ["bash", "-c", shell],
        cwd=ROOT,
        env={**os.environ, "HWBP_TEST_MARK": marker},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    first, status = done.stdout.splitlines()
    assert first.startswith('{"schema": 1' if options == "--json" else "     hit")
    assert status == "0"
    assert "rror" not in done.stderr
    assert left_running(marker) == []


@pytest.mark.parametrize("argv", [["doctor"], ["--help"]])
def test_a_closed_pipe_is_no_failure_of_what_prints_once(argv: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*COMMAND, *argv], cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, timeout=30, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_full_disk_under_the_output_is_one_line() -> None:
    line = refused("trace", "-w", "counter", "-o", "/dev/full", "--limit", "5", "--", COUNTER)
    assert line == "/dev/full: No space left on device"


SCRIPTS = [
    ("watch nosuch\n", "FILE:1: "),
    ("\n\n! EINVAL watch counter\n", "FILE:3: "),
    ("! ENOSPC watch nosuch\n", "ENOSPC was expected"),
    ("! EFROB watch counter\n", "FILE:1: there is no errno EFROB"),
    ("info slots\n! ENOSPC\n", "FILE:2: no command behind `! ENOSPC`: what must fail?"),
    ("x/8x 0xffffffffffffffffffff\n", "FILE:1: "),
    ("x/8x 0\n", "FILE:1: "),
    ("stepi 99999999999999999999999\n", "FILE:1: "),
    ("\x00\x1b[31m\n", "FILE:1: unknown command '\\x00\\x1b[31m'"),
    ("wait exit\n", "FILE:1: the program stands still (loaded, nothing has run yet), so it would never end"),
    ("watch counter stop\ncontinue &\nwait exit\n", "FILE:3: the program stands still"),
    ("continue 3\n", "FILE:1: no watch is armed and enabled"),
    ("watch counter\ndisable 0\ncontinue 3\n", "FILE:3: no watch is armed and enabled"),
]


@pytest.mark.parametrize(("script", "said"), SCRIPTS, ids=[repr(script) for script, _ in SCRIPTS])
def test_a_script_that_fails_is_one_line_with_its_place(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, script: str, said: str
) -> None:
    from tui.cli import main

    file = tmp_path / "script"
    file.write_text(script)
    assert main(["script", str(file)]) == 1
    err = capfd.readouterr().err
    assert err.startswith("hwbp-tui: error: ")
    assert err.count("\n") == 1
    assert "fault in" not in err
    assert said in err.replace(str(file), "FILE")


def test_a_script_without_an_end_is_one_line() -> None:
    assert refused("script", "/dev/zero") == "/dev/zero: no script: more than 4 MiB"


def test_a_file_that_may_not_be_executed_is_refused_as_by_execve(tmp_path: Path) -> None:
    file = tmp_path / "prog"
    file.write_bytes((ROOT / COUNTER).read_bytes())
    file.chmod(0o644)
    assert refused("trace", "--", str(file)) == f"{file}: not executable (chmod +x {file})"
