"""Other emulators' whole PCs, which run the same bare programs behind a boot sector of ours (`bare/boot.S`)."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import struct
import subprocess
import time
from pathlib import Path

from symbols.elf import ElfImage

__all__ = ["BOCHS", "QEMU", "bochs_output", "disk", "qemu_output"]

HERE = Path(__file__).parent / "bare"
QEMU = shutil.which("qemu-system-x86_64")
BOCHS = shutil.which("bochs")
_SECTOR = 512
_PARAMETERS = 0x1F0
_CYLINDER = 16 * 63 * _SECTOR
_MOST_SECTORS = 127


def disk(program: Path) -> bytes:
    """A disk image: the boot sector with its parameters, and the program as it lies in memory."""
    elf = ElfImage.open(str(program))
    loads = [segment for segment in elf.segments if segment.type == 1 and segment.filesz]
    base = min(segment.vaddr for segment in loads)
    memory = bytearray(max(segment.vaddr + segment.filesz for segment in loads) - base)
    for segment in loads:
        start = segment.vaddr - base
        memory[start : start + segment.filesz] = elf.read_at(segment.offset, segment.filesz)
    sectors = -(-len(memory) // _SECTOR)
    assert sectors <= _MOST_SECTORS, "too large for one read of the BIOS"
    boot = bytearray((HERE / "boot.bin").read_bytes())
    packet = boot.index(b"\x10\x00\x00\x00\x00\x00\x00\x10")
    struct.pack_into("<H", boot, packet + 2, sectors)
    struct.pack_into("<II", boot, _PARAMETERS, base, elf.entry)
    image = bytes(boot) + memory
    return image.ljust(_CYLINDER, b"\0")


def qemu_output(program: Path, folder: Path, seconds: float = 60) -> str:
    """What the program prints under QEMU's own translator of x86 (TCG), up to where QEMU itself ended."""
    image = folder / "disk.img"
    image.write_bytes(disk(program))
    assert QEMU is not None
    printed = folder / "qemu.txt"
    command = [
        *(
            QEMU,
            "-accel",
            "tcg",
            "-cpu",
            "qemu64",
            "-m",
            "32",
            "-display",
            "none",
            "-nodefaults",
            "-no-reboot",
        ),
        *("-drive", f"file={image},format=raw,if=ide", "-debugcon", f"file:{printed}"),
        *("-device", "isa-debug-exit,iobase=0xf4,iosize=1"),
    ]
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds)
    return printed.read_text()


_BOCHSRC = """\
config_interface: textconfig
display_library: rfb, options="timeout=0"
megs: 32
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/vgabios/vgabios.bin
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=disk, path="{image}", mode=flat, cylinders=1, heads=16, spt=63
boot: disk
port_e9_hack: enabled=1
sound: waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy
plugin_ctrl: speaker=0
cpu: model=athlon64_clawhammer, ips=50000000, reset_on_triple_fault=0
clock: sync=none
log: {log}
panic: action=fatal
error: action=report
info: action=ignore
debug: action=ignore
"""


def bochs_output(program: Path, folder: Path, seconds: float = 60) -> str:
    """What the program prints under Bochs. It is ended when it has printed its last line."""
    image, config = folder / "bochs.img", folder / "bochsrc"
    image.write_bytes(disk(program))
    config.write_text(_BOCHSRC.format(image=image, log=folder / "bochs.log"))
    assert BOCHS is not None
    process = subprocess.Popen(
        [BOCHS, "-q", "-f", str(config)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdin is not None
    process.stdin.write(b"c\n")  # Debian builds it with its debugger, which waits for a word
    process.stdin.flush()
    return _until_end(process, seconds)


def _until_end(process: subprocess.Popen[bytes], seconds: float) -> str:
    assert process.stdout is not None
    deadline, text = time.monotonic() + seconds, b""
    try:
        while b"\nend\n" not in text and (left := deadline - time.monotonic()) > 0:
            if not select.select([process.stdout], [], [], left)[0]:
                break
            chunk = os.read(process.stdout.fileno(), 65536)
            if not chunk:
                break
            text += chunk
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    return text.decode("utf-8", "replace")
