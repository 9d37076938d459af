"""MSP-Podcast: the votes of its crowd raters from any release's label files, with its own partitions."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from .building import build_corpus
from .label_files import audio_files, corpus_folder, find_folder, stem_of
from .msp_labels import (
    COLUMNS,
    Summary,
    find_details,
    rated_utterances,
    read_partitions,
    read_speakers,
    read_summaries,
)
from .options import ReadOptions, check_options, corpus_reader
from .utterances import CorpusInfo, CorpusReport, Utterance, report_on

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
    reads="`labels_detailed.csv` (three shapes), `.json` or `labels.txt`; `labels_consensus` or "
    "`labels_concensus`; `Partitions.txt`, `Speaker_ids.txt`; transcripts; in any case of letters",
    restricted=True,
    columns=COLUMNS,
)

# Test3's labels are kept by the corpus's makers for their challenge.
_WITHHELD = ("test3",)


def _utterances(root: Path, labels_path: Path | None, secondary: bool, report: CorpusReport) -> Iterator[Utterance]:
    folder = find_folder(root, "Labels", "label") or root
    details = labels_path or find_details(folder, INFO.title)
    summaries = read_summaries(folder, report)
    partitions = read_partitions(root, folder, report)
    audio = find_folder(root, "Audios", "Audio") or root
    clips = {os.path.basename(path): path for path in audio_files(audio).values()}
    described: set[str] = set()
    for utterance in rated_utterances(
        details,
        clips,
        report,
        emotions=_EMOTIONS,
        summaries=summaries,
        speakers=read_speakers(root, folder, report),
        partitions=partitions,
        texts=find_folder(root, "Transcripts", "Transcript"),
        secondary=secondary,
    ):
        described.add(utterance.id)
        yield utterance
    for name, path in clips.items():
        if stem_of(name) not in described:
            withheld = (partitions.get(name) or summaries.get(name, Summary()).split) in _WITHHELD
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
    ``labels.txt``, whichever is there first, in any case of letters. ``Other-<text>`` is a vote for ``other``; the
    texts are in ``other_texts``. Speaker, gender, the corpus's plurality label (``consensus``) and the means of
    ``valence``, ``arousal`` and ``dominance`` on 1 to 7 come from ``labels_consensus`` (``labels_concensus`` before
    1.10), else from ``labels.txt`` and ``Speaker_ids.txt``, as in release 1.8; attributes that no file states are the
    means over the raters. A speaker of ``Unknown`` is null: such rows stay in the corpus's own splits (``train``,
    ``validation``, ``test1``, ``test2``) and are left out of speaker-disjoint ones. Clips of Test3, whose labels are
    withheld, are left out. The data is ``restricted``.

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
