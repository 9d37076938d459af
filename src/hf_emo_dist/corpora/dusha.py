"""Dusha: Russian speech, acted (crowd) and from podcasts, with the raw answers of its crowd raters.

The layout is that of the archives ``crowd.tar`` and ``podcast.tar``: ``<part>/raw_<part>.tsv`` (or ``.jsonl``) with one
answer a row and ``<part>/wavs/*.wav``, where a part is ``crowd_train``, ``crowd_test``, ``podcast_train`` or
``podcast_test``. The audio of podcasts is not published.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from sys import intern
from typing import TYPE_CHECKING, Any, Unpack

from ..emotions import CORPUS_CODES
from .building import build_corpus
from .label_files import Labels, audio_files, corpus_folder, file_name, iter_csv, iter_lines, stem_of
from .options import ReadOptions, check_options, corpus_reader
from .utterances import CorpusError, CorpusInfo, CorpusReport, Utterance, Vote, report_on

if TYPE_CHECKING:
    from datasets import DatasetDict

PARTS = ("crowd_train", "crowd_test", "podcast_train", "podcast_test")
_EMOTIONS = ("angry", "happy", "neutral", "sad", "other")
INFO = CorpusInfo(
    name="dusha",
    title="Dusha",
    language="ru",
    emotions=_EMOTIONS,
    license="other",
    terms="A license of Sber's own, in the repository of Golos (github.com/salute-developers/golos).",
    citation="Kondratenko, V., Sokolov, A., Karpov, N., Kutuzov, O., Savushkin, N., & Minkin, F. (2022). Large Raw "
    "Emotional Dataset with Aggregation Mechanism. arXiv:2212.12266",
    vote_source="Dusha's crowd raters, one answer each; `positive` counts as happy. Control clips with a known answer "
    "are left out.",
    reads="`raw_<part>.tsv` or `.jsonl`, `wavs`",
    columns={"intended": "string", "domain": "string"},
)

_COLUMNS = (
    "hash_id",
    "audio_path",
    "annotator_emo",
    "golden_emo",
    "speaker_text",
    "speaker_emo",
    "source_id",
    "annotator_id",
)


@dataclass(slots=True)
class _Clip:
    where: str
    name: str
    text: str
    intended: str | None
    speaker: str | None
    golden: bool
    votes: list[Vote] = field(default_factory=list)
    raters: set[str] = field(default_factory=set)


def _blank(value: Any) -> bool:
    return value is None or str(value).strip().lower() in ("", "nan", "none", "null")


def _answers(path: Path, report: CorpusReport) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if path.suffix == ".tsv":
        yield from iter_csv(path, report, _COLUMNS, delimiter="\t")
        return
    for number, text in iter_lines(path, report):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except ValueError:
            row = None
        if not isinstance(row, dict) or not set(_COLUMNS) <= row.keys():
            report.note("bad_line", path.name, f"{report.name(path)}:{number}", text.strip()[:80])
        else:
            yield number, row


def _clips(path: Path, labels: Labels, report: CorpusReport) -> dict[str, _Clip]:
    clips: dict[str, _Clip] = {}
    file = report.name(path)
    for line, row in _answers(path, report):
        where = f"{file}:{line}"
        row_id = str(row["hash_id"])
        clip = clips.get(row_id)
        if clip is None:
            intended = None if _blank(row["speaker_emo"]) else labels(str(row["speaker_emo"]))
            clip = clips[row_id] = _Clip(
                where=where,
                name=file_name(str(row["audio_path"]), where, report),
                text="" if _blank(row["speaker_text"]) else str(row["speaker_text"]).strip(),
                intended=intended,
                speaker=None if _blank(row["source_id"]) else intern(str(row["source_id"])),
                golden=not _blank(row["golden_emo"]),
            )
        rater = intern(str(row["annotator_id"]))
        label = labels(str(row["annotator_emo"]))
        if label is None:
            report.note("unknown_label", row_id, where, str(row["annotator_emo"]))
        elif rater in clip.raters:
            report.note("duplicate_rater", row_id, where, rater)
        else:
            clip.raters.add(rater)
            clip.votes.append((label, 1.0, rater))
    return clips


def _utterances(found: Mapping[str, tuple[Path, Path]], report: CorpusReport) -> Iterator[Utterance]:
    labels = Labels(_EMOTIONS, dict(CORPUS_CODES["dusha"]))
    for part, (table, folder) in found.items():
        domain, _, split = part.partition("_")
        audio = {os.path.basename(path): path for path in audio_files(folder).values()}
        described: set[str] = set()
        clips = _clips(table, labels, report)
        for row_id in list(clips):
            clip = clips.pop(row_id)
            described.add(clip.name)
            if clip.golden:
                report.skip("control_task", row_id, clip.where)
                continue
            if clip.name not in audio:
                report.skip("no_audio", row_id, clip.where)
                continue
            if not clip.text and domain == "crowd":
                report.note("empty_transcript", row_id, clip.where)
            yield Utterance(
                id=row_id,
                audio=audio[clip.name],
                where=clip.where,
                speaker=clip.speaker and f"{domain}-{clip.speaker}",
                votes=clip.votes,
                transcript=clip.text or None,
                split=split,
                intended=clip.intended,
                extra={"domain": domain},
            )
        for name, path in audio.items():
            if name not in described:
                report.skip("no_labels", stem_of(name), report.name(path))


def _tables(root: Path, parts: Sequence[str]) -> dict[str, tuple[Path, Path]]:
    """Find the raters' file and the audio folder of each part, also where an archive was unpacked in a folder."""
    found = {}
    for part in parts:
        for folder in (root / part, root / part.partition("_")[0] / part):
            table = next((p for s in (".tsv", ".jsonl") if (p := folder / f"raw_{part}{s}").is_file()), None)
            if table is not None:
                found[part] = (table, folder / "wavs")
                break
    return found


@corpus_reader(INFO)
def read_dusha(
    source: str | Path,
    *,
    parts: Sequence[str] = PARTS,
    report: CorpusReport | None = None,
    **options: Unpack[ReadOptions],
) -> DatasetDict:
    """Read Dusha.

    ``speaker`` is the corpus's ``source_id``, which other readers take for the speaker; its own readme does not say
    what it stands for, so check it before you rely on disjoint speakers. ``intended`` is what the speaker of a crowd
    clip was asked for. Clips with a ``golden_emo`` were control tasks and are left out, as the corpus's authors do. Its
    own splits are ``train`` and ``test``.

    Args:
        source: The folder that holds the parts.
        parts: Which of ``crowd_train, crowd_test, podcast_train, podcast_test`` to read; those that are not there are
            passed over.
        report: Receives what is left out, by reason, file and line.

    Returns:
        The splits.

    Raises:
        CorpusError: No part is there, or nothing in it can be used.

    Example:
        >>> read_dusha("dusha", parts=["crowd_train", "crowd_test"])  # doctest: +SKIP
    """
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise ValueError(f"`parts` must be among {', '.join(PARTS)}, got {', '.join(unknown)}.")
    settings = check_options(INFO, source, options)
    root = corpus_folder(source)
    found = _tables(root, parts)
    if not found:
        raise CorpusError(
            f"{root} holds none of {', '.join(f'{part}/raw_{part}.tsv' for part in parts)}. "
            "Mend: give the folder in which crowd.tar was unpacked."
        )
    report = report_on(root, report)
    return build_corpus(_utterances(found, report), settings, report)
