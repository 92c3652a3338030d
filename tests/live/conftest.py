"""Programs that the tests of the kernel's books watch; and runs that say nothing, because another program of this machine
held debug registers meanwhile."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from _pytest.runner import runtestprotocol

from tests.live.holders import Puppet, build, puppet, symbol
from tests.live.strangers import Strangers

_RUNS: Final = 4
_PATIENCE: Final = 3.0


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `victim`, which can be watched, and `tracer`, a small debugger."""
    folder = tmp_path_factory.mktemp("programs")
    for name in ("victim", "tracer"):
        build(name, folder)
    return folder


@pytest.fixture
def victim(programs: Path) -> Iterator[Puppet]:
    """A process to be watched."""
    with puppet(programs / "victim") as child:
        yield child


@pytest.fixture
def counter(programs: Path) -> int:
    """The address of a variable of the victim's."""
    return symbol(programs / "victim", "counter")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """A run of an `undisturbed` test that failed while somebody else held a debug register is discarded and repeated;
    after the last one the test is skipped and says who it was."""
    if item.get_closest_marker("undisturbed") is None:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for run in range(1, _RUNS + 1):
        with Strangers() as strangers:
            reports = runtestprotocol(item, nextitem=nextitem, log=False)
        if not strangers.seen or not any(report.failed for report in reports):
            break
        who = ", ".join(list(strangers.seen)[:4])
        if run == _RUNS:
            reports = [
                _discarded(report, f"{_RUNS} runs discarded: debug registers were held by {who}")
                for report in reports
            ]
            break
        warnings.warn(f"{item.nodeid}: run {run} discarded, debug registers were held by {who}", stacklevel=1)
        Strangers.wait_until_gone(_PATIENCE)
        _begin_anew(item)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _begin_anew(item: Any) -> None:
    """Fixtures are made again for the next run (what pytest does when it makes the item)."""
    item._initrequest()
    for definitions in item.session._fixturemanager._arg2fixturedefs.values():
        for definition in definitions:
            if (
                getattr(definition, "cached_result", None) is not None
                and definition.cached_result[2] is not None
            ):
                definition.cached_result = None  # one that failed is not failed for good


def _discarded(report: pytest.TestReport, reason: str) -> pytest.TestReport:
    if report.failed:
        report.outcome = "skipped"
        report.longrepr = (report.location[0], report.location[1] or 0, f"Skipped: {reason}")
    return report
