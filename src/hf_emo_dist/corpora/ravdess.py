"""RAVDESS: acted English speech with intended emotions; votes only from a table that the user brings.

Without votes it has no ``human_votes`` and no distributions, and is refused as a target (see
:func:`hf_emo_dist.data.label_map.refuse_without_votes`). Its ``intended`` column serves cross-corpus scores of the
dominant class, and it can be annotated.

Its validation study (ten ratings a recording) is published with the paper, as a workbook. How that workbook is laid out
is not documented well enough to read it: `votes` is a plain table of one row a rating, which is made from it by hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from .._files import is_ordinary
from ..emotions import CORPUS_CODES
from .building import build_corpus
from .label_files import Labels, corpus_folder, file_name, iter_csv, stem_of, utterances_by_name
from .options import ReadOptions, check_options, corpus_reader
from .utterances import CorpusInfo, CorpusReport, Utterance, Vote, report_on

if TYPE_CHECKING:
    from datasets import DatasetDict

INFO = CorpusInfo(
    name="ravdess",
    title="RAVDESS",
    language="en",
    emotions=("angry", "happy", "neutral", "sad", "fear", "disgust", "surprise", "calm"),
    license="cc-by-nc-sa-4.0",
    terms="CC BY-NC-SA 4.0.",
    citation="Livingstone, S. R., & Russo, F. A. (2018). The Ryerson Audio-Visual Database of Emotional Speech and "
    "Song (RAVDESS). PLoS ONE, 13(5), e0196391. doi:10.1371/journal.pone.0196391",
    vote_source="Nobody's: the recordings come without votes, and `intended` is what the actors were asked for, not "
    "what anybody heard. The ratings of its validation study can be given as a table.",
    reads="file names; with `--votes`, a CSV of `file, emotion` and `rater`",
    has_votes=False,
    columns={"intended": "string", "intensity": "string", "gender": "string", "channel": "string"},
)
#: With a table of votes.
RATED = replace(
    INFO,
    has_votes=True,
    vote_source="Listeners of RAVDESS, from a table that was given to the reader.",
)

_NAME = re.compile(r"(0[1-3])-(0[12])-(0[1-8])-(0[12])-(0[12])-(0[12])-(\d{2})")
_TEXTS = {"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."}
_SOUND_ONLY = "03"


def _utterance(stem: str, path: str, songs: bool) -> Utterance | None:
    match = _NAME.fullmatch(stem)
    if match is None or match[1] == "02" or (match[2] == "02" and not songs):
        return None
    actor = match[7]
    return Utterance(
        id=stem,
        audio=path,
        speaker=actor,
        transcript=_TEXTS[match[5]],
        intended=CORPUS_CODES["ravdess"][match[3]],
        extra={
            "intensity": {"01": "normal", "02": "strong"}[match[4]],
            "gender": "male" if int(actor) % 2 else "female",
            "channel": {"01": "speech", "02": "song"}[match[2]],
        },
    )


def _one_a_take(utterances: Iterator[Utterance], report: CorpusReport) -> Iterator[Utterance]:
    """Leave out the sound of a video whose take is there as sound alone, too: it is the same performance."""
    found = list(utterances)
    takes = {utterance.id[3:] for utterance in found if utterance.id.startswith(_SOUND_ONLY)}
    for utterance in found:
        if utterance.id.startswith(_SOUND_ONLY) or utterance.id[3:] not in takes:
            yield utterance
        else:
            report.skip("same_sound", utterance.id, utterance.where, f"{_SOUND_ONLY}-{utterance.id[3:]} is read")


def _votes(path: Path, report: CorpusReport) -> dict[str, tuple[str, list[Vote]]]:
    """Read ``file, emotion`` and, where it is there, ``rater``: the votes on each recording, and where they begin."""
    labels = Labels(INFO.emotions, dict(CORPUS_CODES["ravdess"]))
    found: dict[str, tuple[str, list[Vote]]] = {}
    seen: set[tuple[str, str]] = set()
    for line, row in iter_csv(path, report, required=("file", "emotion")):
        where = f"{report.name(path)}:{line}"
        stem = stem_of(file_name(row["file"], where, report))
        rater = row.get("rater") or None
        label = labels(row["emotion"])
        if not _NAME.fullmatch(stem):
            report.note("bad_line", stem or path.name, where, "no name of a recording")
            continue
        votes = found.setdefault(stem, (where, []))[1]
        if label is None:
            report.note("unknown_label" if row["emotion"] else "no_answer", stem, where, row["emotion"])
        elif rater is not None and (stem, rater) in seen:
            report.note("duplicate_rater", stem, where, rater)
        else:
            seen.add((stem, rater or ""))
            votes.append((label, 1.0, rater))
    return found


def _with_votes(
    utterances: Iterator[Utterance], votes: dict[str, tuple[str, list[Vote]]], report: CorpusReport
) -> Iterator[Utterance]:
    read: set[str] = set()
    for utterance in utterances:
        read.add(utterance.id)
        utterance.where, utterance.votes = votes.get(utterance.id, (utterance.where, []))
        yield utterance
    for stem, (where, given) in votes.items():
        if stem not in read:
            # Who saw the face, or heard it beside the face, did not judge this sound.
            reason = "no_audio" if stem.startswith(_SOUND_ONLY) else "other_modality"
            report.skip(reason, stem, where, f"{len(given)} ratings")


@corpus_reader(INFO)
def read_ravdess(
    source: str | Path,
    *,
    songs: bool = False,
    votes: str | Path | None = None,
    report: CorpusReport | None = None,
    **options: Unpack[ReadOptions],
) -> DatasetDict:
    """Read the audio of RAVDESS; everything is in the file names, such as ``03-01-06-01-02-01-12.wav``.

    With ``split="own"`` all rows are in one split ``test``; with votes, ``train``. Of a take that is there as sound
    alone (``03-``) and as the sound of a video (``01-``), the first is read: it is one performance.

    Args:
        source: The folder of the clips, or any folder above.
        songs: Read the sung clips too; otherwise they are reported as ``bad_name``.
        votes: A CSV file of listeners' votes with one row a rating: ``file`` (the recording's name, with or without
            extension), ``emotion`` (a name, or the code of file names, ``01`` to ``08``) and, if known, ``rater``.
            Ratings of recordings that are not read, such as the videos, are reported and count for nothing. The
            published validation study is a workbook of another, undocumented form: bring its ratings into this one.
        report: Receives what is left out.

    Returns:
        The splits, with ``intended`` and, unless `votes` are given, without votes and distributions.

    Raises:
        CorpusError: There is no clip that can be used, or `votes` lacks a column.

    Example:
        >>> read_ravdess("ravdess", merge={"calm": "neutral"})["test"]  # doctest: +SKIP
    """
    settings = check_options(INFO if votes is None else RATED, source, options)
    root = corpus_folder(source)
    report = report_on(root, report)
    found = utterances_by_name(INFO, root, lambda stem, path: _utterance(stem, path, songs), report)
    found = _one_a_take(found, report)
    if votes is not None:
        table = Path(votes).expanduser()
        if not is_ordinary(table):
            raise FileNotFoundError(f"There is no table of votes at {table}. Mend: check the path.")
        found = _with_votes(found, _votes(table, report), report)
    return build_corpus(found, settings, report)
