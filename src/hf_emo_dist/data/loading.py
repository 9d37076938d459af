"""Opening a data set by folder, file or Hub id, with errors that say what to do."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._files import refuse_special
from .._hub import check_hub_answers
from .._yaml import in_one_line, read_yaml
from .full_disk import disk_full
from .label_map import refuse_without_votes
from .output import put_right
from .outside_files import MOST_FRONT_BYTES, beginning_of, check_folder_stays_inside, check_repository_stays_inside

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


logger = logging.getLogger(__name__)

_WORTH_A_WORD = 10_000_000  # bytes


class DatasetLoadError(ValueError):
    """A data set, or a part of it, that cannot be opened."""


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _load(source: str, **more: Any) -> Any:
    """`load_dataset`, without the reading ahead by which a Parquet file comes to lie in memory as a whole."""
    from datasets import load_dataset
    from pyarrow.dataset import ParquetFragmentScanOptions

    try:
        return load_dataset(source, **more, fragment_scan_options=ParquetFragmentScanOptions(pre_buffer=False))
    except (TypeError, ValueError) as error:
        if "fragment_scan_options" not in str(error):  # so it says of a data set that is not in Parquet
            raise
    return load_dataset(source, **more)


def _load_local(path: Path) -> Any:
    import pyarrow as pa
    from datasets import load_from_disk
    from datasets.exceptions import DatasetGenerationError

    if path.is_dir() and ((path / "dataset_dict.json").is_file() or (path / "state.json").is_file()):
        return load_from_disk(str(path))
    shards = list(path.rglob("*.parquet")) if path.is_dir() else []
    for shard in shards:
        refuse_special(shard)
    if path.is_dir() and not shards:
        raise DatasetLoadError(
            f"{path} holds no Parquet files. Mend: give a folder that hf-emo-dist read wrote (its OUTPUT); of an "
            "AudioFolder, hf-emo-dist read dataset makes one."
        )
    if path.is_file() and path.suffix != ".parquet":
        raise DatasetLoadError(
            f"{path} is not a Parquet file. Mend: turn a table and its audio into a data set with "
            "hf-emo-dist read table TABLE AUDIO_DIR OUTPUT."
        )
    since = time.time()
    if path.is_dir():
        folder_card(path)  # `datasets` reads it too, without a bound
    try:
        if path.is_dir():
            check_folder_stays_inside(path)
        loaded = load_parquet(path)
        tell_of_copy(str(path), loaded.values(), since)
        return loaded
    except (DatasetGenerationError, pa.ArrowException, OSError) as error:
        full = disk_full(error)  # of the cache
        if full is not None:
            raise full from error
        raise DatasetLoadError(
            f"The data set at {path} cannot be read: {_first_line(error.__cause__ or error)} Mend: write it again."
        ) from error


def load_parquet(path: Path) -> Any:
    """`load_dataset` of a Parquet file or a folder of them, and never of a copy of what lay there before.

    `datasets` finds its copy of a folder by the README alone, and would give the old rows of a shard that was replaced
    under the same README: here each state of the files has a cache of its own.

    Args:
        path: The file or folder.

    Returns:
        Its splits.
    """
    from datasets import config

    shards = [path] if path.is_file() else path.rglob("*.parquet")
    digest = hashlib.sha256()
    for shard in sorted(shards):
        about = shard.stat()
        digest.update(
            f"{os.path.relpath(shard, path)}\0{about.st_size}\0{about.st_mtime_ns}\0".encode(errors="replace")
        )
    cache = os.path.join(config.HF_DATASETS_CACHE, f"local-{digest.hexdigest()[:16]}")
    if path.is_file():
        return _load("parquet", data_files=str(path), cache_dir=cache)
    return _load(str(path), cache_dir=cache)


def tell_of_copy(name: str, splits: Iterable[Dataset], since: float = 0.0) -> None:
    """Say where `datasets` keeps a copy of a data set's rows, recordings and all, and how large it is.

    Args:
        name: Of the data set, as the user knows it.
        splits: Its rows.
        since: Only of copies that were made after this time, in seconds since 1970.
    """
    files = {str(file["filename"]) for rows in splits for file in rows.cache_files}
    made = [file for file in files if os.path.isfile(file) and os.path.getmtime(file) >= since]
    size = sum(map(os.path.getsize, made))
    if size >= _WORTH_A_WORD:
        logger.info(
            "%s: a copy of its rows, %.0f MB, is kept in %s. It may be deleted when nobody reads them; "
            "HF_DATASETS_CACHE names another folder for the next ones",
            name,
            size / 1e6,
            os.path.commonpath([os.path.dirname(file) for file in made]),
        )


def _load_hub(name: str, revision: str | None) -> Any:
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    from huggingface_hub.utils import validate_repo_id

    hint = "Mend: check the spelling, that it is public or that you are logged in, and your connection."
    try:
        validate_repo_id(name)  # before anything is asked of the network
        check_hub_answers(name, "dataset")
        check_repository_stays_inside(name, revision)
        return _load(name, revision=revision)
    except HFValidationError as error:
        raise DatasetLoadError(
            f"Nothing at {name!r}, and it is not a Hub id such as 'owner/name'. Mend: check the path."
        ) from error
    except (OSError, HfHubHTTPError) as error:
        # DatasetNotFoundError, OfflineModeIsEnabled and every connection error are OSErrors.
        raise DatasetLoadError(
            f"Nothing at {name!r}, and no such data set can be reached on the Hub ({_first_line(error)}). {hint}"
        ) from error


def _undecoded(dataset: Dataset, source: str, column: str = "audio") -> Dataset:
    """Keep audio as bytes: decoding by ``datasets`` would need torchcodec."""
    from datasets import Audio, Value

    if column != "audio" and column in dataset.column_names:
        if "audio" in dataset.column_names:
            dataset = dataset.remove_columns(["audio"])
        dataset = dataset.rename_column(column, "audio")
    elif column != "audio":
        raise DatasetLoadError(
            f"{source} has no column {column!r} (there are {', '.join(dataset.column_names)}). Mend: name the column "
            "that holds the clips, --audio_column."
        )
    if "audio" not in dataset.column_names:
        raise DatasetLoadError(
            f"{source} has no column 'audio' (there are {', '.join(dataset.column_names)}). "
            "Mend: rename the column that holds the clips to 'audio'."
        )
    feature = dataset.features["audio"]
    if isinstance(feature, Audio):
        if not feature.decode:
            return dataset
        return dataset.cast_column("audio", Audio(sampling_rate=feature.sampling_rate or 16000, decode=False))
    is_path = isinstance(feature, Value) and feature.dtype in ("string", "large_string")
    if is_path or (isinstance(feature, Mapping) and set(feature) == {"bytes", "path"}):
        return dataset.cast_column("audio", Audio(sampling_rate=16000, decode=False))
    return dataset


def load_emotion_dataset(
    path_or_id: str | Path, split: str | None = None, revision: str | None = None, audio_column: str = "audio"
) -> Dataset | DatasetDict:
    """Open a data set with its audio left as bytes.

    Args:
        path_or_id: A Parquet folder, one Parquet file, a ``save_to_disk`` folder, or a Hub id such as ``"owner/name"``.
        split: One split; also a slice such as ``"train[:100]"``. Default: all of them.
        revision: Branch, tag or commit, for a Hub id.
        audio_column: The column of the audio, which is renamed to ``audio``.

    Returns:
        A ``Dataset`` for one split, else a ``DatasetDict``.

    Raises:
        DatasetLoadError: There is nothing there, the split does not exist (the message lists those that do), or there
            is no ``audio`` column.

    Example:
        >>> load_emotion_dataset("./no/such/folder")
        Traceback (most recent call last):
        ...
        hf_emo_dist.data.loading.DatasetLoadError: Nothing at './no/such/folder'. Mend: check the path.
    """
    from datasets import Dataset, DatasetDict

    name = str(path_or_id)
    path = Path(name).expanduser()
    if not path.exists():
        put_right(path)  # a run that was killed may have left it aside
    if path.exists():
        if not path.is_dir():
            refuse_special(path)
        loaded = _load_local(path)
    elif isinstance(path_or_id, Path) or name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name:
        raise DatasetLoadError(f"Nothing at {name!r}. Mend: check the path.")
    else:
        loaded = _load_hub(name, revision)
    if isinstance(loaded, Dataset):
        if split is not None:
            raise DatasetLoadError(f"{name!r} is a single data set without splits. Mend: leave the split out.")
        return _undecoded(loaded, repr(name), audio_column)
    if split is not None:
        return _undecoded(rows_of(loaded, split, name), f"{name!r}, split {split!r},", audio_column)
    return DatasetDict(
        {key: _undecoded(value, f"{name!r}, split {key!r},", audio_column) for key, value in loaded.items()}
    )


def rows_of(splits: Mapping[str, Dataset], split: str, name: str) -> Dataset:
    """The rows of one of the splits of the data set `name`, or of a slice such as ``train+test[:100]``."""
    from datasets import ReadInstruction, concatenate_datasets

    if split in splits:
        return splits[split]
    mend = f"there are {', '.join(splits)}. Mend: ask for one of them."
    if not any(sign in split for sign in "[+"):
        raise DatasetLoadError(f"{name!r} has no split {split!r}: {mend}")
    try:
        spans = ReadInstruction.from_spec(split).to_absolute({s: len(rows) for s, rows in splits.items()})
        parts = [splits[span.splitname].select(range(span.from_, span.to)) for span in spans]
    except (ValueError, AssertionError) as error:
        raise DatasetLoadError(f"{name!r} has no split {split!r}: {error} {mend}") from error
    return parts[0] if len(parts) == 1 else concatenate_datasets(parts)


def emotions_of(dataset: Dataset | DatasetDict, column: str = "human_distribution") -> tuple[str, ...]:
    """Return the emotions of a data set: the fields of a distribution column, in their order.

    Args:
        dataset: One split or several; of several the first is read.
        column: A distribution column, that is, a struct with one float field an emotion.

    Returns:
        The emotions.

    Raises:
        ValueError: There is no such column, or it is not a struct.

    Example:
        >>> from datasets import Dataset
        >>> emotions_of(Dataset.from_list([{"human_distribution": {"angry": 0.5, "sad": 0.5}}]))
        ('angry', 'sad')
    """
    from datasets import Dataset

    first = dataset if isinstance(dataset, Dataset) else next(iter(dataset.values()))
    refuse_without_votes(first.column_names, column)
    if column not in first.column_names:
        raise ValueError(
            f"There is no column {column!r} (there are {', '.join(first.column_names)}). "
            "Mend: run combine_votes over the data set, or name its emotions."
        )
    feature = first.features[column]
    if not isinstance(feature, Mapping):
        raise ValueError(
            f"Column {column!r} must be a struct with one float field an emotion, it is {feature}. "
            "Mend: convert it with matrix_to_distributions."
        )
    return tuple(feature)


def folder_card(folder: str | Path) -> dict[str, Any]:
    """What the metadata of a folder's README says, such as ``vote_source`` and ``license``; empty without one.

    Raises:
        DatasetLoadError: It is no UTF-8 or no YAML, or comes to more than any such text does; the message names file
            and line.
    """
    import yaml

    path = Path(folder).expanduser() / "README.md"
    text = _front_matter(path)
    if text is None:
        return {}
    try:
        front = read_yaml(text, MOST_FRONT_BYTES)
    except yaml.YAMLError as error:
        raise DatasetLoadError(
            f"The metadata at the top of {path} cannot be read ({in_one_line(error)}, from the line after ---). Mend: "
            "correct it, or delete the README: the data is read without it."
        ) from error
    if front is not None and not isinstance(front, dict):
        raise DatasetLoadError(
            f"The metadata at the top of {path} is no list of `name: value`. Mend: correct it, or delete the README: "
            "the data is read without it."
        )
    return {key: value for key, value in (front or {}).items() if value}


def _front_matter(path: Path) -> str | None:
    """The text between the two lines of --- with which a card begins; None where there is none."""
    if not path.is_file():
        return None
    try:
        text = beginning_of(path)
    except ValueError as error:
        raise DatasetLoadError(str(error)) from error
    parts = text.replace("\r\n", "\n").split("---\n", 2)
    if len(parts) < 2 or parts[0].strip():
        return None
    return parts[1]
