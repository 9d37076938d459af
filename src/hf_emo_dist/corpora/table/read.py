"""The table reader: a researcher's own audio files and votes, as a data set."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from ...audio.faults import BadClip
from ...audio.files import read_clip_file
from ...audio.signatures import check_head
from ...data.writing import SPLIT_ORDER, build_dataset, row_features
from ...distributions import check_choice
from ...votes import Outside, counts_to_distribution, matrix_to_distributions, vote_counts_matrix
from ..building import warn_shared_speakers
from ..label_files import split_name
from ..options import cache_folder
from .file import Table, TableError, infer_column, load_table
from .votes import read_votes

if TYPE_CHECKING:
    from datasets import DatasetDict

logger = logging.getLogger(__name__)

Missing = Literal["error", "skip"]


def _text(value: Any) -> str | None:
    """A speaker or an id as text; the 3.0 that pandas makes of a 3 beside blanks is 3."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip() or None


def _refuse_blanks(table: Table, column: str, mend: str) -> None:
    blank = [index for index, row in enumerate(table.rows) if not _text(row[column])]
    if blank:
        raise table.fail(blank, f"The column {column!r} is blank", mend)


def _leave_out(table: Table, rows: list[int], policy: Missing, why: str, problem: str, mend: str) -> None:
    """Warn of rows that are skipped, or raise; a table of which nothing would be left is an error either way."""
    if rows and (policy == "error" or len(rows) == len(table.rows)):
        raise table.fail(rows, problem, mend)
    for index in rows:
        logger.warning("Skipped, %s: %s", why, table.where(index))


def _without_sound(table: Table, paths: Sequence[Path], rows: Sequence[int], policy: Missing) -> list[int]:
    """The rows whose file is there and is no audio, by its first bytes: skipped with a warning each, or an error."""
    found: dict[int, BadClip] = {}
    for index in rows:
        try:
            check_head(paths[index])
        except BadClip as bad:
            found[index] = bad
    if found and (policy == "error" or len(found) == len(rows)):
        named = "; ".join(f"{table.where(i)}: {one.detail} ({one.mend})" for i, one in list(found.items())[:10])
        more = f" and {len(found) - 10} more" if len(found) > 10 else ""
        raise TableError(
            f"{len(found)} of {len(rows)} files are no audio that can be read: {named}{more}. "
            "Mend: see each, or pass on_missing='skip'."
        )
    for index, one in found.items():
        logger.warning("Skipped, %s: %s. Mend: %s.", table.where(index), one.detail, one.mend)
    return list(found)


def _row_splits(table: Table) -> list[str]:
    if "split" not in table.columns:
        return ["train"] * len(table.rows)
    _refuse_blanks(table, "split", "fill it in, or delete the column.")
    given = [str(row["split"]) for row in table.rows]
    renamed = {old: split_name(old) for old in sorted(set(given))}
    changed = [f"{old!r} as {new!r}" for old, new in renamed.items() if old != new]
    if changed:
        logger.info("%s: read split %s", table.path.name, ", ".join(changed))
    return [renamed[old] for old in given]


def _row_ids(table: Table, paths: Sequence[Path], used: Sequence[int]) -> dict[int, str]:
    """The ids of the rows `used`: those of the table's `id` column, else the stems of the files."""
    places: dict[str, int] = {}
    for index in used:
        name = _text(table.rows[index]["id"]) if "id" in table.columns else paths[index].stem
        if name is None:
            raise table.fail([index], "The column 'id' is blank", "fill it in, or delete the column.")
        if name in places:
            mend = "make ids unique." if "id" in table.columns else "add a column 'id' with unique ids."
            raise table.fail([places[name], index], f"Two rows have the id {name!r}", mend)
        places[name] = index
    return {index: name for name, index in places.items()}


def _own_columns(table: Table, voted: set[str]) -> dict[str, tuple[list[Any], Any]]:
    """The columns that are kept as they are: name to values and feature."""
    from datasets import Value

    kept = {}
    for column in table.columns:
        if column in voted or column in ("file", "id", "speaker", "transcript", "split"):
            continue
        values, feature = infer_column([row[column] for row in table.rows], table.is_text)
        if column in ("intended", "consensus", "corpus", "language"):  # text by the data contract, whatever they hold
            values, feature = [_text(value) for value in values], Value("string")
        kept[column] = (values, feature)
    return kept


def read_table(
    table: str | Path,
    audio_dir: str | Path,
    emotions: Sequence[str] | None = None,
    *,
    on_missing: Missing = "error",
    on_empty: Missing = "error",
    outside: Outside = "error",
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
        on_missing: What becomes of rows whose audio file is missing, or is no audio (a Git LFS pointer, a web page, an
            M4A): ``"error"``, or ``"skip"`` with a warning each.
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
        >>> from hf_emo_dist.audio import encode_wav
        >>> _ = (folder / "a.wav").write_bytes(encode_wav([0.1, -0.1]))
        >>> _ = (folder / "votes.csv").write_text("file,speaker,angry,sad\na.wav,s1,1,3\n")
        >>> read_table(folder / "votes.csv", folder, cache_dir=folder / "cache")["train"][0]["human_distribution"]
        {'angry': 0.25, 'sad': 0.75}
    """
    from datasets import DatasetDict
    from datasets.utils.tqdm import tqdm

    check_choice("on_missing", on_missing, get_args(Missing))
    check_choice("on_empty", on_empty, get_args(Missing))
    check_choice("outside", outside, get_args(Outside))
    folder = Path(audio_dir).expanduser()
    content = load_table(table)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}. Mend: check AUDIO_DIR.")

    # Which rows are used: those with votes and an audio file.
    votes = read_votes(content, emotions, outside)
    counts = vote_counts_matrix(votes.labels, votes.emotions, votes.weights)
    empty = [index for index, total in enumerate(counts.sum(axis=1)) if total <= 0]
    mend = "add votes, or pass on_empty='skip'."
    _leave_out(content, empty, on_empty, "no votes", f"{len(empty)} rows have no votes", mend)
    _refuse_blanks(content, "file", "fill it in, or delete the rows.")
    paths = [folder / str(row["file"]).strip() for row in content.rows]
    missing = [index for index, path in enumerate(paths) if not path.is_file()]
    problem = f"{len(missing)} of {len(paths)} audio files are not in {folder}"
    mend = "correct AUDIO_DIR or the column 'file' (with its extension), or pass on_missing='skip'."
    _leave_out(content, missing, on_missing, "no audio file", problem, mend)
    there = sorted(set(range(len(paths))) - {*empty, *missing})
    soundless = set(_without_sound(content, paths, there, on_missing))
    splits = _row_splits(content)
    used = [index for index in there if index not in soundless]
    if not used:
        raise TableError(f"{content.path.name}: no row has both votes and an audio file. Mend: check both.")

    # What is written of them.
    ids = _row_ids(content, paths, used)
    speakers = [_text(row.get("speaker")) for row in content.rows]
    shares = counts_to_distribution(counts, empty="uniform")  # of the rows without votes, which are not used
    distributions = matrix_to_distributions(shares, votes.emotions)  # type: ignore[arg-type]
    own = _own_columns(content, votes.columns)
    kept = {column: feature for column, (_, feature) in own.items()}
    features = row_features(votes.emotions, kept, vote_weights=votes.weights is not None)

    def audio_bytes(index: int) -> bytes:
        try:
            return read_clip_file(paths[index])
        except BadClip as bad:  # it could be read a moment ago
            raise TableError(f"{content.where(index)}: {bad.detail}. Mend: {bad.mend}.") from bad

    def rows(indices: Sequence[int], bar: Any) -> Iterator[dict[str, Any]]:
        for index in indices:
            bar.update()
            yield {
                "id": ids[index],
                "audio": {"bytes": audio_bytes(index), "path": paths[index].name},
                "transcript": _text(content.rows[index].get("transcript")),
                "speaker": speakers[index],
                "human_votes": votes.labels[index],
                "human_vote_weights": votes.weights and votes.weights[index],
                "human_distribution": distributions[index],
                "emotion_distribution": distributions[index],
                **{column: values[index] for column, (values, _) in own.items()},
            }

    parts: dict[str, list[int]] = {split: [] for split in SPLIT_ORDER}
    for index in used:
        parts.setdefault(splits[index], []).append(index)
    parts = {split: indices for split, indices in parts.items() if indices}
    warn_shared_speakers(
        {split: [s for index in indices if (s := speakers[index]) is not None] for split, indices in parts.items()}
    )
    cache = cache_folder(content.path.stem, f"{content.path.resolve()}\n{folder.resolve()}")
    cache = cache if cache_dir is None else Path(cache_dir).expanduser()
    with tqdm(total=len(used), desc="Reading audio files", unit="file", disable=None if progress else True) as bar:
        return DatasetDict(
            {split: build_dataset(rows(part, bar), features, cache / f"{split}.arrow") for split, part in parts.items()}
        )
