"""The table reader: a researcher's own audio files and votes, as a data set."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from ...audio.faults import BadClip
from ...audio.files import read_clip_file
from ...audio.signatures import check_head
from ..options import spell_out
from ..utterances import CorpusReport
from .content import Table, TableError
from .file import load_table
from .options import DEFAULTS, TableOptions, TableSettings, table_settings
from .places import AudioFinder, told
from .reading import Clip, TableReading, understand_rows

if TYPE_CHECKING:
    from datasets import DatasetDict


def understand_table(
    table: str | Path,
    audio_dir: str | Path,
    *,
    sheet: str | None = None,
    report: CorpusReport | None = None,
    **options: Unpack[TableOptions],
) -> TableReading:
    r"""Find out what a table of audio files and votes holds, before any audio is read.

    Args:
        table: The table: CSV, TSV, Excel (.xlsx), JSON, JSON Lines or Parquet.
        audio_dir: The folder of the audio files. Their bytes are stored as they are, neither decoded nor resampled.
        sheet: The sheet of a workbook. Default: the only one that is not empty.
        report: Receives what is left out, by reason and line.

    Returns:
        What was understood: ``summary()`` says it in one screen, ``build()`` reads the audio and makes the data set.

    Raises:
        TableError: Something in the table does not fit, or must be asked. The message names the line and the mend.
        FileNotFoundError: There is no such table or folder.

    Example:
        >>> import tempfile
        >>> from hf_emo_dist.audio import encode_wav
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "a.wav").write_bytes(encode_wav([0.1, -0.1]))
        >>> _ = (folder / "votes.csv").write_text("file,rater,vote\na.wav,r1,Anger\na.wav,r2,sad\n")
        >>> reading = understand_table(folder / "votes.csv", folder, votes_column=["vote"])
        >>> print(reading.summary().splitlines()[1])
        Form: one row a rating in column 'vote', by the rater in column 'rater'
    """
    settings = table_settings(options)
    folder = Path(audio_dir).expanduser()
    content = load_table(table, settings.file_column, sheet)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}. Mend: check AUDIO_DIR.")
    key = f"{Path(table).expanduser().resolve()}\n{folder.resolve()}\n{sheet}\n{settings}"
    return understand_files(content, folder, settings, report, key=key)


def understand_files(
    content: Table,
    folder: Path,
    settings: TableSettings,
    report: CorpusReport | None = None,
    *,
    key: str = "",
    join_same_audio: bool = False,
) -> TableReading:
    """Understand rows whose audio is files of one folder, wherever the rows come from.

    Args:
        content: The rows.
        folder: The folder of the audio files.
        settings: The options.
        report: Receives what is left out.
        key: What the rows in the cache belong to.
        join_same_audio: Whether files with the same bytes are one clip, and not only rows of one file.

    Returns:
        What was understood.

    Raises:
        TableError: As in :func:`understand_table`.
    """
    report = CorpusReport() if report is None else report
    finder = AudioFinder(folder, settings.allow_outside)
    first_of: dict[str, str] = {}
    joined: set[str] = set()

    @cache  # a clip of many ratings is looked for once
    def clip_named(name: str) -> Clip:
        place = finder.find(name)
        if place.path is None:
            return Clip(f"no file {name}", name.replace("\\", "/"), None)
        path = Path(place.path)

        def read() -> Mapping[str, Any]:
            return {"bytes": read_clip_file(path), "path": path.name}

        real = os.path.realpath(path)
        if join_same_audio:
            try:
                digest = hashlib.sha256(read()["bytes"]).hexdigest()
            except BadClip:  # told with all that is no audio
                return Clip(real, path.name, read, lambda: check_head(path))
            first = first_of.setdefault(digest, real)
            if first != real and real not in joined:
                joined.add(real)
                report.note("same_audio", path.name, _within(real, folder), f"as {_within(first, folder)}")
            real = first
        return Clip(real, path.name, read, lambda: check_head(path))

    told_of: set[str] = set()

    def clip_of(row: int, name: str | None) -> Clip:
        name = name or ""
        if finder.find(name).respelled and name not in told_of:
            told_of.add(name)
            report.note("path_spelling", name, content.where(row, None), clip_named(name).name)
        return clip_named(name)

    def missing(rows: Sequence[int], column: str | None) -> TableError:
        names = [str(cells[column or ""]) for cells in content.rows]
        problems = {row: finder.find(names[row]).problem for row in rows}
        problem = next(kind for kind in ("outside", "address", "special", "missing") if kind in problems.values())
        these = [row for row in rows if problems[row] == problem]
        what, mend = told(problem)
        if problem == "special":
            what += f" (the first: {names[these[0]]!r})"
        hints = (finder.hint(names[row]) for row in these[:10]) if problem == "missing" else ()
        count = f"{len({names[row] for row in these})} of {len(set(names))}"
        return content.fail(
            these,
            f"{content.name}: {count} {what.format(folder=folder)}{next((hint for hint in hints if hint), '')}",
            mend.format(folder=folder),
            column,
        )

    reading = understand_rows(content, clip_of, settings, report, source=f"files of {folder}", key=key, missing=missing)
    reading.respelled = len(told_of)
    return reading


def _within(path: str, folder: Path) -> str:
    return Path(os.path.relpath(path, os.path.realpath(folder))).as_posix()


def read_table(
    table: str | Path,
    audio_dir: str | Path,
    *,
    sheet: str | None = None,
    report: CorpusReport | None = None,
    cache_dir: str | Path | None = None,
    progress: bool = True,
    **options: Unpack[TableOptions],
) -> DatasetDict:
    r"""Read a table of audio files and votes.

    The votes may have any of these forms, which the reader tells by itself:

    - one column of counts an emotion, named like it (``Anger`` is ``angry``; ``count::Anger``, too): a blank is 0, and
      a fraction becomes a vote with that weight; or shares or percent, with the number of raters;
    - a column of labels: ``angry|angry|sad``, a list, counts as a mapping (``{"angry": 2}``), or ratings with raters;
    - one row a rating, with a column of raters or without;
    - one column a rater.

    Further columns with a meaning are ``speaker``, ``transcript``, ``split`` (``dev``, ``val`` and the like are read as
    ``validation``; without it all rows are ``train``) and ``id``. All others are kept as they are.

    Args:
        table: The table: CSV, TSV, Excel (.xlsx), JSON, JSON Lines or Parquet.
        audio_dir: The folder of the audio files. Their bytes are stored as they are, neither decoded nor resampled.
        sheet: The sheet of a workbook. Default: the only one that is not empty.
        report: Receives what is left out, by reason and line.
        cache_dir: Where the rows are kept while the data set is used (memory mapped, one file a split). Default: a
            folder of the ``datasets`` cache that belongs to this table and is rewritten each time.
        progress: Whether to show a progress bar.

    Returns:
        One ``Dataset`` a split with the columns ``id, audio, transcript, speaker, human_votes, human_distribution,
        emotion_distribution`` (the last two are equal), where there are any ``human_vote_weights`` and
        ``human_raters``, and the table's own. Clips keep their order.

    Raises:
        TableError: Something in the table does not fit, or must be asked. The message names the line and the mend.
        FileNotFoundError: There is no such table or folder.

    Example:
        >>> import tempfile
        >>> from hf_emo_dist.audio import encode_wav
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "a.wav").write_bytes(encode_wav([0.1, -0.1]))
        >>> _ = (folder / "votes.csv").write_text("file,speaker,angry,sad\na.wav,s1,1,3\n")
        >>> read_table(folder / "votes.csv", folder, cache_dir=folder / "cache")["train"][0]["human_distribution"]
        {'angry': 0.25, 'sad': 0.75}
    """
    reading = understand_table(table, audio_dir, sheet=sheet, report=report, **options)
    return reading.read(cache_dir, progress, told=report is not None)


spell_out(understand_table, TableOptions, DEFAULTS)
spell_out(read_table, TableOptions, DEFAULTS)
