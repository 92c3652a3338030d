"""Runs a command under a seccomp filter that refuses system calls: `python tests/live/seccomp.py ERRNO CALL... -- COMMAND`.

What a container's filter does. The calls are numbers of x86-64.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

__all__ = ["BPF", "PERF_EVENT_OPEN", "PTRACE", "refusing"]

PERF_EVENT_OPEN, BPF, PTRACE = 298, 321, 101
_SET_NO_NEW_PRIVS, _SET_SECCOMP, _MODE_FILTER = 38, 22, 2
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000


def refusing(errno: int, *calls: int) -> list[str]:
    """The words to put in front of a command."""
    return [sys.executable, __file__, str(errno), *map(str, calls), "--"]


def install(errno: int, calls: list[int]) -> None:
    """Refuse these system calls in this process and all that it starts."""
    rules = [struct.pack("<HBBI", _LOAD, 0, 0, 0)]  # the call's number (struct seccomp_data)
    for call in calls:
        rules += [
            struct.pack("<HBBI", _EQUAL, 0, 1, call),
            struct.pack("<HBBI", _RETURN, 0, 0, _ERRNO | errno),
        ]
    rules.append(struct.pack("<HBBI", _RETURN, 0, 0, _ALLOW))
    code = ctypes.create_string_buffer(b"".join(rules))
    program = struct.pack("<HxxxxxxQ", len(rules), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    zero = ctypes.c_ulong(0)
    for option, first, second in (
        (_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), zero),
        (_SET_SECCOMP, ctypes.c_ulong(_MODE_FILTER), ctypes.create_string_buffer(program)),
    ):
        if libc.prctl(option, first, second, zero, zero):
            raise OSError(ctypes.get_errno(), "prctl")


if __name__ == "__main__":
    at = sys.argv.index("--")
    number, *named = map(int, sys.argv[1:at])
    install(number, named)
    os.execvp(sys.argv[at + 1], sys.argv[at + 1 :])
