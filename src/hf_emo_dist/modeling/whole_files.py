"""A model's folder whose files are damaged: which file it is, and what to do, whatever library met it."""

from __future__ import annotations

import contextlib
import logging
import os
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .._checkpoint_files import (
    ADAPTER_CONFIG_NAME,
    CONFIG_NAME,
    FACTS_NAME,
    PEFT_CONFIG_NAME,
    PEFT_WEIGHTS_NAME,
    PROCESSOR_NAME,
    WEIGHTS_INDEX_NAME,
    WEIGHTS_NAME,
    find_file,
)
from .._files import special_kind
from ..data.intact import BrokenFileError, check_safetensors, digest_of, read_json, sealed
from ..data.output import write_json

logger = logging.getLogger(__name__)

#: What says which model and which emotions the weights are of; people may change these by hand.
SETTINGS = (CONFIG_NAME, ADAPTER_CONFIG_NAME, PEFT_CONFIG_NAME, PROCESSOR_NAME)
_JSON = (
    *SETTINGS,
    WEIGHTS_INDEX_NAME,
    "encoder_config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
)
MEND = "copy or download it again from where it was made, or save the model there once more."
_MEND_DIGEST = (
    "copy it again from where it was written; where you have saved other weights into this folder yourself, remove "
    f"its {FACTS_NAME}."
)
_MEND_CHECKPOINT = "copy it again from where it was written, or name another checkpoint."
# Where an error comes from → which files it reads, the likeliest first.
_READ_BY = (
    ("token", ("tokenizer.json", "tokenizer_config.json")),
    ("feature_extraction", (PROCESSOR_NAME, "preprocessor_config.json")),
    ("configuration", (ADAPTER_CONFIG_NAME, CONFIG_NAME)),
    ("processing", (PROCESSOR_NAME, "preprocessor_config.json")),
    ("peft", (PEFT_CONFIG_NAME,)),
    ("", (ADAPTER_CONFIG_NAME, CONFIG_NAME, PROCESSOR_NAME)),
)
_compared: set[tuple[str, int, int]] = set()  # files that held what was written: path, size, time


@contextlib.contextmanager
def broken_files_named(name_or_path: str | os.PathLike[str], hub: Mapping[str, Any]) -> Iterator[None]:
    """Load a model or its processor; where that fails, and a file there is damaged, the error is about this file.

    Libraries say "expected value at line 1" or "HeaderTooLarge", and not of which file; and settings that are JSON and
    make no sense end in whatever Python says of them, such as KeyError: the error is then about the likeliest file.
    Weights that do not hold what training wrote are refused beforehand, since a changed value raises nothing.

    Args:
        name_or_path: Folder or Hub id.
        hub: Arguments for the Hub.

    Raises:
        BrokenFileError: (A ValueError.) A file is damaged.
    """
    if os.path.isdir(name_or_path):
        folder = Path(name_or_path, hub.get("subfolder") or "")
        _refuse_special_files(folder)
        check_digests(folder)
    with settings_named(name_or_path, hub):
        yield


@contextlib.contextmanager
def settings_named(name_or_path: str | os.PathLike[str], hub: Mapping[str, Any]) -> Iterator[None]:
    """The same without a look at the weights, for what reads settings only."""
    try:
        yield
    except BrokenFileError:
        raise
    except Exception as error:
        broken = broken_file(name_or_path, hub)
        if broken is None and not _says_itself(error):
            broken = _likely_file(name_or_path, hub, error)
        if broken is None:
            raise
        raise broken from error


def _refuse_special_files(folder: Path) -> None:
    """What is called like a file of a model, and is a device or leads nowhere, is refused before anybody opens it."""
    for file in (*(folder / name for name in _JSON), *sorted(folder.glob("*.safetensors"))):
        try:
            kind = special_kind(file.stat().st_mode)
        except OSError:
            kind = "a link to what is not there" if file.is_symlink() else None
        if kind is not None:
            raise BrokenFileError(file, f"it is {kind}", MEND)


def _says_itself(error: Exception) -> bool:
    """Whether an error has words of its own for the user, or is no matter of settings."""
    if isinstance(error, RecursionError):
        return False
    if type(error) is RuntimeError:  # "negative dimension"; of a GPU or of memory it is no matter of settings
        return any(word in str(error) for word in ("CUDA", "memory", "device", "GPU"))
    return isinstance(error, ValueError | OSError | ImportError | MemoryError | RuntimeError)


def _likely_file(
    name_or_path: str | os.PathLike[str], hub: Mapping[str, Any], error: Exception
) -> BrokenFileError | None:
    """The file whose settings an error is most likely about, by the modules that it went through; None without any."""
    there = {Path(file).name: file for file in _files(name_or_path, hub) if file.endswith(".json")}
    frames = traceback.extract_tb(error.__traceback__)[::-1]  # the innermost first
    modules = ["/".join(Path(frame.filename).as_posix().lower().split("/")[-3:]) for frame in frames]
    if type(error) is Exception:  # of `tokenizers`, which has no frames of its own
        modules.insert(0, "tokenizers")
    for module in (*modules, ""):
        for word, names in _READ_BY:
            found = [name for name in names if name in there]
            if found and word in module and bool(word) == bool(module):
                told = next((line.strip() for line in str(error).splitlines() if line.strip()), "")[:300]
                which = " or ".join(["this file", *found[1:]])
                reason = f"most likely it is {which}: {type(error).__name__}: {told}"
                return BrokenFileError(there[found[0]], reason, MEND)
    return None


def broken_file(name_or_path: str | os.PathLike[str], hub: Mapping[str, Any]) -> BrokenFileError | None:
    """The first damaged file of a checkpoint or backbone, among those that are on this machine; None where all are
    whole.

    Args:
        name_or_path: Folder or Hub id.
        hub: Arguments for the Hub.
    """
    try:
        for file in _files(name_or_path, hub):
            if file.endswith(".json"):
                read_json(file, MEND)
            else:
                check_safetensors(file, MEND)
    except BrokenFileError as error:
        return error
    return None


def _files(name_or_path: str | os.PathLike[str], hub: Mapping[str, Any]) -> Iterator[str]:
    if os.path.isdir(name_or_path):
        folder = Path(name_or_path, hub.get("subfolder") or "")
        yield from (str(folder / name) for name in _JSON if (folder / name).is_file())
        yield from map(str, sorted(folder.glob("*.safetensors")))
        return
    here = {**hub, "local_files_only": True}  # nothing is downloaded to be looked at
    for name in (*_JSON, WEIGHTS_NAME, PEFT_WEIGHTS_NAME):
        file = find_file(name_or_path, name, here)
        if file is not None:
            yield file
            if name == WEIGHTS_INDEX_NAME:
                shards = sorted(set(read_json(file, MEND, needs={"weight_map": dict})["weight_map"].values()))
                yield from (found for shard in shards if (found := find_file(name_or_path, shard, here)))


def check_whole(folder: str | os.PathLike[str]) -> None:
    """Look at every file of a model's folder without loading it: what goes elsewhere must be whole.

    Args:
        folder: Its path.

    Raises:
        BrokenFileError: (A ValueError.) A file is damaged.
    """
    check_digests(folder)
    broken = broken_file(folder, {})
    if broken is not None:
        raise broken


def check_digests(folder: str | os.PathLike[str]) -> None:
    """Compare the weights of a folder with what was written there, where training left its digests.

    Settings that were changed since, as people do by hand, are a warning.

    Args:
        folder: Its path.

    Raises:
        BrokenFileError: (A ValueError.) Weights are not those that were written, or the digests are damaged.
    """
    root = Path(folder)
    if not (root / FACTS_NAME).is_file():
        return
    for name in differing_files(root):
        file = root / name
        if name.endswith(".safetensors"):
            # into a training's own checkpoint nobody else saves weights: there they are damaged
            mend = _MEND_CHECKPOINT if "complete" in read_facts(root) else _MEND_DIGEST
            raise BrokenFileError(file, "it does not hold what was written", mend)
        if name in SETTINGS:
            logger.warning("%s was changed since the training wrote it", file)


def differing_files(folder: Path, missing: bool = False) -> list[str]:
    """Names of the files of a folder that do not hold what was written; with `missing`, also of those that are gone.

    Raises:
        BrokenFileError: (A ValueError.) The digests themselves are damaged.
    """
    found = []
    for name, digest in read_facts(folder).get("files", {}).items():
        file = folder / name
        if not file.is_file():
            found += [name] if missing else []
            continue
        about = file.stat()
        key = (str(file.resolve()), about.st_size, about.st_mtime_ns)
        if key in _compared:
            continue
        if digest_of(file) == digest:
            _compared.add(key)
        else:
            found.append(name)
    return found


def read_facts(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What was written beside a checkpoint; nothing beside those of 0.1.

    Raises:
        BrokenFileError: (A ValueError.) The file is damaged.
    """
    path = Path(folder, FACTS_NAME)
    return read_json(path, f"remove {FACTS_NAME}; nothing is compared then.") if path.is_file() else {}


def write_digests(folder: str | os.PathLike[str], more: Mapping[str, Any]) -> None:
    """Write digests of a model's weights and settings beside them.

    Args:
        folder: The model's, with its files.
        more: What else is to be known of them.
    """
    root = Path(folder)
    files = sorted([*root.glob("*.safetensors"), *(root / name for name in SETTINGS if (root / name).is_file())])
    write_json(root / FACTS_NAME, sealed({"files": {file.name: digest_of(file) for file in files}, **more}))


def refresh_digest(file: Path) -> None:
    """Take a file's new content for what was written, after this library has changed it itself."""
    facts = read_facts(file.parent)
    if file.name in facts.get("files", {}):
        facts["files"][file.name] = digest_of(file)
        write_json(file.parent / FACTS_NAME, sealed(facts))
