"""The label files of the MSP lab's corpora (MSP-Podcast, WHiSER): who said what of which clip, in every release's form.

Ratings are in ``labels.txt`` (blocks of lines), ``labels_detailed.csv`` (three shapes) or ``labels_detailed.json``;
what was concluded from them in ``labels_consensus`` (``labels_concensus`` in older releases). Names of files and
folders are taken in any case: release 1.8 of MSP-Podcast writes ``Labels.txt`` and ``partitions.txt``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from sys import intern
from typing import Any, NamedTuple

from ..emotions import CORPUS_CODES
from .label_files import Labels, file_name, find_file, iter_csv, iter_lines, mean, number, split_name, stem_of
from .utterances import CorpusError, CorpusReport, Utterance, Vote

RATERS = 5
_DETAILS = ("labels_detailed.csv", "labels_detailed.json", "labels.txt")
# 1.6 of MSP-Podcast says "Workers", 2.0 "WorkerID".
_WORKER_COLUMNS = ("WorkerID", "Workers", "Worker")
_ATTRIBUTES = ("arousal", "valence", "dominance")
_ATTRIBUTE = re.compile(r";\s*([AVDN])\s*:\s*(-?\d+(?:\.\d+)?|NaN)\s*(?=;|$)")
_CONSENSUS_FILES = ("labels_consensus.csv", "labels_concensus.csv", "labels_consensus.json", "labels_concensus.json")
_CODES = CORPUS_CODES["msp_podcast"]

#: The columns that these corpora have beside the data contract's.
COLUMNS = {
    "consensus": "string",
    "gender": "string",
    "valence": "float32",
    "arousal": "float32",
    "dominance": "float32",
    "other_texts": "strings",
}


class Rating(NamedTuple):
    """What one rater said of one clip, and the line where (0: the file has no lines to speak of)."""

    worker: str
    primary: str
    secondary: tuple[str, ...]
    attributes: Mapping[str, float | None]  # A, V, D and N: arousal, valence, dominance, naturalness
    line: int


class Summary(NamedTuple):
    """What a release concludes of one clip."""

    code: str = ""
    speaker: str | None = None
    gender: str | None = None
    split: str | None = None
    valence: float | None = None
    arousal: float | None = None
    dominance: float | None = None


class Rated(NamedTuple):
    """One clip: its file's name, the file and line where its ratings begin, they, and the line that sums them up."""

    name: str
    where: str
    ratings: list[Rating]
    summary: Summary = Summary()


# A million ratings share a few thousand strings: interning keeps the memory for them small.
@lru_cache(maxsize=100_000)
def _split_secondary(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


@lru_cache(maxsize=100_000)
def attributes_in(text: str) -> Mapping[str, float | None]:
    """The attributes in ``; A:3.000000; V:NaN; D:4.000000;``, by their letters; equal texts share one result."""
    return {letter: number(value) for letter, value in _ATTRIBUTE.findall(text)}


@lru_cache(maxsize=100_000)
def _attributes_of(arousal: Any, valence: Any, dominance: Any) -> Mapping[str, float | None]:
    return {"A": number(arousal), "V": number(valence), "D": number(dominance)}


def rating_in(text: str, line: int) -> Rating | None:
    """Read ``WORKER; primary; secondary; A:..; V:..; D:..;``, where the secondary emotions may be missing."""
    text = text.strip().strip('"')
    begin = _ATTRIBUTE.search(text)
    words, numbers = (text[: begin.start()], text[begin.start() :]) if begin else (text, "")
    fields = [part.strip() for part in words.split(";") if part.strip()]
    # Text after the attributes is another rating on the same line: a vote that would be lost without a word.
    if len(fields) not in (2, 3) or _ATTRIBUTE.sub("", numbers).strip(" ;"):
        return None
    secondary = _split_secondary(fields[2]) if len(fields) == 3 else ()
    return Rating(intern(fields[0]), intern(fields[1]), secondary, attributes_in(numbers), line)


def iter_blocks(path: Path, report: CorpusReport, suffix: str = ".wav") -> Iterator[Rated]:
    """Yield the clips of a file of blocks: a line ``clip.wav; N; A:..; V:..; D:..;``, then a line a rater."""
    clip: Rated | None = None
    file = report.name(path)
    for line, text in iter_lines(path, report):
        here = f"{file}:{line}"
        first, _, rest = text.partition(";")
        first = first.strip()
        if not text.strip():
            continue
        if first.lower().endswith(suffix):
            if clip is not None:
                yield clip
            means = attributes_in(f";{rest.rstrip()}")
            code = intern(rest.partition(";")[0].strip())
            summary = Summary(code=code, valence=means.get("V"), arousal=means.get("A"), dominance=means.get("D"))
            clip = Rated(file_name(first, here, report), here, [], summary)
            continue
        rating = rating_in(text, line)
        if rating is None or clip is None:
            report.note("bad_line", stem_of(clip.name) if clip else path.name, here, text.strip()[:80])
        else:
            clip.ratings.append(rating)
    if clip is not None:
        yield clip


def _from_csv(path: Path, report: CorpusReport) -> Iterator[Rated]:
    clips: dict[str, Rated] = {}
    file = report.name(path)
    for line, row in iter_csv(path, report, required=("FileName",)):
        where = f"{file}:{line}"
        name = file_name(row["FileName"], where, report)
        clip = clips.setdefault(name, Rated(name, where, []))
        if "EmoDetail" in row:
            rating = rating_in(row["EmoDetail"], line)
        else:
            worker = next((row[column] for column in _WORKER_COLUMNS if column in row), None)
            if worker is None or "EmoClass_Major" not in row:
                raise CorpusError(
                    f"{file} has the columns {', '.join(row)}: votes are in EmoDetail, or in EmoClass_Major with "
                    "WorkerID or Workers. Mend: check that it is the raters' file, not the consensus."
                )
            secondary = _split_secondary(row.get("EmoClass_Second", ""))
            given = _attributes_of(row.get("EmoAct"), row.get("EmoVal"), row.get("EmoDom"))
            rating = Rating(intern(worker), intern(row["EmoClass_Major"]), secondary, given, line)
        if rating is None or not rating.primary or not rating.worker:
            report.note("bad_line", stem_of(name), where, ", ".join(row.values())[:80])
        else:
            clip.ratings.append(rating)
    for name in list(clips):
        yield clips.pop(name)


def _from_json(path: Path, report: CorpusReport) -> Iterator[Rated]:
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
            given = _attributes_of(*(str(fields.get(column)) for column in ("EmoAct", "EmoVal", "EmoDom")))
            ratings.append(Rating(intern(worker), intern(primary.strip()), secondary, given, 0))
        yield Rated(name, where, ratings)


def _json(path: Path, report: CorpusReport) -> dict[str, Any]:
    name = report.name(path)
    try:
        content = json.loads("\n".join(text for _, text in iter_lines(path, report)))
    except ValueError as error:
        raise CorpusError(f"{name} is not JSON ({error}). Mend: copy it again.") from error
    if not isinstance(content, dict):
        raise CorpusError(f"{name} is not an object of files. Mend: check that it is the right file.")
    return content


def _known(value: Any) -> str | None:
    text = str(value or "").strip()
    return None if text.lower() in ("", "unknown", "nan") else intern(text)


def _summary(row: Mapping[str, Any]) -> Summary:
    split, gender = _known(row.get("Split_Set")), _known(row.get("Gender"))
    return Summary(
        code=intern(str(row.get("EmoClass", "")).strip()),
        speaker=_known(row.get("SpkrID")),
        gender=gender and gender.lower(),
        split=split and split_name(split),
        valence=number(row.get("EmoVal")),
        arousal=number(row.get("EmoAct")),
        dominance=number(row.get("EmoDom")),
    )


def read_summaries(folder: Path, report: CorpusReport) -> dict[str, Summary]:
    """Read the consensus file, whichever spelling and form there is, by the clips' file names."""
    path = find_file(folder, *_CONSENSUS_FILES)
    if path is None:
        return {}
    where = report.name(path)
    if path.suffix.lower() == ".json":
        return {file_name(name, where, report): _summary(row) for name, row in _json(path, report).items()}
    rows = iter_csv(path, report, required=("FileName",))
    return {file_name(row["FileName"], f"{where}:{line}", report): _summary(row) for line, row in rows}


def _pairs(root: Path, folder: Path, name: str, report: CorpusReport) -> Iterator[tuple[str, str, str]]:
    """The two fields and the place of every line ``a; b`` of a file that is in the root or beside the labels."""
    path = find_file(root, name) or find_file(folder, name)
    file = report.name(path) if path else ""
    for line, text in iter_lines(path, report) if path else ():
        first, separator, second = (part.strip() for part in text.partition(";"))
        second = second.rstrip("; ")
        if separator and first and second:
            yield first, second, f"{file}:{line}"
        elif text.strip():
            report.note("bad_line", Path(file).name, f"{file}:{line}", text.strip()[:80])


def read_partitions(root: Path, folder: Path, report: CorpusReport) -> dict[str, str]:
    """Read Partitions.txt, lines such as ``Train; MSP-PODCAST_0001_0008.wav``."""
    pairs = _pairs(root, folder, "Partitions.txt", report)
    return {file_name(name, where, report): split_name(part) for part, name, where in pairs}


def read_speakers(root: Path, folder: Path, report: CorpusReport) -> dict[str, Summary]:
    """Read Speaker_ids.txt: lines ``Speaker_30; Male``, and lines ``MSP-PODCAST_0001_0008.wav; 30``.

    The number may stand with or without ``Speaker_``; a speaker of ``Unknown`` is left out.
    """
    genders: dict[str, str] = {}
    speakers: dict[str, str] = {}
    for first, second, where in _pairs(root, folder, "Speaker_ids.txt", report):
        if first.lower().endswith(".wav"):
            speaker = _known(_speaker(second))
            if speaker is not None:
                speakers[file_name(first, where, report)] = speaker
        else:
            genders[_speaker(first)] = second.lower()
    return {
        name: Summary(speaker=speaker, gender=_known(genders.get(speaker, ""))) for name, speaker in speakers.items()
    }


def _speaker(text: str) -> str:
    return re.sub(r"^speaker_?\s*", "", text, flags=re.IGNORECASE)


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


def votes_of(name: str, clip: Rated, labels: Labels, report: CorpusReport) -> tuple[list[Vote], list[Rating]]:
    """The votes on a clip, and the ratings that they come from: one a rater. `name` is the utterance's, for reports."""
    votes: list[Vote] = []
    counted: dict[str, Rating] = {}
    for rating in clip.ratings:
        file = clip.where.rpartition(":")[0]
        where = f"{file}:{rating.line}" if rating.line else clip.where
        if rating.worker in counted:
            report.note("duplicate_rater", name, where, rating.worker)
            continue
        label = labels("other" if rating.primary.lower().startswith("other") else rating.primary)
        if label is None:
            report.note("unknown_label", name, where, f"{rating.worker}: {rating.primary}")
            continue
        counted[rating.worker] = rating
        votes.append((label, 1.0, rating.worker))
    return votes, list(counted.values())


def other_texts(ratings: list[Rating]) -> list[str]:
    """What raters wrote beside Other."""
    return [r.primary.partition("-")[2] for r in ratings if r.primary.lower().startswith("other-")]


def find_details(folder: Path, title: str) -> Path:
    """The raters' file in the folder of labels, or a CorpusError."""
    details = find_file(folder, *_DETAILS)
    if details is None:
        raise CorpusError(
            f"{folder} holds none of {', '.join(_DETAILS)}. Mend: give the folder that holds {title}'s Labels and "
            "its audio; the consensus file alone has no votes."
        )
    return details


def read_details(path: Path, report: CorpusReport) -> Iterator[Rated]:
    """Yield the clips of a raters' file, whichever form it has."""
    return {".json": _from_json, ".txt": iter_blocks}.get(path.suffix.lower(), _from_csv)(path, report)


def rated_utterances(
    details: Path,
    clips: Mapping[str, str],
    report: CorpusReport,
    *,
    emotions: tuple[str, ...],
    summaries: Mapping[str, Summary],
    speakers: Mapping[str, Summary] | None = None,
    partitions: Mapping[str, str] | None = None,
    texts: Path | None = None,
    secondary: bool = False,
) -> Iterator[Utterance]:
    """Yield the utterances of a raters' file.

    What a release concludes of a clip is taken from its consensus file, else from the first line of the clip's block;
    where neither states them, the attributes are the means over the raters who voted. `clips` are paths by file name.
    """
    labels, second = Labels(emotions), Labels()
    partitions, speakers = partitions or {}, speakers or {}
    for clip in read_details(details, report):
        stem = stem_of(clip.name)
        if clip.name not in clips:
            report.skip("no_audio", stem, clip.where)
            continue
        known, told = summaries.get(clip.name, Summary()), speakers.get(clip.name, Summary())
        votes, counted = votes_of(stem, clip, labels, report)
        if 0 < len(clip.ratings) < RATERS:
            report.note("few_raters", stem, clip.where, f"{len(clip.ratings)} of {RATERS}")
        extra: dict[str, Any] = {"gender": known.gender or told.gender, "other_texts": other_texts(counted)}
        for attribute in _ATTRIBUTES:
            stated = getattr(known, attribute), getattr(clip.summary, attribute)
            rated = mean(rating.attributes.get(attribute[0].upper()) for rating in counted)
            extra[attribute] = next((value for value in stated if value is not None), rated)
        if secondary:
            pairs = [(second(text), rating) for rating in counted for text in rating.secondary]
            extra["secondary_votes"] = [label or "other" for label, _ in pairs]
            extra["secondary_raters"] = [rating.worker for _, rating in pairs]
        yield Utterance(
            id=stem,
            audio=clips[clip.name],
            where=clip.where,
            speaker=known.speaker or told.speaker,
            votes=votes,
            transcript=None if texts is None else partial(_transcript, texts, stem, report),
            split=partitions.get(clip.name) or known.split,
            consensus=_CODES.get(known.code or clip.summary.code),
            extra=extra,
        )
