"""Which weights a name stands for: the commit on the Hub, or the content of a folder; without loading them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..types import FatalError

_TEXTS = ("*.json", "*.txt", "*.jinja", "*.model")
_WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth")
#: Hashes of files of this many bytes are kept for the next process: below, reading is as fast.
_LARGE = 1 << 24
_MOST_KEPT = 1000
#: A file is taken for what it was only where it was left alone so long.
_SETTLED_NS = 2_000_000_000
_DIGESTS: dict[str, bytes] = {}


@dataclass(frozen=True)
class Weights:
    """What a model's name stands for.

    Attributes:
        name: That a ledger and a card call it by: the Hub's, or the folder's own without the path to it.
        revision: Commit of the Hub, or ``content-`` and a hash of the folder's files.
        config: Its `config.json`.
    """

    name: str
    revision: str
    config: dict[str, Any] = field(repr=False)


def weights_of(name_or_path: str, revision: str | None = None) -> Weights:
    """Find out which weights a name stands for; of the Hub only `config.json` is read.

    Args:
        name_or_path: Id on the Hub, or a folder.
        revision: Branch, tag or commit on the Hub; None for the main one.

    Raises:
        FatalError: There is no such model, it cannot be reached and is not in the cache, or it is no folder of a model.
    """
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise FatalError(
                "setup", f"revision={revision!r} is of the Hub, and {name_or_path} is a folder.", "leave it out."
            )
        file = folder / "config.json"
        if not file.is_file():
            raise FatalError(
                "setup", f"{name_or_path} is no folder of a model: it has no config.json.",
                "name the folder that save_pretrained has written, or an id of the Hub.",
            )  # fmt: skip
        return Weights(folder.resolve().name, content_of(folder), _read(file))
    # A path that is not there would be asked for on the Hub, whose message says nothing of it.
    if name_or_path.startswith(("/", ".", "~")) or name_or_path.count("/") > 1:
        raise FatalError("setup", f"There is no folder {name_or_path}.", "correct the path, or name an id of the Hub.")
    return _of_hub(name_or_path, revision)


def _of_hub(name: str, revision: str | None) -> Weights:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError, RepositoryNotFoundError

    at = "" if revision is None else f" at revision {revision!r}"
    try:
        file = Path(hf_hub_download(name, "config.json", revision=revision))
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise FatalError(
            "setup", f"There is no model {name!r} on the Hub{at}, or it is not yours to read ({type(error).__name__}).",
            "correct the name; for a gated or private one accept its terms there and run `hf auth login`.",
        ) from error  # fmt: skip
    except EntryNotFoundError as error:
        if "Local" not in type(error).__name__:
            raise FatalError(
                "setup", f"{name!r}{at} on the Hub has no config.json: it is nothing that transformers loads.",
                "name a checkpoint in transformers' own format (often its name ends in -hf).",
            ) from error  # fmt: skip
        raise _unreachable(name, at, error) from error
    except Exception as error:  # no such revision, no network, a proxy: each library has its own
        raise _unreachable(name, at, error) from error
    return Weights(name, file.parent.name, _read(file))


def _unreachable(name: str, at: str, error: Exception) -> FatalError:
    return FatalError(
        "setup",
        f"{name!r}{at} could not be had from the Hub, and is not in its cache ({type(error).__name__}: "
        f"{' '.join(str(error).split())[:200]}).",
        "see to the connection and the revision, or name a folder that has the model.",
    )


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise FatalError("setup", f"{file} cannot be read ({error}).", "get the model again.") from error
    if not isinstance(found, dict):
        raise FatalError("setup", f"{file} is no JSON object.", "get the model again.")
    return found


def content_of(folder: Path) -> str:
    """A hash of what a model's folder holds, every byte of it: its weights, and the texts beside them.

    The first time about a second a gigabyte; files that are as they were are not read again. Where the folder lies, and
    when its files were written, is not in it. Checkpoints of a training that lie within are other models.
    """
    digest = hashlib.sha256()
    for file in sorted({file for pattern in (*_TEXTS, *_WEIGHTS) for file in folder.rglob(pattern)}):
        inside = file.relative_to(folder)
        if not file.is_file() or any(part.startswith((".", "checkpoint-")) for part in inside.parts):
            continue
        digest.update(f"{inside.as_posix()}\n".encode())
        digest.update(_digest_of(file))
    return f"content-{digest.hexdigest()[:16]}"


def _digest_of(file: Path) -> bytes:
    """The hash of a file's content, remembered by what changes with it."""
    found = file.stat()
    name = f"{found.st_dev} {found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {file.resolve()}"
    if name in _DIGESTS:
        return _DIGESTS[name]
    kept = _kept_file()
    large = found.st_size >= _LARGE
    known = _kept(kept) if large else {}
    if name in known:
        _DIGESTS[name] = bytes.fromhex(known[name])
        return _DIGESTS[name]
    with file.open("rb") as data:
        value = hashlib.file_digest(data, "sha256").digest()
    # One that was written just now may be written again within the tick of its clock.
    if time.time_ns() - found.st_mtime_ns > _SETTLED_NS:
        _DIGESTS[name] = value
        if large:
            _keep(kept, {**_kept(kept), name: value.hex()})
    return value


def _kept_file() -> Path:
    from huggingface_hub.constants import HF_HOME

    return Path(HF_HOME) / "hf_emo_dist" / "weights.json"


def _kept(file: Path) -> dict[str, str]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    sound = isinstance(found, dict) and all(re.fullmatch("[0-9a-f]{64}", str(value)) for value in found.values())
    return found if sound else {}


def _keep(file: Path, digests: dict[str, str]) -> None:
    from ...data.output import write_json

    with contextlib.suppress(OSError):  # then they are read again
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, dict(list(digests.items())[-_MOST_KEPT:]))
