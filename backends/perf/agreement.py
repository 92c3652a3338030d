"""Our requests against the kernel's books: where they do not say the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from backends.kernelview.books import Books, Holding
from backends.perf.capture import Carrier

__all__ = ["disagreements"]


def disagreements(
    books: Books, carriers: Iterable[Carrier], asked: Mapping[int, int], me: int
) -> tuple[str, ...]:
    """A sentence for each breakpoint of process `me` that the books do not have as it was asked for.

    `asked` are the descriptors that were open when the books were read, with their breakpoints: others say nothing.
    """
    found = {h.owner.fd: h for h in books.holdings if h.owner.pid == me and h.owner.fd is not None}
    said: list[str] = []
    for carrier in carriers:
        fds = [fd for fd in carrier.each() if asked.get(fd) == carrier.id]
        what = carrier.request.text or f"{carrier.request.address:#x}"
        missing = sum(fd not in found for fd in fds)
        if missing:
            said.append(f"{what}: the kernel's books do not have {missing} of its {len(fds)} events")
        other = [
            holding for fd in fds if (holding := found.get(fd)) is not None and _differs(holding, carrier)
        ]
        if other:
            have = f"{other[0].address:#x}/{other[0].length}:{other[0].type}"
            said.append(f"{what}: the kernel's books have {len(other)} of its {len(fds)} events as {have}")
    return tuple(said)


def _differs(holding: Holding, carrier: Carrier) -> bool:
    request = carrier.request
    length = 1 if request.type == "x" else request.length
    return (holding.address, holding.length, holding.type) != (request.address, length, request.type)
