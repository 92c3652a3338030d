"""This program and its terminal."""

from __future__ import annotations

import locale
import os
import platform
import sys
from importlib import import_module
from typing import Final

from tui.session.escape import escape, one_line
from tui.text.checks.check import Check

__all__ = ["colours", "emulator", "python", "system", "terminal", "utf8"]

_SMALLEST: Final = (80, 24)


def python() -> Check:
    """The interpreter."""
    found = f"{platform.python_implementation()} {platform.python_version()}"
    return Check("python", sys.version_info >= (3, 11), found, "hwbp-tui needs Python 3.11 or later", "")


def system() -> Check:
    """The operating system and processor."""
    found = f"{platform.system()} {platform.release()} {platform.machine()}"
    ok = platform.system() == "Linux" and platform.machine() == "x86_64"
    return Check("system", ok, found, "Linux on x86-64 is supported", "" if ok else "run it on Linux x86-64")


def emulator() -> Check:
    """Whether the emulated machine can be used."""
    means = "the emulated machine runs programs: no root, no hardware"
    try:
        icicle = import_module("icicle")
    except Exception as error:  # a broken installation may fail in any way: that is the finding
        found = one_line(f"cannot be imported: {type(error).__name__}: {error}")
        return Check("emulator", False, found, means, "pip install icicle-emu==0.0.11")
    return Check("emulator", True, f"icicle {getattr(icicle, '__version__', '')}".strip(), means)


def terminal() -> Check:
    """Whether the app has a screen to draw on."""
    means = f"the app needs a terminal of at least {_SMALLEST[0]}x{_SMALLEST[1]}; trace and script need none"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return Check("terminal", None, "none here", means, "run it in a terminal")
    size = os.get_terminal_size(sys.stderr.fileno())
    ok = size.columns >= _SMALLEST[0] and size.lines >= _SMALLEST[1]
    found = f"{escape(os.environ.get('TERM', ''))} {size.columns}x{size.lines}".strip()
    return Check("terminal", ok, found, means, "" if ok else "make the window larger")


def colours() -> Check:
    """How many colours the terminal says it has."""
    means = "256 colours or more look as intended; fewer work, because colour never carries meaning alone"
    term, colorterm = os.environ.get("TERM", ""), os.environ.get("COLORTERM", "")
    if not term:
        return Check("colours", None, "TERM is not set", means, "export TERM=xterm-256color")
    ok = colorterm in ("truecolor", "24bit") or "256" in term or "direct" in term
    found = f"TERM={escape(term)}" + (f" COLORTERM={escape(colorterm)}" if colorterm else "")
    return Check("colours", ok, found, means, "" if ok else "export TERM=xterm-256color")


def utf8() -> Check:
    """Whether text may hold Unicode."""
    encoding = locale.getpreferredencoding(False)
    ok = encoding.lower().replace("-", "") == "utf8"
    remedy = "" if ok else "export LANG=C.UTF-8, or use --ascii"
    return Check("utf8", ok, encoding, "lines and boxes are drawn with Unicode", remedy)
