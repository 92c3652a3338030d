"""`hwbp-tui slots`: who holds the debug registers of this machine (docs/cli.md)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from backends.base import HwbpError
from backends.kernelview.books import SLOTS, Books, Holding
from backends.kernelview.now import books_now
from tui.session.escape import escape
from tui.session.hit_lines import dump
from tui.text.output import print_lines

if TYPE_CHECKING:
    from backends.root.start import RootProcess

__all__ = ["as_json", "disarm", "lines", "slots"]

_WIDTH = 80


def slots(pid: int | None = None, *, json: bool = False, root: RootProcess | None = None) -> int:
    """Print the books, read by the root process where there is one: the exit code.

    Raises HwbpError (ESRCH) for a process that is not there and holds nothing.
    """
    books = books_now(pid) if root is None else root.books()
    if pid is not None:
        books = books.of_process(pid)
    if pid is not None and not books.holdings and not os.path.exists(f"/proc/{pid}"):
        raise HwbpError(f"there is no process {pid}, and nothing of it holds a slot", errno="ESRCH")
    return print_lines([dump(as_json(books))] if json else lines(books, pid))


def disarm(pid: int, *, json: bool = False) -> int:
    """Disarm the watches that a tracer left in a process, and say which: the exit code. Raises HwbpError (ESRCH, EPERM,
    EBUSY while somebody traces it)."""
    from backends.perf.leaked import disarm_leaked

    found = disarm_leaked(pid)
    if json:
        return print_lines([dump({"schema": 1, "pid": pid, "disarmed": [asdict(watch) for watch in found]})])
    if not found:
        return print_lines([f"no watch was left armed in process {pid}"])
    said = [
        f"disarmed in thread {watch.tid}: {watch.address:#x}/{watch.length}:{watch.type} (u_debugreg[{watch.index}])"
        for watch in found
    ]
    return print_lines(
        [*said, "The slots stay reserved until the process execs or exits: ptrace cannot free them."]
    )


def as_json(books: Books) -> dict[str, Any]:
    """The object of `slots --json`."""
    return {
        "schema": 1,
        "source": books.source,
        "taken_ns": books.taken_ns,
        "scan_ms": round(books.scan_ms, 3),
        "cpus": [
            {
                "cpu": cpu.cpu,
                "dr7": cpu.dr7,
                "free": cpu.free,
                "slots": [{"slot": holding.slot, **_plain(holding)} for holding in cpu.slots],
            }
            for cpu in books.cpus
        ],
        "reserved": [_plain(holding) for holding in books.reserved],
        "unknown": [escape(text) for text in books.unknown],
    }


def _plain(holding: Holding) -> dict[str, Any]:
    owner, target = holding.owner, holding.target
    return {
        "address": holding.address,
        "length": holding.length,
        "type": holding.type,
        "enabled": holding.enabled,
        "owner": {
            "kind": owner.kind,
            "pid": owner.pid,
            "comm": None if owner.comm is None else escape(owner.comm),
            "fd": owner.fd,
        },
        "target": None
        if target is None
        else {"pid": target.pid, "tid": target.tid, "comm": escape(target.comm)},
        "hits": holding.hits,
        "orphan": holding.orphan,
    }


def lines(books: Books, pid: int | None = None) -> list[str]:
    """The books for people, on a terminal of 80 columns."""
    if books.source == "proc":
        return ["The kernel's books are closed to us. What /proc says:", *_wrapped(books.unknown)]
    found: list[str] = []
    rows = {id(h): _row(h) for h in books.holdings}
    widths = [max((len(row[n]) for row in rows.values()), default=0) for n in range(4)]
    for cpu in books.cpus:
        free = f"{cpu.free} of {SLOTS} free for a CPU-wide request"
        found.append(f"CPU {cpu.cpu}  cpu_dr7 {cpu.dr7:#010x}  {free}")
        if not cpu.slots:
            found.append("  nothing" + (" of this process" if pid else "") + " in its registers")
        for holding in cpu.slots:
            found += _shown(holding, rows[id(holding)], widths)
    if books.reserved:
        found.append("Reserved, in no register now (its task is not running, or it is disabled)")
        for holding in books.reserved:
            found += _shown(holding, rows[id(holding)], widths)
    found += _wrapped(books.unknown)
    found.append(
        f"The kernel's books, read in {books.scan_ms:.1f} ms. The hardware's DR6 and DR7 cannot be read."
    )
    return found


def _row(holding: Holding) -> tuple[str, str, str, str]:
    owner, target = holding.owner, holding.target
    what = f"{holding.address:#x}/{holding.length}:{holding.type}"
    who = [str(owner.kind)]
    if owner.pid is not None:
        who.append(str(owner.pid))
    if owner.comm:
        who.append(escape(owner.comm))
    if owner.fd is not None:
        who.append(f"fd {owner.fd}")
    if target is None:
        where = "every task"
    else:
        number = "?" if target.pid is None else str(target.pid)
        thread = f"/{target.tid}" if target.tid != target.pid else ""
        where = f"{number}{thread} {escape(target.comm)}"
    if holding.cpu is not None:
        where += f" on CPU {holding.cpu}"
    hits = "" if holding.hits is None else f"{holding.hits} hit{'s' * (holding.hits != 1)}"
    state = hits if holding.enabled else f"disabled, {hits}"
    return what, " ".join(who), f"-> {where}", state


def _shown(holding: Holding, row: tuple[str, str, str, str], widths: list[int]) -> list[str]:
    name = "   " if holding.slot is None else f"DR{holding.slot}"
    what, who, where, state = (text.ljust(width) for text, width in zip(row, widths, strict=True))
    if 2 + 3 + sum(widths) + 2 * len(widths) <= _WIDTH:
        found = [f"  {name}  {what}  {who}  {where}  {state}".rstrip()]
    else:
        found = [f"  {name}  {what}  {row[1]}"]
        below = [f"{row[2]}  {row[3]}"] if 7 + len(row[2]) + 2 + len(row[3]) <= _WIDTH else row[2:]
        found += [f"       {line}".rstrip() for line in below]
    if holding.orphan:
        found += [f"         {line}" for line in _orphan(holding)]
    return found


def _orphan(holding: Holding) -> Iterable[str]:
    target = holding.target
    if holding.owner.kind == "ptrace" and target is not None:
        if holding.enabled:
            yield f"left armed by a tracer that is gone: the next hit kills process {target.pid}"
            yield f"to disarm it: hwbp-tui slots {target.pid} --disarm"
        else:
            yield "left by a tracer that is gone, disarmed: the slot comes back at exec or exit"
    elif holding.owner.kind == "unknown":
        yield "armed, and the kernel's table has no owner for it"
    else:
        yield "no process has a descriptor of it any more"


def _wrapped(texts: Iterable[str]) -> list[str]:
    import textwrap

    found: list[str] = []
    for text in texts:
        found += textwrap.wrap(
            escape(text), _WIDTH - 2, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False
        )
    return found
