"""Replies in other forms: lines of JSON beside the ledger, data sets in long form, other ledgers."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import re
import socket
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..types import Record
from .replies import Row, row_of
from .schema import FIELDS, INTEGERS, REALS, LedgerError
from .taking_in import BadReply, Taken, reply_of

if TYPE_CHECKING:
    import datasets

logger = logging.getLogger(__name__)

_MOST_LINE = 64_000_000  # bytes


# ---- rescue files: lines of JSON beside the ledger, for what a process could not write into it
def rescue_files(ledger: Path) -> list[Path]:
    """All such files beside a ledger, those included that a merge left half-way."""
    names = re.compile(re.escape(ledger.name) + r"\..+\.part\.jsonl(\.[0-9a-f]+\.merging)?")
    return sorted(path for path in ledger.parent.iterdir() if names.fullmatch(path.name))


def line_of(reply_id: str, record: Record) -> str:
    """A reply as one line of JSON, in ASCII: it survives whatever a text holds."""
    values = [value.decode("utf-8", "surrogatepass") if isinstance(value, bytes) else value for value in row_of(record)]
    return json.dumps({"reply_id": reply_id, **dict(zip(FIELDS, values, strict=True))})


def row_of_line(line: str) -> Row:
    """The row of such a line, whatever its name. Raises `ValueError` where that is damaged."""
    values = json.loads(line)
    return reply_of({name: values[name] for name in FIELDS if name in values}, math.inf)[1]


def append_lines(path: Path, replies: Sequence[tuple[str, Record]]) -> None:
    """Add replies to a file and wait until they are on the disk."""
    # the line break in front ends a line that a full disk cut off before
    data = "".join(f"\n{line_of(*reply)}" for reply in replies) + "\n"
    while True:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data.encode("ascii"))
            file.flush()
            os.fsync(file.fileno())
        # else another process took it away to merge it, perhaps before these lines were in it
        if path.exists():
            return


def entries_of_lines(path: Path, taken: Taken) -> Iterator[tuple[str, dict[str, Any]]]:
    """Where each reply in such a file stands, and its values; `taken` notes the lines that cannot be read."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(_MOST_LINE):
            number += 1
            if not line.strip():
                continue
            try:
                values = json.loads(line)
                if not isinstance(values, dict):
                    raise ValueError("no mapping")
            except (ValueError, RecursionError):
                if line.endswith(b"\n") or len(line) == _MOST_LINE:  # else it breaks off, and was never acknowledged
                    taken.leave_out(f"line {number}", BadReply("line", "it is no JSON"))
                continue
            yield f"line {number}", values


def rescue(ledger: Path, token: str, replies: Sequence[tuple[str, Record]], reason: str) -> LedgerError:
    """Write replies that the ledger did not take to another place; the error that tells of it."""
    count = f"{len(replies)} {'reply' if len(replies) == 1 else 'replies'}"
    host = re.sub(r"[^A-Za-z0-9_-]+", "_", socket.gethostname())
    beside = ledger.with_name(f"{ledger.name}.{host}-{os.getpid()}-{token}.part.jsonl")  # no other process writes it
    for path in (beside, Path(tempfile.gettempdir()) / beside.name):
        try:
            append_lines(path, replies)
        except OSError as error:
            logger.debug("%s: %s", path, error)
            with contextlib.suppress(OSError):
                if not path.stat().st_size:
                    path.unlink()
            continue
        if path == beside:
            mend = "when that is mended, open the ledger again: it takes the file in by itself."
        else:
            mend = (
                f"when that is mended: Ledger({str(ledger)!r}).merge({str(path)!r}). Do it before the temporary folder "
                "is emptied."
            )
        return LedgerError(f"{reason} The {count} that came are kept in {path}.", mend, rescue_file=path)
    return LedgerError(
        f"{reason} {count} that came could be written nowhere, neither beside it nor to the temporary folder.",
        "free some disk space and store `error.records` again before this process ends.",
        records=[record for _, record in replies],
    )


# ---- data sets in long form
def dataset_features() -> datasets.Features:
    """Types of the columns: a row a reply."""
    from datasets import Features, Value

    kinds: dict[str, Any] = {"reply_id": Value("string"), "counts": Value("bool")}
    for name in FIELDS:
        kinds[name] = Value("int64" if name in INTEGERS else "float64" if name in REALS else "string")
    kinds["distribution"] = [{"emotion": Value("string"), "share": Value("float64")}]
    return Features(kinds)


def dataset_rows(rows: Iterable[tuple[Any, ...]]) -> dict[str, list[Any]]:
    """Columns of rows (reply_id, counts, values…)."""
    columns: dict[str, list[Any]] = {"reply_id": [], "counts": [], **{name: [] for name in FIELDS}}
    for reply_id, counts, *values in rows:
        columns["reply_id"].append(reply_id)
        columns["counts"].append(bool(counts))
        for name, value in zip(FIELDS, values, strict=True):
            if isinstance(value, bytes):  # lone surrogates, which Arrow cannot hold
                value = value.decode("utf-8", "surrogatepass").encode("utf-8", "backslashreplace").decode()
            if name == "distribution" and value is not None:
                value = _shares(value)
            columns[name].append(value)
    return columns


def _shares(text: str) -> list[dict[str, Any]] | None:
    try:
        return [{"emotion": emotion, "share": float(share)} for emotion, share in json.loads(text).items()]
    except (ValueError, TypeError, AttributeError):  # damaged: who imports the table is told
        return None


def entries_of_dataset(
    dataset: datasets.Dataset | datasets.IterableDataset,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Where each reply in a data set in long form stands, and its values. Columns that are not ours are passed over."""
    names = dataset.column_names
    for needed in ("key", "outcome"):
        if names is not None and needed not in names:
            raise ValueError(
                f"The data set has no column `{needed}`. Mend: import what `Ledger.to_dataset` gave, a row a reply."
            )
    number = 0
    for batch in dataset.iter(batch_size=1000):
        present = [name for name in (*FIELDS, "reply_id") if name in batch]
        for values in zip(*(batch[name] for name in present), strict=True):
            yield f"row {number}", dict(zip(present, values, strict=True))
            number += 1


def entries_of_ledger(pages: Iterable[Iterable[tuple[Any, ...]]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The same of the rows of another ledger, as `replies.pages` gives them."""
    for page in pages:
        for row in page:
            yield f"reply {row[1]}", {**dict(zip(FIELDS, row[3:], strict=True)), "reply_id": row[1]}
