"""Long runs of random sequences on this kernel and on the model: `make fidelity-kernel`.

python -m tests.live.fidelity [--seconds N] [--seed N] [--wide] [--as-nobody] [--replay FILE]
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.live.kernel_pair import NOBODY, Outcome, build_subject, compare, die_with_parent, run_as
from tests.live.steps import Step, draw, script, shrink

__all__ = ["campaign", "main"]

_LENGTH = 30
_A_TURN = 40


def _sleeper() -> int:
    """A task that belongs to whoever starts it, and does nothing."""
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        die_with_parent()
        while os.getppid() == parent:
            signal.sigtimedwait([signal.SIGUSR1], 1.0)
        os._exit(0)
    return pid


def _turn(subject: str, foreign: int, seeds: range, wide: bool) -> str:
    """Some sequences; what came of them as JSON."""
    steps = sequences = discarded = 0
    for seed in seeds:
        sequence = draw(seed, _LENGTH, wide=wide)
        outcome = compare(sequence, subject, foreign, wide=wide)
        if outcome.difference:
            again = compare(sequence, subject, foreign, wide=wide)
            if not again.difference:
                outcome = Outcome(0, discarded=True)
        if outcome.difference:
            fails = lambda shorter: bool(compare(shorter, subject, foreign, wide=wide).difference)  # noqa: E731
            shortest = shrink(sequence, fails)
            last = compare(shortest, subject, foreign, wide=wide)
            return json.dumps(
                {
                    "seed": seed,
                    "difference": last.difference or outcome.difference,
                    "script": script(shortest),
                }
            )
        steps += outcome.steps
        sequences += not outcome.discarded
        discarded += outcome.discarded
    return json.dumps({"steps": steps, "sequences": sequences, "discarded": discarded})


def campaign(
    *, seconds: float, seed: int, wide: bool, nobody: bool, most: int = 1 << 40
) -> tuple[int, int, int, str]:
    """Run until the time is over. (steps that agreed, sequences, discarded sequences, first difference)."""
    steps = sequences = discarded = 0
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        subject = build_subject(Path(folder))
        foreign = _sleeper()
        try:
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline and sequences < most:
                seeds = range(seed, seed + min(_A_TURN, most))
                seed += len(seeds)
                text = run_as(NOBODY if nobody else None, lambda: _turn(subject, foreign, seeds, wide))  # noqa: B023
                if text.startswith("FAILED") or not text:
                    return steps, sequences, discarded, text or "the run died"
                result = json.loads(text)
                if "difference" in result:
                    return (
                        steps,
                        sequences,
                        discarded,
                        f"seed {result['seed']}\n{result['difference']}\n{result['script']}",
                    )
                steps += result["steps"]
                sequences += result["sequences"]
                discarded += result["discarded"]
        finally:
            os.kill(foreign, signal.SIGKILL)
            os.waitpid(foreign, 0)
    return steps, sequences, discarded, ""


def _replay(path: str, wide: bool) -> int:
    steps: list[Step] = ast.literal_eval(Path(path).read_text())
    with tempfile.TemporaryDirectory() as folder:
        subject, foreign = build_subject(Path(folder)), _sleeper()
        try:
            outcome = compare(steps, subject, foreign, wide=wide)
        finally:
            os.kill(foreign, signal.SIGKILL)
            os.waitpid(foreign, 0)
    print(outcome.difference or f"{outcome.steps} steps agree")
    return bool(outcome.difference)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--replay")
    parser.add_argument("--wide", action="store_true", default=None)
    parser.add_argument("--as-nobody", action="store_true", default=None)
    options = parser.parse_args()
    if options.replay:
        return _replay(options.replay, bool(options.wide))
    seed = options.seed if options.seed is not None else time.time_ns() >> 20
    failed = 0
    runs = [(False, False), (False, True), (True, False)]
    if options.wide is not None or options.as_nobody is not None:
        runs = [(bool(options.wide), bool(options.as_nobody))]
    if os.getuid():
        runs = [run for run in runs if not run[0] and not run[1]]
    for wide, nobody in runs:
        steps, sequences, discarded, difference = campaign(
            seconds=options.seconds / len(runs), seed=seed, wide=wide, nobody=nobody
        )
        who = "uid 65534 without capabilities" if nobody else f"uid {os.getuid()}"
        what = "tasks and CPUs" if wide else "tasks"
        print(
            f"{who}, {what}: {steps} steps in {sequences} sequences agree, {discarded} sequences discarded "
            f"(somebody else held a slot), from seed {seed}",
            flush=True,
        )
        if difference:
            print(f"DIFFERENCE: {difference}", flush=True)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
