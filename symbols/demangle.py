"""Names as the source has them: C++ (Itanium ABI), Rust (legacy and v0), Swift and D, from their mangled form."""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["demangle", "is_mangled"]

NAME_LIMIT = 4096  # characters: longer names are shown as they are
_MANGLED = re.compile(r"_?_Z|_R[A-Z0-9]|\$s|_\$s|_T0|_D[0-9]")
_SPECIAL = re.compile(r"\{(vtable|vtt|typeinfo name|typeinfo|construction vtable)\((.*)\)\}", re.DOTALL)
_WORDS = {"vtt": "VTT"}


def is_mangled(name: str) -> bool:
    """Whether a name looks mangled."""
    return _MANGLED.match(name) is not None


@lru_cache(maxsize=65536)
def demangle(name: str) -> str:
    """The name as the source has it; the name itself where it is not mangled, or nothing here can read it."""
    if len(name) > NAME_LIMIT or not _MANGLED.match(name):
        return name
    try:
        from multi_demangle import demangle_symbol
    except ImportError:
        return name
    try:
        found = str(demangle_symbol(name))
    except Exception:  # names that are not UTF-8, and whatever else a hostile one brings about
        return name
    if "{" in found and (special := _SPECIAL.fullmatch(found)):
        found = f"{_WORDS.get(special[1], special[1])} for {special[2]}"
    return found.replace("_GLOBAL__N_1", "(anonymous namespace)")
