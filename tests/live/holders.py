"""Real holders of debug registers, for tests: processes to watch, perf events, and a small debugger."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from backends.kernelview.books import Books
from backends.kernelview.now import holders as holders_now
from tests.compiled import compiled

PROGRAMS = Path(__file__).parent / "programs"
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")

_libc = ctypes.CDLL(None, use_errno=True)


def build(name: str, folder: Path) -> Path:
    """One of the programs beside this file."""
    if (folder / name).exists():
        return folder / name
    return compiled(folder / name, PROGRAMS / f"{name}.c", "-g", "-O1", "-no-pie", "-pthread")


def symbol(program: Path, name: str) -> int:
    lines = subprocess.run(["nm", program], check=True, capture_output=True, text=True).stdout.splitlines()
    return next(int(line.split()[0], 16) for line in lines if line.endswith(f" {name}"))


def perf_open(
    address: int,
    length: int = 8,
    kind: int = 2,
    *,
    pid: int = -1,
    cpu: int = -1,
    disabled: bool = False,
    kernel: bool = False,
) -> int:
    """perf_event_open() of a counting breakpoint; the descriptor. `kind` is HW_BREAKPOINT_R 1, W 2, RW 3, X 4."""
    attr = bytearray(128)
    struct.pack_into("<II", attr, 0, 5, 128)
    struct.pack_into("<Q", attr, 40, int(disabled) | 1 << 2 | (0 if kernel else 1 << 5) | 1 << 6)
    struct.pack_into("<IQQ", attr, 52, kind, address, 8 if kind == 4 else length)
    fd: int = _libc.syscall(298, (ctypes.c_char * 128).from_buffer(attr), pid, cpu, -1, 8)
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return fd


@dataclass
class Puppet:
    """A child that obeys a letter a line and answers a line."""

    process: subprocess.Popen[str]
    first: list[str]

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def tids(self) -> list[int]:
        return [int(word) for word in self.first[1:]]

    def ask(self, letter: str) -> str:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{letter}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def puppet(*command: str | Path | int) -> Iterator[Puppet]:
    """Start it and wait for its first line."""
    process = subprocess.Popen(
        [str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        yield Puppet(process, process.stdout.readline().split())
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                if stream:
                    stream.close()


def until(scan: Callable[[], Books], good: Callable[[Books], bool]) -> Books:
    """Other programs of this machine run meanwhile: look again until it is so."""
    deadline = time.monotonic() + 20
    while not good(books := scan()) and time.monotonic() < deadline:
        time.sleep(0.002)
    return books


@contextlib.contextmanager
def debugger(program: Path, *commands: str) -> Iterator[int]:
    """gdb, which is killed in the end as a debugger is that crashes; its process id."""
    gdb = shutil.which("gdb")
    if gdb is None:
        pytest.skip("needs gdb")
    arguments = [word for command in commands for word in ("-ex", command)]
    with subprocess.Popen(
        [gdb, "-nx", "-q", "-batch", *arguments, str(program)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield process.pid
        finally:
            process.kill()


@contextlib.contextmanager
def bpftrace(program: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    """bpftrace with a program, once it has attached it."""
    path = shutil.which("bpftrace")
    if path is None:
        pytest.skip("needs bpftrace: apt-get install bpftrace")
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(
            [path, *options, "-e", f"BEGIN {{ print(1); }} {program}"],
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            while (line := process.stdout.readline()) and line != "1\n":
                pass
            if not line:
                said.seek(0)
                text = said.read().strip()
                if "HW registers" in text:  # ENOSPC: it works, and somebody is in its way
                    pytest.fail(f"no slot for bpftrace: {', '.join(holders_now())}")
                pytest.skip(f"bpftrace does not work here: {text}")
            yield process
        finally:
            process.kill()
