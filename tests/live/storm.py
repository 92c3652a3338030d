"""`python -m tests.live.storm PROGRAM COUNTER`: processes, threads, events and tracers, made and ended as fast as they can be.

PROGRAM is a copy of victim, with tracer beside it; COUNTER the address that is watched. Ends when it is killed; its children
end when their standard input does.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.live.holders import perf_open, puppet


def main(program: Path, counter: int) -> None:
    tracer = program.with_name("tracer")
    while True:
        try:
            with puppet(program, 2) as child:
                events = [
                    perf_open(counter + 8 * n, (8, 4)[n], n + 2, pid=t) for t in child.tids for n in range(2)
                ]
                with puppet(tracer, child.pid, 0, counter + 16, 7, 0xD_0001):
                    child.ask("h")
                    for fd in events[::2]:
                        os.close(fd)
                    child.process.kill()
                for fd in events[1::2]:
                    os.close(fd)
        except (OSError, ValueError):
            continue


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
