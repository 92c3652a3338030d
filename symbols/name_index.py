"""Names by prefix and by likeness, out of a string table, for completion and "did you mean".

A key of eight bytes a name is made once for the whole table with numpy (0.2 s for a million names); the names
themselves are decoded for the few that are shown.
"""

from __future__ import annotations

import difflib
from functools import cached_property
from typing import Any

from symbols.arrays import np

__all__ = ["NameIndex"]

KEY = 8  # bytes
EXACT = 1024  # matches up to which the order is the whole name's
LIKE_LENGTH = 64
LIKE_LIMIT = 3000
LIKE_ROWS = 1 << 20


class NameIndex:
    """Names that begin at `offsets` of `data` (bytes; each ends at a zero byte or an `@`)."""

    def __init__(self, data: bytes, offsets: Any) -> None:
        self._data = data + b"\0" * (LIKE_LENGTH + 2 * KEY)
        self._offsets = np.unique(offsets[offsets < len(data)]).astype(np.int64)

    def starting_with(self, prefix: str, limit: int) -> list[str]:
        """At most `limit` names, in order; of very many, those that come first by their first eight bytes."""
        raw = prefix.encode("utf-8", "surrogateescape")
        keys, order = self._sorted
        low = np.searchsorted(keys, _number(raw, b"\0"), "left")
        high = np.searchsorted(keys, _number(raw, b"\xff"), "right")
        found = order[low:high]
        if len(raw) > KEY:
            found = found[self._matching(found, raw)]
        names = sorted({self._name(offset) for offset in found[: max(EXACT, 2 * limit)].tolist()})
        return [name for name in names if name.startswith(prefix)][:limit]

    def near(self, name: str, limit: int) -> list[str]:
        """Names like this one, the likest first."""
        slack = max(2, len(name) // 3)
        raw = name.encode("utf-8", "surrogateescape")
        if not raw or len(raw) + slack >= LIKE_LENGTH:
            return []
        offsets = self._offsets[:LIKE_ROWS]
        lengths = self._lengths[:LIKE_ROWS]
        offsets = offsets[np.abs(lengths - len(raw)) <= slack]
        masks = self._masks(offsets, len(raw) + slack)
        apart = np.bitwise_count(masks ^ np.uint64(_mask(raw.lower())))
        best = offsets[np.argsort(apart, kind="stable")][:LIKE_LIMIT]
        names = list(dict.fromkeys(self._name(int(offset)) for offset in best))
        folded = name.casefold()
        same = [each for each in names if each.casefold() == folded]
        alike = difflib.get_close_matches(name, names, limit + len(same), 0.7)
        return list(dict.fromkeys(same + alike))[:limit]

    @cached_property
    def _letters(self) -> Any:
        return np.frombuffer(self._data, np.uint8)

    @cached_property
    def _lengths(self) -> Any:
        ends = np.flatnonzero((self._letters == 0) | (self._letters == ord("@")))
        return ends[np.searchsorted(ends, self._offsets)] - self._offsets

    def _keys(self, offsets: Any) -> Any:
        """The first eight bytes of each name, as numbers in the names' order; zero behind a name's end."""
        letters = self._letters[offsets[:, None] + np.arange(KEY)]
        ended = np.logical_or.accumulate(letters == 0, axis=1)
        letters = np.where(ended, 0, letters).astype(np.uint8)
        return np.ascontiguousarray(letters).view(">u8")[:, 0].astype(np.uint64)

    @cached_property
    def _sorted(self) -> tuple[Any, Any]:
        keys = self._keys(self._offsets)
        order = np.argsort(keys, kind="stable")
        return keys[order], self._offsets[order]

    def _matching(self, offsets: Any, raw: bytes) -> Any:
        keep = np.ones(len(offsets), bool)
        for at in range(KEY, len(raw)):
            keep &= self._letters[np.minimum(offsets + at, len(self._letters) - 1)] == raw[at]
        return keep

    def _masks(self, offsets: Any, longest: int) -> Any:
        """A bit for each letter that a name has, case folded."""
        masks = np.zeros(len(offsets), np.uint64)
        alive = np.ones(len(offsets), bool)
        for at in range(longest):
            letters = self._letters[offsets + at]
            alive &= (letters != 0) & (letters != ord("@"))
            upper = (letters >= 65) & (letters <= 90)
            bits = np.uint64(1) << ((letters + 32 * upper) & 63).astype(np.uint64)
            masks |= np.where(alive, bits, np.uint64(0))
        return masks

    def _name(self, offset: int) -> str:
        raw = self._data[offset : self._data.index(b"\0", offset)]
        if raw[:1] != b"@":
            raw = raw.partition(b"@")[0]
        return raw.decode("utf-8", "surrogateescape")


def _number(raw: bytes, fill: bytes) -> Any:
    return np.uint64(int.from_bytes(raw[:KEY].ljust(KEY, fill), "big"))


def _mask(raw: bytes) -> int:
    mask = 0
    for byte in raw:
        mask |= 1 << (byte & 63)
    return mask
