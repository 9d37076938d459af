"""Building data sets that follow the data contract, and writing them as Parquet folders with a card.

``datasets`` 5 needs torchcodec to *encode* an ``Audio`` column, even from bytes. Everything here therefore goes through
Arrow tables whose schema carries the features, which needs no audio library at all.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..audio.faults import BadClip
from ..audio.files import read_clip_file
from ..audio.signatures import check_format
from ..emotions import validate_emotions
from ..markdown import as_text, one_line
from ..votes import distribution_feature
from .output import output_file, output_folder

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, DatasetDict, Features

logger = logging.getLogger(__name__)

SAMPLING_RATE = 16000
SPLIT_ORDER = ("train", "validation", "test")
# A record batch is held in memory while it is built, and Arrow's builder copies what it holds whenever it grows: at 64
# MB a row of 100 kB takes some fifteen times as long as at this size.
_BATCH_BYTES = 4_000_000
_BATCH_ROWS = 1000


def row_features(
    emotions: Sequence[str],
    extra: Mapping[str, Any] | None = None,
    *,
    vote_weights: bool = False,
    true_distribution: bool = False,
    votes: bool = True,
) -> Features:
    """Return the features of a data set row, in the order in which readers write the columns.

    Args:
        emotions: The label set; the fields of the distribution columns are in this order.
        extra: Further columns and their ``datasets`` features, written after the contract's own.
        vote_weights: Whether there is a ``human_vote_weights`` column (float32, one a vote).
        true_distribution: Whether there is a ``true_distribution`` column (known in simulated data only).
        votes: Whether anybody voted. Without votes there are no ``human_votes`` and no distributions.

    Returns:
        ``datasets.Features`` with ``audio`` as ``Audio(sampling_rate=16000, decode=False)``.

    Raises:
        ValueError: `extra` names a column of the contract.

    Example:
        >>> features = row_features(["angry", "sad"], vote_weights=True)
        >>> list(features)[:5]
        ['id', 'audio', 'transcript', 'speaker', 'human_votes']
        >>> features["human_distribution"]
        {'angry': Value('float64'), 'sad': Value('float64')}
    """
    from datasets import Audio, Features, List, Value

    names = validate_emotions(emotions)
    features: dict[str, Any] = {
        "id": Value("string"),
        "audio": Audio(sampling_rate=SAMPLING_RATE, decode=False),
        "transcript": Value("string"),
        "speaker": Value("string"),
    }
    if votes:
        features["human_votes"] = List(Value("string"))
        if vote_weights:
            features["human_vote_weights"] = List(Value("float32"))
        for column in ("human_distribution", "emotion_distribution"):
            features[column] = distribution_feature(names)
    if true_distribution:
        features["true_distribution"] = distribution_feature(names)
    for column, feature in (extra or {}).items():
        if column in features:
            raise ValueError(
                f"Column {column!r} is part of the data contract. Mend: give the extra column another name."
            )
        features[column] = feature
    return Features(features)


def _write_stream(sink: Any, rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> None:
    import pyarrow as pa

    batch: list[Mapping[str, Any]] = []
    size = 0
    with pa.ipc.new_stream(sink, schema) as writer:
        for row in rows:
            batch.append(row)
            audio = row.get("audio")
            size += len(audio.get("bytes") or b"") if isinstance(audio, Mapping) else 0
            if size >= _BATCH_BYTES or len(batch) >= _BATCH_ROWS:
                writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))
                batch, size = [], 0
        if batch:
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))


def build_dataset(
    rows: Iterable[Mapping[str, Any]], features: Features, cache_file: str | Path | None = None
) -> Dataset:
    """Make a ``Dataset`` from rows whose audio is ``{"bytes", "path"}``, without torchcodec.

    ``Dataset.from_list`` and ``from_generator`` cannot write an ``Audio`` column where torchcodec is missing.

    Args:
        rows: Dictionaries, one an utterance; consumed once. A missing key becomes null.
        features: The columns, see :func:`row_features`.
        cache_file: Where the rows are kept. With a path they are streamed to that Arrow file and read back memory
            mapped, so that audio need not fit in memory; the file is replaced in one step. Without one the data
            set is in memory.

    Returns:
        The data set, in the order of `rows`.

    Example:
        >>> row = {"id": "a", "audio": {"bytes": b"RIFF", "path": "a.wav"}, "human_votes": ["sad"]}
        >>> build_dataset([row], row_features(["angry", "sad"]))[0]["audio"]
        {'bytes': b'RIFF', 'path': 'a.wav'}
    """
    import pyarrow as pa
    from datasets import Dataset

    if cache_file is None:
        sink = pa.BufferOutputStream()
        _write_stream(sink, rows, features.arrow_schema)
        return Dataset.from_buffer(sink.getvalue())
    # An older file may still be mapped by another data set: replacing the name leaves its contents alone.
    with output_file(cache_file) as part, pa.OSFile(str(part), "wb") as file:
        _write_stream(file, rows, features.arrow_schema)
    return Dataset.from_file(str(cache_file))


def mapped_dataset(batches: Iterable[pa.RecordBatch], features: Features, split: Any = None) -> Dataset:
    """Make a ``Dataset`` of Arrow batches, written to a file as they come and read back memory mapped.

    So its rows need no memory, however many they are. The file lies where ``datasets`` keeps temporary caches, and goes
    when the process ends.

    Args:
        batches: Of the schema of `features`; consumed once.
        features: The columns.
        split: Name of the split, as ``Dataset.split`` gives it.

    Returns:
        The data set.

    Raises:
        OSError: The disk is full.

    Example:
        >>> import pyarrow as pa
        >>> from datasets import Features, Value
        >>> mapped_dataset([pa.RecordBatch.from_pydict({"a": [1, 2]})], Features({"a": Value("int64")}))["a"][:]
        [1, 2]
    """
    import pyarrow as pa
    from datasets import Dataset
    from datasets.fingerprint import generate_random_fingerprint, get_temporary_cache_files_directory

    path = Path(get_temporary_cache_files_directory()) / f"hf-emo-dist-{generate_random_fingerprint()}.arrow"
    with (
        output_file(path) as part,
        pa.OSFile(str(part), "wb") as file,
        pa.ipc.new_stream(file, features.arrow_schema) as writer,
    ):
        for batch in batches:
            writer.write_batch(batch)
    return Dataset.from_file(str(path), split=split)


def _embed_audio(table: pa.Table) -> pa.Table:
    """Read the bytes of clips that are given by path alone, so that the folder holds all of the data."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if "audio" not in table.column_names or not pa.types.is_struct(table.schema.field("audio").type):
        return table
    index = table.schema.get_field_index("audio")
    column = table.column(index).combine_chunks()
    lacking = pc.and_(pc.is_null(pc.struct_field(column, "bytes")), pc.is_valid(column))
    if not pc.any(lacking).as_py():
        return table
    values = column.to_pylist()
    ids = table.column("id").to_pylist() if "id" in table.column_names else list(range(len(values)))
    embedded = []
    for row_id, value in zip(ids, values, strict=True):
        if value is not None and value.get("bytes") is None and value.get("path"):
            try:
                data = read_clip_file(value["path"])
                # a stranger's table may name any file of this machine: what is no audio is not taken in
                check_format(data)
                value = {"bytes": data, "path": Path(value["path"]).name}
            except BadClip as bad:
                raise FileNotFoundError(f"Row {row_id!r}, column 'audio': {bad.detail}. Mend: {bad.mend}.") from bad
        embedded.append(value)
    field = table.schema.field(index)
    return table.set_column(index, field, pa.array(embedded, type=field.type))


def _write_split(dataset: Dataset, split: str, folder: Path, max_shard_bytes: int, progress: bool) -> tuple[int, int]:
    """Write one split as ``<split>-00000-of-000NN.parquet``; return the bytes in memory and on disk."""
    import pyarrow.parquet as pq
    from datasets.utils.tqdm import tqdm

    schema = dataset.features.arrow_schema
    parts: list[Path] = []
    writer: pq.ParquetWriter | None = None
    written = total = 0
    bar = tqdm(total=len(dataset), desc=f"Writing {split}", unit="row", disable=None if progress else True)
    for table in dataset.with_format("arrow").iter(batch_size=100):
        table = _embed_audio(table.cast(schema))
        if writer is None or written >= max_shard_bytes:
            if writer is not None:
                writer.close()
            parts.append(folder / f"{split}.{len(parts):05d}.part")
            writer, written = pq.ParquetWriter(parts[-1], schema), 0
        writer.write_table(table)
        written += table.nbytes
        total += table.nbytes
        bar.update(table.num_rows)
    bar.close()
    if writer is not None:
        writer.close()
    for index, part in enumerate(parts):
        part.rename(folder / f"{split}-{index:05d}-of-{len(parts):05d}.parquet")
    return total, sum(path.stat().st_size for path in folder.glob(f"{split}-*.parquet"))


def check_splits(splits: Mapping[str, Dataset]) -> None:
    """Refuse splits that could not be written: without rows, with ids that repeat, of odd names.

    Raises:
        ValueError: The message names split and id.
    """
    from datasets.splits import NamedSplit

    seen: dict[str, str] = {}
    for split, dataset in splits.items():
        NamedSplit(split)  # refuses names that load_dataset could not read back
        if len(dataset) == 0:
            raise ValueError(f"Split {split!r} has no rows. Mend: leave it out, or choose another split.")
        # A column is read row by row when it is iterated over, and at once when it is sliced.
        for row_id in dataset["id"][:] if "id" in dataset.column_names else ():
            if row_id in seen:
                raise ValueError(
                    f"Column 'id': {row_id!r} is in {seen[row_id]!r} and again in {split!r}. Mend: make ids unique."
                )
            seen[row_id] = split


def _digest(folder: Path) -> str:
    """SHA-256 of the files of a folder, by name."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _ordered(splits: Mapping[str, Dataset]) -> dict[str, Dataset]:
    known = [split for split in SPLIT_ORDER if split in splits]
    return {split: splits[split] for split in [*known, *(s for s in splits if s not in SPLIT_ORDER)]}


def _card(
    splits: Mapping[str, Dataset], emotions: Sequence[str], sizes: Mapping[str, tuple[int, int]], texts: dict[str, Any]
) -> str:
    """The README: YAML that tells ``load_dataset`` what lies where, then what a reader must know first."""
    import yaml
    from datasets import DatasetInfo, SplitDict, SplitInfo
    from datasets.info import DatasetInfosDict
    from huggingface_hub import DatasetCardData

    info = DatasetInfo(
        features=next(iter(splits.values())).features,
        splits=SplitDict({s: SplitInfo(s, num_bytes=sizes[s][0], num_examples=len(d)) for s, d in splits.items()}),
        download_size=sum(on_disk for _, on_disk in sizes.values()),
        dataset_size=sum(in_memory for in_memory, _ in sizes.values()),
    )
    data = DatasetCardData(
        pretty_name=one_line(texts["title"]),
        task_categories=["audio-classification"],
        tags=["speech-emotion-recognition", "soft-labels", "hf-emo-dist"],
        license=texts["license"],
        configs=[
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": f"data/{split}-*"} for split in splits],
            }
        ],
        vote_source=one_line(texts["vote_source"]),
    )
    DatasetInfosDict({"default": info}).to_dataset_card_data(data)
    # `load_dataset` takes a folder whose README names its files from its cache by the README alone (datasets 5.2):
    # without this, other data of the same size and folder name would be read in its place.
    about = data.to_dict()
    about["dataset_info"] = {**about["dataset_info"], "download_checksums": {"data": texts["digest"]}}
    front = yaml.safe_dump(about, sort_keys=False, allow_unicode=True)
    rows = []
    voted = "human_distribution" in next(iter(splits.values())).column_names
    for split, dataset in splits.items():
        speakers = set(dataset["speaker"][:]) - {None} if "speaker" in dataset.column_names else set()
        rows.append(f"| {as_text(split)} | {len(dataset)} | {len(speakers) or 'unknown'} |")
    lines = [
        f"---\n{front}---\n# {as_text(texts['title'])}\n",
        f"**Where the votes come from:** {as_text(texts['vote_source'])}\n",
        f"{texts['description']}\n",
        f"Emotions: {', '.join(map(as_text, emotions))}. "
        + (
            "They stand for what is perceived, not for what a speaker felt.\n"
            if voted
            else "They were acted on request.\n"
        ),
        "| split | utterances | speakers |\n|---|---|---|\n" + "\n".join(rows) + "\n",
        "`audio` holds the bytes of each clip. "
        + (
            "`human_votes` has one entry a vote, `human_distribution` is their share by emotion, and "
            "`emotion_distribution` is the training target.\n"
            if voted
            else "`intended` is what the actor was asked for. There are no votes and no distributions.\n"
        ),
        "```python\nfrom hf_emo_dist import load_emotion_dataset\n\n"
        'dataset = load_emotion_dataset("path/to/this/folder")\n```\n',
    ]
    if texts["citation"]:
        lines.append(f"**Cite:** {texts['citation']}\n")
    return "\n".join(lines)


def write_dataset(
    dataset: DatasetDict | Dataset,
    folder: str | Path,
    *,
    description: str,
    vote_source: str,
    emotions: Sequence[str] | None = None,
    title: str | None = None,
    license: str | None = None,
    citation: str | None = None,
    max_shard_bytes: int = 500_000_000,
    overwrite: bool = False,
    progress: bool = False,
    describe: Callable[[Path], object] | None = None,
) -> Path:
    """Write a data set as a Parquet folder that ``datasets.load_dataset(folder)`` opens, audio inside.

    The folder holds ``data/<split>-00000-of-000NN.parquet`` and a ``README.md`` whose front matter names the splits and
    the features. It is written beside `folder` first and moved into place when it is complete.

    Args:
        dataset: The splits; a single ``Dataset`` is written as ``train``. Clips given by path are read and embedded.
        folder: Where to write; made if it does not exist.
        description: What the data is, for the card (Markdown).
        vote_source: Who gave the votes, or that they are simulated or borrowed: the first line of the card.
        emotions: The label set. Default: the fields of ``human_distribution``.
        title: Heading of the card. Default: the folder's name.
        license: Licence identifier for the card, such as ``"cc-by-4.0"``.
        citation: What to cite, for the card.
        max_shard_bytes: Size of one Parquet file, in bytes before compression, above which the next one is begun.
        overwrite: Replace the data set in a folder that is not empty. A folder with other files is always refused.
        progress: Whether to show a progress bar.
        describe: Called with the folder when data and card are in it and before it takes its place, to write what
            describes the data beside them, such as ``preparation.json``: then the two cannot come from different runs.

    Returns:
        The folder.

    Raises:
        FileExistsError: The folder is not empty and `overwrite` is false, or it holds foreign files.
        BlockingIOError: Another run is writing it.
        ValueError: A split has no rows, ids repeat, or `vote_source` is empty.

    Example:
        >>> import tempfile
        >>> row = {"id": "a", "audio": {"bytes": b"RIFF", "path": "a.wav"}, "human_votes": ["sad"]}
        >>> dataset = build_dataset([row], row_features(["angry", "sad"]))
        >>> with tempfile.TemporaryDirectory() as root:
        ...     out = write_dataset(dataset, root + "/mine", description="One clip.", vote_source="Made up.")
        ...     sorted(path.name for path in out.rglob("*.*"))
        ['README.md', 'train-00000-of-00001.parquet']
    """
    from datasets import Dataset

    from .loading import emotions_of

    if not vote_source.strip():
        raise ValueError("`vote_source` is empty. Mend: say who gave the votes, or that they are simulated.")
    splits = _ordered({"train": dataset} if isinstance(dataset, Dataset) else dataset)
    check_splits(splits)
    names = validate_emotions(emotions) if emotions is not None else emotions_of(dataset)
    target = Path(folder).expanduser().resolve()
    texts = {
        "title": title or target.name,
        "description": description.strip(),
        "vote_source": " ".join(vote_source.split()),
        "license": license,
        "citation": " ".join((citation or "").split()),
    }
    with output_folder(target, overwrite) as part:
        (part / "data").mkdir()
        sizes = {
            split: _write_split(data, split, part / "data", max_shard_bytes, progress) for split, data in splits.items()
        }
        texts["digest"] = _digest(part / "data")
        (part / "README.md").write_text(_card(splits, names, sizes, texts), encoding="utf-8")
        if describe is not None:
            describe(part)
    logger.info("Wrote %d splits to %s", len(splits), target)
    return target
