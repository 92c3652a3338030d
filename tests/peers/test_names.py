"""A short run of `make fidelity-names`: no difference to the tools of this machine that nothing explains."""

from __future__ import annotations

import shutil

import pytest

from tests.peers.names import compare, subjects


@pytest.mark.slow
@pytest.mark.parametrize("name", ["libc", "c++", "c++ split", "stripped", "rust", "go", "kernel"])
def test_names_are_those_that_other_tools_give(name: str) -> None:
    if name != "kernel" and not (shutil.which("nm") or shutil.which("llvm-symbolizer")):
        pytest.skip("neither nm nor llvm-symbolizer: apt-get install binutils llvm")
    with subjects([name]) as found:
        if name not in found:
            pytest.skip(f"no {name} here")
        count = compare(name, found[name], 60)
    assert sum(count.same.values()) > 50 or name == "stripped"
    assert not count.unexplained, {each: rows[:2] for each, rows in count.examples.items()}
