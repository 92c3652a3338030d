"""Single system calls: results, errnos, and what they leave alone on the host."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.base import HwbpError, Launch
from backends.emulated.engine import READ, WRITE
from backends.emulated.linux import Unsupported
from backends.emulated.linux.numbers import NAMES, NUMBERS
from backends.emulated.linux.state import TRANSFER_LIMIT
from backends.emulated.programs import PROGRAMS
from backends.emulated.regions import USER_END
from tests.machine.linux_loop import boot, settle

ROOM = 1 << 16
AT_FDCWD = (1 << 64) - 100
BAD = 0x1234_5000


class Caller:
    """A program that does nothing but the system calls that a test asks for."""

    def __init__(self, **launch: object) -> None:
        program = str(PROGRAMS["counter"].path)
        self.engine, self.space, _, self.linux = boot(Launch(program, **launch))  # type: ignore[arg-type]
        self.room = self.space.map(None, ROOM, READ | WRITE)
        self._texts = self.space.map(None, ROOM, READ | WRITE)
        self._used = 0

    def __call__(self, name: str, *arguments: int | str | bytes) -> int:
        """The result, negative for an errno; text becomes a pointer to it."""
        registers = ("RDI", "RSI", "RDX", "R10", "R8", "R9")
        self.engine.set("RAX", NUMBERS[name])
        for register, argument in zip(registers, (*arguments, *[0] * 6), strict=False):
            value = argument if isinstance(argument, int) else self.text(argument)
            self.engine.set(register, value & (1 << 64) - 1)
        self.linux.syscall()
        settle(self.linux)
        (result,) = struct.unpack("<q", struct.pack("<Q", self.engine.get("RAX")))
        return int(result)

    def text(self, text: str | bytes) -> int:
        data = (text.encode() if isinstance(text, str) else text) + b"\0"
        where = self._texts + self._used
        self.space.copy_in(where, data)
        self._used += len(data)
        return where

    def data(self, size: int) -> bytes:
        return self.space.copy_out(self.room, size)


@pytest.fixture
def call() -> Iterator[Caller]:
    caller = Caller()
    yield caller
    caller.linux.close()


@pytest.fixture
def writer() -> Iterator[Caller]:
    caller = Caller(allow=("write", "network", "exec", "kill"))
    yield caller
    caller.linux.close()


def test_the_instruction_leaves_its_marks_in_rcx_and_r11(call: Caller) -> None:
    before = call.engine.pc
    assert call("getpid") == 1000
    assert call.engine.pc == before + 2 == call.engine.get("RCX")
    assert call.engine.get("R11") == call.engine.get("RFLAGS")


def test_an_unknown_call_stops_with_its_number_and_name_and_pc_stays(call: Caller) -> None:
    before = call.engine.pc
    with pytest.raises(Unsupported, match=r"system call 169 \(reboot\)"):
        call("reboot")
    assert call.engine.pc == before


@pytest.mark.parametrize("name", ["rseq", "membarrier", "io_uring_setup", "openat2"])
def test_a_call_that_programs_probe_is_enosys(call: Caller, name: str) -> None:
    assert call(name) == -errno.ENOSYS


def test_the_numbers_are_those_of_x86_64() -> None:
    assert [NAMES[n] for n in (0, 59, 231, 257, 262, 334, 424, 435)] == [
        *("read", "execve", "exit_group", "openat", "newfstatat", "rseq", "pidfd_send_signal", "clone3")
    ]


@pytest.mark.parametrize(
    "name", ["read", "write", "fstat", "lseek", "close", "fcntl", "dup", "ioctl", "getdents64"]
)
def test_a_descriptor_that_is_not_open_is_ebadf(call: Caller, name: str) -> None:
    assert call(name, 77, call.room, 8) == -errno.EBADF
    assert call(name, -1, call.room, 8) == -errno.EBADF


def test_writing_to_what_is_open_for_reading_is_ebadf(call: Caller) -> None:
    assert call("write", 0, call.room, 1) == -errno.EBADF
    assert call("read", 1, call.room, 1) == -errno.EBADF


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("write", (1, BAD, 8)),
        ("open", (BAD, 0)),
        ("newfstatat", (AT_FDCWD, "/", BAD, 0)),
        ("uname", (BAD,)),
        ("clock_gettime", (0, BAD)),
        ("getrandom", (BAD, 8, 0)),
        ("getcwd", (BAD, 4096)),
        ("rt_sigaction", (10, BAD, 0, 8)),
        ("nanosleep", (BAD, 0)),
        ("writev", (1, BAD, 2)),
        ("readlink", ("/proc/self/exe", BAD, 10)),
        ("pipe2", (BAD, 0)),
        ("write", (1, (1 << 64) - 8, 16)),
    ],
)
def test_a_bad_pointer_is_efault(call: Caller, name: str, arguments: tuple[int | str, ...]) -> None:
    assert call(name, *arguments) == -errno.EFAULT


def test_a_read_that_fails_consumes_nothing(call: Caller, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abcdef")
    fd = call("open", str(tmp_path / "f"), 0)
    assert call("read", fd, BAD, 3) == -errno.EFAULT
    assert call("read", fd, call.room, 3) == 3
    assert call.data(3) == b"abc"


def test_reading_into_code_is_efault(call: Caller, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abcdef")
    fd = call("open", str(tmp_path / "f"), 0)
    assert call("read", fd, call.engine.pc, 3) == -errno.EFAULT


@pytest.mark.parametrize("size", [1 << 62, (1 << 64) - 1, 1 << 31])
def test_a_hostile_size_moves_what_there_is(call: Caller, tmp_path: Path, size: int) -> None:
    (tmp_path / "f").write_bytes(b"abcdef")
    fd = call("open", str(tmp_path / "f"), 0)
    assert call("read", fd, call.room, size) == (6 if call.room + size <= USER_END else -errno.EFAULT)
    assert call("getrandom", call.room, size, 0) == -errno.EFAULT
    assert call("mmap", 0, size, 3, 0x22, -1, 0) in (-errno.ENOMEM, -errno.EINVAL)
    assert call("writev", 1, call.room, size) in (-errno.EINVAL, 0)


def test_a_big_write_is_short(call: Caller) -> None:
    where = call("mmap", 0, 4 << 20, 3, 0x22, -1, 0)
    assert call("write", 1, where, 4 << 20) == TRANSFER_LIMIT
    assert call.linux.output.total == TRANSFER_LIMIT


def test_output_is_kept_in_order_and_announced(call: Caller) -> None:
    seen: list[tuple[int, bytes]] = []
    call.linux.output.on_output = lambda stream, data: seen.append((stream, data))
    for stream, word in ((1, "a"), (1, "b"), (2, "c"), (1, "d")):
        call("write", stream, word, 1)
    assert seen == [(1, b"a"), (1, b"b"), (2, b"c"), (1, b"d")]
    assert call.linux.output.chunks() == ((1, b"ab"), (2, b"c"), (1, b"d"))
    assert call.linux.output.chunks(1, 2) == ((1, b"b"), (2, b"c"))


def test_old_output_is_dropped_and_counted(call: Caller) -> None:
    for _ in range(20):
        call.linux.output.write(1, bytes(1 << 20))
    output = call.linux.output
    assert output.total == 20 << 20
    assert sum(len(data) for _, data in output.chunks()) == output.total - output.dropped <= 16 << 20


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("open", ("new", os.O_WRONLY | os.O_CREAT, 0o644)),
        ("open", ("old", os.O_WRONLY)),
        ("open", ("old", os.O_RDWR)),
        ("open", ("old", os.O_RDONLY | os.O_TRUNC)),
        ("open", ("new", os.O_RDONLY | os.O_CREAT, 0o644)),
        ("openat", (AT_FDCWD, ".", os.O_TMPFILE | os.O_RDWR, 0o600)),
        ("creat", ("old", 0o644)),
        ("mkdir", ("new", 0o755)),
        ("unlink", ("old",)),
        ("rename", ("old", "new")),
        ("truncate", ("old", 0)),
        ("chmod", ("old", 0)),
        ("symlink", ("old", "new")),
        ("link", ("old", "new")),
        ("utimensat", (AT_FDCWD, "old", 0, 0)),
    ],
)
def test_changing_a_file_is_refused_and_the_host_is_untouched(
    name: str, arguments: tuple[int | str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old").write_text("old")
    before = (tmp_path / "old").stat()
    call = Caller()
    assert call(name, *arguments) == -errno.EACCES
    assert call(name, *arguments) == -errno.EACCES
    assert os.listdir(tmp_path) == ["old"]
    assert (tmp_path / "old").read_text() == "old"
    assert (tmp_path / "old").stat().st_mode == before.st_mode
    assert len(call.linux.refusals) == 1
    assert "write" in call.linux.refusals[0]


def test_a_missing_file_is_enoent_before_it_is_refused(call: Caller) -> None:
    assert call("unlink", "/nonexistent/file") == -errno.ENOENT
    assert call("open", "/nonexistent/file", 0) == -errno.ENOENT
    assert call.linux.refusals == []


def test_allowed_writing_writes(writer: Caller, tmp_path: Path) -> None:
    path = str(tmp_path / "new")
    fd = writer("open", path, os.O_RDWR | os.O_CREAT, 0o666)
    assert writer("write", fd, "hello", 5) == 5
    assert writer("lseek", fd, 0, 0) == 0
    assert writer("read", fd, writer.room, 100) == 5
    assert writer("ftruncate", fd, 2) == 0
    assert writer("close", fd) == 0
    assert (tmp_path / "new").read_bytes() == b"he"
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o644
    assert writer("rename", path, path + "2") == 0
    assert writer("unlink", path + "2") == 0
    assert os.listdir(tmp_path) == []


def test_allowed_writing_stays_out_of_proc_and_sys(writer: Caller) -> None:
    assert writer("open", "/proc/sys/kernel/hostname", os.O_WRONLY) == -errno.EACCES


@pytest.mark.parametrize(
    ("name", "arguments", "code", "word"),
    [
        ("socket", (2, 1, 0), errno.EACCES, "network"),
        ("kill", (1, 9), errno.EPERM, "kill"),
        ("kill", (-1, 9), errno.EPERM, "kill"),
        ("tgkill", (1, 1, 15), errno.EPERM, "kill"),
    ],
)
def test_what_is_not_allowed_gives_its_errno_and_is_recorded(
    call: Caller, writer: Caller, name: str, arguments: tuple[int | str, ...], code: int, word: str
) -> None:
    assert call(name, *arguments) == -code
    assert len(call.linux.refusals) == 1
    assert f"--allow {word}" in call.linux.refusals[0]
    assert writer(name, *arguments) == -errno.ENOSYS
    assert "ENOSYS" in writer.linux.refusals[0]


def test_a_probe_of_another_process_finds_none(call: Caller) -> None:
    assert call("kill", 1, 0) == -errno.ESRCH
    assert call("kill", 1000, 0) == 0
    assert call.linux.exit_status is None


def test_devices_and_pipes_of_the_host_are_not_opened(call: Caller, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert call("open", str(tmp_path / "fifo"), 0) == -errno.EACCES
    assert call("open", "/dev/tty", 0) == -errno.ENXIO
    assert call("open", "/dev/mem", 0) in (-errno.EACCES, -errno.ENOENT)


def test_dev_null_may_be_written(call: Caller) -> None:
    fd = call("open", "/dev/null", os.O_WRONLY)
    assert call("write", fd, "abc", 3) == 3


@pytest.mark.parametrize(
    "path",
    [
        "/proc/self/environ",
        "/proc/self/mem",
        "/proc/HOST/cmdline",
        "/proc/self/../HOST/environ",
        "/proc/thread-self/environ",
        "/proc/1/cmdline",
        "/proc/self/task/1000/environ",
        "/etc/../proc/self/./environ",
    ],
)
def test_the_emulator_is_not_to_be_seen_in_proc(call: Caller, path: str, tmp_path: Path) -> None:
    path = path.replace("HOST", str(os.getpid()))
    assert call("open", path, 0) == -errno.ENOENT
    (tmp_path / "link").symlink_to(path)
    assert call("open", str(tmp_path / "link"), 0) == -errno.ENOENT
    directory = call("open", "/proc", os.O_DIRECTORY)
    assert call("openat", directory, path.removeprefix("/proc/"), 0) in (-errno.ENOENT, -errno.ENOTDIR)


def test_the_programs_own_proc_is_its_own(call: Caller) -> None:
    fd = call("open", "/proc/self/maps", 0)
    size = call("read", fd, call.room, ROOM)
    maps = call.data(size).decode()
    assert "[stack]" in maps
    assert "python" not in maps
    size = call("readlink", "/proc/self/exe", call.room, 4096)
    assert call.data(size).decode() == str(PROGRAMS["counter"].path)
    fd = call("open", "/proc/self/comm", 0)
    assert call("read", fd, call.room, 100) == len("counter\n")


def test_a_link_that_leads_in_circles_is_eloop(call: Caller, tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert call("open", str(tmp_path / "a"), 0) == -errno.ELOOP


def test_the_standard_streams_are_pipes_and_no_terminal(call: Caller) -> None:
    for fd in (0, 1, 2):
        assert call("fstat", fd, call.room) == 0
        assert struct.unpack_from("<I", call.data(144), 24)[0] & 0o170000 == 0o010000
        assert call("ioctl", fd, 0x5401, call.room) == -errno.ENOTTY
        assert call("lseek", fd, 0, 0) == -errno.ESPIPE


def test_duplicates_share_one_position(call: Caller, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abcdef")
    first = call("open", str(tmp_path / "f"), os.O_CLOEXEC)
    second = call("dup", first)
    call("read", first, call.room, 2)
    call("close", first)
    assert call("read", second, call.room, 2) == 2
    assert call.data(2) == b"cd"
    assert call("fcntl", second, 1) == 0


def test_too_many_open_files_is_emfile_and_leaks_nothing(call: Caller, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"")
    before = len(os.listdir("/proc/self/fd"))
    results = [call("open", "/dev/null", 0) for _ in range(1100)]
    assert results[-1] == -errno.EMFILE
    assert call("open", str(tmp_path), 0) == -errno.EMFILE
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_was_written_into_a_pipe_comes_out(call: Caller) -> None:
    assert call("pipe2", call.room, 0) == 0
    reader, writer = struct.unpack("<ii", call.data(8))
    assert call("write", writer, "abc", 3) == 3
    assert call("read", reader, call.room, 10) == 3
    with pytest.raises(Unsupported, match="pipe"):
        call("read", reader, call.room, 10)
    call("close", writer)
    assert call("read", reader, call.room, 10) == 0


def test_names_change_with_prctl(call: Caller) -> None:
    assert call("prctl", 15, "a name that is too long") == 0
    assert call.linux.current.comm == "a name that is "


def test_the_segment_base_is_set(call: Caller) -> None:
    assert call("arch_prctl", 0x1002, 0x1234) == 0
    assert call.engine.get("FS_BASE") == 0x1234
    assert call("arch_prctl", 0x1003, call.room) == 0
    assert call.data(8) == struct.pack("<Q", 0x1234)
    assert call("arch_prctl", 0x1002, 1 << 63) == -errno.EPERM


def test_a_file_can_be_mapped_and_advice_empties_memory(call: Caller, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 5000)
    fd = call("open", str(tmp_path / "f"), 0)
    where = call("mmap", 0, 5000, READ, 2, fd, 0)
    assert call.space.copy_out(where + 4998, 4) == b"xx\0\0"
    assert call("mmap", 0, 5000, READ | WRITE, 1, fd, 0) == -errno.EACCES
    assert call("mmap", 0, 5000, READ, 2, fd, 1) == -errno.EINVAL
    assert call("mmap", 0, 5000, READ, 2, 99, 0) == -errno.EBADF
    call.space.copy_in(call.room, b"abc")
    assert call("madvise", call.room, 4096, 4) == 0
    assert call.data(3) == bytes(3)


def test_mremap_moves_what_grows(call: Caller) -> None:
    where = call("mmap", 0, 8192, 3, 0x22, -1, 0)
    call.space.copy_in(where, b"abc")
    assert call("mremap", where, 8192, 16384, 0) == -errno.ENOMEM
    new = call("mremap", where, 8192, 16384, 1)
    assert call.space.copy_out(new, 3) == b"abc"
    assert call("mremap", new, 16384, 4096, 1) == new
    assert call.space.prot_at(new + 4096) == 0


def test_a_wait_that_nobody_can_end_is_said_to_be_one(call: Caller) -> None:
    assert call("futex", call.room, 0, 5, 0) == -errno.EAGAIN
    assert call("futex", call.room, 1, 1, 0) == 0
    with pytest.raises(Unsupported, match="futex"):
        call("futex", call.room, 0, 0, 0)


def test_the_exit_status_is_eight_bits(call: Caller) -> None:
    call("exit_group", 0x1234)
    assert call.linux.exit_status == 0x34


def test_a_fault_is_a_death_by_its_signal(call: Caller) -> None:
    call.linux.deliver_fault(11, 0)
    assert call.linux.exit_status == -11


def test_a_fault_with_a_handler_goes_to_the_handler(call: Caller) -> None:
    call.space.copy_in(call.room, struct.pack("<QQQQ", 0x401000, 0x0400_0000, 0x402000, 0))
    assert call("rt_sigaction", 11, call.room, 0, 8) == 0
    before, sp = call.engine.pc, call.engine.get("RSP")
    assert call.linux.deliver_fault(11, 0x1234, 1)
    assert (call.engine.pc, call.engine.get("RDI")) == (0x401000, 11)
    frame = call.engine.get("RSP")
    assert frame % 16 == 8
    assert frame < sp - 128
    assert call.space.copy_out(frame, 8) == (0x402000).to_bytes(
        8, "little"
    )  # sa_restorer is the return address
    info, context = call.engine.get("RSI"), call.engine.get("RDX")
    assert struct.unpack("<iiixxxxQ", call.space.copy_out(info, 24)) == (11, 0, 1, 0x1234)
    assert struct.unpack("<Q", call.space.copy_out(context + 40 + 16 * 8, 8)) == (before,)
    call.engine.set("RSP", frame + 8)  # as the handler's ret leaves it
    call.engine.set("RAX", NUMBERS["rt_sigreturn"])
    assert call.linux.syscall()
    assert (call.engine.pc, call.engine.get("RSP")) == (before, sp)


def test_a_second_fault_in_its_own_handler_ends_the_program(call: Caller) -> None:
    call.space.copy_in(call.room, struct.pack("<QQQQ", 0x401000, 0x0400_0000, 0x402000, 0))
    call("rt_sigaction", 11, call.room, 0, 8)
    call.linux.deliver_fault(11, 0)
    assert not call.linux.deliver_fault(11, 0)
    assert call.linux.exit_status == -11


def test_execve_is_refused_unless_it_is_allowed(call: Caller, writer: Caller) -> None:
    assert call("execve", "/bin/true", 0, 0) == -errno.EACCES
    assert "--allow exec" in call.linux.refusals[0]
    assert writer("execve", "/bin/none", 0, 0) == -errno.ENOENT
    assert writer("execve", "/etc/passwd", 0, 0) == -errno.EACCES
    assert writer("execve", "/tmp", 0, 0) == -errno.EACCES
    task = writer.linux.current
    before = task.process.mm
    writer("execve", "/bin/true", 0, 0)
    assert task.process.mm is not before
    assert task.comm == "true"
    assert task.engine.pc == task.image.entry


def test_standard_input_must_be_a_readable_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(HwbpError):
            Caller(stdin=str(path))


def test_no_number_of_any_call_breaks_the_kernel(call: Caller) -> None:
    """Every call with hostile arguments gives a result, an errno, or says that it is not there."""
    for name in NUMBERS:
        if name in ("exit", "exit_group", "fork", "vfork", "rt_sigreturn"):
            continue
        for value in ((1 << 64) - 1, 1 << 63, 0, 0x7FFF_FFFF, BAD):
            try:
                call(name, *[value] * 6)
            except Unsupported:
                if (task := call.linux.current).wait is not None:  # nobody would ever have woken it
                    call.linux.system.end_wait(task, None)
                    call.linux.scheduler.turn()
            assert call.linux.exit_status is None, name


def test_a_sleep_without_end_is_said_to_be_one(call: Caller) -> None:
    call.space.copy_in(call.room, struct.pack("<qq", (1 << 63) - 1, 0))
    with pytest.raises(Unsupported, match="sleep"):
        call("nanosleep", call.room, 0)


def test_a_vast_fixed_mapping_is_answered_at_once(call: Caller) -> None:
    assert call("mmap", 0x10_0000, 60 << 30, 3, 0x10_0022, -1, 0) == -errno.ENOMEM
    assert call("mmap", 0x10_0000, 1 << 30, 3, 0x10_0022, -1, 0) == -errno.EEXIST
    assert call("madvise", call.room, 1 << 46, 4) == -errno.ENOMEM
