"""Whether this kernel lets us load BPF programs: asked once, with the reason for a skip."""

from __future__ import annotations

import functools
import os

import pytest

from backends.bpf.assembler import Assembler
from backends.bpf.syscall import BpfError, ProgramType, load_program


@functools.cache
def reason() -> str:
    try:
        os.close(load_program(ProgramType.RAW_TRACEPOINT, Assembler().leave(0)))
    except BpfError as error:
        return f"no BPF here: {error.strerror}"
    return ""


needs_bpf = pytest.mark.skipif(bool(reason()), reason=reason() or "BPF works here")
