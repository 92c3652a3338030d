"""Compressed sections of ELF files (gABI, "Section Compression")."""

from __future__ import annotations

import importlib
import importlib.util
import zlib

__all__ = ["ZLIB", "ZSTD", "inflate", "knows_zstd"]

ZLIB, ZSTD = 1, 2  # ELFCOMPRESS_ZLIB, ELFCOMPRESS_ZSTD
ZSTD_MODULES = ("compression.zstd", "zstandard")  # Python 3.14's own, else a package that is optional
ZSTD_WINDOW = 1 << 27  # bytes: what `zstd -d` takes without being told


def inflate(algorithm: int, data: bytes, size: int) -> bytes:
    """At most `size` bytes of what was compressed; empty where it is broken or nothing here knows the algorithm."""
    if algorithm == ZLIB:
        try:
            return zlib.decompressobj().decompress(data, max(1, size))
        except zlib.error:
            return b""
    return _zstd(data, size) if algorithm == ZSTD else b""


def knows_zstd() -> bool:
    """Whether something here can read ELFCOMPRESS_ZSTD."""
    return any(_can_import(name) for name in ZSTD_MODULES)


def _can_import(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:  # the package around it is missing
        return False


def _zstd(data: bytes, size: int) -> bytes:
    for name in ZSTD_MODULES:
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        try:
            if name == "zstandard":  # its `decompress` believes the size that a frame claims
                reader = module.ZstdDecompressor(max_window_size=ZSTD_WINDOW).stream_reader(data)
                return bytes(reader.read(max(1, size)))
            return bytes(module.ZstdDecompressor().decompress(data, max(1, size)))
        except (module.ZstdError, MemoryError):
            return b""
    return b""
