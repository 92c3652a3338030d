"""What can be told from the command line alone, and where its program begins."""

from __future__ import annotations

from typing import Final

__all__ = ["COMPATIBLE", "LIVE_ONLY", "CommandLineError", "split"]

LIVE_ONLY: Final = ("kernel", "guard", "sudo")
COMPATIBLE: Final = "glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-AVX512VL,-AVX512BW,-ERMS,-FSRM,-BMI1,-BMI2,-LZCNT,-MOVBE,-SSE4_1,-SSE4_2,-RTM,-SSSE3,-AVX_Fast_Unaligned_Load"
"""GLIBC_TUNABLES that keep glibc to functions that the emulated CPU has too."""


class CommandLineError(Exception):
    """A command line that asks for nothing that exists: exit code 2."""


def split(argv: list[str]) -> tuple[list[str], list[str] | None]:
    """What comes before `--`, and the program after it."""
    if "--" not in argv:
        return argv, None
    at = argv.index("--")
    return argv[:at], argv[at + 1 :]
