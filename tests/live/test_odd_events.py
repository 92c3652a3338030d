"""A program that makes odd perf requests prints the same on this machine's kernel and on the emulated machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from backends.base import Launch
from backends.emulated.backend import EmulatedBackend
from backends.ring import create_memfd
from tests.compiled import compiled
from tests.live.real_side import CPU, slots_are_free

pytestmark = [pytest.mark.live, pytest.mark.root]
_STEPS = 300
_AS = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
_PERFMON = [
    "--inh-caps",
    "-all,+perfmon",
    "--ambient-caps",
    "-all,+perfmon",
    "--bounding-set",
    "-all,+perfmon",
]


def _emulated(program: str, arguments: tuple[str, ...], *allow: str) -> list[str]:
    fd = create_memfd(1 << 14)
    backend = EmulatedBackend(fd)
    os.close(fd)
    backend.launch(Launch(program, arguments, stacks=False, allow=allow))
    backend.resume()
    try:
        for _ in range(20_000):
            if not backend.running:
                break
            backend.run_slice()
        output = b"".join(data for _, data in backend.output(0)).decode().splitlines()
        return [*output, backend.view().stop.text]
    finally:
        backend.close()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 5, 9])
@pytest.mark.parametrize("who", ["a user", "a user with CAP_PERFMON"])
def test_each_step_has_the_same_result(seed: int, who: str) -> None:
    if os.getuid() or not shutil.which("setpriv"):
        pytest.skip("needs root, and setpriv")
    if CPU != 1:
        pytest.skip("needs two CPUs")
    if int(Path("/proc/sys/kernel/perf_event_paranoid").read_text()) != 2:
        pytest.skip("perf_event_paranoid is not 2, as it is on the emulated machine")
    wide = who != "a user"
    if not slots_are_free(os.getpid(), wide=True):
        pytest.skip("somebody else holds hardware breakpoints, or there are none")
    arguments = (str(seed), str(_STEPS), str(int(wide)))
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # somebody else is to execute it
        source = Path(__file__).with_name("odd_events.c")
        options = ["-O1", "-w", "-no-pie", "-static", "-pthread"]
        program = str(compiled(Path(folder) / "odd", source, *options))
        native = subprocess.run(
            [*_AS, *(_PERFMON if wide else []), program, *arguments],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        emulated = _emulated(program, arguments, "exec", *(["perfmon"] if wide else []))
    if not slots_are_free(os.getpid(), wide=True):
        pytest.skip("somebody else held hardware breakpoints meanwhile")
    assert native.returncode == 0
    assert emulated == [*native.stdout.splitlines(), "the program has ended: exit status 0"]
