"""MSP-Podcast: the votes of its crowd raters from any release's label files, with its own partitions."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from sys import intern
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

from ..emotions import CORPUS_CODES
from .building import build_corpus
from .label_files import (
    Labels,
    audio_files,
    corpus_folder,
    file_name,
    find_folder,
    iter_csv,
    iter_lines,
    split_name,
    stem_of,
)
from .options import ReadOptions, check_options, corpus_reader
from .utterances import CorpusError, CorpusInfo, CorpusReport, Utterance, Vote, report_on

if TYPE_CHECKING:
    from datasets import DatasetDict

_EMOTIONS = ("angry", "happy", "neutral", "sad", "surprise", "fear", "disgust", "contempt", "other")
INFO = CorpusInfo(
    name="msp_podcast",
    title="MSP-Podcast",
    language="en",
    emotions=_EMOTIONS,
    license="other",
    terms="Licensed by the MSP lab (University of Texas at Dallas) for research, by "
    "signed agreement; the recordings and labels may not be handed on.",
    citation="Lotfian, R., & Busso, C. (2019). Building naturalistic emotionally balanced speech corpus by retrieving "
    "emotional speech from existing podcast recordings. IEEE Transactions on Affective Computing, 10(4), 471-483. "
    "doi:10.1109/TAFFC.2017.2736999",
    vote_source="MSP-Podcast's crowd raters (at least five a clip), who chose one primary emotion after listening. "
    "Free text beside Other counts as other.",
    restricted=True,
    columns={
        "consensus": "string",
        "gender": "string",
        "valence": "float32",
        "arousal": "float32",
        "dominance": "float32",
        "other_texts": "strings",
    },
)

RATERS = 5
_DETAILS = ("labels_detailed.csv", "labels_detailed.json", "labels.txt")
# 1.6 says "Workers", 2.0 "WorkerID".
_WORKER_COLUMNS = ("WorkerID", "Workers", "Worker")
_ATTRIBUTE = re.compile(r"[AVD]\s*:")
_CONSENSUS_FILES = ("labels_consensus.csv", "labels_concensus.csv", "labels_consensus.json", "labels_concensus.json")
# Test3's labels are kept by the corpus's makers for their challenge.
_WITHHELD = ("test3",)


class _Rating(NamedTuple):
    """What one rater said of one clip, and the line where (0: the file has no lines to speak of)."""

    worker: str
    primary: str
    secondary: tuple[str, ...]
    line: int


#: One clip: the name of its file, the file and line where its ratings begin, and they.
_Rated = tuple[str, str, list[_Rating]]


# A million ratings share a few thousand strings: interning keeps the memory for them small.
@lru_cache(maxsize=100_000)
def _split_secondary(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _rating(text: str, line: int) -> _Rating | None:
    """Read ``WORKER; primary; secondary; A:..; V:..; D:..;``, where the secondary emotions may be missing."""
    fields = [part.strip() for part in text.strip().strip('"').split(";")]
    fields = [part for part in fields if part and not _ATTRIBUTE.match(part)]
    if len(fields) not in (2, 3):
        return None
    secondary = _split_secondary(fields[2]) if len(fields) == 3 else ()
    return _Rating(intern(fields[0]), intern(fields[1]), secondary, line)


def _from_blocks(path: Path, report: CorpusReport) -> Iterator[_Rated]:
    name, where, file = "", "", report.name(path)
    ratings: list[_Rating] = []
    for number, text in iter_lines(path, report):
        here = f"{file}:{number}"
        first = text.partition(";")[0].strip()
        if not text.strip():
            continue
        if first.lower().endswith(".wav"):
            if name:
                yield name, where, ratings
            name, where, ratings = file_name(first, here, report), here, []
            continue
        rating = _rating(text, number)
        if rating is None or not name:
            report.note("bad_line", stem_of(name) or path.name, here, text.strip()[:80])
        else:
            ratings.append(rating)
    if name:
        yield name, where, ratings


def _from_csv(path: Path, report: CorpusReport) -> Iterator[_Rated]:
    clips: dict[str, tuple[str, list[_Rating]]] = {}
    file = report.name(path)
    for line, row in iter_csv(path, report, required=("FileName",)):
        where = f"{file}:{line}"
        name = file_name(row["FileName"], where, report)
        _, ratings = clips.setdefault(name, (where, []))
        if "EmoDetail" in row:
            rating = _rating(row["EmoDetail"], line)
        else:
            worker = next((row[column] for column in _WORKER_COLUMNS if column in row), None)
            if worker is None or "EmoClass_Major" not in row:
                raise CorpusError(
                    f"{file} has the columns {', '.join(row)}: votes are in EmoDetail, or in EmoClass_Major with "
                    "WorkerID or Workers. Mend: check that it is the raters' file, not the consensus."
                )
            secondary = _split_secondary(row.get("EmoClass_Second", ""))
            rating = _Rating(intern(worker), intern(row["EmoClass_Major"]), secondary, line)
        if rating is None or not rating.primary or not rating.worker:
            report.note("bad_line", stem_of(name), where, ", ".join(row.values())[:80])
        else:
            ratings.append(rating)
    for name in list(clips):
        where, ratings = clips.pop(name)
        yield name, where, ratings


def _from_json(path: Path, report: CorpusReport) -> Iterator[_Rated]:
    where = report.name(path)
    for key, workers in _json(path, report).items():
        name = file_name(key, where, report)
        ratings = []
        for worker, fields in workers.items() if isinstance(workers, dict) else ():
            primary = fields.get("EmoClass_Major") if isinstance(fields, dict) else None
            if not isinstance(primary, str) or not primary.strip():
                report.note("bad_line", stem_of(name), where, f"{worker} has no EmoClass_Major")
                continue
            second = fields.get("EmoClass_Second") or ""
            secondary = _split_secondary(second) if isinstance(second, str) else tuple(map(str, second))
            ratings.append(_Rating(intern(worker), intern(primary.strip()), secondary, 0))
        yield name, where, ratings


def _json(path: Path, report: CorpusReport) -> dict[str, Any]:
    name = report.name(path)
    try:
        content = json.loads("\n".join(text for _, text in iter_lines(path, report)))
    except ValueError as error:
        raise CorpusError(f"{name} is not JSON ({error}). Mend: copy it again.") from error
    if not isinstance(content, dict):
        raise CorpusError(f"{name} is not an object of files. Mend: check that it is the right file.")
    return content


class _Consensus(NamedTuple):
    """What the consensus file says of one clip."""

    code: str
    speaker: str | None
    gender: str | None
    split: str | None
    valence: float | None
    arousal: float | None
    dominance: float | None


_NOTHING = _Consensus("", None, None, None, None, None, None)


def _known(value: Any) -> str | None:
    text = str(value or "").strip()
    return None if text.lower() in ("", "unknown", "nan") else intern(text)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _consensus_fields(row: Mapping[str, Any]) -> _Consensus:
    split, gender = _known(row.get("Split_Set")), _known(row.get("Gender"))
    return _Consensus(
        code=intern(str(row.get("EmoClass", "")).strip()),
        speaker=_known(row.get("SpkrID")),
        gender=gender and gender.lower(),
        split=split and split_name(split),
        valence=_number(row.get("EmoVal")),
        arousal=_number(row.get("EmoAct")),
        dominance=_number(row.get("EmoDom")),
    )


def _consensus(folder: Path, report: CorpusReport) -> dict[str, _Consensus]:
    """Read the consensus file, whichever spelling and form there is, by file name."""
    path = next((folder / name for name in _CONSENSUS_FILES if (folder / name).is_file()), None)
    if path is None:
        return {}
    where = report.name(path)
    if path.suffix == ".json":
        return {file_name(name, where, report): _consensus_fields(row) for name, row in _json(path, report).items()}
    rows = iter_csv(path, report, required=("FileName",))
    return {file_name(row["FileName"], f"{where}:{line}", report): _consensus_fields(row) for line, row in rows}


def _partitions(root: Path, folder: Path, report: CorpusReport) -> dict[str, str]:
    """Read Partitions.txt, lines such as ``Train; MSP-PODCAST_0001_0008.wav``."""
    path = next((p for p in (root / "Partitions.txt", folder / "Partitions.txt") if p.is_file()), None)
    found: dict[str, str] = {}
    file = report.name(path) if path else ""
    for number, text in iter_lines(path, report) if path else ():
        where = f"{file}:{number}"
        part, separator, name = text.partition(";")
        if separator and name.strip():
            found[file_name(name.strip().rstrip(";"), where, report)] = split_name(part)
        elif text.strip():
            report.note("bad_line", "Partitions.txt", where, text.strip()[:80])
    return found


def _transcript(folder: Path, stem: str, report: CorpusReport) -> str | None:
    path = folder / f"{stem}.txt"
    try:
        text = " ".join(line.strip() for _, line in iter_lines(path, report)).strip()
    except FileNotFoundError:
        report.note("no_transcript", stem, report.name(path))
        return None
    if not text:
        report.note("empty_transcript", stem, f"{report.name(path)}:1")
    return text or None


def _at(where: str, rating: _Rating) -> str:
    return f"{where.rpartition(':')[0]}:{rating.line}" if rating.line else where


def _votes(
    name: str, where: str, ratings: list[_Rating], labels: Labels, report: CorpusReport
) -> tuple[list[Vote], list[_Rating]]:
    """The votes, and the ratings that they come from: one a rater."""
    votes: list[Vote] = []
    counted: dict[str, _Rating] = {}
    for rating in ratings:
        if rating.worker in counted:
            report.note("duplicate_rater", name, _at(where, rating), rating.worker)
            continue
        label = labels("other" if rating.primary.lower().startswith("other") else rating.primary)
        if label is None:
            report.note("unknown_label", name, _at(where, rating), f"{rating.worker}: {rating.primary}")
            continue
        counted[rating.worker] = rating
        votes.append((label, 1.0, rating.worker))
    return votes, list(counted.values())


def _utterances(root: Path, labels_path: Path | None, secondary: bool, report: CorpusReport) -> Iterator[Utterance]:
    folder = find_folder(root, "Labels", "label") or root
    details = labels_path or next((folder / name for name in _DETAILS if (folder / name).is_file()), None)
    if details is None:
        raise CorpusError(
            f"{folder} holds none of {', '.join(_DETAILS)}. Mend: give the folder that holds MSP-Podcast's Labels and "
            "Audios; the consensus file alone has no votes."
        )
    read_details = {".json": _from_json, ".txt": _from_blocks}.get(details.suffix, _from_csv)
    consensus = _consensus(folder, report)
    partitions = _partitions(root, folder, report)
    audio = find_folder(root, "Audios", "Audio") or root
    clips = {os.path.basename(path): path for path in audio_files(audio).values()}
    texts = find_folder(root, "Transcripts", "Transcript")
    labels, second = Labels(_EMOTIONS), Labels()
    described: set[str] = set()
    for name, where, ratings in read_details(details, report):
        described.add(name)
        stem = stem_of(name)
        if name not in clips:
            report.skip("no_audio", stem, where)
            continue
        known = consensus.get(name, _NOTHING)
        votes, counted = _votes(stem, where, ratings, labels, report)
        if 0 < len(ratings) < RATERS:
            report.note("few_raters", stem, where, f"{len(ratings)} of {RATERS}")
        extra: dict[str, Any] = {
            "gender": known.gender,
            "valence": known.valence,
            "arousal": known.arousal,
            "dominance": known.dominance,
            "other_texts": [r.primary.partition("-")[2] for r in counted if r.primary.lower().startswith("other-")],
        }
        if secondary:
            pairs = [(second(text), rating) for rating in counted for text in rating.secondary]
            extra["secondary_votes"] = [label or "other" for label, _ in pairs]
            extra["secondary_raters"] = [rating.worker for _, rating in pairs]
        yield Utterance(
            id=stem,
            audio=clips[name],
            where=where,
            speaker=known.speaker,
            votes=votes,
            transcript=None if texts is None else partial(_transcript, texts, stem, report),
            split=partitions.get(name) or known.split,
            consensus=CORPUS_CODES["msp_podcast"].get(known.code),
            extra=extra,
        )
    for name, path in clips.items():
        if name not in described:
            withheld = (partitions.get(name) or consensus.get(name, _NOTHING).split) in _WITHHELD
            report.skip("labels_withheld" if withheld else "no_labels", stem_of(name), report.name(path))


@corpus_reader(INFO)
def read_msp_podcast(
    source: str | Path,
    *,
    labels: str | Path | None = None,
    secondary: bool = False,
    report: CorpusReport | None = None,
    **options: Unpack[ReadOptions],
) -> DatasetDict:
    """Read MSP-Podcast, any release from 1.6 to 2.0.

    Votes are the raters' primary emotions, from ``labels_detailed.csv`` (its three shapes), ``labels_detailed.json`` or
    ``labels.txt``, whichever is there first. ``Other-<text>`` is a vote for ``other``; the texts are in
    ``other_texts``. Speaker, gender, the corpus's plurality label (``consensus``) and the means of ``valence``,
    ``arousal`` and ``dominance`` on 1 to 7 come from ``labels_consensus`` (``labels_concensus`` before 1.10). A speaker
    of ``Unknown`` is null: such rows stay in the corpus's own splits (``train``, ``validation``, ``test1``, ``test2``)
    and are left out of speaker-disjoint ones. Clips of Test3, whose labels are withheld, are left out. The data is
    ``restricted``.

    Args:
        source: The folder that holds ``Labels`` and ``Audios``.
        labels: A label file to read instead of the first that is there.
        secondary: Add ``secondary_votes`` (any number a rater) and ``secondary_raters``, which say who gave each.
        report: Receives what is left out, by reason, file and line.

    Returns:
        The splits.

    Raises:
        CorpusError: The folder is not MSP-Podcast, or nothing in it can be used.

    Example:
        >>> read_msp_podcast("MSP-PODCAST", emotions=["angry", "happy", "neutral", "sad"])  # doctest: +SKIP
    """
    info = INFO
    if secondary:
        info = replace(INFO, columns={**INFO.columns, "secondary_votes": "strings", "secondary_raters": "strings"})
    settings = check_options(info, source, options)
    root = corpus_folder(source)
    report = report_on(root, report)
    found = _utterances(root, Path(labels).expanduser() if labels else None, secondary, report)
    return build_corpus(found, settings, report)
