"""What a person asks of the kernel's owners and tasks, as words: the emulated side of `Backend.owner`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from backends.base import HwbpError
from backends.emulated.kernel.core import Kernel
from backends.emulated.kernel.tasks import Task
from backends.emulated.owner_words.ftrace import FtraceWords
from backends.emulated.owner_words.kgdb import KgdbWords
from backends.emulated.owner_words.kvm import KvmWords
from backends.emulated.owner_words.looking import InfoWords, KernelWords
from backends.emulated.owner_words.perf import PerfWords
from backends.emulated.owner_words.ptrace import PtraceWords
from backends.emulated.owner_words.reading import Reading
from backends.emulated.owner_words.tasks import NmiWords, Recorder, TaskWords

__all__ = ["OwnerWords"]

_OWNERS: Final[dict[str, type[Reading]]] = {
    "perf": PerfWords, "ptrace": PtraceWords, "kgdb": KgdbWords, "kvm": KvmWords, "ftrace": FtraceWords,
    "task": TaskWords, "nmi": NmiWords, "info": InfoWords, "kernel": KernelWords,
}  # fmt: skip


class OwnerWords:
    """Finds the method `do_VERB` of an owner and calls it with its arguments, which are texts."""

    def __init__(self, kernel: Kernel, opener: Task, first: Callable[[], Task], told: Recorder) -> None:
        self._owners = {name: owner(kernel, opener, first) for name, owner in _OWNERS.items()}
        tasks = self._owners["task"]
        assert isinstance(tasks, TaskWords)
        tasks.recorder = told

    def do(self, owner: str, verb: str, arguments: tuple[str, ...]) -> tuple[str, ...]:
        """One call (EOPNOTSUPP: no such call; EINVAL: too many or too few arguments; and whatever it meets)."""
        call = getattr(self._owners.get(owner), f"do_{verb.replace(' ', '_')}", None)
        if call is None:
            raise HwbpError(f"this machine has no {owner} {verb}", errno="EOPNOTSUPP")
        try:
            return tuple(call(*arguments))
        except TypeError as error:
            if "positional argument" not in str(error):
                raise
            said = " ".join(arguments)
            raise HwbpError(f"{owner} {verb}: not with these arguments: {said}", errno="EINVAL") from error
