"""The table reader: a researcher's own audio files and votes, as a data set."""

from __future__ import annotations

import hashlib
import logging
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ...data.writing import SPLIT_ORDER, build_dataset, row_features
from ...votes import counts_to_distribution, matrix_to_distributions, vote_counts_matrix
from .file import Table, TableError, infer_column, load_table
from .votes import read_votes

if TYPE_CHECKING:
    from datasets import DatasetDict

__all__ = ["TableError", "read_table"]

logger = logging.getLogger(__name__)

Missing = Literal["error", "skip"]

_SPLIT_NAMES = {
    "train": ("train", "training", "tr"),
    "validation": ("validation", "valid", "val", "dev", "devel", "development"),
    "test": ("test", "testing", "te", "eval", "evaluation"),
}
_SPLITS = {alias: name for name, aliases in _SPLIT_NAMES.items() for alias in aliases}


def split_name(text: str) -> str:
    """Return the standard name of a split: ``"Dev"`` and ``"val"`` give ``"validation"``.

    Names that are not known are put in lower case, with an underscore for what a split's name may not hold.

    Example:
        >>> [split_name(text) for text in ("Train", "dev", "Test-1")]
        ['train', 'validation', 'test_1']
    """
    name = text.strip().lower()
    return _SPLITS.get(name) or re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "train"


def _text(value: Any) -> str | None:
    """A speaker or an id as text; the 3.0 that pandas makes of a 3 beside blanks is 3."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip() or None


def _audio_paths(table: Table, audio_dir: Path, on_missing: Missing) -> list[Path | None]:
    blank = [index for index, row in enumerate(table.rows) if not _text(row["file"])]
    if blank:
        raise table.fail(blank, "The column 'file' is blank", "fill it in, or delete the rows.")
    paths: list[Path | None] = [audio_dir / str(row["file"]).strip() for row in table.rows]
    missing = [index for index, path in enumerate(paths) if path is None or not path.is_file()]
    if missing and (on_missing == "error" or len(missing) == len(paths)):
        raise table.fail(
            missing,
            f"{len(missing)} of {len(paths)} audio files are not in {audio_dir}",
            "correct AUDIO_DIR or the column 'file' (with its extension), or pass on_missing='skip'.",
        )
    for index in missing:
        logger.warning("Skipped, no audio file: %s", table.where(index))
        paths[index] = None
    return paths


def _row_ids(table: Table, paths: Sequence[Path | None], used: Sequence[int]) -> list[str]:
    """The ids of the rows `used`: those of the table's `id` column, else the stems of the files."""
    ids: list[str] = []
    first: dict[str, int] = {}
    for index in used:
        path = paths[index]
        given = _text(table.rows[index]["id"]) if "id" in table.columns else (path.stem if path else None)
        if given is None:
            raise table.fail([index], "The column 'id' is blank", "fill it in, or delete the column.")
        if given in first:
            mend = "make ids unique." if "id" in table.columns else "add a column 'id' with unique ids."
            raise table.fail([first[given], index], f"Two rows have the id {given!r}", mend)
        first[given] = index
        ids.append(given)
    return ids


def _row_splits(table: Table) -> list[str]:
    if "split" not in table.columns:
        return ["train"] * len(table.rows)
    blank = [index for index, row in enumerate(table.rows) if not _text(row["split"])]
    if blank:
        raise table.fail(blank, "The column 'split' is blank", "fill it in, or delete the column.")
    splits = [split_name(str(row["split"])) for row in table.rows]
    changed = sorted(
        {(str(row["split"]), new) for row, new in zip(table.rows, splits, strict=True) if row["split"] != new}
    )
    if changed:
        logger.info("%s: read split %s", table.path.name, ", ".join(f"{old!r} as {new!r}" for old, new in changed))
    return splits


def _cache_folder(table: Table, audio_dir: Path, cache_dir: str | Path | None) -> Path:
    from datasets import config

    if cache_dir is not None:
        return Path(cache_dir).expanduser()
    key = hashlib.sha256(f"{table.path.resolve()}\n{audio_dir.resolve()}".encode()).hexdigest()[:16]
    return Path(config.HF_DATASETS_CACHE) / "hf_emo_dist" / f"{table.path.stem}-{key}"


def _warn_shared_speakers(speakers: Sequence[str | None], splits: Sequence[str]) -> None:
    places: dict[str, set[str]] = {}
    for speaker, split in zip(speakers, splits, strict=True):
        if speaker is not None:
            places.setdefault(speaker, set()).add(split)
    shared = sorted(speaker for speaker, names in places.items() if len(names) > 1)
    if shared:
        logger.warning(
            "%d speakers are in more than one split (%s): scores will not be those of unseen speakers",
            len(shared),
            ", ".join(shared[:5]),
        )


def read_table(
    table: str | Path,
    audio_dir: str | Path,
    emotions: Sequence[str] | None = None,
    *,
    on_missing: Missing = "error",
    on_empty: Missing = "error",
    outside: Literal["error", "drop"] = "error",
    cache_dir: str | Path | None = None,
    progress: bool = True,
) -> DatasetDict:
    r"""Read a table of audio files and votes.

    The table is CSV (comma, semicolon or tab, found by itself), Parquet or JSON Lines, by its extension. Columns:

    - ``file``: the audio file, relative to `audio_dir`, with its extension.
    - Votes, in one of two forms. Either one column of counts an emotion, named like it (``Anger`` is ``angry``); a
      blank is 0, and a fraction becomes a vote with that weight in ``human_vote_weights``. Or a column ``votes``
      with labels and ``|`` between them.
    - Optional: ``speaker``; ``transcript``; ``split`` (``dev``, ``val`` and the like are read as ``validation``, case
      does not matter; without it all rows are ``train``); ``id`` (without it the file's name without extension).
    - All other columns are kept as they are.

    Args:
        table: The table.
        audio_dir: The folder of the audio files. Their bytes are stored as they are, neither decoded nor resampled.
        emotions: The label set. Default: the count columns that are named like a known emotion, in the table's order;
            for a ``votes`` column the labels that occur, in the order of ``KNOWN_EMOTIONS``.
        on_missing: What becomes of rows whose audio file is missing: ``"error"``, or ``"skip"`` with a warning each.
        on_empty: What becomes of rows without votes: ``"error"``, or ``"skip"`` with a warning each.
        outside: What becomes of a vote in ``votes`` for something that is not an emotion: ``"error"``, or ``"drop"``
            that vote.
        cache_dir: Where the rows are kept while the data set is used (memory mapped, one file a split). Default: a
            folder of the ``datasets`` cache that belongs to this table and is rewritten each time.
        progress: Whether to show a progress bar.

    Returns:
        One ``Dataset`` a split with the columns ``id, audio, transcript, speaker, human_votes, human_distribution,
        emotion_distribution`` (the last two are equal) and the table's own. Rows keep their order.

    Raises:
        TableError: Something in the table does not fit. The message names the file, the line and the mend.
        FileNotFoundError: There is no such table or folder.

    Example:
        >>> import tempfile, pathlib
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "a.wav").write_bytes(b"RIFF")
        >>> _ = (folder / "votes.csv").write_text("file,speaker,angry,sad\na.wav,s1,1,3\n")
        >>> read_table(folder / "votes.csv", folder, cache_dir=folder / "cache")["train"][0]["human_distribution"]
        {'angry': 0.25, 'sad': 0.75}
    """
    from datasets import DatasetDict, Value

    for name, choice, choices in (
        ("on_missing", on_missing, ("error", "skip")),
        ("on_empty", on_empty, ("error", "skip")),
        ("outside", outside, ("error", "drop")),
    ):
        if choice not in choices:
            raise ValueError(f"`{name}` must be one of {', '.join(choices)}, got {choice!r}.")
    folder = Path(audio_dir).expanduser()
    content = load_table(table)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}. Mend: check AUDIO_DIR.")
    votes, weights, names, used_columns = read_votes(content, emotions, outside)
    counts = vote_counts_matrix(votes, names, weights)
    empty = [index for index in range(len(votes)) if counts[index].sum() <= 0]
    if empty and (on_empty == "error" or len(empty) == len(votes)):
        raise content.fail(empty, f"{len(empty)} rows have no votes", "add votes, or pass on_empty='skip'.")
    for index in empty:
        logger.warning("Skipped, no votes: %s", content.where(index))
    paths = _audio_paths(content, folder, on_missing)
    splits = _row_splits(content)
    used = [index for index in range(len(votes)) if paths[index] is not None and counts[index].sum() > 0]
    if not used:
        raise TableError(f"{content.path.name}: no row has both votes and an audio file. Mend: check both.")
    ids = _row_ids(content, paths, used)

    extra: dict[str, Any] = {}
    kept: dict[str, list[Any]] = {}
    for column in content.columns:
        if column not in used_columns and column not in ("file", "id", "speaker", "transcript", "split"):
            values, feature = infer_column([row[column] for row in content.rows], content.is_text)
            if column in ("intended", "consensus", "corpus", "language"):
                values, feature = [_text(value) for value in values], Value("string")
            kept[column], extra[column] = values, feature
    features = row_features(names, extra, vote_weights=weights is not None)
    distributions = matrix_to_distributions(counts_to_distribution(counts, empty="uniform"), names)  # type: ignore[arg-type]
    speakers = [_text(row.get("speaker")) for row in content.rows]
    _warn_shared_speakers([speakers[index] for index in used], [splits[index] for index in used])

    def rows(split: str, bar: Any) -> Iterator[dict[str, Any]]:
        for row_id, index in zip(ids, used, strict=True):
            path = paths[index]
            if splits[index] != split or path is None:
                continue
            row = {
                "id": row_id,
                "audio": {"bytes": path.read_bytes(), "path": path.name},
                "transcript": _text(content.rows[index].get("transcript")),
                "speaker": speakers[index],
                "human_votes": votes[index],
                "human_distribution": distributions[index],
                "emotion_distribution": distributions[index],
                **{column: values[index] for column, values in kept.items()},
            }
            if weights is not None:
                row["human_vote_weights"] = weights[index]
            bar.update()
            yield row

    from datasets.utils.tqdm import tqdm

    cache = _cache_folder(content, folder, cache_dir)
    sizes = Counter(splits[index] for index in used)
    order = [s for s in SPLIT_ORDER if s in sizes] + [s for s in sizes if s not in SPLIT_ORDER]
    with tqdm(total=len(used), desc="Reading audio files", unit="file", disable=None if progress else True) as bar:
        return DatasetDict({s: build_dataset(rows(s, bar), features, cache / f"{s}.arrow") for s in order})
