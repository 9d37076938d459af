"""Replies in other forms: lines of JSON beside the ledger, data sets in long form, other ledgers."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import socket
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..types import FAILURES, OK, Record
from .replies import Row, content_id, row_of
from .schema import FIELDS, INTEGERS, REALS, LedgerError

if TYPE_CHECKING:
    import datasets

logger = logging.getLogger(__name__)

_DEFAULTS = vars(Record("", OK))
_ID = re.compile("[0-9a-f]{32}")


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
    """The row of such a line, whatever its name."""
    values = json.loads(line)
    return _reply({name: values[name] for name in FIELDS if name in values}, 0)[1]


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


def read_lines(path: Path) -> tuple[list[tuple[str, Row]], int]:
    """The replies in such a file, and how many lines could not be read."""
    found: list[tuple[str, Row]] = []
    bad = 0
    *lines, last = path.read_bytes().split(b"\n")
    for number, line in enumerate([*lines, last]):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
            found.append(_reply({name: values[name] for name in (*FIELDS, "reply_id") if name in values}, len(found)))
        except (ValueError, TypeError):
            bad += number < len(lines)  # a last line that breaks off was never acknowledged
    return found, bad


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
                value = [{"emotion": emotion, "share": share} for emotion, share in json.loads(value).items()]
            columns[name].append(value)
    return columns


def rows_of_dataset(dataset: datasets.Dataset | datasets.IterableDataset) -> Iterator[list[tuple[str, Row]]]:
    """The replies in a data set in long form, batch by batch. Columns that are not ours are passed over."""
    names = dataset.column_names
    for needed in ("key", "outcome"):
        if names is not None and needed not in names:
            raise ValueError(
                f"The data set has no column `{needed}`. Mend: import what `Ledger.to_dataset` gave, a row a reply."
            )
    number = 0
    for batch in dataset.iter(batch_size=1000):
        present = [name for name in (*FIELDS, "reply_id") if name in batch]
        rows = []
        for values in zip(*(batch[name] for name in present), strict=True):
            rows.append(_reply(dict(zip(present, values, strict=True)), number))
            number += 1
        yield rows


def _reply(values: dict[str, Any], number: int) -> tuple[str, Row]:
    def wrong(column: str, why: str) -> ValueError:
        return ValueError(
            f"Row {number}, column `{column}`: {why}. Mend: correct it and import again. Rows before it may be in the "
            "ledger already; importing them again is safe."
        )

    reply_id = values.pop("reply_id", None)
    if reply_id is not None and not (isinstance(reply_id, str) and _ID.fullmatch(reply_id)):
        raise wrong("reply_id", f"expected 32 hexadecimal digits, got {reply_id!r}")
    if not isinstance(values.get("key"), str) or not values["key"]:
        raise wrong("key", f"expected the key of a reply, got {values.get('key')!r}")
    if values.get("outcome") != OK and values.get("outcome") not in FAILURES:
        raise wrong("outcome", f"expected 'ok' or one of {', '.join(FAILURES)}, got {values.get('outcome')!r}")
    try:
        values["settings"] = _settings(values.get("settings"))
    except (ValueError, TypeError) as error:
        raise wrong("settings", f"expected a JSON object ({error})") from error
    try:
        values["distribution"] = _distribution(values.get("distribution"))
    except (ValueError, TypeError, KeyError) as error:
        raise wrong("distribution", f"expected a list of structs with `emotion` and `share` ({error!r})") from error
    for name in (*INTEGERS, *REALS):
        if isinstance(values.get(name), str | bool):
            raise wrong(name, f"expected a number, got {values[name]!r}")
    # an empty value means the field's default
    record = Record(**{name: value if value is not None else _DEFAULTS[name] for name, value in values.items()})
    return reply_id or content_id(record), row_of(record)


def _settings(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        value = json.loads(value) if value else {}
    return dict(value or {})


def _distribution(value: Any) -> dict[str, float] | None:
    if isinstance(value, str):
        value = json.loads(value)
    if value is None or isinstance(value, Mapping):
        shares = {str(emotion): float(share) for emotion, share in (value or {}).items() if share is not None}
    else:
        shares = {str(item["emotion"]): float(item["share"]) for item in value}
    return shares or None
