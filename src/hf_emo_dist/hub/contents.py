"""Where in a file that is about to be uploaded a secret stands: in text, in Parquet's columns, in archives, in SQLite.

Files are read as a stream. What is compressed or split into pages is looked at as it will be read: Parquet's values
after decompression, the members of a zip (npz) or gzip file, the values of a ledger's tables.
"""

from __future__ import annotations

import gzip
import io
import json
import sqlite3
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import quote

import numpy as np

from .secrets import LONGEST, Secrets

_BLOCK = 1 << 23  # bytes
_ROWS, _BATCH = 1 << 14, 1 << 24  # of a batch of Parquet: most rows, and bytes, since recordings are large
#: Most that an archive may unpack to, and how deep they may lie in each other.
MOST_UNPACKED, MOST_DEEP = 1 << 34, 3
#: Largest file of JSON or text that is also looked at without its escapes and line breaks.
MOST_TEXT = 1 << 28
_TEXT = (".json", ".ipynb", ".md", ".txt", ".py", ".jinja", ".yaml", ".csv", ".tsv", ".jsonl", ".html")


class Place(NamedTuple):
    """Where something was found."""

    path: str  # in the repository; of a column of Parquet with `:column`
    detail: str  # row, line or the like
    what: str


class NotLookedThroughError(ValueError):
    """A file cannot be searched."""


def places(path: str, content: Path | bytes, secrets: Secrets) -> Iterator[Place]:
    """Find the secrets in a file.

    Args:
        path: What it is called in the repository, which says how it is read.
        content: The file, or its bytes.
        secrets: What is looked for.

    Raises:
        NotLookedThroughError: It is an archive that is encrypted, damaged, or unpacks to too much.

    Example:
        >>> from hf_emo_dist.hub.secrets import Secrets
        >>> list(places("notes.md", b"Mine.\\ns3cret-s3cret", Secrets([("the value of KEY", "s3cret-s3cret")])))
        [Place(path='notes.md', detail='line 2', what='the value of KEY')]
    """
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
        yield from _Walk(secrets).file(path, file, content if isinstance(content, Path) else None)


class _Walk:
    """Goes through one file and what is packed in it."""

    def __init__(self, secrets: Secrets) -> None:
        self.secrets = secrets
        self.unpacked = 0

    def file(self, path: str, file: IO[bytes], disk: Path | None = None, deep: int = 0) -> Iterator[Place]:
        head = file.read(16)
        file.seek(0)
        if head[:4] == b"PAR1":
            yield from self._parquet(path, file)
            return
        told = set()
        for place in self._stream(path, file):
            told.add(place.what)
            yield place
        file.seek(0)
        if head[:4] == b"PK\x03\x04" or head[:2] == b"\x1f\x8b":
            if deep == MOST_DEEP:
                raise NotLookedThroughError(f"archives lie more than {MOST_DEEP} deep in each other")
            yield from (self._zip if head[:2] == b"PK" else self._gzip)(path, file, deep)
        elif head == b"SQLite format 3\0" and disk is not None:
            yield from self._sqlite(path, disk)
        elif path.endswith(_TEXT):
            text = file.read(MOST_TEXT)
            yield from (place for place in self._unbroken(path, text) if place.what not in told)
            if path.endswith((".json", ".ipynb")) and b"\\" in text:
                yield from self._json(path, text)

    def _stream(self, path: str, file: IO[bytes]) -> Iterator[Place]:
        text = path.endswith(_TEXT)
        before, lines, kept, told = 0, 1, b"", set()
        while block := file.read(_BLOCK):
            data = kept + block
            for found in self.secrets.search(data):
                if (before + found.start, found.what) not in told:  # else in what was kept of the block before
                    told.add((before + found.start, found.what))
                    where = f"line {lines + data.count(10, 0, found.start)}" if text else f"byte {before + found.start}"
                    yield Place(path, where, found.what)
            kept = data[-LONGEST:]
            if text:
                lines += data.count(10, 0, len(data) - len(kept))
            before += len(data) - len(kept)

    def _unbroken(self, path: str, text: bytes) -> Iterator[Place]:
        """A key whose base64 is broken into lines."""
        for found in self.secrets.known(text.translate(None, b" \t\r\n\"',\\")):
            yield Place(path, "over several lines", found.what)

    def _json(self, path: str, text: bytes) -> Iterator[Place]:
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            return  # it was looked at as text
        everything = "\n".join(_strings(values))
        for found in self.secrets.search(everything.encode("utf-8", "surrogatepass")):
            yield Place(path, "written with escapes", found.what)

    def _zip(self, path: str, file: IO[bytes], deep: int) -> Iterator[Place]:
        try:
            with zipfile.ZipFile(file) as archive:  # type: ignore[arg-type]
                for entry in archive.infolist():
                    with archive.open(entry) as member:
                        yield from self.file(f"{path}/{entry.filename}", self._bounded(member), None, deep + 1)
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError, ValueError) as error:
            raise NotLookedThroughError(f"it cannot be unpacked ({error})") from error

    def _gzip(self, path: str, file: IO[bytes], deep: int) -> Iterator[Place]:
        try:
            with gzip.open(file) as member:
                yield from self.file(path.removesuffix(".gz"), self._bounded(member), None, deep + 1)
        except (EOFError, OSError, ValueError) as error:
            raise NotLookedThroughError(f"it cannot be unpacked ({error})") from error

    def _bounded(self, member: Any) -> IO[bytes]:
        """A member as a file that can be read twice, if it is no bomb."""
        import tempfile

        copy = tempfile.SpooledTemporaryFile(max_size=_BLOCK * 8)  # noqa: SIM115  it is gone when nobody has it
        while block := member.read(_BLOCK):
            self.unpacked += len(block)
            if self.unpacked > MOST_UNPACKED:
                raise NotLookedThroughError(f"it unpacks to more than {MOST_UNPACKED >> 30} GiB")
            copy.write(block)
        copy.seek(0)
        return copy

    def _sqlite(self, path: str, disk: Path) -> Iterator[Place]:
        try:
            base = sqlite3.connect(f"file:{quote(str(disk.resolve()))}?mode=ro&immutable=1", uri=True)
        except sqlite3.Error as error:
            raise NotLookedThroughError(f"it cannot be opened ({error})") from error
        try:
            base.text_factory = bytes
            base.execute("PRAGMA trusted_schema = OFF")
            tables = base.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0").fetchall()
            for (name,) in tables:
                table = name.decode("utf-8", "replace")
                rows = base.execute('SELECT * FROM "' + table.replace('"', '""') + '"')
                names = [column[0] for column in rows.description]
                for number, row in enumerate(rows):
                    for column, value in zip(names, row, strict=True):
                        for found in self.secrets.search(value) if isinstance(value, bytes) else ():
                            yield Place(path, f"table {table}, row {number}, column {column}", found.what)
        except sqlite3.Error as error:
            raise NotLookedThroughError(f"it cannot be read ({error})") from error
        finally:
            base.close()

    def _parquet(self, path: str, file: IO[bytes]) -> Iterator[Place]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.ParquetFile(file)
            about = table.schema_arrow.metadata or {}
            for key, value in about.items():
                for found in self.secrets.search(value):
                    yield Place(path, f"metadata {key.decode('utf-8', 'replace')}", found.what)
            before = 0
            groups = [table.metadata.row_group(place) for place in range(table.metadata.num_row_groups)]
            widest = max((group.total_byte_size / max(group.num_rows, 1) for group in groups), default=1.0)
            size = max(1, min(_ROWS, int(_BATCH / max(widest, 1.0))))
            for batch in table.iter_batches(batch_size=size, use_threads=False):
                for name, column in zip(batch.schema.names, batch.columns, strict=True):
                    for row, what in self._array(column, lambda place: place):
                        yield Place(f"{path}:{name}", f"row {before + row}", what)
                before += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise NotLookedThroughError(f"it cannot be read ({error})") from error

    def _array(self, array: Any, row_of: Callable[[int], int]) -> Iterator[tuple[int, str]]:
        """What is found in a column, with its row; `row_of` tells the row of a value of the array."""
        import pyarrow as pa
        import pyarrow.compute as pc
        from pyarrow import types

        kind = array.type
        if isinstance(kind, pa.BaseExtensionType):
            yield from self._array(array.storage, row_of)
        elif types.is_dictionary(kind):
            yield from self._array(array.dictionary_decode(), row_of)
        elif types.is_struct(kind):
            for part in array.flatten():
                yield from self._array(part, row_of)
        elif types.is_nested(kind):  # lists and maps
            if types.is_map(kind):
                array = array.cast(pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)])))
            parents = pc.list_parent_indices(array).to_numpy()
            yield from self._array(array.flatten(), lambda place: row_of(int(parents[place])))
        elif types.is_fixed_size_binary(kind) or _is_of_bytes(kind):
            yield from self._values(array.cast(pa.large_binary()), row_of)
        elif types.is_integer(kind) and kind.bit_width <= 32 and len(array):
            # a key as a list of numbers
            width = kind.bit_width // 8
            data = memoryview(array.buffers()[1])[array.offset * width : (array.offset + len(array)) * width]
            for found in self.secrets.search(bytes(data)):
                yield row_of(found.start // width), found.what

    def _values(self, array: Any, row_of: Callable[[int], int]) -> Iterator[tuple[int, str]]:
        _, places_, buffer = array.buffers()
        if buffer is None or not len(array):
            return
        ends = np.frombuffer(places_, "<i8")[array.offset : array.offset + len(array) + 1]
        data = bytes(memoryview(buffer)[ends[0] : ends[-1]])
        ends = ends - ends[0]
        told = set()
        # all values at once, and those in which there seems to be something by themselves
        for found in self.secrets.search(data, strictly=False):
            first, last = np.searchsorted(ends, (found.start, found.end - 1), "right") - 1
            for place in range(first, last + 1):
                for inside in self.secrets.search(data[ends[place] : ends[place + 1]]):
                    if (place, inside.what) not in told:
                        told.add((place, inside.what))
                        yield row_of(place), inside.what


def _is_of_bytes(kind: Any) -> bool:
    from pyarrow import types

    tests = ("binary", "large_binary", "string", "large_string", "string_view", "binary_view")
    return any(getattr(types, f"is_{name}", lambda kind: False)(kind) for name in tests)


def _strings(values: Any) -> Iterator[str]:
    waiting = [values]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            yield from value
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
