"""EmoNet-Voice Bench: synthetic speech; experts said how strongly they hear one emotion that they were asked about.

The data set on the Hub (``laion/emonet-voice-bench``) is Parquet with the columns ``audioId`` (bytes and path) and
``label``, text such as ``[{'human-1': {'Shame': 1}}, {'human-4': {'Shame': 2}}]``: who, what was asked, and 0, 1 or 2
for not, weakly or strongly present.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack
from urllib.parse import unquote

from ..emotions import canonical_emotion
from .building import build_corpus
from .label_files import corpus_folder
from .options import ReadOptions, Settings, check_options, corpus_reader
from .utterances import CorpusError, CorpusInfo, CorpusReport, Utterance, Vote, report_on

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


def _unpack(audio: Any, name: str, folder: Path) -> str:
    """Write a clip's bytes beside the rows that will hold them: readers stream their clips from files."""
    path = folder / name
    path.write_bytes(audio["bytes"])
    return str(path)


def _utterances(paths: list[Path], asked: str | None, settings: Settings, report: CorpusReport) -> Iterator[Utterance]:
    import pyarrow.parquet as pq

    folder = settings.cache_dir / "clips"
    folder.mkdir(parents=True, exist_ok=True)
    seen: set[str] = set()
    row = 0
    for path in paths:
        table = pq.ParquetFile(path)
        lacking = {"audioId", "label"} - set(table.schema_arrow.names)
        if lacking:
            raise CorpusError(
                f"{path.name} has no column {', '.join(sorted(lacking))} (there are "
                f"{', '.join(table.schema_arrow.names)}). Mend: give the Parquet folder of EmoNet-Voice Bench."
            )
        where = report.name(path)
        for batch in table.iter_batches(batch_size=64, columns=["audioId", "label"]):
            for entry in batch.to_pylist():
                row += 1
                place = f"{where}:{row}"
                audio = entry["audioId"] or {}
                stem, suffix = os.path.splitext(os.path.basename(str(audio.get("path") or "")))
                name = stem if stem and stem not in seen else f"clip-{row:05d}"
                try:
                    emotion, answers = _parse(entry["label"])
                except ValueError as error:
                    report.skip("bad_line", name, place, str(error))
                    continue
                emotion = canonical_emotion(emotion)
                if asked is not None and emotion != asked:
                    continue
                if not audio.get("bytes"):
                    report.skip("empty_audio", name, place)
                    continue
                seen.add(name)
                yield Utterance(
                    id=name,
                    audio=_unpack(audio, f"{name}{suffix or '.bin'}", folder),
                    where=place,
                    votes=_votes(answers, name, place, report),
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

    Its raters did not choose among emotions: each clip has one emotion that they were asked about (column ``asked``), and
    a vote says how strongly they hear it, ``absent``, ``weak`` or ``strong``. The distribution is over these levels, and
    is no distribution over emotions. The voices are synthetic and not named, so there are no speakers, and splits by
    speakers leave all clips out. While they are read, the clips are copied to `cache_dir`.

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
    found = _utterances(paths, None if asked is None else canonical_emotion(asked), settings, report)
    return build_corpus(found, settings, report)
