"""Put a program into an address space the way Linux's execve does (fs/binfmt_elf.c), without its randomness."""

from __future__ import annotations

import errno
import os
import random
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from backends.base import HwbpError, Launch
from backends.emulated.engine import EXEC, READ, WRITE, Engine
from backends.emulated.memory import AddressSpace
from backends.emulated.regions import LIMIT, page_down, page_up
from backends.emulated.special import HWCAP
from symbols.elf import ElfError, ElfImage, Segment

__all__ = [
    "ARGUMENT_LIMIT",
    "DEFAULT_PATH",
    "STACK_LIMIT",
    "STACK_TOP",
    "Image",
    "enter",
    "find_program",
    "load",
    "load_program",
]

PIE_BASE = 0x5555_5555_4000
"""Where gdb has taught everyone to expect a position-independent program."""
STACK_TOP = 0x7FFF_FFFF_F000
STACK_LIMIT = 8 << 20
_STACK_FIRST = 1 << 20
ARGUMENT_LIMIT = STACK_LIMIT // 8
DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"

_PT_LOAD = 1
_PACKAGES = {
    "/lib64/ld-linux-x86-64.so.2": "libc6",
    "/lib/ld-musl-x86_64.so.1": "musl",
    "/libx32/ld-linux-x32.so.2": "libc6-x32",
}


@dataclass(frozen=True, slots=True)
class Image:
    """A loaded program. Addresses are absolute.

    `entry` is where the CPU starts (in the dynamic loader, where there is one), `program_entry` the program's own,
    `bias` what was added to its link-time addresses, `end` the first page after it.
    """

    path: str
    argv: tuple[str, ...]
    entry: int
    program_entry: int
    bias: int
    end: int
    interpreter: str | None
    stack_pointer: int


def find_program(name: str, search: str = DEFAULT_PATH) -> str:
    """The absolute path of a program: searched as a shell does when the name has no slash."""
    if not name:
        raise HwbpError("no program given", errno="ENOENT")
    if "/" in name:
        return os.path.abspath(name)
    directories = [directory or "." for directory in search.split(":")]
    for directory in directories:
        path = os.path.abspath(os.path.join(directory, name))
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    remedy = f"give its path: ./{name}" if os.path.exists(name) else "give its path"
    raise HwbpError(f"{name}: no such program in PATH", errno="ENOENT", remedy=remedy)


def load(launch: Launch, space: AddressSpace) -> Image:
    """Map the launched program, its dynamic loader and the stack; HwbpError says in one line why that cannot be."""
    name = find_program(launch.program, os.environ.get("PATH", DEFAULT_PATH))
    argv = (launch.program, *launch.argv)
    return load_program(name, launch.program, argv, _environment(launch), space)


def load_program(
    path: str, name: str, argv: tuple[str, ...], environment: tuple[str, ...], space: AddressSpace
) -> Image:
    """What execve(2) does: `path` is the file, `name` what errors call it."""
    exec_name, path = path, os.path.realpath(path)
    elf = _open(path, name)
    try:
        bias, low, end = _place(elf, path, space, pie_base=PIE_BASE)
        entry = program_entry = bias + elf.entry
        interpreter, base = elf.interpreter, 0
        if interpreter is not None:
            loader = _open_interpreter(interpreter, name)
            base, loader_low, _ = _place(loader, os.path.realpath(interpreter), space, pie_base=None)
            entry = base + loader.entry
            base = base if loader.kind == "DYN" else loader_low
        space.set_heap(end)
        auxv = (
            (3, _program_headers(elf, bias, low)),  # AT_PHDR
            (4, elf.phentsize),  # AT_PHENT
            (5, elf.phnum),  # AT_PHNUM
            (6, 4096),  # AT_PAGESZ
            (7, base),  # AT_BASE
            (8, 0),  # AT_FLAGS
            (9, program_entry),  # AT_ENTRY
            (11, 1000),  # AT_UID
            (12, 1000),  # AT_EUID
            (13, 1000),  # AT_GID
            (14, 1000),  # AT_EGID
            (16, HWCAP),  # AT_HWCAP
            (17, 100),  # AT_CLKTCK
            (23, 0),  # AT_SECURE
            (26, 0),  # AT_HWCAP2
            (51, 0xD30),  # AT_MINSIGSTKSZ
        )
        stack_pointer = _stack(space, exec_name, argv, environment, auxv)
    except OSError as error:
        code = errno.errorcode.get(error.errno or 0, "ENOEXEC")
        raise HwbpError(f"{name}: cannot be loaded: {os.strerror(error.errno or 0)}", errno=code) from error
    return Image(path, argv, entry, program_entry, bias, end, interpreter, stack_pointer)


def enter(engine: Engine, image: Image) -> None:
    """Set the registers as execve leaves them."""
    for name in ("RAX", "RBX", "RCX", "RDX", "RSI", "RDI", "RBP", *(f"R{n}" for n in range(8, 16))):
        engine.set(name, 0)
    engine.set("RSP", image.stack_pointer)
    engine.set("RFLAGS", 0x202)
    engine.set("FS_BASE", 0)
    engine.set("GS_BASE", 0)
    engine.set("MXCSR", 0x1F80)
    engine.pc = image.entry


def _environment(launch: Launch) -> tuple[str, ...]:
    given = dict(launch.env)
    fixed = {"PATH": DEFAULT_PATH, "HOME": "/", "LANG": "C", "TERM": "dumb"}
    return tuple(f"{name}={value}" for name, value in (fixed | given).items())


def _open(path: str, name: str) -> ElfImage:
    try:
        elf = ElfImage.open(path)
    except ElfError as error:
        if not os.path.exists(path):
            raise HwbpError(str(error), errno="ENOENT") from error
        if not os.path.isfile(path) or not os.access(path, os.R_OK):
            raise HwbpError(str(error), errno="EACCES") from error
        if (line := _script(path)) is not None:
            what = f"{name}: a script, not a program: run its interpreter"
            raise HwbpError(what, errno="ENOEXEC", remedy=f"{line} {name}".strip()) from error
        raise HwbpError(str(error), errno="ENOEXEC") from error
    if not os.access(path, os.X_OK):
        raise HwbpError(f"{name}: not executable", errno="EACCES", remedy=f"chmod +x {name}")
    return elf


def _script(path: str) -> str | None:
    """The interpreter named by a file that starts with #!, None for other files."""
    with open(path, "rb") as file:
        start = file.read(256)
    return start[2:].split(b"\n")[0].decode("utf-8", "replace").strip() if start.startswith(b"#!") else None


def _open_interpreter(interpreter: str, name: str) -> ElfImage:
    if not os.path.exists(interpreter):
        package = _PACKAGES.get(interpreter)
        raise HwbpError(
            f"{name}: its dynamic loader {interpreter} is missing",
            errno="ENOENT",
            remedy=f"install the package {package}"
            if package
            else "install the C library it was linked with",
        )
    return _open(interpreter, interpreter)


def _program_headers(elf: ElfImage, bias: int, low: int) -> int:
    for segment in elf.segments:
        if segment.type == _PT_LOAD and segment.offset <= elf.phoff < segment.offset + segment.filesz:
            return bias + segment.vaddr + elf.phoff - segment.offset
    return low + elf.phoff


def _place(elf: ElfImage, path: str, space: AddressSpace, *, pie_base: int | None) -> tuple[int, int, int]:
    """Map the segments; returns the bias, the lowest mapped address and the first page after the highest."""
    loads = sorted((s for s in elf.segments if s.type == _PT_LOAD and s.memsz), key=lambda s: s.vaddr)
    if not loads:
        raise OSError(errno.ENOEXEC, os.strerror(errno.ENOEXEC))
    low, high = page_down(loads[0].vaddr), max(page_up(s.vaddr + s.memsz) for s in loads)
    bias = 0
    if elf.kind == "DYN":
        align = max(max(s.align for s in loads), 4096)
        if pie_base is None:
            # Reserved and given back, so that the whole of it fits below what is already there.
            base = space.map(None, high - low + align, 0)
            space.unmap(base, high - low + align)
            pie_base = base
        bias = (pie_base + align - 1) // align * align - low
    for segment in loads:
        _map_segment(elf, segment, bias, path, space)
    return bias, bias + low, bias + high


def _map_segment(elf: ElfImage, segment: Segment, bias: int, path: str, space: AddressSpace) -> None:
    prot = (
        (READ if segment.flags & 4 else 0)
        | (WRITE if segment.flags & 2 else 0)
        | (EXEC if segment.flags & 1 else 0)
    )
    start = page_down(bias + segment.vaddr)
    file_end = bias + segment.vaddr + segment.filesz
    end = page_up(bias + segment.vaddr + segment.memsz)
    lead = bias + segment.vaddr - start
    middle = page_up(file_end) if segment.filesz else start
    if end - start > LIMIT:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
    if segment.filesz:
        data = elf.read_at(segment.offset - lead, middle - start)
        if segment.memsz > segment.filesz:
            data = data[: lead + segment.filesz]
        space.map(start, middle - start, prot, fixed=True, data=data, offset=segment.offset - lead, path=path)
    if end > middle:
        space.map(middle, end - middle, prot, fixed=True)


def _stack(
    space: AddressSpace,
    path: str,
    argv: tuple[str, ...],
    environment: tuple[str, ...],
    auxv: Iterable[tuple[int, int]],
) -> int:
    """Build the first stack (fs/binfmt_elf.c, create_elf_tables); returns its pointer, 16-byte aligned."""
    strings = [os.fsencode(text) + b"\0" for text in (path, *environment[::-1], *argv[::-1])]
    if sum(map(len, strings)) + 8 * len(strings) > ARGUMENT_LIMIT:
        raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
    space.set_stack(STACK_TOP, _STACK_FIRST + page_up(sum(map(len, strings))), STACK_LIMIT)
    sp = STACK_TOP - 8

    def push(data: bytes) -> int:
        nonlocal sp
        sp -= len(data)
        space.poke(sp, data)
        return sp

    exec_name, *addresses = [push(string) for string in strings]
    environment_at = addresses[: len(environment)][::-1]
    argv_at = addresses[len(environment) :][::-1]
    sp &= -16
    platform = push(b"x86_64\0")
    seed = push(random.Random(0x5EED).randbytes(16))
    vector = (*auxv, (25, seed), (31, exec_name), (15, platform), (0, 0))  # AT_RANDOM, EXECFN, PLATFORM, NULL
    words = [len(argv), *argv_at, 0, *environment_at, 0, *(word for pair in vector for word in pair)]
    sp = (sp - 8 * len(words)) & -16
    space.poke(sp, struct.pack(f"<{len(words)}Q", *words))
    return sp
