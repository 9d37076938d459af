"""Which weights a name stands for: the commit on the Hub, or the content of a folder; without loading them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..types import FatalError

# Of a file of weights: its header, and so many pieces of it. Another training changes all weights.
_PIECES, _PIECE = 16, 4096
_TEXTS = ("*.json", "*.txt", "*.jinja", "*.model")


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
    """A hash of what a model's folder holds: its texts as a whole, of its weights the headers and some pieces.

    Seconds for a model of 7 billion parameters. Where the folder lies, and when its files were written, is not in it.
    """
    digest = hashlib.sha256()
    for file in sorted({file for pattern in _TEXTS for file in folder.glob(pattern)}):
        digest.update(f"{file.name}\n".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    for file in sorted(folder.glob("*.safetensors")):
        size = file.stat().st_size
        digest.update(f"{file.name} {size}\n".encode())
        with file.open("rb") as data:
            header = int.from_bytes(data.read(8), "little")
            digest.update(data.read(min(header, size)))
            for place in range(_PIECES):
                data.seek(size * place // _PIECES)
                digest.update(data.read(_PIECE))
    return f"content-{digest.hexdigest()[:16]}"
