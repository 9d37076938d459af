"""Where in a file that is about to be uploaded a secret stands: in text, in Parquet's columns, in archives, in SQLite.

Files are read as a stream. What is compressed or split into pages is looked at as it will be read: Parquet's values
after decompression, the members of a zip (npz) or gzip file, the values of a ledger's tables.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
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
_TEXT = (".json", ".ipynb", ".md", ".txt", ".py", ".jinja", ".yaml", ".csv", ".tsv", ".jsonl", ".html")


_PACKED = ((b"\x1f\x8b\x08", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open))
_HEADS = (b"PK\x03\x04", b"PAR1", *(head for head, _ in _PACKED))


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
        if head.startswith(_HEADS) and deep == MOST_DEEP:
            raise NotLookedThroughError(f"archives lie more than {MOST_DEEP} deep in each other")
        if head[:4] == b"PAR1":
            yield from self._parquet(path, file, deep)
            return
        for place, _, _ in self._stream(path, file):
            yield place
        file.seek(0)
        if head[:4] == b"PK\x03\x04":
            yield from self._zip(path, file, deep)
        elif head == b"SQLite format 3\0" and disk is not None:
            yield from self._sqlite(path, disk)
        for begin, opened in _PACKED:
            if head.startswith(begin):
                yield from self._unpacked(path, opened, file, deep)

    def _stream(self, path: str, file: IO[bytes]) -> Iterator[tuple[Place, int, bytes]]:
        """What is found in the bytes as they are, at which of them, and the secret itself."""
        text = path.endswith(_TEXT)
        before, lines, kept, told = 0, 1, b"", set()
        while block := file.read(_BLOCK):
            data = kept + block
            for found in self.secrets.search(data):
                if (before + found.start, found.what) not in told:  # else in what was kept of the block before
                    told.add((before + found.start, found.what))
                    where = f"line {lines + data.count(10, 0, found.start)}" if text else f"byte {before + found.start}"
                    yield Place(path, where, found.what), before + found.start, data[found.start : found.end]
            kept = data[-LONGEST:]
            if text:
                lines += data.count(10, 0, len(data) - len(kept))
            before += len(data) - len(kept)

    def _zip(self, path: str, file: IO[bytes], deep: int) -> Iterator[Place]:
        try:
            with zipfile.ZipFile(file) as archive:  # type: ignore[arg-type]
                for entry in archive.infolist():
                    with archive.open(entry) as member:
                        yield from self.file(f"{path}/{entry.filename}", self._bounded(member), None, deep + 1)
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError, ValueError) as error:
            raise NotLookedThroughError(f"it cannot be unpacked ({error})") from error

    def _unpacked(self, path: str, opened: Callable[[Any], Any], file: IO[bytes], deep: int) -> Iterator[Place]:
        try:
            with opened(file) as member:
                name = path.removesuffix(".gz").removesuffix(".bz2").removesuffix(".xz")
                yield from self.file(name, self._bounded(member), None, deep + 1)
        except (EOFError, OSError, ValueError, lzma.LZMAError) as error:
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

    def _parquet(self, path: str, file: IO[bytes], deep: int) -> Iterator[Place]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.ParquetFile(file)
            for where, value in _about(table.schema_arrow):
                for found in self.secrets.search(value):
                    yield Place(path, where, found.what)
            before, shown = 0, set()
            groups = [table.metadata.row_group(place) for place in range(table.metadata.num_row_groups)]
            widest = max((group.total_byte_size / max(group.num_rows, 1) for group in groups), default=1.0)
            size = max(1, min(_ROWS, int(_BATCH / max(widest, 1.0))))
            for batch in table.iter_batches(batch_size=size, use_threads=False):
                for name, column in zip(batch.schema.names, batch.columns, strict=True):
                    where = f"{path}:{name}"
                    for row, what, secret in self._array(column, lambda place: place, _Column(where, deep)):
                        shown.add(secret)
                        yield Place(where, f"row {before + row}", what)
                before += batch.num_rows
            chunks = sorted(_chunk(group.column(place)) for group in groups for place in range(group.num_columns))
            file.seek(0)
            for raw, at, secret in self._stream(path, file):
                # values of columns were told with their names, also where statistics repeat them
                if any(secret in one or one in secret for one in shown if one):
                    continue
                # what is compressed brings other things side by side: there only what is known counts
                inside = any(begin <= at < end for begin, end in chunks)
                if not inside or any(True for _ in self.secrets.known(secret)):
                    yield raw
        except (pa.ArrowException, OSError) as error:
            raise NotLookedThroughError(f"it cannot be read ({error})") from error

    def _array(self, array: Any, row_of: Callable[[int], int], column: _Column) -> Iterator[tuple[int, str, bytes]]:
        """What is found in a column, with its row and itself; `row_of` tells the row of a value of the array."""
        import pyarrow as pa
        import pyarrow.compute as pc
        from pyarrow import types

        kind = array.type
        if isinstance(kind, pa.BaseExtensionType):
            yield from self._array(array.storage, row_of, column)
        elif types.is_dictionary(kind):
            yield from self._array(array.dictionary_decode(), row_of, column)
        elif types.is_struct(kind):
            for part in array.flatten():
                yield from self._array(part, row_of, column)
        elif types.is_nested(kind):  # lists and maps
            if types.is_map(kind):
                array = array.cast(pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)])))
            parents = pc.list_parent_indices(array).to_numpy()
            yield from self._array(array.flatten(), lambda place: row_of(int(parents[place])), column)
        elif types.is_fixed_size_binary(kind) or _is_of_bytes(kind):
            yield from self._values(array.cast(pa.large_binary()), row_of, column)
        elif (types.is_integer(kind) or types.is_floating(kind)) and len(array):
            # a key as a list of numbers: as they lie in memory, and each of them as a character
            width = kind.bit_width // 8
            data = memoryview(array.buffers()[1])[array.offset * width : (array.offset + len(array)) * width]
            texts = [(bytes(data), width)]
            if width > 4 or types.is_floating(kind):  # others are found as wide characters
                texts.append((_characters(np.frombuffer(data, kind.to_pandas_dtype())), 1))
            for text, step in texts:
                for found in self.secrets.search(text):
                    yield row_of(found.start // step), found.what, text[found.start : found.end]

    def _values(self, array: Any, row_of: Callable[[int], int], column: _Column) -> Iterator[tuple[int, str, bytes]]:
        _, places_, buffer = array.buffers()
        if buffer is None or not len(array):
            return
        ends = np.frombuffer(places_, "<i8")[array.offset : array.offset + len(array) + 1]
        data = bytes(memoryview(buffer)[ends[0] : ends[-1]])
        ends = ends - ends[0]
        told: set[tuple[int, str]] = set()
        # all values at once, and those in which there seems to be something by themselves
        for found in self.secrets.search(data, strictly=False):
            first, last = np.searchsorted(ends, (found.start, found.end - 1), "right") - 1
            pieces = [(place, place, data[ends[place] : ends[place + 1]]) for place in range(first, last + 1)]
            pieces += self._joined(data, ends, row_of, int(first), int(last)) if first < last else []
            for place, key, text in pieces:
                for inside in self.secrets.search(text):
                    if (key, inside.what) not in told:
                        told.add((key, inside.what))
                        yield row_of(place), inside.what, text[inside.start : inside.end]
        yield from self._archives(data, ends, row_of, column)

    def _joined(
        self, data: bytes, ends: Any, row_of: Callable[[int], int], first: int, last: int
    ) -> Iterator[tuple[int, int, bytes]]:
        """The values of one row side by side, as where a list holds a key's characters."""
        while first <= last:
            row, end = row_of(first), first
            while end < last and row_of(end + 1) == row:
                end += 1
            if end > first:
                yield first, -1 - row, data[ends[first] : ends[end + 1]]
            first = end + 1

    def _archives(self, data: bytes, ends: Any, row_of: Callable[[int], int], column: _Column) -> Iterator[Any]:
        """What is found in values that are archives."""
        begins = ends[:-1][np.diff(ends) > 20]
        if not len(begins):
            return
        first, second = (np.frombuffer(data, np.uint8)[begins + place] for place in (0, 1))
        pairs = {(head[0], head[1]) for head in _HEADS}
        may = np.logical_or.reduce([(first == one) & (second == other) for one, other in pairs])
        for begin in map(int, begins[may]):
            if not data.startswith(_HEADS, begin):
                continue
            place = int(np.searchsorted(ends, begin, "right")) - 1
            try:
                content = data[begin : ends[place + 1]]
                for inside in self.file(column.path, io.BytesIO(content), None, column.deep + 1):
                    yield row_of(place), f"{inside.what}, in an archive", b""
            except NotLookedThroughError as error:
                yield row_of(place), f"an archive that cannot be searched: {error}", b""


class _Column(NamedTuple):
    """Which column of which file is looked at."""

    path: str
    deep: int


def _characters(numbers: Any) -> bytes:
    """Numbers as characters; 0 where they are none."""
    with np.errstate(invalid="ignore"):
        small = np.where((numbers >= 9) & (numbers < 127), numbers, 0).astype(np.uint8)
    return bytes(np.where(small == numbers, small, 0).astype(np.uint8))


def _about(schema: Any) -> Iterator[tuple[str, bytes]]:
    """Everything that is written in the schema of a table: metadata of it and of its fields, and their names."""
    waiting = [schema.field(place) for place in range(len(schema.names))]
    metadata = list((schema.metadata or {}).items())
    while waiting:
        field = waiting.pop()
        yield "the name of a column", field.name.encode("utf-8", "surrogatepass")
        metadata += (field.metadata or {}).items()
        waiting += [field.type.field(place) for place in range(field.type.num_fields)]
    for key, value in metadata:
        yield "the name of metadata", key
        yield f"metadata {key.decode('utf-8', 'replace')}", value


def _chunk(column: Any) -> tuple[int, int]:
    """Where a column's pages lie in its file."""
    begin = min(place for place in (column.dictionary_page_offset, column.data_page_offset) if place)
    return begin, begin + column.total_compressed_size


def _is_of_bytes(kind: Any) -> bool:
    from pyarrow import types

    tests = ("binary", "large_binary", "string", "large_string", "string_view", "binary_view")
    return any(getattr(types, f"is_{name}", lambda kind: False)(kind) for name in tests)
