"""What a run must remember of each vote and each clip, in temporary files: memory that does not grow with the run."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Sequence
from typing import overload

#: Bytes of a key of the ledger.
KEY_BYTES = 32
_NONE = bytes(KEY_BYTES)


class Keys(Sequence[bytes]):
    """For each row the keys of its jobs so far, joined, in the order in which the panel's members stand.

    Example:
        >>> keys = Keys(3, 2)
        >>> keys.add(1, 1, b"b" * 32)
        >>> keys.add(1, 0, b"a" * 32)
        >>> [len(row) for row in keys], keys[1] == b"a" * 32 + b"b" * 32
        ([0, 64, 0], True)
    """

    def __init__(self, rows: int, members: int) -> None:
        self._rows, self._row_bytes = rows, members * KEY_BYTES
        self._lock = threading.Lock()
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it goes with this object
        self._file.truncate(rows * self._row_bytes)  # what nobody writes takes no room

    def add(self, row: int, member: int, key: bytes) -> None:
        """Write the key of one job."""
        with self._lock:
            self._file.seek(row * self._row_bytes + member * KEY_BYTES)
            self._file.write(key)

    def __len__(self) -> int:
        return self._rows

    @overload
    def __getitem__(self, at: int) -> bytes: ...
    @overload
    def __getitem__(self, at: slice) -> list[bytes]: ...
    def __getitem__(self, at: int | slice) -> bytes | list[bytes]:
        """The keys of a row, or of some rows."""
        if isinstance(at, int):
            if not 0 <= at < self._rows:
                raise IndexError(at)
            return self._read(at, 1)[0]
        first, last, step = at.indices(self._rows)
        return self._read(first, max(0, last - first))[::step]

    def __iter__(self) -> Iterator[bytes]:
        for first in range(0, self._rows, 1000):
            yield from self._read(first, min(1000, self._rows - first))

    def _read(self, first: int, number: int) -> list[bytes]:
        with self._lock:
            self._file.seek(first * self._row_bytes)
            data = self._file.read(number * self._row_bytes)
        found = []
        for start in range(0, len(data), self._row_bytes or 1):
            row = data[start : start + self._row_bytes]
            keys = (row[place : place + KEY_BYTES] for place in range(0, len(row), KEY_BYTES))
            found.append(b"".join(key for key in keys if key != _NONE))
        return found or [b""] * number


class JoinedKeys(Sequence[bytes]):
    """The keys of several models, those of a row one after the other."""

    def __init__(self, parts: Sequence[Sequence[bytes]]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return min(map(len, self._parts))

    @overload
    def __getitem__(self, at: int) -> bytes: ...
    @overload
    def __getitem__(self, at: slice) -> list[bytes]: ...
    def __getitem__(self, at: int | slice) -> bytes | list[bytes]:
        """The keys of a row, or of some rows."""
        if isinstance(at, int):
            return b"".join(part[at] for part in self._parts)
        return [b"".join(row) for row in zip(*(part[at] for part in self._parts), strict=False)]

    def __iter__(self) -> Iterator[bytes]:
        return (b"".join(row) for row in zip(*self._parts, strict=False))


class Heap:
    """Pieces of data in one temporary file, each by its place there. Threads may share it."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it goes with this object
        self._lock = threading.Lock()
        self.size = 0

    def put(self, data: bytes) -> int:
        """Write a piece; its place. Raises `OSError` where the disk is full."""
        with self._lock:
            place = self._file.seek(self.size)
            self._file.write(data)
            self.size += len(data)
            return place

    def get(self, place: int, size: int) -> bytes:
        """Read a piece."""
        with self._lock:
            self._file.seek(place)
            return self._file.read(size)
