"""The numbers of this machine, each beside its peer in the same run. Prints them; judges nothing by a wall clock.

python tests/bench/run.py [--quick] [NAME]...
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
import traceback
from collections.abc import Callable

from tests.bench import (
    bare,
    culprits,
    first_picture,
    front_end,
    front_views,
    history,
    hits,
    live,
    memory,
    names,
    ordinary,
    quiet,
    requests,
)
from tests.bench import tasks as many_tasks
from tests.bench.programs import Built, Missing, building
from tests.bench.report import Report, machine, print_table, skipped

_BENCHES: dict[str, Callable[[Built, bool], Report]] = {
    "quiet": quiet.bench,
    "hits": hits.bench,
    "bare": bare.bench,
    "requests": requests.bench,
    "live": live.bench,
    "culprits": culprits.bench,
    "tasks": many_tasks.bench,
    "first-picture": first_picture.bench,
    "keys": front_end.bench,
    "views": front_views.bench,
    "memory": memory.bench,
    "history": history.bench,
    "names": names.bench,
    "ordinary": ordinary.bench,
}


def main() -> int:
    """Exit code 0 whatever the numbers are; 1 where a bench could not be carried out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of: {', '.join(_BENCHES)}")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in _BENCHES]:
        parser.error(f"no bench {unknown[0]!r}: {', '.join(_BENCHES)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is cleaned up on the way out
    print(machine())
    print("figures: min/median/max of the runs; a ratio is taken run by run")
    report, failed = Report(()), False
    with building() as built:
        for name in options.names or _BENCHES:
            began = time.perf_counter()
            try:
                report += _BENCHES[name](built, options.quick)
            except Missing as missing:
                report += skipped(name, str(missing))
            except Exception as error:  # one bench that breaks does not take the others' figures with it
                traceback.print_exc()
                report += skipped(name, f"could not be carried out: {type(error).__name__}: {error}")
                failed = True
            print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    print()
    print_table(report.rows, print)
    print()
    for note in report.notes:
        print(note)
    print(machine())
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
