"""Real programs for the tests of `symbols`: compiled where they are needed, or the test skips and says why."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from symbols.elf import ElfImage
from symbols.space import AddressSpace

DATA = Path(__file__).parent
PIE_BASE = 0x5555_5555_4000


def need(*tools: str) -> None:
    """Skip where one of these programs is missing."""
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")


def build(directory: Path, source: str, *flags: str, name: str = "prog") -> Path:
    """Compile one of the sources beside this file in `directory`, so that DWARF has its bare name."""
    need("gcc")
    copy = directory / source
    if not copy.exists():
        shutil.copy(DATA / source, copy)
    done = subprocess.run(["gcc", source, "-o", name, *flags], cwd=directory, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"gcc {' '.join(flags)} cannot build here: {done.stderr.strip().splitlines()[-1]}")
    return directory / name


def run(*command: str | Path) -> str:
    """The standard output of a program that succeeds."""
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True).stdout


def rows(image: ElfImage, base: int = PIE_BASE) -> list[tuple[int, int, str, int, str]]:
    """/proc/PID/maps of a program that is loaded at `base` (0 for one that cannot move)."""
    base = base if image.kind == "DYN" else 0
    found = []
    for segment in image.segments:
        if segment.type == 1:
            perms = "".join(
                letter if segment.flags & bit else "-" for letter, bit in (("r", 4), ("w", 2), ("x", 1))
            )
            start = (base + segment.vaddr) & -4096
            end = (base + segment.vaddr + segment.filesz + 4095) & -4096
            found.append((start, end, perms + "p", segment.offset & -4096, image.path))
            if (rest := (base + segment.vaddr + segment.memsz + 4095) & -4096) > end:
                found.append((end, rest, perms + "p", 0, ""))  # .bss beyond the file's last page is anonymous
    return found


def space_of(*paths: Path, more: Iterable[tuple[int, int, str, int, str]] = ()) -> AddressSpace:
    """An address space with these files in it, the first being the program."""
    mapped = list(more)
    for number, path in enumerate(paths):
        mapped += rows(ElfImage.open(path), PIE_BASE + (number << 32))
    return AddressSpace(mapped, str(paths[0]))
