"""Random sequences with every owner on synthetic tasks: what always holds, holds after every step."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.machine.kernel_random import VERSIONS, run

_SETTINGS = {
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "phases": [Phase.explicit, Phase.generate],
}


@settings(max_examples=15, **_SETTINGS)  # type: ignore[arg-type]
@given(st.integers(0, 1 << 32), st.sampled_from(VERSIONS), st.integers(1, 4))
def test_what_always_holds(seed: int, version: tuple[int, int, int], cpus: int) -> None:
    run(seed, 120, version, cpus)


@pytest.mark.slow
@settings(max_examples=4, **_SETTINGS)  # type: ignore[arg-type]
@given(st.integers(0, 1 << 32), st.sampled_from(VERSIONS), st.integers(1, 8))
def test_what_always_holds_over_thousands_of_steps(
    seed: int, version: tuple[int, int, int], cpus: int
) -> None:
    machine = run(seed, 4000, version, cpus)
    assert machine.refusals > 100


def test_every_owner_takes_part() -> None:
    done: Counter[str] = Counter()
    for seed in range(8):
        done += run(seed, 500, VERSIONS[seed % len(VERSIONS)], 2).done
    for kind in (
        "open",
        "poke",
        "kgdb OK",
        "kgdb E01",
        "kgdb E22",
        "guest",
        "wprobe",
        "trigger",
        "ksym",
        "group",
    ):
        assert done[kind], kind
    assert done["kgdb hit"]
    assert done["ghost"]


def test_both_ways_of_accounting_admit_the_same() -> None:
    for seed in range(20):
        runs = [run(seed, 60, version, 3) for version in ((6, 18, 0), (5, 10, 0))]
        assert runs[0].refusals == runs[1].refusals
        described = [[event.described() for event in each.kernel.layer.events] for each in runs]
        assert described[0] == described[1]
