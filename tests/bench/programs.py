"""The programs that the benches run, built with the compiler that is here."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from symbols.elf import ElfImage
from symbols.table import SymbolTable

__all__ = ["HIT_MODES", "Built", "Missing", "building"]

_SOURCES = Path(__file__).parent / "programs"
_RUNTIME = Path(__file__).parents[2] / "backends" / "emulated" / "programs"
_FLAGS = (
    *("-std=gnu11", "-O1", "-g", "-ffreestanding", "-fno-stack-protector", "-fcf-protection=none"),
    *("-march=x86-64", "-fno-omit-frame-pointer", "-mno-omit-leaf-frame-pointer"),
    *("-fno-optimize-sibling-calls", "-fno-tree-loop-distribute-patterns", "-fasynchronous-unwind-tables"),
    *("-nostdlib", "-static", "-no-pie", "-fno-pie", "-Wl,-z,noexecstack"),
)
_HOSTED = ("-std=gnu11", "-O1", "-march=x86-64", "-static", "-pthread")
HIT_MODES = {"write": 0, "deep": 1, "descend": 2, "read": 3, "four": 4, "rep": 5}
"""MODE of programs/hits.c."""


class Missing(Exception):
    """Something that a bench needs is not installed; the text says what."""


class Built:
    """Programs in a folder that goes away."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tables: dict[str, SymbolTable] = {}

    def program(self, source: str, mode: str | None = None, *, hosted: bool = False) -> str:
        """The path of `programs/source.c`, built when first asked for; `hosted` is one with a C library."""
        path = self._folder / (f"{source}-{mode}" if mode else source)
        if not path.exists():
            if shutil.which("gcc") is None:
                raise Missing("gcc is not installed")
            define = [f"-DMODE={HIT_MODES[mode]}"] if mode else []
            command = [
                "gcc",
                *(_HOSTED if hosted else _FLAGS),
                *define,
                f"-I{_RUNTIME}",
                "-o",
                str(path),
                str(_SOURCES / f"{source}.c"),
            ]
            subprocess.run(command, check=True, capture_output=True, text=True)
        return str(path)

    def address(self, path: str, symbol: str) -> int:
        """Where a variable of a (not position-independent) program lies."""
        if path not in self._tables:
            self._tables[path] = SymbolTable(ElfImage.open(path))
        return self._tables[path].find(symbol)[0].value


@contextmanager
def building() -> Iterator[Built]:
    """A place for programs, for as long as the benches run."""
    with tempfile.TemporaryDirectory(prefix="hwbp-bench-") as folder:
        yield Built(Path(folder))
