"""The one way in which files of the package's own are read again: a broken one is named, with what to do.

Everything that a run keeps to go on with, and every model's folder, may come from a disk that was full, a copy that was
broken off, or a machine that lost its power. Text is parsed and its shape checked; what is written with a checksum or a
digest is compared with it.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .._files import is_ordinary, refuse_special

_WHOLE = 2**28  # bytes up to which a digest is of a whole file
_PLACES, _BYTES = 4096, 4096  # of a larger one: so many pieces of so many bytes
CHECKSUM = "checksum"


class BrokenFileError(ValueError):
    """A file of the package's own is damaged; the message names it and says what to do.

    Attributes:
        file: Its path.
        reason: What is wrong with it.
    """

    def __init__(self, file: str | os.PathLike[str], reason: str, mend: str) -> None:
        super().__init__(f"{os.fspath(file)} is damaged ({reason}). Mend: {mend}")
        self.file, self.reason = Path(file), reason


def read_json(
    file: str | os.PathLike[str], mend: str, *, needs: Mapping[str, type | tuple[type, ...]] | None = None
) -> dict[str, Any]:
    """Read a JSON object that the package wrote; where it was written with a checksum, that must hold.

    Args:
        file: Its path.
        mend: What to do where it is damaged.
        needs: Keys that it must have, and of which type.

    Returns:
        The object, without its checksum.

    Raises:
        BrokenFileError: It is no JSON, no object, lacks a key, or was changed.
        OSError: It is not there or cannot be read.

    Example:
        >>> from ..data.output import write_json
        >>> import tempfile
        >>> file = write_json(Path(tempfile.mkdtemp()) / "state.json", sealed({"step": 3}))
        >>> read_json(file, "run it again.", needs={"step": int})
        {'step': 3}
        >>> _ = file.write_text(file.read_text().replace("3", "7", 1))
        >>> read_json(file, "run it again.")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        hf_emo_dist.data.intact.BrokenFileError: ...state.json is damaged (it does not hold what was written). Mend: ...
    """
    refuse_special(file)
    try:
        content = json.loads(Path(file).read_bytes().decode("utf-8"))
    except RecursionError as error:
        raise BrokenFileError(file, "it is nested deeper than any such file", mend) from error
    except ValueError as error:  # UnicodeDecodeError is one, too
        raise BrokenFileError(file, f"it is no JSON: {error}", mend) from error
    if not isinstance(content, dict):
        raise BrokenFileError(file, "it is no JSON object", mend)
    checksum = content.pop(CHECKSUM, None)
    if checksum is not None and checksum != _checksum(content):
        raise BrokenFileError(file, "it does not hold what was written", mend)
    for key, kind in (needs or {}).items():
        if not isinstance(content.get(key), kind):
            raise BrokenFileError(file, f"it has no {key!r}, or another kind of it", mend)
    return content


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The same object with a checksum, for `write_json`; `read_json` compares it.

    Example:
        >>> sealed({"step": 3})
        {'step': 3, 'checksum': 'crc32:08b1f3bf'}
    """
    plain = json.loads(json.dumps(content, default=str))
    return {**plain, CHECKSUM: _checksum(plain)}


def _checksum(content: Mapping[str, Any]) -> str:
    return f"crc32:{zlib.crc32(json.dumps(content, sort_keys=True).encode()):08x}"


def read_parquet(file: str | os.PathLike[str], mend: str, columns: list[str] | None = None) -> Any:
    """Read a Parquet file that the package wrote as an Arrow table.

    Args:
        file: Its path.
        mend: What to do where it is damaged.
        columns: Only these.

    Raises:
        BrokenFileError: It is no Parquet, breaks off, or lacks a column.
        OSError: It is not there or cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not is_ordinary(file):
        raise FileNotFoundError(f"There is no file {os.fspath(file)}. Mend: {mend}")
    try:
        names = pq.read_schema(file).names
        lacking = [name for name in columns or () if name not in names]
        if lacking:
            raise BrokenFileError(file, f"it has no column {lacking[0]!r}", mend)
        return pq.read_table(file, columns=columns)
    except (pa.ArrowException, OSError) as error:  # ArrowInvalid, and an OSError of its own for what it cannot decode
        raise BrokenFileError(file, _first_line(error), mend) from error


def check_safetensors(file: str | os.PathLike[str], mend: str) -> None:
    """Check a weight file's header against its length.

    Args:
        file: Its path.
        mend: What to do where it is damaged.

    Raises:
        BrokenFileError: It breaks off, or its header is damaged.
        OSError: It is not there.
    """
    from safetensors import SafetensorError, safe_open

    if not is_ordinary(file):
        raise FileNotFoundError(f"There is no file {os.fspath(file)}. Mend: {mend}")
    try:
        with safe_open(file, framework="np"):
            pass
    except (SafetensorError, OSError) as error:
        raise BrokenFileError(file, f"it breaks off, or its header is wrong: {_first_line(error)}", mend) from error


def digest_of(file: str | os.PathLike[str]) -> str:
    """A digest of a file: of all of it up to 256 MiB, of 16 MiB in pieces from all over it, to its end, beyond.

    Of a larger file it tells one whose end never reached the disk (zeros, after a power cut), in milliseconds; not one
    in which single values were changed.
    """
    size = os.path.getsize(file)
    digest = hashlib.sha256(str(size).encode())
    with open(file, "rb") as content:
        if size <= _WHOLE:
            while part := content.read(2**20):
                digest.update(part)
        else:
            for place in np.linspace(0, size - _BYTES, _PLACES).astype(np.int64):
                content.seek(int(place))
                digest.update(content.read(_BYTES))
    return digest.hexdigest()[:32]


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
