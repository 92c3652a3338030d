"""The watched process: launched and stopped at its exec, or attached to as it runs.

Nothing here can take the target with us when we are killed: a launched program is seized before its exec, so its stop
there ends without a signal when we are gone, and it is no member of our session.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import signal
import stat
import struct
import time
from typing import Final, Literal

from backends.base import HwbpError, Launch
from backends.model import Mapping
from backends.perf import ptrace
from backends.perf.opener import Opener
from backends.perf.process import comm_of, is_kernel_thread, is_over, mappings_in, status_of, threads_of
from backends.perf.tracer import Tracer

__all__ = ["Target", "attach", "launch"]

_SHELL_NOT_FOUND: Final = 127
_MOST_WRITTEN: Final = 1 << 16
_REAPED_WITHIN: Final = 0.2
_INFO_EXIT: Final = 1 << 3
_INFO_SIZE: Final = 64  # PIDFD_INFO_SIZE_VER0; exit_code is its last member
_GET_INFO: Final = 3 << 30 | _INFO_SIZE << 16 | 0xFF << 8 | 11
_EM_386: Final = 3  # e_machine


class Target:
    """One process. `child` says that we launched it, and so will know how it ends; `bits` are those of its code.

    `tracer` holds its threads where that is asked for.
    """

    def __init__(
        self,
        opener: Opener,
        pid: int,
        program: str,
        argv: tuple[str, ...],
        *,
        child: bool,
        bits: Literal[32, 64] = 64,
    ) -> None:
        self._opener = opener
        self.bits: Literal[32, 64] = bits
        self.pid = pid
        self.program = program
        self.argv = argv
        self.child = child
        self.exit_status: int | None = None
        self.ended = False
        self._seen_to_end = 0.0
        self.tracer = Tracer(self)
        self._memory: int | None = None
        self._pidfd = os.pidfd_open(pid)
        with contextlib.suppress(OSError):
            self._memory = opener.memory(pid)

    def threads(self) -> tuple[int, ...]:
        """Its threads now."""
        return () if self.ended else threads_of(self.pid)

    def mappings(self) -> tuple[Mapping, ...]:
        """What it has mapped now; empty once it has ended."""
        if self.ended:
            return ()
        try:
            with open(self._opener.mappings(self.pid), "rb") as file:
                return mappings_in(file.read())
        except OSError:
            return ()

    @property
    def memory(self) -> int | None:
        """/proc/PID/mem, None where that may not be read."""
        return self._memory

    def write(self, address: int, data: bytes) -> None:
        """Write its memory, whatever the mapping permits: as a debugger, with our own rights (EFAULT, EPERM, EINVAL)."""
        if not 0 < len(data) <= _MOST_WRITTEN:
            raise HwbpError(f"{len(data)} bytes: between 1 and {_MOST_WRITTEN}", errno="EINVAL")
        try:
            fd = os.open(f"/proc/{self.pid}/mem", os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            raise HwbpError(
                f"the memory of process {self.pid} may not be written: {error.strerror}",
                errno="EPERM",
                remedy="as root, or with CAP_SYS_PTRACE",
            ) from error
        try:
            if os.pwrite(fd, data, address) != len(data):
                raise HwbpError(f"{address:#x}: not all of it is mapped", errno="EFAULT")
        except (OSError, OverflowError) as error:
            raise HwbpError(f"{address:#x}: nothing is mapped there", errno="EFAULT") from error
        finally:
            os.close(fd)

    def follow_exec(self) -> None:
        """After an exec: the old descriptor shows the old image's memory (fs/proc/base.c, mem_open), and the new one may have
        another width."""
        with contextlib.suppress(OSError, HwbpError):
            self.bits = _image(self._opener, self.pid)[1]
        with contextlib.suppress(OSError):
            fresh = self._opener.memory(self.pid)
            if self._memory is not None:
                os.close(self._memory)
            self._memory = fresh

    def comm(self, tid: int | None = None) -> str:
        """A thread's name."""
        return comm_of(self.pid, tid)

    def look(self) -> bool:
        """Whether it is still there; notes how it ended."""
        if not self.ended:
            if self.tracer.attached:
                self.tracer.poll()
            elif self.child:
                with contextlib.suppress(ChildProcessError):
                    news = ptrace.wait(self.pid, block=False)
                    if news is not None and news.exit is not None:
                        self.end(news.exit)
            elif _readable(self._pidfd):
                self._ended_elsewhere()
        return not self.ended

    def _ended_elsewhere(self) -> None:
        """Its parent reaps it, and the kernel tells others how it ended only after that: wait a moment for it."""
        now = time.monotonic()
        self._seen_to_end = self._seen_to_end or now
        status = _exit_status(self._pidfd)
        if status is not None or now - self._seen_to_end > _REAPED_WITHIN:
            self.end(status)

    def end(self, status: int | None) -> None:
        """It is gone."""
        self.ended = True
        self.exit_status = status

    def kill(self) -> None:
        """End a program that we launched and that has not begun."""
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)
            ptrace.wait(self.pid, block=True)
        self.end(-signal.SIGKILL)

    def close(self) -> None:
        """Close descriptors; the process is left alone."""
        if self._memory is not None:
            os.close(self._memory)
            self._memory = None
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1


def _exit_status(pidfd: int) -> int | None:
    """How a process that has been reaped ended: PIDFD_GET_INFO with PIDFD_INFO_EXIT (Linux 6.15, include/uapi/linux/pidfd.h).

    0-255, -N for a signal, None where it is not known or the kernel does not tell.
    """
    request = struct.pack("<Q", _INFO_EXIT).ljust(_INFO_SIZE, b"\0")
    try:
        answer = fcntl.ioctl(pidfd, _GET_INFO, request)
    except OSError:
        return None
    mask: int = struct.unpack_from("<Q", answer)[0]
    code: int = struct.unpack_from("<i", answer, _INFO_SIZE - 4)[0]
    if not mask & _INFO_EXIT:
        return None
    return -(code & 0x7F) if code & 0x7F else code >> 8 & 0xFF


def _readable(fd: int) -> bool:
    return bool(select.select([fd], [], [], 0)[0])


# Launching


def _resolve(program: str, path: str) -> str:
    """The file that execvp would take. Raises HwbpError: ENOENT, EACCES, EISDIR."""
    candidates = (
        [program] if "/" in program else [os.path.join(place or ".", program) for place in path.split(":")]
    )
    reason = "ENOENT", "no such file"
    for candidate in candidates:
        try:
            mode = os.stat(candidate).st_mode
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                reason = errno.errorcode.get(error.errno or 0, ""), (error.strerror or "").lower()
            continue
        if stat.S_ISDIR(mode):
            reason = "EISDIR", "is a directory, not a program"
        elif not os.access(candidate, os.X_OK):
            reason = "EACCES", "may not be executed"
        else:
            return candidate
    raise HwbpError(f"{program}: {reason[1]}", errno=reason[0])


def launch(opener: Opener, asked: Launch, output: tuple[int, int]) -> Target:
    """Start a program and stop it at its exec, before its first instruction.

    `output` are the descriptors of its standard output and error. Raises HwbpError where it cannot be started.
    """
    environment = dict(asked.env)
    program = _resolve(asked.program, environment.get("PATH", os.defpath))
    try:
        stdin = os.open(asked.stdin or os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise HwbpError(
            f"{asked.stdin}: {error.strerror}", errno=errno.errorcode.get(error.errno or 0)
        ) from error
    go_read, go_write = os.pipe()
    said_read, said_write = os.pipe()
    try:
        pid = os.fork()
        if not pid:
            if asked.scene:
                ptrace.die_with_parent()
            os.close(go_write)  # so that our death ends its waiting
            _become(program, (asked.program, *asked.argv), environment, (stdin, *output), go_read, said_write)
    finally:
        os.close(stdin)
        os.close(go_read)
        os.close(said_write)
    try:
        _to_exec(pid, program, go_write, said_read)
    finally:
        os.close(said_read)
    opener.target(pid)
    # What runs is the interpreter where the program is a script.
    try:
        image, bits = _image(opener, pid)
        target = Target(opener, pid, image or os.path.realpath(program), asked.argv, child=True, bits=bits)
    except BaseException:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
            ptrace.wait(pid, block=True)
        raise
    target.tracer.adopt()
    return target


def _become(
    program: str,
    argv: tuple[str, ...],
    environment: dict[str, str],
    streams: tuple[int, int, int],
    go: int,
    said: int,
) -> None:
    """The child's side: never returns."""
    number = errno.EIO
    try:
        os.setsid()
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        for name in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):  # ours ignores them
            signal.signal(name, signal.SIG_DFL)
        streams = tuple(os.dup(fd) if fd <= 2 else fd for fd in streams)  # type: ignore[assignment]
        for fd, stream in enumerate(streams):
            os.dup2(stream, fd, inheritable=True)
        if os.read(go, 1):
            os.execve(program, argv, environment)
    except OSError as error:
        number = error.errno or number
    except BaseException:
        pass
    with contextlib.suppress(BaseException):
        os.write(said, number.to_bytes(4, "little"))
    os._exit(_SHELL_NOT_FOUND)


def _to_exec(pid: int, program: str, go: int, said: int) -> None:
    """Let the child go on to its exec, which it stops in."""
    try:
        ptrace.seize(pid, ptrace.Option.EXEC | ptrace.Option.SYSGOOD)
    except OSError as error:
        os.close(go)
        os.waitpid(pid, 0)
        raise HwbpError(
            f"{program}: cannot be held at its start: {error}",
            errno=errno.errorcode.get(error.errno or 0),
            remedy="ptrace may be forbidden here (seccomp)",
        ) from error
    os.write(go, b"\0")
    os.close(go)
    while True:
        news = ptrace.wait(pid, block=True)
        assert news is not None
        if news.exit is not None:
            data = os.read(said, 4)
            if len(data) == 4:
                number = int.from_bytes(data, "little")
                raise HwbpError(
                    f"{program}: cannot be started: {os.strerror(number).lower()}",
                    errno=errno.errorcode.get(number),
                )
            raise HwbpError(f"{program}: ended before it began (status {news.exit})", errno="ESRCH")
        if news.event == ptrace.EVENT_EXEC:
            return
        ptrace.cont(pid, news.signal if not news.event else 0)


def _image(opener: Opener, pid: int) -> tuple[str, Literal[32, 64]]:
    """The file that a process runs (empty where it has none), and the bits of its code (64 where that is not known).

    Raises PermissionError, and HwbpError for code of x86-64 with 32-bit addresses (x32).
    """
    try:
        with open(opener.executable(pid), "rb") as file:
            path = os.readlink(f"/proc/self/fd/{file.fileno()}")
            head = file.read(20)
    except PermissionError:
        raise
    except OSError:
        return "", 64
    if head[:5] != b"\x7fELF\1" or len(head) < 20:
        return path, 64
    if int.from_bytes(head[18:20], "little") != _EM_386:
        raise HwbpError(
            f"{path} has instructions of 64 bits and addresses of 32 (x32): such programs are not understood",
            errno="ENOEXEC",
        )
    return path, 32


# Attaching


def attach(opener: Opener, pid: int) -> Target:
    """A process that runs already. Raises HwbpError for one that is not there, is a zombie or a kernel thread."""
    status = status_of(pid)
    if not status or not os.path.isdir(f"/proc/{pid}"):
        raise HwbpError(f"no process {pid}", errno="ESRCH", remedy="`ps -e` lists those that run")
    if status.get("Tgid") not in (None, str(pid)):
        raise HwbpError(
            f"{pid} is a thread of process {status['Tgid']}",
            errno="ESRCH",
            remedy=f"attach to {status['Tgid']}",
        )
    without_memory = "VmSize" not in status
    if without_memory and is_kernel_thread(pid):
        raise HwbpError(
            f"{pid} is a kernel thread: it has no memory of its own",
            errno="EINVAL",
            remedy="watch a process",
        )
    ended = status.get("State", "").startswith(("Z", "X"))
    if (ended or without_memory) and any(tid != pid and not is_over(pid, tid) for tid in threads_of(pid)):
        raise HwbpError(
            f"the first thread of process {pid} has ended, and through it alone its memory can be had; the others run on",
            errno="EOPNOTSUPP",
        )
    if ended:
        raise HwbpError(f"process {pid} has ended already (a zombie)", errno="ESRCH")
    if without_memory:
        raise HwbpError(f"process {pid} is ending: its memory is gone already", errno="ESRCH")
    if pid == os.getpid():
        raise HwbpError("that is the process that would have to watch itself", errno="EINVAL")
    try:
        opener.target(pid)
        program, bits = _image(opener, pid)
    except PermissionError as error:
        raise _closed(pid, status.get("Uid", "")) from error
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            argv = tuple(os.fsdecode(part) for part in file.read(1 << 16).split(b"\0")[1:-1])
        return Target(opener, pid, program, argv, child=False, bits=bits)
    except ProcessLookupError as error:
        raise HwbpError(f"process {pid} has just ended", errno="ESRCH") from error


def _closed(pid: int, uids: str) -> HwbpError:
    """A process that may not be looked at (kernel/ptrace.c, __ptrace_may_access). `uids` is its line in /proc/PID/status."""
    own = str(os.geteuid())
    if set(uids.split()) == {own}:
        why = "has capabilities that we lack, or lets nobody look at it"
    else:
        why = f"belongs to another user (uid {uids.split()[0] if uids else '?'}, we are {own})"
    return HwbpError(
        f"process {pid} {why}", errno="EPERM", remedy="as root, with --sudo, or with CAP_SYS_PTRACE"
    )
