"""From the utterances that a reader found to a data set: label set, votes, splits, and the audio, streamed."""

from __future__ import annotations

import itertools
import logging
import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from ..audio.faults import BadClip
from ..audio.files import read_clip_file
from ..audio.signatures import check_format
from ..data.splits import (
    add_fold_column,
    check_splits,
    draw_order,
    random_utterance_split,
    speaker_disjoint_split,
    splits_from_folds,
)
from ..data.writing import SPLIT_ORDER, build_dataset, row_features
from ..votes import matrix_to_distributions
from .options import Settings
from .utterances import CorpusError, CorpusReport, StoredClip, Utterance, Vote

if TYPE_CHECKING:
    from datasets import DatasetDict, Features

logger = logging.getLogger(__name__)

# A thread takes several files at once, so that handing over tasks is not most of the work where files are small.
_FILES_A_TASK = 8

# Reasons of the report, by what is wrong with a file.
_NO_SOUND = {"missing": "unreadable_audio", "too_large": "unreadable_audio", "empty": "empty_audio"}


def _choose_votes(utterance: Utterance, settings: Settings, report: CorpusReport) -> Sequence[Vote] | None:
    """The votes that count, or None where the utterance is left out."""
    merge, names = settings.merge, settings.emotions
    kept: list[Vote] = []
    strange: list[str] = []
    for label, weight, rater in utterance.votes:
        label = merge.get(label, label)
        if label not in names:
            strange.append(label)
            if settings.outside != "other":
                continue
            label = "other"
        kept.append((label, weight, rater))
    report.outside.update(strange)
    if strange and settings.outside == "drop_utterance":
        report.skip("vote_outside", utterance.id, utterance.where, ", ".join(dict.fromkeys(strange)))
        return None
    if not kept:
        report.skip("no_votes", utterance.id, utterance.where, ", ".join(dict.fromkeys(strange)))
        return None
    return kept


def _usable(utterances: Iterable[Utterance], settings: Settings, report: CorpusReport) -> list[Utterance]:
    """Apply the label set; what is left out is reported."""
    used: list[Utterance] = []
    seen: set[str] = set()
    for utterance in utterances:
        if utterance.id in seen:
            report.skip("duplicate_id", utterance.id, utterance.where)
            continue
        seen.add(utterance.id)
        if settings.info.has_votes:
            votes = _choose_votes(utterance, settings, report)
            if votes is None:
                continue
            utterance.votes = votes
        elif utterance.intended is not None:
            utterance.intended = settings.merge.get(utterance.intended, utterance.intended)
            if utterance.intended not in settings.emotions:
                report.skip("intended_outside", utterance.id, utterance.where, utterance.intended)
                continue
        if utterance.speaker is None and settings.split not in ("own", "paper_random"):
            report.skip("unknown_speaker", utterance.id, utterance.where)
            continue
        used.append(utterance)
    if settings.limit is not None and len(used) > settings.limit:
        drawn = set(draw_order([utterance.id for utterance in used], settings.seed)[: settings.limit].tolist())
        report.not_drawn = len(used) - len(drawn)
        used = [utterance for index, utterance in enumerate(used) if index in drawn]
    return used


def _distributions(used: Sequence[Utterance], settings: Settings) -> list[dict[str, float]]:
    """The shares of the votes; without votes the intended emotion, which only balances splits and is not written."""
    names = settings.emotions
    position = {name: index for index, name in enumerate(names)}
    counts = np.zeros((len(used), len(names)))
    for row, utterance in enumerate(used):
        votes = utterance.votes if settings.info.has_votes else ((utterance.intended or "", 1.0, None),)
        for label, weight, _ in votes:
            counts[row, position[label]] += weight
    return matrix_to_distributions(counts / counts.sum(axis=1, keepdims=True), names)


def _plan(
    used: Sequence[Utterance], shares: list[dict[str, float]], settings: Settings
) -> tuple[dict[str, list[int]], list[int] | None]:
    """Which rows go into which split, in their order, and the fold of every row."""
    from datasets import Dataset, DatasetDict

    by = settings.split
    if by == "own":
        otherwise = "train" if settings.info.has_votes else "test"
        parts: dict[str, list[int]] = {}
        for index, utterance in enumerate(used):
            parts.setdefault(utterance.split or otherwise, []).append(index)
        return parts, None
    if by == "session" and any(utterance.session is None for utterance in used):
        raise ValueError(f"{settings.info.title} has no sessions. Mend: split='folds' or split='speaker'.")
    rows = Dataset.from_dict(
        {
            "row": list(range(len(used))),
            "id": [utterance.id for utterance in used],
            "speaker": [utterance.speaker for utterance in used],
            "human_distribution": shares,
        }
    )
    if by == "speaker":
        splits = speaker_disjoint_split(rows, settings.fractions, seed=settings.seed)
        folds = None
    elif by == "paper_random":
        splits = random_utterance_split(rows, settings.seed)
        folds = None
    else:
        if by == "folds":
            rows = add_fold_column(rows, settings.num_folds, settings.seed)
        else:
            rows = rows.add_column("fold", [utterance.session for utterance in used])
            check_splits(rows, fold_column="fold")  # refuses a speaker in two sessions
            if len(rows.unique("fold")) < 2:
                logger.warning("all utterances are of one session: there is no other to train on")
        folds = rows["fold"][:]
        if settings.test_fold is None:
            splits = DatasetDict({"train": rows})
        else:
            splits = splits_from_folds(rows, settings.test_fold)
    return {split: part["row"][:] for split, part in splits.items()}, folds


def _read(clips: Sequence[str | StoredClip]) -> list[bytes | BadClip]:
    result: list[bytes | BadClip] = []
    for clip in clips:
        try:
            data = _stored_bytes(clip) if isinstance(clip, StoredClip) else read_clip_file(clip)
            check_format(data)
            result.append(data)
        except BadClip as bad:
            result.append(bad)
    return result


def _stored_bytes(clip: StoredClip) -> bytes:
    try:
        return clip.read()
    except OSError as error:
        raise BadClip("missing", f"cannot read {clip.name!r} ({error.strerror or error})") from error


def _clip_name(audio: str | StoredClip) -> str:
    return audio.name if isinstance(audio, StoredClip) else os.path.basename(audio)


def _clip_place(audio: str | StoredClip, report: CorpusReport) -> str:
    return audio.name if isinstance(audio, StoredClip) else report.name(audio)


def read_files(clips: Iterable[str | StoredClip], num_threads: int) -> Iterator[bytes | BadClip]:
    """Yield the bytes of clips in their order, or what they are instead; a few tasks ahead, so that memory stays
    flat.
    """
    files = iter(clips)
    tasks = iter(lambda: list(itertools.islice(files, _FILES_A_TASK)), [])
    if num_threads <= 1:
        for task in tasks:
            yield from _read(task)
        return
    with ThreadPoolExecutor(num_threads) as pool:
        waiting = deque(pool.submit(_read, task) for task in itertools.islice(tasks, 2 * num_threads))
        while waiting:
            yield from waiting.popleft().result()
            waiting.extend(pool.submit(_read, task) for task in itertools.islice(tasks, 1))


def _features(settings: Settings, folds: bool) -> Features:
    from datasets import List, Value

    info = settings.info
    extra: dict[str, Any] = {}
    if info.has_votes and info.raters:
        extra["human_raters"] = List(Value("string"))
    for column, kind in info.columns.items():
        extra[column] = List(Value("string")) if kind == "strings" else Value(kind)
    if folds:
        extra["fold"] = Value("int64")
    extra |= {"corpus": Value("string"), "language": Value("string"), "restricted": Value("bool")}
    return row_features(settings.emotions, extra, vote_weights=info.weighted, votes=info.has_votes)


def build_corpus(utterances: Iterable[Utterance], settings: Settings, report: CorpusReport) -> DatasetDict:
    """Make the data set of a corpus: choose votes, plan the splits, then stream the audio files into it.

    The `utterances` are consumed once, and rows are in their order. What is left out goes into `report`; a CorpusError
    says why nothing is left. Columns are the data contract's, those of the corpus, and ``corpus``, ``language`` and
    ``restricted``; without votes there are no ``human_votes``, ``human_distribution`` and ``emotion_distribution``.
    """
    from datasets import DatasetDict
    from datasets.utils.tqdm import tqdm

    info = report.info = settings.info
    used = _usable(utterances, settings, report)
    if not used:
        raise CorpusError(f"No utterance of {info.title} can be used.\n{report.summary(3)}\nMend: see above.")
    shares = _distributions(used, settings)
    parts, folds = _plan(used, shares, settings)

    def row(index: int, data: bytes) -> dict[str, Any]:
        utterance = used[index]
        text = utterance.transcript
        values = {
            **utterance.extra,
            "id": utterance.id,
            "audio": {"bytes": data, "path": _clip_name(utterance.audio)},
            "transcript": text() if callable(text) else text,
            # Bare numbers of two corpora would be one speaker once they are put together.
            "speaker": utterance.speaker and f"{info.name}-{utterance.speaker}",
            "session": utterance.session,
            "intended": utterance.intended,
            "consensus": utterance.consensus,
            "fold": folds[index] if folds is not None else None,
            "corpus": info.name,
            "language": info.language,
            "restricted": info.restricted,
        }
        if info.has_votes:
            labels, weights, raters = zip(*utterance.votes, strict=True)
            values |= {
                "human_votes": labels,
                "human_vote_weights": weights,
                "human_raters": raters if any(raters) else None,
                "human_distribution": shares[index],
                "emotion_distribution": shares[index],
            }
        return values

    def rows(indices: Sequence[int], bar: Any) -> Iterator[dict[str, Any]]:
        found = read_files((used[index].audio for index in indices), settings.num_proc)
        for index, data in zip(indices, found, strict=True):
            bar.update()
            if isinstance(data, BadClip):
                detail = "" if data.kind == "empty" else f"{data.detail}. Mend: {data.mend}"
                report.skip(reason_of(data), used[index].id, _clip_place(used[index].audio, report), detail)
            else:
                report.kept += 1
                yield row(index, data)

    features = _features(settings, folds is not None)
    order = [s for s in SPLIT_ORDER if s in parts] + [s for s in sorted(parts) if s not in SPLIT_ORDER]
    hide = None if settings.progress else True  # None: hidden where nobody looks, in a log file
    with tqdm(total=len(used), desc="Reading audio files", unit="file", disable=hide) as bar:
        built = DatasetDict(
            {s: build_dataset(rows(parts[s], bar), features, settings.cache_dir / f"{s}.arrow") for s in order}
        )
    built = DatasetDict({split: part for split, part in built.items() if len(part)})
    if not built:
        raise CorpusError(f"No audio file of {info.title} can be read.\n{report.summary(3)}\nMend: see above.")
    if settings.split == "own" and len(parts) > 1:
        warn_shared_speakers({split: [used[index].speaker for index in part] for split, part in parts.items()})
    return built


def reason_of(bad: BadClip) -> str:
    """The reason, of those of a report, for which a file that is no clip is left out."""
    return _NO_SOUND.get(bad.kind, "not_audio")


def warn_shared_speakers(speakers: Mapping[str, Sequence[str | None]]) -> None:
    """Say when speakers (split to the speaker of each row) are in more than one split, or not known."""
    places = Counter(speaker for rows in speakers.values() for speaker in set(rows) if speaker is not None)
    shared = sorted(speaker for speaker, count in places.items() if count > 1)
    if shared:
        logger.warning(
            "%d speakers are in more than one split (%s): scores will not be those of unseen speakers",
            len(shared),
            ", ".join(shared[:5]),
        )
    unknown = sum(speaker is None for rows in speakers.values() for speaker in rows)
    if unknown:
        logger.warning("%d utterances have no known speaker: whether splits share speakers cannot be checked", unknown)
