"""The kernel's own types, with errors that front ends show: `symbols.btf` as machines use it."""

from __future__ import annotations

from typing import ClassVar, Self

import symbols.btf
from backends.base import HwbpError
from symbols.btf import VMLINUX, Field, Kind

__all__ = ["VMLINUX", "Btf", "BtfError", "Field", "Kind"]


class BtfError(HwbpError, symbols.btf.BtfError):
    """BTF that is missing, damaged, or does not describe what was asked for."""


class Btf(symbols.btf.Btf):
    """One kernel's types. Raises `BtfError` for data that is not sound BTF."""

    error: ClassVar[type[symbols.btf.BtfError]] = BtfError

    @classmethod
    def load(cls, path: str = VMLINUX) -> Self:
        """The running kernel's. Raises `BtfError` where the kernel has none."""
        try:
            return super().load(path)
        except BtfError as error:
            if isinstance(error.__cause__, OSError):
                remedy = "a kernel with CONFIG_DEBUG_INFO_BTF=y describes itself"
                raise BtfError(error.message, remedy=remedy) from error
            raise
