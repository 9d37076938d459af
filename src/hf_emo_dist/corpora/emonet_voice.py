"""EmoNet-Voice Bench: synthetic speech; experts said how strongly they hear one emotion that they were asked about.

The data set on the Hub (``laion/emonet-voice-bench``) is Parquet with the columns ``audioId`` (bytes and path) and
``label``, text such as ``[{'human-1': {'Shame': 1}}, {'human-4': {'Shame': 2}}]``: who, what was asked, and 0, 1 or 2
for not, weakly or strongly present.
"""

from __future__ import annotations

import ast
import os
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack
from urllib.parse import unquote

from ..emotions import canonical_emotion
from .building import build_corpus
from .label_files import corpus_folder
from .options import ReadOptions, check_options, corpus_reader
from .utterances import CorpusError, CorpusInfo, CorpusReport, StoredClip, Utterance, Vote, report_on

if TYPE_CHECKING:
    from datasets import DatasetDict

LEVELS = ("absent", "weak", "strong")
INFO = CorpusInfo(
    name="emonet_voice",
    title="EmoNet-Voice Bench",
    language="mul",
    emotions=LEVELS,
    license="cc-by-4.0",
    terms="CC BY 4.0.",
    citation="Schuhmann, C., Kaczmarczyk, R., Rabby, G., Friedrich, F., Kraus, M., Nadi, K., Nguyen, H., Kersting, K., "
    "& Auer, S. (2025). EmoNet-Voice: A fine-grained, expert-verified benchmark for speech emotion detection. "
    "arXiv:2506.09827",
    vote_source="Experts in psychology, who said of synthetic speech how strongly one named emotion is heard in it: "
    "absent, weak or strong. Nobody chose among emotions.",
    reads="Parquet with `audioId` and `label`",
    columns={"asked": "string"},
)


def _parse(text: Any) -> tuple[str, list[tuple[str, int]]]:
    """What was asked, and who gave which level. Raises ValueError for anything but one question and whole levels."""
    try:
        records = ast.literal_eval(text) if isinstance(text, str) else text
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ValueError("not a list of answers") from error
    given: list[tuple[str, int]] = []
    asked: set[str] = set()
    for record in records if isinstance(records, list) else [None]:
        if not isinstance(record, dict) or not all(isinstance(answer, dict) for answer in record.values()):
            raise ValueError("not a list of answers")
        for rater, answer in record.items():
            for emotion, level in answer.items():
                if isinstance(level, bool) or level not in (0, 1, 2):
                    raise ValueError(f"{rater} answered {level!r}, not 0, 1 or 2")
                asked.add(unquote(str(emotion)).strip())
                given.append((str(rater), int(level)))
    if len(asked) != 1:
        raise ValueError(f"{len(asked)} emotions are asked for: {', '.join(sorted(asked))}")
    return asked.pop(), given


def _votes(answers: list[tuple[str, int]], name: str, where: str, report: CorpusReport) -> list[Vote]:
    votes: dict[str, Vote] = {}
    for rater, level in answers:
        if rater in votes:
            report.note("duplicate_rater", name, where, rater)
        else:
            votes[rater] = (LEVELS[level], 1.0, rater)
    return list(votes.values())


class _Clips:
    """The clips of one Parquet file, a row group at a time: they are asked for in their order, by a few threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._groups: dict[int, Any] = {}

    def read(self, group: int, row: int) -> bytes:
        """The bytes of one clip; b"" where there are none."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        with self._lock:
            if group not in self._groups:
                while len(self._groups) > 1:
                    self._groups.pop(min(self._groups))
                try:
                    self._groups[group] = pq.ParquetFile(self._path).read_row_group(group, columns=["audioId.bytes"])
                except pa.ArrowException as error:
                    raise OSError(None, f"{self._path.name} is damaged ({str(error).splitlines()[0]})") from error
            return (self._groups[group].column("audioId")[row].as_py() or {}).get("bytes") or b""


def _rows(path: Path) -> Iterator[tuple[int, int, str, Any]]:
    """Row group, row in it, the clip's name and the label of every row; the sound is left where it is."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        yield from _rows_of(path, pq.ParquetFile(path))
    except (pa.ArrowException, OSError) as error:
        told = str(error).splitlines()[0]
        raise CorpusError(f"{path.name} cannot be read as Parquet ({told}). Mend: copy it again.") from error


def _rows_of(path: Path, file: Any) -> Iterator[tuple[int, int, str, Any]]:
    lacking = {"audioId", "label"} - set(file.schema_arrow.names)
    if lacking:
        raise CorpusError(
            f"{path.name} has no column {', '.join(sorted(lacking))} (there are "
            f"{', '.join(file.schema_arrow.names)}). Mend: give the Parquet folder of EmoNet-Voice Bench."
        )
    for group in range(file.num_row_groups):
        table = file.read_row_group(group, columns=["audioId.path", "label"])
        for row, (audio, label) in enumerate(
            zip(table["audioId"].to_pylist(), table["label"].to_pylist(), strict=True)
        ):
            yield group, row, os.path.basename(str((audio or {}).get("path") or "")), label


def _utterances(paths: list[Path], asked: str | None, report: CorpusReport) -> Iterator[Utterance]:
    seen: set[str] = set()
    for path in paths:
        clips = _Clips(path)
        for number, (group, row, file, label) in enumerate(_rows(path), start=1):
            where = f"{report.name(path)}:{number}"
            stem, suffix = os.path.splitext(file)
            name = stem if stem and stem not in seen else f"{path.stem}-{number:05d}"
            try:
                emotion, answers = _parse(label)
            except ValueError as error:
                report.skip("bad_line", name, where, str(error))
                continue
            emotion = canonical_emotion(emotion)
            if asked is None or emotion == asked:
                seen.add(name)
                yield Utterance(
                    id=name,
                    audio=StoredClip(f"{name}{suffix}", partial(clips.read, group, row)),
                    where=where,
                    votes=_votes(answers, name, where, report),
                    extra={"asked": emotion},
                )


@corpus_reader(INFO)
def read_emonet_voice(
    source: str | Path,
    *,
    asked: str | None = None,
    report: CorpusReport | None = None,
    **options: Unpack[ReadOptions],
) -> DatasetDict:
    """Read EmoNet-Voice Bench.

    Its raters did not choose among emotions: each clip has one emotion that they were asked about (column ``asked``),
    and a vote says how strongly they hear it, ``absent``, ``weak`` or ``strong``. The distribution is over these
    levels, and is no distribution over emotions. The voices are synthetic and not named, so there are no speakers, and
    splits by speakers leave all clips out.

    Args:
        source: The folder of the Parquet files, or one above.
        asked: Read the clips on this emotion only, such as ``"anger"``.
        report: Receives what is left out, by reason, file and row.

    Returns:
        The splits.

    Raises:
        CorpusError: The folder is not EmoNet-Voice Bench, or nothing in it can be used.

    Example:
        >>> read_emonet_voice("emonet-voice-bench", asked="anger")  # doctest: +SKIP
    """
    settings = check_options(INFO, source, options)
    root = corpus_folder(source)
    paths = sorted(root.rglob("*.parquet"))
    if not paths:
        raise CorpusError(f"There are no Parquet files below {root}. Mend: give the folder of EmoNet-Voice Bench.")
    report = report_on(root, report)
    found = _utterances(paths, None if asked is None else canonical_emotion(asked), report)
    return build_corpus(found, settings, report)
