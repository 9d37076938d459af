"""Data sets of others with audio and a column of labels: on the Hub, in Parquet, or as an AudioFolder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from ...audio.faults import BadClip
from ...audio.files import read_clip_file
from ...audio.signatures import check_format
from ...data.loading import load_emotion_dataset
from ..label_files import is_split_name
from ..options import spell_out
from ..utterances import CorpusReport
from .content import Table, TableError, class_labels, table_of
from .file import load_table
from .options import DEFAULTS, TableOptions, TableSettings, table_settings
from .places import AudioFinder
from .read import understand_files
from .reading import Clip, TableReading, understand_rows

if TYPE_CHECKING:
    from datasets import DatasetDict

_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_AUDIO = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff", ".au", ".m4a")


def understand_dataset(
    source: str | Path,
    *,
    audio_column: str = "audio",
    report: CorpusReport | None = None,
    **options: Unpack[TableOptions],
) -> TableReading:
    """Find out what a data set with a column of labels holds.

    Rows with the same audio, to the byte, are one clip. In a folder without Parquet files, AudioFolder's ``metadata``
    files hold the columns; without any, ``label`` is the name of the folder that a clip lies in.

    Args:
        source: A Hub id such as ``owner/name``, a Parquet folder or file, a ``save_to_disk`` folder, or an AudioFolder.
        audio_column: The column of the audio.
        report: Receives what is left out, by reason and row.

    Returns:
        What was understood: ``summary()`` says it in one screen, ``build()`` makes the data set.

    Raises:
        TableError: Something does not fit, or must be asked. The message names the row and the mend.
        DatasetLoadError: There is no such data set, or it has no such column of audio.

    Example:
        >>> import tempfile
        >>> from hf_emo_dist.audio import encode_wav
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("sad", "happy"):
        ...     (folder / name).mkdir()
        ...     _ = (folder / name / f"{name}.wav").write_bytes(encode_wav([0.1, -0.1]))
        >>> understand_dataset(folder, votes_column=["label"]).votes.emotions
        ('happy', 'sad')
    """
    settings = table_settings(options)
    path = Path(source).expanduser()
    if path.is_dir() and not any((path / name).is_file() for name in ("dataset_dict.json", "state.json")):
        if not any(file.name not in _METADATA for file in path.rglob("*.parquet")):
            key = f"{path.resolve()}\n{settings}"
            return understand_files(_audio_folder(path), path, settings, report, key=key, join_same_audio=True)
    opened = load_emotion_dataset(source, audio_column=audio_column)
    splits: Mapping[str, Any] = dict(opened) if isinstance(opened, Mapping) else {"train": opened}
    return _understand_splits(splits, str(source), path, settings, report)


def _understand_splits(
    splits: Mapping[str, Any], name: str, path: Path, settings: TableSettings, report: CorpusReport | None
) -> TableReading:
    rows: list[dict[str, Any]] = []
    places: list[str] = []
    where: list[tuple[Any, int]] = []
    classes: dict[str, Any] = {}
    for split, data in splits.items():
        classes |= class_labels(data.features)
        plain = data.remove_columns(["audio"])
        named = {} if "split" in plain.column_names else {"split": split}
        for number in range(len(data)):
            cells = plain[number] if plain.column_names else {}
            rows.append({**cells, **named})
            places.append(f"split {split!r} row {number}")
            where.append((data, number))
    table = table_of(rows, Path(name).name, places, classes=classes)
    root = path if path.is_dir() else path.parent if path.exists() else None
    finder = AudioFinder(root, settings.allow_outside) if root is not None else None
    readers = [_reader(data, number, finder, settings, f"{table.name} {place}") for (data, number), place in
               zip(where, places, strict=True)]  # fmt: skip
    keys, names, problems = [], [], []
    for row, read in enumerate(readers):
        key, name_of_file, problem = _look(read)
        keys.append(key or f"row {row}")
        names.append(name_of_file)
        problems.append(problem)
    stems = {key: os.path.splitext(file)[0] for key, file in zip(keys, names, strict=True)}
    if len(set(stems.values())) < len(stems) or not all(stems.values()):
        # files have no names of their own: split and row
        names = [f"{split}-{number:06d}.audio" for split, data in splits.items() for number in range(len(data))]

    def clip_of(row: int, file: str | None) -> Clip:
        problem = problems[row]

        def check() -> None:
            if problem is not None:
                raise problem

        return Clip(file if file and settings.file_column else keys[row], names[row], readers[row], check)

    return understand_rows(
        table, clip_of, settings, report, source=f"column 'audio' of {name}", key=f"{name}\n{settings}", need_file=False
    )


def _look(read: Callable[[], Mapping[str, Any]] | None) -> tuple[str | None, str, BadClip | None]:
    """The hash and the name of a row's audio, and what it is if it is no audio."""
    if read is None:
        return None, "", None
    try:
        audio = read()
        digest = hashlib.sha256(audio["bytes"]).hexdigest()
        try:
            check_format(audio["bytes"])
        except BadClip as bad:
            return digest, audio["path"] or "", bad
        return digest, audio["path"] or "", None
    except BadClip as bad:
        return None, "", bad


def _reader(
    data: Any, number: int, finder: AudioFinder | None, settings: TableSettings, where: str
) -> Callable[[], Mapping[str, Any]] | None:
    """How the audio of a row is read; None where there is none. A path is a file of the data set, and of no other."""
    value = data[number]["audio"]
    if value is None or (isinstance(value, Mapping) and value.get("bytes") is None and not value.get("path")):
        return None
    if not isinstance(value, Mapping) or "bytes" not in value:
        raise TableError(f"{where}: the audio is no file but {type(value).__name__}. Mend: name the column of files.")
    if value["bytes"] is not None:

        def from_row() -> Mapping[str, Any]:
            audio = data[number]["audio"]
            return {"bytes": audio["bytes"], "path": os.path.basename(audio.get("path") or "") or None}

        return from_row
    place = finder.find(value["path"]) if finder is not None else None
    path = value["path"] if place is None and settings.allow_outside else place.path if place is not None else None
    if path is None:
        if place is not None and place.problem in ("missing", "special"):
            return None
        raise TableError(
            f"{where}: the audio is the file {value['path']!r} of this machine, outside of the data set. Mend: if you "
            "trust the data set, --allow_outside reads such files."
        )
    return lambda: {"bytes": read_clip_file(path), "path": os.path.basename(path)}


# --- AudioFolder


def _audio_folder(root: Path) -> Table:
    """The rows of AudioFolder's metadata files; without any, of the audio files, with their folder as label."""
    found = sorted(path for path in root.rglob("*") if path.name.lower() in _METADATA and path.is_file())
    rows: list[dict[str, Any]] = []
    places: list[str] = []
    if not found:
        for path in sorted(root.rglob("*")):
            if path.suffix.lower() in _AUDIO and not path.name.startswith("._"):
                inner = path.relative_to(root)
                label = {"label": inner.parts[-2]} if len(inner.parts) > 1 else {}
                rows.append({"file": inner.as_posix(), **label, **_split_of(inner)})
                places.append(f"file {len(rows)}")
        if not rows:
            raise TableError(
                f"{root} holds no audio files, no metadata.csv and no Parquet files. Mend: give the folder of the data "
                "set; for a table elsewhere, hf-emo-dist read table TABLE AUDIO_DIR OUTPUT."
            )
        return table_of(rows, root.name, places)
    kinds = {path.suffix.lower() for path in found}
    if len(kinds) > 1:
        raise TableError(
            f"{root} has metadata files of several kinds ({', '.join(sorted(kinds))}). Mend: keep one kind."
        )
    tables = [load_table(path, "file_name") for path in found]
    for path, table in zip(found, tables, strict=True):
        inner = path.relative_to(root)
        column = next((name for name in table.columns if name in ("file", "file_name")), None)
        if column is None:
            raise TableError(f"{inner}: there is no column 'file_name'. Mend: name the column of files so.")
        for cells, place in zip(table.rows, table.places, strict=True):
            name = cells[column]
            file = None if name is None else (inner.parent / str(name)).as_posix()
            split = {} if "split" in table.columns else _split_of(inner)
            rows.append({**{old: value for old, value in cells.items() if old != column}, "file": file, **split})
            places.append(f"{inner.as_posix()} {place}" if len(found) > 1 else place)
    name = found[0].name if len(found) == 1 else root.name
    first = tables[0]
    return table_of(rows, name, places, is_text=first.is_text, decimal_comma=first.decimal_comma)


def _split_of(path: Path) -> dict[str, str]:
    return {"split": path.parts[0]} if len(path.parts) > 1 and is_split_name(path.parts[0]) else {}


def read_dataset(
    source: str | Path,
    *,
    audio_column: str = "audio",
    report: CorpusReport | None = None,
    cache_dir: str | Path | None = None,
    progress: bool = True,
    **options: Unpack[TableOptions],
) -> DatasetDict:
    """Read a data set with audio and a column of labels, such as one of the Hub or an AudioFolder.

    Rows with the same audio, to the byte, are one clip. The labels are votes only because `votes_column` says so: a
    majority label, or what an actor was asked for, is none.

    Args:
        source: A Hub id such as ``owner/name``, a Parquet folder or file, a ``save_to_disk`` folder, or an AudioFolder.
        audio_column: The column of the audio.
        report: Receives what is left out, by reason and row.
        cache_dir: Where the rows are kept while the data set is used. Default: a folder of the ``datasets`` cache.
        progress: Whether to show a progress bar.

    Returns:
        One ``Dataset`` a split, as :func:`hf_emo_dist.read_table` gives it.

    Raises:
        TableError: Something does not fit, or must be asked. The message names the row and the mend.
        DatasetLoadError: There is no such data set, or it has no such column of audio.

    Example:
        >>> import tempfile
        >>> from hf_emo_dist.audio import encode_wav
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "a.wav").write_bytes(encode_wav([0.1, -0.1]))
        >>> _ = (folder / "metadata.csv").write_text("file_name,heard\\na.wav,sad;happy\\n")
        >>> rows = read_dataset(folder, votes_column=["heard"], cache_dir=folder / "cache")["train"]
        >>> rows["human_votes"][:]
        [['sad', 'happy']]
    """
    reading = understand_dataset(source, audio_column=audio_column, report=report, **options)
    return reading.read(cache_dir, progress, told=report is not None)


spell_out(understand_dataset, TableOptions, DEFAULTS)
spell_out(read_dataset, TableOptions, DEFAULTS)
