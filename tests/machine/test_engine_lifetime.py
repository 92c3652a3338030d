"""When a virtual machine goes away."""

from __future__ import annotations

import gc
import sys
import threading
from typing import Any

import pytest

from backends.base import Launch
from backends.emulated import icicle_vm
from backends.emulated.programs import PROGRAMS
from tests.machine.linux_loop import boot


def test_a_machine_that_another_thread_collects_goes_away_in_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its parts refer to each other, so it stays until the collector comes, in whichever thread that is."""
    wrong: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", wrong.append)
    gc.collect()
    gc.disable()
    try:
        boot(Launch(str(PROGRAMS["counter"].path)), jit=True)
        collector = threading.Thread(target=gc.collect)
        collector.start()
        collector.join()
    finally:
        gc.enable()
    assert wrong == []
    left = icicle_vm._left[threading.get_ident()]
    assert [type(vm).__name__ for vm in left] == ["Icicle"]
    del left
    icicle_vm.create(jit=False)
    assert not icicle_vm._left
