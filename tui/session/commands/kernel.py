"""The words of the owners that an emulated kernel has inside: perf's descriptors, gdb as a tracer, kgdb, KVM, ftrace; and of
tasks that do what they are told. Each goes to the machine as it is, with names of the program turned into addresses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from backends.base import HwbpError
from tui.session.commands.table import Command, Run, answer
from tui.session.commands.words import number_or_none, symbols
from tui.session.escape import escape
from tui.session.result import Answer, UsageError

if TYPE_CHECKING:
    from tui.session.session import Session

__all__ = ["COMMANDS"]

_REGISTER_SIZES: Final = (1, 2, 4, 8)
_SUFFIX: Final = re.compile(r"(.*?)(/\d+)?(:\w+)?", re.DOTALL)


def _place(session: Session, text: str) -> str:
    """EXPR[/LEN][:TYPE] with the program's name as an address. What the program does not know may be the kernel's."""
    match = _SUFFIX.fullmatch(text)
    assert match is not None
    expr, length, kind = match.groups(default="")
    if number_or_none(expr) is not None:
        return text
    try:
        target = session.names.resolve(expr)
    except HwbpError:
        return text
    if not kind and target.kind == "code":
        kind = ":x"
    if not length and kind != ":x" and target.size in _REGISTER_SIZES:
        length = f"/{target.size}"
    return f"{target.address:#x}{length}{kind}"


def _told(owner: str, verb: str, grammar: str, least: int = 0, place: int = -1, address: bool = False) -> Run:
    """A command that is told to the machine. `place` is the argument that may be an expression; `address` where no length belongs to it."""

    def run(session: Session, text: str) -> Answer:
        words = text.split()
        if len(words) < least:
            raise UsageError(
                f"{owner} {verb}: {least} argument{'s' * (least > 1)} or more", f"usage: {grammar}"
            )
        if 0 <= place < len(words):
            words[place] = _place(session, words[place])
            if address:
                words[place] = words[place].partition("/")[0]
        try:
            lines = session.backend.owner(owner, verb, tuple(words))
        finally:
            session.look()
        shown = tuple(escape(line) for line in lines)
        return answer(*shown, answer=list(shown))

    return run


def _command(
    word: str,
    arguments: str,
    summary: str,
    help_: str,
    *,
    least: int = 0,
    place: int = -1,
    verb: str = "",
    address: bool = False,
) -> Command:
    owner, _, second = word.partition(" ")
    grammar = f"{word} {arguments}".rstrip()
    return Command(
        word,
        "owners",
        grammar,
        summary,
        help_,
        _told(owner, verb or second, grammar, least, place, address),
        complete=symbols if place >= 0 else _nothing,
    )


def _nothing(_session: Session, _text: str) -> Iterable[str]:
    return ()


_SOURCE: Final = "modelled from source (Linux 6.17), not checked against a running one"

COMMANDS = (
    _command(
        "perf event",
        "EXPR[/LEN][:TYPE] [-t TID] [-C CPU] [-c PERIOD] [FLAG]...",
        "perf_event_open with all its choices",
        "-t, -C and -c as perf has them; -C alone is every task of that CPU. FLAG is a bit of perf_event_attr by its name:\n"
        "disabled inherit inherit_thread pinned exclude_user enable_on_exec remove_on_exec sigtrap ...; `kernel` takes\n"
        "exclude_kernel away, which is set otherwise; `sample_period` sets that bit of sample_type.\n"
        "Example: perf event counter -C 1 -c 100 pinned",
        least=1,
        place=0,
    ),
    _command(
        "perf list",
        "",
        "the session's perf events: counts, overflows, state",
        "Counts are the kernel's own, read(2) of each descriptor. Example: perf list",
    ),
    _command(
        "perf read",
        "FD",
        "read(2) of one perf event",
        "Its count, inherited copies' included. Example: perf read 3",
        least=1,
    ),
    _command(
        "perf reset",
        "FD",
        "set its count to 0",
        "PERF_EVENT_IOC_RESET. Example: perf reset 3",
        least=1,
    ),
    _command(
        "perf refresh",
        "FD COUNT",
        "enable for COUNT more overflows",
        "PERF_EVENT_IOC_REFRESH: it disables itself after them, and keeps its slot. Example: perf refresh 3 10",
        least=2,
    ),
    _command(
        "perf period",
        "FD PERIOD",
        "change the sampling period",
        "PERF_EVENT_IOC_PERIOD: the next hit overflows, then every PERIOD. Example: perf period 3 100",
        least=2,
    ),
    _command(
        "perf modify",
        "FD EXPR[/LEN][:TYPE] [disabled]",
        "move a perf event, in place",
        "PERF_EVENT_IOC_MODIFY_ATTRIBUTES: address, length and type; the slot and the count stay.\n"
        "Example: perf modify 3 total",
        least=2,
        place=1,
    ),
    _command(
        "ptrace attach",
        "[TID]",
        "a debugger attaches to a task",
        "PTRACE_ATTACH by a process named gdb. Example: ptrace attach",
    ),
    _command(
        "ptrace detach",
        "[TID]",
        "it lets the task go; breakpoints stay armed",
        "PTRACE_DETACH clears no breakpoint: the next hit's SIGTRAP finds nobody. Example: ptrace detach",
    ),
    _command(
        "ptrace kill",
        "",
        "kill -9 the debugger of a live program",
        "What it armed stays armed in the program that it traced, and the next hit kills that. Example: ptrace kill",
    ),
    _command(
        "ptrace peekuser",
        "N [TID]",
        "read u_debugreg[N] of any task",
        "PTRACE_PEEKUSER. Example: ptrace peekuser 7 1000",
        least=1,
        verb="peek",
    ),
    _command(
        "ptrace pokeuser",
        "N VALUE|EXPR [TID]",
        "write u_debugreg[N] of any task",
        "PTRACE_POKEUSER. Example: ptrace pokeuser 0 counter 1000",
        least=2,
        place=1,
        verb="poke",
        address=True,
    ),
    _command(
        "kgdb connect",
        "",
        "set kgdb up (kgdboc)",
        f"It makes four events for each CPU, and gives their slots back at once. kgdb is {_SOURCE}.\n"
        "Example: kgdb connect",
    ),
    _command(
        "kgdb enter",
        "[CPU] [nmi]",
        "stop the machine in kgdb",
        "On that CPU by a breakpoint exception (sysrq-g) or from an NMI; the others are rounded up by NMI, and put their\n"
        "old DR7 back when they leave it. Example: kgdb enter 0",
    ),
    _command(
        "kgdb hbreak",
        "ADDR|SYMBOL",
        "Z1: a hardware breakpoint of kgdb",
        "Only while the machine stands in kgdb. Symbols are the kernel's. Example: kgdb hbreak schedule",
        least=1,
    ),
    _command(
        "kgdb watch",
        "ADDR|SYMBOL[/LEN]",
        "Z2: a write watchpoint of kgdb",
        "Refused (E01) without a free slot on every CPU, and while anybody holds the layer's lock: kgdb takes none.\n"
        "Example: kgdb watch jiffies/4",
        least=1,
    ),
    _command(
        "kgdb awatch",
        "ADDR|SYMBOL[/LEN]",
        "Z4: an access watchpoint of kgdb",
        "Example: kgdb awatch jiffies/4",
        least=1,
    ),
    _command(
        "kgdb delete",
        "ADDR|SYMBOL",
        "z2: remove what kgdb set at an address",
        "By address alone. What the hardware holds may come back when the CPU leaves its exception. Example: kgdb delete jiffies",
        least=1,
    ),
    _command(
        "kgdb packet",
        "PACKET",
        "send kgdb one packet of gdb's protocol",
        "Z1-Z4 and z, ?, c, D, k; the stub's answer is shown as it is. Example: kgdb packet Z2,ffffffff82205000,4",
        least=1,
    ),
    _command(
        "kgdb continue",
        "",
        "c: the machine goes on",
        "What was set at the stop reaches the registers now. Example: kgdb continue",
    ),
    _command(
        "kgdb detach",
        "",
        "D: remove everything and go on",
        "Example: kgdb detach",
    ),
    _command(
        "kgdb info",
        "",
        "what kgdb has set, and DR7 of each CPU",
        "A ghost is a register that the hardware has enabled and nobody's books own. Example: kgdb info",
    ),
    _command(
        "kvm create",
        "NAME",
        "make a virtual CPU",
        f"It has debug registers of its own. KVM is {_SOURCE}. Example: kvm create vcpu0",
        least=1,
    ),
    _command(
        "kvm guest_debug",
        "NAME [CONTROL]... [DR0 DR1 DR2 DR3 DR7]",
        "KVM_SET_GUEST_DEBUG",
        "CONTROL is enable, singlestep, use_sw_bp, use_hw_bp, inject_db, inject_bp or blockirq. With use_hw_bp the host's five\n"
        "values run the guest, and its own are kept for it. Example: kvm guest_debug vcpu0 enable use_hw_bp 0x1000 0 0 0 0x402",
        least=1,
    ),
    _command(
        "kvm mov",
        "NAME DRn [VALUE]",
        "a MOV to or from a debug register in the guest",
        "Example: kvm mov vcpu0 dr0 0x1234",
        least=2,
    ),
    _command(
        "kvm enter",
        "NAME [CPU]",
        "enter the guest: what it costs in register writes",
        "Example: kvm enter vcpu0 1",
        least=1,
    ),
    _command(
        "kvm exit",
        "NAME",
        "leave the guest: what it costs to come back",
        "The host's registers are restored only if it has a breakpoint. Example: kvm exit vcpu0",
        least=1,
    ),
    _command(
        "kvm code",
        "NAME ADDRESS BYTES",
        "give the guest code to run",
        "BYTES in hexadecimal. It is walked through, not executed: no jumps, and memory by absolute addresses only.\n"
        "Example: kvm code vcpu0 0x1000 fb 31c0 0fa2 fa",
        least=3,
    ),
    _command(
        "kvm interrupt",
        "NAME",
        "an interrupt waits for the guest",
        "It takes it where RFLAGS.IF lets it, unless guest debug has blockirq. Example: kvm interrupt vcpu0",
        least=1,
    ),
    _command(
        "kvm run",
        "NAME [CPU]",
        "KVM_RUN: up to the next exit to user space",
        "With singlestep that is each instruction. Example: kvm run vcpu0 1",
        least=1,
    ),
    _command(
        "kvm info",
        "[NAME]",
        "what the guest sees, and what the CPU gets",
        "Example: kvm info",
    ),
    _command(
        "ftrace dynamic_events",
        "[LINE]",
        "define, remove or list wprobe events",
        "LINE is w[:[GROUP/]EVENT] [r|w|rw]@ADDRESS[:LENGTH] [ARGS], or -:[GROUP/]EVENT. No slot is taken yet.\n"
        f"wprobes are {_SOURCE.replace('Linux 6.17', 'linux-next of 2025')}.\n"
        "Example: ftrace dynamic_events w:my_probe w@jiffies:4",
    ),
    _command(
        "ftrace enable",
        "EVENT",
        "echo 1 > events/wprobes/EVENT/enable",
        "Takes a slot on every CPU, all or none. Example: ftrace enable my_probe",
        least=1,
    ),
    _command(
        "ftrace disable",
        "EVENT",
        "echo 0 > events/wprobes/EVENT/enable",
        "Its slots are free again. Example: ftrace disable my_probe",
        least=1,
    ),
    _command(
        "ftrace trigger",
        "[EVENT LINE]",
        "let an event point a wprobe, or list what does",
        "LINE is set_wprobe:NAME:FIELD[+|-N] or clear_wprobe:NAME[:FIELD[+|-N]], with ! in front to remove it. The wprobe holds its\n"
        "slots from then on. Events: fprobes/arm, fprobes/disarm, kmem/kfree, sched/sched_switch, kprobes/p_probe.\n"
        "Example: ftrace trigger fprobes/arm set_wprobe:my_probe:address",
    ),
    _command(
        "ftrace fire",
        "EVENT [FIELD=ADDRESS]...",
        "the event happens, on CPU 0",
        "Example: ftrace fire fprobes/arm address=jiffies",
        least=1,
    ),
    _command("ftrace trace", "", "what wprobes recorded", "Example: ftrace trace"),
    _command(
        "ftrace current_tracer",
        "TRACER",
        "choose ksym_tracer, or leave it",
        f"Linux 2.6.33 to 2.6.35 only (`kernel version 2.6.34`), {_SOURCE.replace('Linux 6.17', '2.6.34')}. Leaving it clears its filters.\n"
        "Example: ftrace current_tracer ksym_tracer",
        least=1,
    ),
    _command(
        "ftrace ksym_trace_filter",
        "[SYMBOL:rw-]",
        "watch a kernel symbol as ftrace did in 2010",
        "Three characters after the colon: r--, -w- or rw-. 0 or *:--- clears all. Example: ftrace ksym_trace_filter pid_max:rw-",
    ),
    _command("ftrace ksym_trace", "", "what the ksym tracer recorded", "Example: ftrace ksym_trace"),
    _command("ftrace ksym_profile", "", "how often each filter was hit", "Example: ftrace ksym_profile"),
    _command(
        "task new",
        "NAME [CPU]...",
        "a task that does what it is told",
        "With CPUs it may run only there. Example: task new worker 1",
        least=1,
    ),
    _command(
        "task run",
        "TID CPU",
        "a context switch: the task runs on that CPU",
        "Answers how many debug-register writes it took, and who sits where now. The program's own tasks are back on\n"
        "their CPUs when the machine runs. Example: task run 1001 1",
        least=2,
    ),
    _command(
        "task idle",
        "CPU",
        "a context switch to the idle task",
        "Example: task idle 1",
        least=1,
    ),
    _command(
        "task access",
        "CPU EXPR[/SIZE][:r|w|x] [kernel]",
        "an access by the task on that CPU",
        "In user mode, or in the kernel; SIZE is 8 where nothing says otherwise. Example: task access 1 counter:w",
        least=2,
        place=1,
    ),
    _command("task fork", "TID", "fork: which events are inherited", "Example: task fork 1001", least=1),
    _command("task thread", "TID", "clone with CLONE_THREAD", "Example: task thread 1001", least=1),
    _command("task exec", "TID", "execve: ptrace's breakpoints go", "Example: task exec 1001", least=1),
    _command(
        "task exit",
        "TID",
        "the task ends; its perf events hold their slots until they are closed",
        "Example: task exit 1001",
        least=1,
    ),
    _command(
        "task reserve",
        "TID [done]",
        "the task is in the middle of reserving a slot",
        "It holds the layer's lock until `done`: kgdb, which takes no lock, is refused meanwhile. Example: task reserve 1000",
        least=1,
    ),
    _command(
        "nmi begin",
        "CPU",
        "an NMI arrives: DR7 is off inside",
        "Example: nmi begin 0",
        least=1,
    ),
    _command("nmi end", "CPU", "the NMI ends: DR7 is put back", "Example: nmi end 0", least=1),
    _command(
        "info accounting",
        "",
        "who counts on which CPU, and what is left",
        "CPU-bound breakpoints, and those of the task that has the most. Example: info accounting",
    ),
    _command(
        "info writes",
        "",
        "debug-register writes of each CPU, by cause",
        "install, uninstall, switch, nmi, db (the #DB handler), kgdb, guest, restore, hand. Example: info writes",
    ),
    _command(
        "info timeline",
        "[CPU]",
        "which breakpoint sat in which register, from when to when",
        "Times in the machine's clock. Example: info timeline 0",
    ),
    _command(
        "kernel version",
        "[X.Y.Z [HZ]]",
        "which Linux this is, where that matters",
        "Before 6.1 one mutex covered the accounting; 6.1.170 to 6.1.192 drop kgdb's hits; 2.6.33 to 2.6.35 have ksym_tracer.\n"
        "From 2.6.33 to 6.18; what does not differ by these is as in 6.18.\n"
        "HZ is CONFIG_HZ, the timer ticks at which the period of a `freq` event is adapted (100, 250, 300 or 1000; 250 to begin with).\n"
        "It can change while nobody holds a slot. Example: kernel version 6.1.180",
    ),
)
